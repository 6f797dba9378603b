"""A run of a shared study as people look at it: whose trials are whose."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from flow.store import Elsewhere, TrialStore
from flow.trial import Trial
from flow.watch.figures import learning_figure
from flow.watch.page import write_report
from flow.watch.run_view import read_run
from flow.watch.scalars import Scalars
from flow.watch.trials_file import read_trials
from tests.made_watched_run import BOARD, made_specs, made_trials, made_watched_run


def elsewhere(trial: Trial, number: int, there: int) -> Elsewhere:
    of = {f.name: getattr(trial, f.name) for f in fields(Trial)}
    return Elsewhere(**{**of, "number": number}, run="lab2-0a1b2c3d", searcher="tpe", number_there=there)


def shared_run(path: Path) -> Path:
    """Nine trials of its own, one that another run did, and one that both asked for."""
    run = made_watched_run(path)
    store = TrialStore(run / "trials.db", "ddpg")
    (own, *_) = store.trials()
    (foreign,) = made_trials(made_specs(("conv0", "fc0", "fc1")), 1, 77)
    store.add(elsewhere(foreign, -1, 4))
    store.add(elsewhere(own, -2, 5))
    return run


def test_trials_of_others_are_told_from_the_runs_own(tmp_path: Path) -> None:
    view = read_run(shared_run(tmp_path / "run"))
    assert list(view.searches) == ["ddpg", "tpe of lab2-0a1b2c3d"]
    assert [t.number for t in view.searches["ddpg"]] == list(range(9))
    assert [t.number for t in view.searches["tpe of lab2-0a1b2c3d"]] == [4]
    figure = learning_figure(view)
    assert {d["name"] for d in figure.data} == {
        f"{name}, {what}" for name in view.searches for what in ("a trial", "best so far")
    }  # fmt: skip
    write_report(view, tmp_path / "report.html")
    assert "tpe of lab2-0a1b2c3d" in (tmp_path / "report.html").read_text()


def test_scalars_are_of_the_runs_own_trials(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed: pip install 'bitloop[watch]'")
    run = shared_run(tmp_path / "run")
    (trials,) = read_trials(run / "trials.db").values()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    scalars, alone = Scalars(tmp_path / "one", BOARD.capacity), Scalars(tmp_path / "other", BOARD.capacity)
    scalars.on_trial(trials)
    alone.on_trial([t for t in trials if not isinstance(t, Elsewhere)])
    sizes = [sum(p.stat().st_size for p in (tmp_path / name / "tensorboard").iterdir()) for name in ("one", "other")]
    assert sizes[0] == sizes[1] > 0
