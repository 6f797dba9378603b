"""Which calibration a search takes, what becomes of it, and that a calibrated search keeps to its constraint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from boards.measurements import Measurements
from flow.calibration import (
    calibrate,
    calibration_document,
    calibration_for,
    default_path,
    factor_table,
    gap_table,
    is_newer,
    read_calibration,
)
from flow.constraint import Constraint, reach_under
from flow.decision import Decisions
from flow.errors import CalibrationError, ConstraintError, RunDirectoryError
from flow.pipeline import carry_over
from flow.store import TrialStore
from flow.trial import Trial
from hls.calibrate import Calibration, Factor
from hls.estimators import TableEstimator
from hls.types import INTERVAL, LATENCY
from tests.flow_fakes import BOARD, CONSTRAINT, SPECS, SimulatedEvaluator, SimulatedTables, all_policies
from tests.made_measurements import made_design, made_measurement, made_simulation, made_synthesis


def factor(ratio: float, **changed: object) -> Factor:
    return Factor(
        **{"n_designs": 1, "ratio": ratio, "least": ratio, "most": ratio, "error": None, "error_before": 0.1, **changed}
    )


def calibration(**factors: float) -> Calibration:
    return Calibration("pynq-z2", False, 1, {name: factor(ratio) for name, ratio in factors.items()})


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


def put(path: Path, found: Calibration) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(found.to_json())
    return path


def test_a_new_run_takes_the_boards_calibration_unless_told_otherwise(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert calibration_for("auto", "pynq-z2", run, has_begun=False) is None
    own, other = calibration(lut=1.3), calibration(lut=1.5)
    put(default_path("pynq-z2"), own)
    assert calibration_for("auto", "pynq-z2", run, has_begun=False) == own
    assert calibration_for("none", "pynq-z2", run, has_begun=False) is None
    assert calibration_for(str(put(tmp_path / "other.json", other)), "pynq-z2", run, has_begun=False) == other
    assert calibration_for("auto", "zcu104", run, has_begun=False) is None


def test_a_simulated_boards_calibration_is_taken_only_when_told(tmp_path: Path) -> None:
    put(default_path("pynq-z2", simulated=True), calibration(lut=1.3))
    assert calibration_for("auto", "pynq-z2", tmp_path / "run", has_begun=False) is None


def test_a_run_keeps_what_it_began_with(tmp_path: Path) -> None:
    run = tmp_path / "run"
    began, newer = calibration(lut=1.3), calibration(lut=1.5)
    put(run / "calibration.json", began)
    put(default_path("pynq-z2"), newer)
    assert calibration_for("auto", "pynq-z2", run, has_begun=True) == began
    assert is_newer("pynq-z2", began)
    assert is_newer("pynq-z2", None)
    assert not is_newer("pynq-z2", newer)
    for told in ("none", str(default_path("pynq-z2"))):
        with pytest.raises(RunDirectoryError, match=f"began with calibration {began.digest}"):
            calibration_for(told, "pynq-z2", run, has_begun=True)
    assert calibration_for("none", "pynq-z2", tmp_path / "without", has_begun=True) is None


def test_another_boards_calibration_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "c.json", calibration(lut=1.3))
    with pytest.raises(CalibrationError, match="is of a pynq-z2, not of a zcu104"):
        read_calibration(path, "zcu104")
    with pytest.raises(CalibrationError, match="cannot be read"):
        read_calibration(tmp_path / "nothing.json", "pynq-z2")


@given(lut=st.floats(0.5, 1.6), bram18=st.floats(0.5, 1.6), cycles=st.floats(0.5, 1.8))
def test_every_policy_a_calibrated_search_may_propose_keeps_to_the_constraint(lut: float, bram18: float, cycles: float) -> None:
    tables = SimulatedTables.of(SPECS)
    found = calibration(lut=lut, bram18=bram18, **{INTERVAL: cycles})
    try:
        reach = reach_under(CONSTRAINT, tables, found)  # type: ignore[arg-type]
    except ConstraintError:
        return
    decisions = Decisions(SPECS, reach)
    estimator = TableEstimator(tables, BOARD, found)  # type: ignore[arg-type]
    possible = 0
    for policy in all_policies((2, 5, 8)):
        try:
            decisions.replay(policy)
        except ConstraintError:
            continue
        possible += 1
        estimate = estimator.estimate(policy, CONSTRAINT.limits)
        assert CONSTRAINT.violation(estimate) <= 0
        assert CONSTRAINT.describe(estimate) == "fits"
        assert estimate.factors == found.of(policy)


def test_an_unreachable_frame_rate_says_what_can_be_reached_on_the_true_board() -> None:
    tables = SimulatedTables.of(SPECS)
    with pytest.raises(ConstraintError, match=r"the most that any reaches is ([\d,]+) fps") as plain:
        reach_under(Constraint(BOARD, 1e9, 0.85), tables)  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match=r"the most that any reaches is ([\d,]+) fps") as slower:
        reach_under(Constraint(BOARD, 1e9, 0.85), tables, calibration(**{INTERVAL: 2.0}))  # type: ignore[arg-type]
    best, half = (int(str(e.value).split("MIN_FPS to ")[1].split()[0]) for e in (plain, slower))
    assert half == pytest.approx(best / 2.02, abs=1)
    assert "by calibration" in str(slower.value)


def test_earlier_trials_that_still_fit_come_first_and_are_not_retrained(tmp_path: Path) -> None:
    before = SimulatedEvaluator()
    policies = all_policies((1, 4, 8))[::17]
    earlier = [Trial(n, p, before.score(p).estimate, 0.5 + n / 1000, 0.5, 7, 1.0) for n, p in enumerate(policies)]
    slow = calibration(**{INTERVAL: 1.2})
    reach = reach_under(CONSTRAINT, SimulatedTables.of(SPECS), slow)  # type: ignore[arg-type]
    decisions = Decisions(SPECS, reach)
    evaluator = SimulatedEvaluator()
    evaluator.estimator = TableEstimator(SimulatedTables.of(SPECS), BOARD, slow)  # type: ignore[arg-type]
    retrained = len(evaluator.retrained)
    store = TrialStore(tmp_path / "trials.db", "made")
    n = carry_over([*earlier, earlier[0]], decisions, evaluator, store)  # type: ignore[arg-type]
    kept = store.trials()
    assert 0 < n == len(kept) < len(earlier)
    assert len(evaluator.retrained) == retrained
    assert [t.number for t in kept] == list(range(n))
    accuracy_of = {t.policy: t.accuracy for t in earlier}
    for trial in kept:
        assert trial.accuracy == accuracy_of[trial.policy]
        assert trial.estimate.factors == slow.of(trial.policy)
        assert CONSTRAINT.violation(trial.estimate) <= 0
    assert carry_over(earlier, decisions, evaluator, store) == n  # type: ignore[arg-type]
    assert store.trials() == kept


def records(path: Path) -> Measurements:
    """Two designs on the board and what Vivado said of one, one on a simulated board, one on another simulated board."""
    from tests.test_hls_calibrate import ESTIMATE, steady

    store = Measurements(path)
    told = made_design(estimate=ESTIMATE.to_dict())
    for plan, fps in (("one", 8_000.0), ("two", 9_000.0)):
        store.add(made_measurement(simulated=False, host="xilinx@board", plan=plan, design=told, throughput=steady(fps)))
    store.add(made_synthesis(plan="one", design=told))
    for host, fps in (("simulated", 10_000.0), ("simulated:cycles_factor=2", 5_000.0)):
        store.add(made_measurement(host=host, design=told, throughput=steady(fps)))
    return store


def test_make_calibrate_learns_from_real_boards_and_vivado(tmp_path: Path) -> None:
    made = calibrate(records(tmp_path / "m.db"), "pynq-z2", None)
    assert made.path == default_path("pynq-z2")
    assert read_calibration(made.path, "pynq-z2") == made.calibration
    assert made.calibration.n_records == 3
    assert made.calibration.factors["lut"].ratio == pytest.approx(20_000 / 16_000)
    assert made.calibration.factors[INTERVAL].n_designs == 2
    assert set(made.calibration.factors) == {"lut", "bram18", INTERVAL}


def test_simulated_boards_are_calibrated_each_for_itself(tmp_path: Path) -> None:
    store = records(tmp_path / "m.db")
    ratios = {}
    for host in ("simulated", "simulated:cycles_factor=2"):
        made = calibrate(store, "pynq-z2", host)
        assert made.path == default_path("pynq-z2", simulated=True)
        assert made.calibration.simulated
        ratios[host] = made.calibration.factors[INTERVAL].ratio
    assert ratios == {"simulated": pytest.approx(1.0), "simulated:cycles_factor=2": pytest.approx(2.0)}
    with pytest.raises(CalibrationError, match="nothing was measured on the simulated pynq-z2"):
        calibrate(store, "pynq-z2", "simulated:slow")
    with pytest.raises(CalibrationError, match="nothing was measured on a zcu104"):
        calibrate(store, "zcu104", None)


def test_the_gap_table_has_estimate_simulation_and_board_side_by_side(tmp_path: Path) -> None:
    store = records(tmp_path / "m.db")
    told = store.records()[0].record.design
    store.add(made_simulation(plan="one", network="one", design=told, interval_cycles=11_111, latency_cycles=12_222))
    store.add(made_simulation(plan="alone", network="alone", design=told, interval_cycles=10_500))
    made = calibrate(store, "pynq-z2", None)
    assert made.calibration.n_records == 5
    console = Console(record=True, width=200)
    console.print(gap_table(made))
    rows = [" ".join(line.split()) for line in console.export_text().splitlines()]
    (both,) = (row for row in rows if "z2 one interval" in row)
    assert "10,000 11,111 12,500 (board)" in both
    (alone,) = (row for row in rows if "alone interval" in row)
    assert "10,000 10,500 – 1.050" in alone
    assert any("z2 one latency cycles 12,000 12,222 –" in row for row in rows)
    assert "12,222" not in " ".join(row for row in rows if "board" in row)


def test_a_search_says_what_its_factors_were_learned_from(tmp_path: Path) -> None:
    store = records(tmp_path / "m.db")
    store.add(made_simulation(plan="one", network="one", design=store.records()[0].record.design))
    made = calibrate(store, "pynq-z2", None).calibration
    document = calibration_document(made, next(iter(all_policies((2, 8)))))
    assert document["learned_from"] == {
        "lut": "synthesis", "bram18": "synthesis", INTERVAL: "board", LATENCY: "RTL simulation",
    }  # fmt: skip
    assert set(document["factors"]) == set(document["learned_from"])


def test_rtl_simulations_are_no_records_of_the_simulated_board(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    store.add(made_simulation())
    with pytest.raises(CalibrationError, match="nothing was measured on the simulated pynq-z2"):
        calibrate(store, "pynq-z2", "simulated")


@pytest.mark.parametrize("host", [None, "simulated"])
def test_every_row_says_whether_it_is_of_the_simulated_board(tmp_path: Path, host: str | None) -> None:
    made = calibrate(records(tmp_path / "m.db"), "pynq-z2", host)
    console = Console(record=True, width=180)
    console.print(gap_table(made))
    console.print(factor_table(made.calibration))
    said = console.export_text()
    rows = [line for line in said.splitlines() if "board" in line and "cycles" in line]
    assert rows
    assert all(("simulated" in row) == (host is not None) for row in rows)
    assert "one design: unknown" in said
    assert json.loads(made.path.read_text())["simulated"] == (host is not None)
