"""What measurements say of the estimate: robust, bounded, and honest about its own error."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.board import Resources
from boards.measurement import HardwareCounters, Throughput, Used
from hls.calibrate import (
    BOARD,
    CALIBRATION_FORMAT,
    MIN_DESIGNS,
    RTL,
    RTL_INTERVAL,
    RTL_LATENCY,
    Calibration,
    Observation,
    fit,
    interval_cycles,
    learn,
    observations,
    that_count,
)
from hls.errors import CalibrationError
from hls.pace import Pace
from hls.types import INTERVAL, LATENCY, Correction, Estimate, NodeEstimate, before_factors
from models.policy import BitPolicy, LayerBits
from tests.made_measurements import made_design, made_measurement, made_simulation, made_synthesis

# The first frame takes 12,000 cycles: ten thousand, two in a FIFO, and those the second unit has still to do; by FINN's sum
# it would be 14,000.
_FIRST = Pace((1, 1), (1, 1), 1, 1, 5_000, 1, 10_000, 5_000, burst=0, latency=0)
_SECOND = Pace((1, 1), (1, 1), 1, 1, 1, 1, 1_999, latency=0)
ESTIMATE = Estimate(
    (
        NodeEstimate("MVAU_hls_0", "MVAU_hls", "fc0", 10_000, Resources(lut=9_000, bram18=20, dsp=0), {}, (), _FIRST),
        NodeEstimate("MVAU_hls_1", "MVAU_hls", "fc1", 4_000, Resources(lut=1_000, bram18=5), {}, ("MVAU_hls_0",), _SECOND),
    ),
    100.0,
    "made up",
    (Correction("shell", "", Resources(lut=6_000, bram18=0), "the shell"),),
)
POLICY = BitPolicy({"fc0": LayerBits(2, 2), "fc1": LayerBits(2, None)})


def design(**changed: object):  # type: ignore[no-untyped-def]
    return made_design(estimate=ESTIMATE.to_dict(), **changed)


def throughput(*fps: float) -> tuple[Throughput, ...]:
    """Of batches of 1, 10, 100, …"""
    return tuple(Throughput(batch_size=10**i, fps=f, median_ms=10**i / f, fastest_ms=10**i / f) for i, f in enumerate(fps))


def steady(fps: float) -> tuple[Throughput, ...]:
    return throughput(fps / 3, fps / 2, fps)


def observed(ratio: float, n: int, weight: float = 2.0, act: float = 2.0) -> Observation:
    return Observation("lut", "synthesis", str(n), "made", 1000.0, 1000.0 * ratio, {"weight_bits": weight, "act_bits": act})


def test_a_boards_best_throughput_at_the_clock_it_had_is_its_interval() -> None:
    measured = made_measurement(design=design(), throughput=steady(8_000.0), clock_readback_mhz=99.0)
    assert interval_cycles(measured) == pytest.approx(99e6 / 8_000)
    (only,) = observations(measured)
    assert (only.quantity, only.source, only.estimated) == (INTERVAL, "board", 10_000)
    assert only.found == pytest.approx(12_375)


def test_small_batches_say_nothing_of_the_steady_state() -> None:
    measured = made_measurement(design=design(), throughput=throughput(3_000.0, 8_000.0))
    assert [t.batch_size for t in measured.throughput] == [1, 10]
    assert interval_cycles(measured) is None
    assert observations(measured) == []


def test_counters_are_believed_before_the_clock_on_the_wall() -> None:
    counters = HardwareCounters(
        latency_cycles=15_000, interval_cycles=10_010, avg_interval_cycles=10_020.0, min_latency_cycles=14_000, raw={}
    )
    found = {o.quantity: o for o in observations(made_measurement(design=design(), counters=counters))}
    assert found[INTERVAL].found == 10_020
    assert (found[LATENCY].estimated, found[LATENCY].found) == (12_000, 14_000)


def test_vivados_resources_are_held_against_the_estimate_with_its_corrections_and_without_factors() -> None:
    calibrated = replace(ESTIMATE, factors={"lut": 3.0})
    used = Used(lut=20_000, ff=1, bram18=50, dsp=4)
    found = {
        o.quantity: o for o in observations(made_synthesis(design=made_design(estimate=calibrated.to_dict()), system=used))
    }
    assert (found["lut"].estimated, found["lut"].found) == (16_000, 20_000)
    assert (found["bram18"].estimated, found["bram18"].found) == (25, 50)
    assert "dsp" not in found  # nothing was estimated: there is no ratio to that


def test_an_estimate_without_paces_says_nothing_of_the_latency() -> None:
    """As records of bitloop 0.1 have it: its latency was FINN's sum, which no estimate is any more."""
    raw = json.loads(json.dumps(ESTIMATE.to_dict()))
    for node in raw["nodes"]:
        del node["pace"]
    assert Estimate.from_dict(raw).latency_cycles == 14_000
    found = observations(made_simulation(design=made_design(estimate=raw)))
    assert {o.quantity: o.estimated for o in found} == {RTL_INTERVAL: 10_000}
    counters = HardwareCounters(
        latency_cycles=15_000, interval_cycles=10_010, avg_interval_cycles=10_020.0, min_latency_cycles=14_000, raw={}
    )
    measured = made_measurement(design=made_design(estimate=raw), counters=counters)
    assert [o.quantity for o in observations(measured)] == [INTERVAL]


