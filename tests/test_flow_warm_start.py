"""Trials of earlier runs as the first ones of a new one: which, when, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flow import pipeline
from flow.config import SearchSettings
from flow.errors import RunDirectoryError, SettingsError, StoreError
from flow.progress import SilentListener
from flow.store import BEYOND, TrialStore
from flow.trial import Trial
from flow.warm_start import SAME, carry_over, check_earlier, earlier_trials
from models import weights as weights_module
from models.policy import BitPolicy, LayerBits
from tests.flow_fakes import SimulatedEvaluator, decisions, estimate_of, policy_of

FITS = [policy_of((w, 2), (3, 1), (2, None)) for w in (1, 2, 3)]
TOO_SLOW = policy_of((8, 8), (8, 8), (8, None))
OF_ANOTHER_NETWORK = BitPolicy({"fc0": LayerBits(1, None)})
IDENTITY: dict[str, Any] = {"MODEL": "tfc", "DATASET": "mnist", "SEED": 0, "RETRAIN_IMAGES": 64, "BOARD": "pynq-z2"}


def trial(number: int, policy: BitPolicy, accuracy: float = 0.5, **changed: Any) -> Trial:
    return replace(Trial(number, policy, estimate_of(), accuracy, accuracy, 7, 1.0), **changed)


def carried(path: Path, earlier: list[Trial]) -> tuple[int, list[Trial], SimulatedEvaluator]:
    evaluator, store = SimulatedEvaluator(), TrialStore(path, "s")
    n = carry_over(earlier, decisions(), evaluator, store)  # type: ignore[arg-type]
    return n, store.trials(), evaluator


def test_what_fits_is_carried_over_with_its_accuracy_and_is_not_retrained(tmp_path: Path) -> None:
    earlier = [
        trial(0, FITS[0], 0.31), trial(1, TOO_SLOW, 0.9), trial(2, FITS[1], 0.32), trial(3, FITS[0], 0.8),
        trial(4, OF_ANOTHER_NETWORK, 0.7), trial(5, FITS[2], 0.9, stopped_at="quantized"),
    ]  # fmt: skip
    n, trials, evaluator = carried(tmp_path / "t.db", earlier)
    assert n == 2
    assert [(t.number, t.policy, t.accuracy) for t in trials] == [(0, FITS[0], 0.31), (1, FITS[1], 0.32)]
    assert [t.estimate for t in trials] == [evaluator.estimate(p) for p in FITS[:2]]
    assert evaluator.retrained == []


def test_of_what_does_not_fit_the_accuracies_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    earlier = [
        trial(0, TOO_SLOW, 0.9), trial(1, FITS[0], 0.3), trial(2, TOO_SLOW, 0.8), trial(3, OF_ANOTHER_NETWORK, 0.7),
        trial(4, policy_of((8, 8), (8, 8), (7, None)), 0.6, stopped_at="quantized"),
        trial(5, policy_of((8, 8), (8, 8), (6, None)), 0.5, failure="memory ran out"),
    ]  # fmt: skip
    assert TrialStore(path, "s").beyond == []
    n, _, _ = carried(path, earlier)
    assert n == 1
    assert TrialStore(path, "s").beyond == [(TOO_SLOW, 0.9)]
    carried(path, [])
    assert TrialStore(path, "s").beyond == [(TOO_SLOW, 0.9)]


@pytest.mark.parametrize("kept", [3, [1], [["{}", 0.5]], [["[", 0.5]], [[None, 0.5]]])
def test_what_is_kept_of_earlier_runs_and_cannot_be_read_is_said(tmp_path: Path, kept: object) -> None:
    store = TrialStore(tmp_path / "t.db", "s")
    store._study.set_user_attr(BEYOND, kept)
    with pytest.raises(StoreError, match=r"what .*t\.db keeps of earlier runs is not as bitloop writes it"):
        _ = store.beyond


def test_a_trial_that_failed_is_not_carried_over(tmp_path: Path) -> None:
    assert carried(tmp_path / "t.db", [trial(0, FITS[0], 0.0, failure="memory ran out")])[:2] == (0, [])


def test_it_is_done_once_whatever_the_earlier_run_holds_later(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    first = [trial(0, FITS[0], 0.31)]
    n, trials, _ = carried(path, first)
    assert carried(path, [*first, trial(1, FITS[1], 0.32)])[:2] == (n, trials)
    assert carried(path, [])[:2] == (n, trials)


def test_interrupted_half_way_it_goes_on(tmp_path: Path) -> None:
    path, earlier = tmp_path / "t.db", [trial(i, p, 0.3 + i / 100) for i, p in enumerate(FITS)]
    store = TrialStore(path, "s")
    evaluator = SimulatedEvaluator()
    store.add(trial(0, FITS[0], 0.3, estimate=evaluator.estimate(FITS[0]), duration_s=0.0))
    n, trials, _ = carried(path, earlier)
    assert n == 3
    assert [(t.number, t.policy, t.accuracy) for t in trials] == [(i, p, 0.3 + i / 100) for i, p in enumerate(FITS)]


@pytest.mark.parametrize("name", SAME)
def test_a_run_of_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "run.json").write_text(json.dumps({**IDENTITY, name: "other"}))
    with pytest.raises(RunDirectoryError, match=f"is a run with {name}=other, this one has {name}="):
        check_earlier(tmp_path, IDENTITY)


def test_board_limits_objective_and_searcher_may_differ(tmp_path: Path) -> None:
    other = {"BOARD": "zcu104", "MIN_FPS": 5.0, "MAX_UTIL": 0.5, "OBJECTIVE": "fps", "SEARCHER": "random"}
    (tmp_path / "run.json").write_text(json.dumps(IDENTITY | other))
    check_earlier(tmp_path, IDENTITY)


@pytest.mark.parametrize("content", [None, "", "[1]", "{"])
def test_what_is_no_run_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"is no run: .*run\.json cannot be read"):
        check_earlier(tmp_path, IDENTITY)


def test_a_run_that_began_with_other_float_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="does not say what it began with"):
        earlier_trials(tmp_path, 0.9)
    (tmp_path / "policy.json").write_text(json.dumps({"accuracy": {"float_search": 0.8}}))
    with pytest.raises(RunDirectoryError, match=r"began with float weights of 0\.8 on the search split"):
        earlier_trials(tmp_path, 0.9)


def test_a_shared_study_keeps_its_own(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WARM_START=earlier and STORAGE both bring trials"):
        SearchSettings.model_validate({"warm_start": "earlier", "storage": f"sqlite:///{tmp_path}/s.db"}).check()


def test_a_whole_search_begins_with_the_trials_of_another_searcher_and_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_module, "MAX_EPOCHS", 2)

    def searched(name: str, **told: Any) -> Path:
        settings = SearchSettings.model_validate({
            "model": "tfc", "dataset": "digits", "data_dir": tmp_path / "nowhere", "run_dir": tmp_path / name, "threads": 1,
            "retrain_images": 128, "final_images": 512, "finalists": 1, "n_trials": 2, "min_fps": 10_000.0, **told,
        })  # fmt: skip
        pipeline.search(settings, SilentListener())
        return tmp_path / name

    first = searched("first", searcher="random")
    second = searched("second", warm_start=first, searcher="evolution", board="zcu104", min_fps=20_000.0)
    theirs = TrialStore(first / "trials.db", "tfc-pynq-z2").trials()
    mine = TrialStore(second / "trials.db", "tfc-zcu104").trials()
    assert [(t.policy, t.accuracy) for t in mine[:2]] == [(t.policy, t.accuracy) for t in theirs]
    assert len(mine) == 4
    assert (second / "pretrained.pt").read_bytes() == (first / "pretrained.pt").read_bytes()
    assert f"WARM_START={first}" in (second / "summary.md").read_text()
    with pytest.raises(RunDirectoryError, match="began without WARM_START"):
        searched("first", warm_start=second, searcher="random")
    (first / "trials.db").unlink()
    searched("second", warm_start=first, searcher="evolution", board="zcu104", min_fps=20_000.0)  # goes on without it
    assert TrialStore(second / "trials.db", "tfc-zcu104").trials() == mine
