"""Trials of earlier searches as the first ones of a new one, so that its searcher knows what they found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flow.decision import Decisions
from flow.errors import ConstraintError, PolicyError, RunDirectoryError
from flow.evaluator import Evaluator, Score
from flow.run_directory import IDENTITY_FILE, TRIALS_FILE
from flow.store import TrialStore
from flow.trial import Trial
from flow.watch.trials_file import read_trials
from models.files import read_json, whole_file
from models.policy import BitPolicy

PRETRAINED = "pretrained.pt"
SAME = ("MODEL", "NETWORK", "DATASET", "DATA", "SEED", "RETRAIN_IMAGES")  # what an accuracy is of; all else may differ


def check_earlier(run: Path, identity: dict[str, Any]) -> None:
    """Look whether the accuracies in an earlier run are what they would be in this one.

    Args:
        run: the earlier run's directory.
        identity: of this run, as its `run.json` has it.

    Raises:
        RunDirectoryError: it is no run, or another network, data set, seed or retraining; the text names the first difference.
    """
    file = run / IDENTITY_FILE
    try:
        earlier = dict(read_json(file))
    except (OSError, ValueError, TypeError) as error:
        raise RunDirectoryError(
            f"WARM_START={run} is no run: {file} cannot be read ({error}); name a run's directory"
        ) from error
    for name in SAME:
        if earlier.get(name) != identity.get(name):
            raise RunDirectoryError(
                f"WARM_START={run} is a run with {name}={earlier.get(name)}, this one has {name}={identity.get(name)}: its "
                "accuracies say nothing here; name a run that differs in board, limits, objective or searcher alone"
            )


def earlier_trials(run: Path, float_accuracy: float) -> list[Trial]:
    """The trials of an earlier run.

    Args:
        run: its directory, which `check_earlier` has passed.
        float_accuracy: of this run's float network, on the search split.

    Raises:
        RunDirectoryError: there are none, or they began with other float weights.
        StoreError: they cannot be read.
    """
    file = run / "policy.json"
    try:
        theirs = read_json(file)["accuracy"]["float_search"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunDirectoryError(
            f"WARM_START={run} does not say what it began with ({file}: {error}); name a run with a finished trial"
        ) from error
    if theirs != float_accuracy:
        raise RunDirectoryError(
            f"WARM_START={run} began with float weights of {json.dumps(theirs)} on the search split, this run with others, of "
            f"{float_accuracy}: its accuracies say nothing here; leave WARM_START out, or give this run its {PRETRAINED}"
        )
    return [trial for trials in read_trials(run / TRIALS_FILE).values() for trial in trials]


def hand_on_weights(earlier: Path, run: Path) -> None:
    """Give a run the float weights that an earlier one pretrained, if that did and the run has none."""
    if (earlier / PRETRAINED).exists() and not (run / PRETRAINED).exists():
        run.mkdir(parents=True, exist_ok=True)
        with whole_file(run / PRETRAINED) as part:
            shutil.copyfile(earlier / PRETRAINED, part)


def carry_over(earlier: Sequence[Trial], decisions: Decisions, evaluator: Evaluator, store: TrialStore) -> int:
    """Make earlier trials the first ones of a store, where the policy can meet this search's constraint.

    It is done once in a run's life: what came of it then holds, whatever the earlier runs hold by now. Of policies that
    cannot meet the constraint the store keeps the accuracies, for searchers that learn from those, too.

    Args:
        earlier: whole trials count, the first of each policy.
        decisions: of this search.
        evaluator: of this search; what the policies cost is asked anew.
        store: of this search.

    Returns:
        How many trials were carried over when that was done.
    """
    if store.n_carried is not None:
        return store.n_carried
    kept = {trial.policy for trial in store.trials()}
    carried: dict[BitPolicy, float] = {}
    beyond: dict[BitPolicy, float] = {}
    for trial in earlier:
        if trial.stopped_at is not None or trial.failure:
            continue
        try:
            decisions.replay(trial.policy)
        except ConstraintError:
            beyond.setdefault(trial.policy, trial.accuracy)
        except PolicyError:
            continue
        else:
            carried.setdefault(trial.policy, trial.accuracy)
    for number, (policy, known) in enumerate(carried.items()):
        evaluator.remember_accuracy(policy, known)
        if policy not in kept:
            estimate = evaluator.score(policy).estimate
            reward = evaluator.reward(Score(known, estimate))
            store.add(Trial(number, policy, estimate, known, reward, evaluator.seed, 0.0))
    store.beyond = list(beyond.items())
    store.n_carried = len(carried)
    return len(carried)