def test_a_calibration_of_before_there_were_paces_corrects_no_latency() -> None:
    made = learn("pynq-z2", False, [made_simulation(design=design())])
    before = json.loads(made.to_json())
    assert before["format"] == CALIBRATION_FORMAT == 2
    found = Calibration.from_json(json.dumps({**before, "format": 1}), "calibration.json")
    assert found == replace(made, factors={RTL_INTERVAL: made.factors[RTL_INTERVAL]})
    assert found.of(POLICY) == pytest.approx({INTERVAL: 1.1 * 1.01})
    with pytest.raises(CalibrationError, match="has format 3, this bitloop reads 2"):
        Calibration.from_json(json.dumps({**before, "format": 3}), "calibration.json")


def test_a_design_without_an_estimate_says_nothing() -> None:
    assert observations(made_measurement(design=made_design(estimate=None))) == []
    with pytest.raises(CalibrationError, match=r"nothing was measured on the simulated pynq-z2 that has an estimate"):
        learn("pynq-z2", True, [made_measurement()])


def test_simulated_and_real_ones_are_never_mixed() -> None:
    with pytest.raises(ValueError, match="simulated ones and real ones together"):
        learn("pynq-z2", False, [made_measurement(design=design())])


def test_simulated_cycles_are_quantities_of_their_own() -> None:
    found = {o.quantity: o for o in observations(made_simulation(design=design()))}
    assert set(found) == {RTL_INTERVAL, RTL_LATENCY}
    assert (found[RTL_INTERVAL].source, found[RTL_INTERVAL].estimated, found[RTL_INTERVAL].found) == (RTL, 10_000, 11_000)
    assert (found[RTL_LATENCY].estimated, found[RTL_LATENCY].found) == (12_000, 9_000)
    assert {o.quantity for o in observations(made_simulation(design=design(), interval_cycles=None))} == {RTL_LATENCY}


def test_simulated_cycles_correct_an_estimate_until_a_board_was_measured() -> None:
    simulated = learn("pynq-z2", False, [made_simulation(design=design())])
    assert set(simulated.factors) == {RTL_INTERVAL, RTL_LATENCY}
    assert simulated.of(POLICY) == simulated.largest == pytest.approx({INTERVAL: 1.1 * 1.01, LATENCY: 9 / 12 * 1.01})
    assert {name: source for name, (_, source) in simulated.taken.items()} == {INTERVAL: RTL, LATENCY: RTL}
    measured = made_measurement(simulated=False, design=design(), throughput=steady(8_000.0))
    both = learn("pynq-z2", False, [made_simulation(design=design()), measured])
    assert both.factors[RTL_INTERVAL] == simulated.factors[RTL_INTERVAL]
    assert both.of(POLICY) == pytest.approx({INTERVAL: 1.25 * 1.01, LATENCY: 9 / 12 * 1.01})
    assert {name: source for name, (_, source) in both.taken.items()} == {INTERVAL: BOARD, LATENCY: RTL}
    assert Calibration.from_json(both.to_json(), "it") == both


