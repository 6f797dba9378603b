"""A trial of a run done again: whether it gives what was kept of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from flow.config import SearchSettings
from flow.errors import RunDirectoryError
from flow.evaluator import Score
from flow.pipeline import of_run
from flow.progress import Listener
from flow.run_directory import RunDirectory, versions
from flow.store import TrialStore, study_name
from flow.trial import Trial
from models.registry import get_model


@dataclass(frozen=True)
class Replayed:
    """A trial, and what its policy gives now.

    Attributes:
        kept: as it is in the store.
        found: what it gives when it is done again.
        changed: packages to their versions then and now, where they differ.
    """

    kept: Trial
    found: Score
    changed: dict[str, tuple[str, str]]

    @property
    def differences(self) -> list[str]:
        """What is not as it was, in words; nothing where all is."""
        then, now = self.kept, self.found
        lines = []
        if then.accuracy != now.accuracy:
            lines.append(f"accuracy on the search split: {then.accuracy:.4%} then, {now.accuracy:.4%} now")
        if then.estimate != now.estimate:
            lines.append(f"accelerator: {then.estimate.fps:,.1f} fps then, {now.estimate.fps:,.1f} now, or other resources")
        return lines


def replay(path: Path, number: int, settings: SearchSettings, listener: Listener) -> Replayed:
    """Evaluate a trial once more, as the search did; the run is not changed.

    On the machine it was done on, with the same versions, it gives the same to the last digit. On another one, or with another
    number of threads, additions come in another order.

    Args:
        path: the run's directory.
        number: of the trial.
        settings: where data is, on which device and how many threads; the rest is the run's.
        listener: told of every step.

    Raises:
        RunDirectoryError: no such run or trial, or one that has no result of its own: it failed or was stopped early.
        Any other of `flow.errors.BITLOOP_ERRORS`.
    """
    run, settings, _, evaluator = of_run(path, settings, listener)
    trials = {
        t.number: t
        for t in TrialStore(run / "trials.db", study_name(get_model(settings.model).name, settings.constraint)).trials()
    }
    if number not in trials:
        there = f"0 to {max(trials)}" if trials else "none"
        raise RunDirectoryError(f"RUN={path} has no trial {number}; there is {there}")
    trial = trials[number]
    if trial.failure or trial.stopped_at:
        why = trial.failure or f"its retraining was stopped at: {trial.stopped_at}"
        raise RunDirectoryError(f"trial {number} of RUN={path} has no accuracy of its own ({why}); name another one")
    listener.note(f"retraining {trial.policy}")
    return Replayed(trial, evaluator.score(trial.policy, whole=True), _changed(run))


def _changed(run: RunDirectory) -> dict[str, tuple[str, str]]:
    """Packages of other versions than those that the run says."""
    try:
        then = json.loads((run / "policy.json").read_text(encoding="utf-8"))["versions"]
        return {name: (str(then[name]), now) for name, now in versions().items() if name in then and then[name] != now}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