def test_simulated_rtl_and_the_simulated_board_are_never_mixed() -> None:
    with pytest.raises(ValueError, match="simulated ones and real ones together"):
        learn("pynq-z2", True, [made_simulation(design=design())])
    with pytest.raises(ValueError, match="records of another board"):
        learn("zcu104", False, [made_simulation(design=design())])


def test_of_a_networks_simulations_the_one_of_what_is_built_counts() -> None:
    told = {"design": design()}
    first, last = made_simulation(**told), made_simulation(**told, fifos="sized", plan="sized", interval_cycles=10_000)
    odd = [
        made_simulation(**told, fifos="2"), made_simulation(**told, fifos="unbounded"), made_simulation(**told, gaps=0.1),
        made_simulation(**told, back_pressure=0.1), made_simulation(**told, is_steady=False),
    ]  # fmt: skip
    other = made_simulation(**told, network="another")
    measured = made_measurement(simulated=False)
    assert that_count([first, last, *odd, other, measured]) == [measured, last, other]
    assert learn("pynq-z2", False, [first, last, *odd]).factors[RTL_INTERVAL].ratio == pytest.approx(1.0)
    assert that_count([last, first]) == [last]  # simulated again as it was estimated: built is what was sized
    assert that_count([first, again := made_simulation(**told, interval_cycles=12_000)]) == [again]
    assert that_count([last, again := made_simulation(**told, fifos="sized", interval_cycles=9_999)]) == [again]


def test_one_design_measured_often_is_one_design() -> None:
    often = [made_measurement(design=design(), throughput=steady(f)) for f in (8_000.0, 8_000.0, 4_000.0)]
    other = made_measurement(design=design(), plan="other", throughput=steady(5_000.0))
    found = learn("pynq-z2", True, [*often, other]).factors[INTERVAL]
    assert found.n_designs == 2
    assert found.ratio == pytest.approx(math.sqrt(1.25 * 2.0))  # of 10,000 cycles: 12,500, the median of three, and 20,000
    assert (found.least, found.most) == pytest.approx((1.25, 2.0))


def test_an_outlier_does_not_move_the_ratio() -> None:
    found = fit([*(observed(r, n) for n, r in enumerate((1.29, 1.3, 1.3, 1.31))), observed(9.0, 9)])
    assert found.ratio == pytest.approx(1.3)
    assert not found.coefficients


def test_a_single_design_has_no_error_to_tell() -> None:
    found = fit([observed(1.5, 0)])
    assert (found.ratio, found.error) == (pytest.approx(1.5), None)
    assert found.error_before == pytest.approx(1 / 3)


def dependent(n: int, noise: float, seed: int = 0) -> list[Observation]:
    """Designs whose factor grows with the bits of their weights."""
    rng = np.random.default_rng(seed)
    bits = rng.uniform(1, 8, (n, 2))
    return [observed(math.exp(0.1 * w - 0.2 + rng.normal(0, noise)), i, float(w), float(a)) for i, (w, a) in enumerate(bits)]


def test_with_designs_enough_the_factor_depends_on_bits_if_that_predicts_better() -> None:
    few, many = fit(dependent(MIN_DESIGNS - 1, 0.01)), fit(dependent(30, 0.01))
    assert not few.coefficients
    assert few.error is not None
    assert many.error is not None
    assert many.error < few.error / 3
    assert many.of({"weight_bits": 6.0, "act_bits": 4.0}) == pytest.approx(math.exp(0.4), rel=0.03)
    assert many.of({"weight_bits": 2.0, "act_bits": 4.0}) == pytest.approx(math.exp(0.0), rel=0.03)
    rng = np.random.default_rng(1)
    noise = fit([observed(rng.uniform(1, 2), n, rng.uniform(1, 8), rng.uniform(1, 8)) for n in range(30)])
    assert not noise.coefficients


def test_a_prediction_never_leaves_what_was_found_and_says_when_it_is_outside() -> None:
    found = fit([o for o in dependent(60, 0.01) if 2 <= o.features["weight_bits"] <= 4])
    assert found.coefficients
    assert found.of({"weight_bits": 8.0, "act_bits": 4.0}) == found.most
    assert found.largest == found.most
    (phrase,) = found.outside({"weight_bits": 8.0, "act_bits": 4.0})
    assert phrase.startswith("weight bits 8 (measured: 2")
    assert found.outside({"weight_bits": 3.0, "act_bits": 4.0}) == []


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.05, 20), st.floats(1, 8), st.floats(1, 8)), min_size=1, max_size=25),
    st.floats(0, 9),
    st.floats(0, 9),
)
def test_every_factor_lies_among_those_found(designs: list[tuple[float, float, float]], weight: float, act: float) -> None:
    found = fit([observed(ratio, n, w, a) for n, (ratio, w, a) in enumerate(designs)])
    ratios = [ratio for ratio, *_ in designs]
    given = found.of({"weight_bits": weight, "act_bits": act})
    assert min(ratios) * (1 - 1e-9) <= given <= found.largest * (1 + 1e-9) <= max(ratios) * (1 + 1e-8)
    assert (found.error is None) == (len(designs) == 1)


def test_a_calibrated_estimate_is_multiplied_and_keeps_what_it_was() -> None:
    calibrated = replace(ESTIMATE, factors={"lut": 1.5, INTERVAL: 2.0, LATENCY: 3.0})
    assert calibrated.resources == Resources(lut=24_000, bram18=25)
    assert calibrated.fps == pytest.approx(ESTIMATE.fps / 2)
    assert calibrated.latency_ms == pytest.approx(ESTIMATE.latency_ms * 3)
    assert calibrated.uncalibrated == ESTIMATE
    assert Estimate.from_dict(json.loads(json.dumps(calibrated.to_dict()))) == calibrated
    limits = before_factors(Resources(lut=24_000, bram18=25), calibrated.factors)
    assert (limits.lut, limits.bram18) == pytest.approx((16_000, 25))


def made() -> Calibration:
    return learn("pynq-z2", True, [made_measurement(design=design(), throughput=steady(8_000.0))])


def test_a_calibration_is_read_as_it_was_written() -> None:
    calibration = made()
    assert Calibration.from_json(calibration.to_json(), "calibration.json") == calibration
    assert calibration.of(POLICY) == {INTERVAL: pytest.approx(1.25 * 1.01)}  # on the safe side
    assert calibration.largest == calibration.of(POLICY)
    assert calibration.outside(POLICY) == []
    assert calibration.outside(BitPolicy({"fc0": LayerBits(8, 2), "fc1": LayerBits(8, None)})) == [
        "weight bits 8 (measured: 2 to 2)"
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("1.25", "0.5"), "was changed by hand"),
        (('"format": 2', '"format": 9'), "has format 9, this bitloop reads 2"),
        (('"ratio": 1.25', '"ratio": -1'), "no factor that can be"),
        (('"ratio": 1.25', '"ratio": NaN'), "no factor that can be"),
        (('"interval_cycles"', '"colour"'), "no factor that can be"),
        (('"factors"', '"friends"'), "is no calibration"),
        (("{", "["), "is no calibration"),
    ],
)
def test_what_is_no_calibration_is_refused(change: tuple[str, str], said: str) -> None:
    text = made().to_json()
    damaged = text.replace(*change)
    assert damaged != text
    with pytest.raises(CalibrationError, match=said) as error:
        Calibration.from_json(damaged, "calibration.json")
    assert "\n" not in str(error.value)
