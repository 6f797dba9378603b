"""The answer of a search: not the luckiest trial, but the best of a few that are retrained once more with other seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from flow.evaluator import Evaluator
from flow.objective import Goal
from flow.progress import Listener
from flow.searchers import Searcher, Shortlisting
from flow.searchers.own import blamed
from flow.store import TrialStore
from flow.trial import Trial
from models.errors import TrainingError
from models.policy import BitPolicy

N_OTHER_SEEDS = 2
MOST_ROUNDS = 3  # of finalists, where none of those before is accurate enough
WORK = "finalists"


@dataclass(frozen=True)
class Finalist:
    """A trial whose policy was retrained with other seeds.

    Attributes:
        trial: the first of its policy.
        accuracies: seed to accuracy on the search split, 0..1; the trial's own, which it was chosen for, is not among them.
    """

    trial: Trial
    accuracies: dict[int, float]

    @property
    def accuracy(self) -> float:
        """The mean."""
        return fmean(self.accuracies.values())

    def to_dict(self) -> dict[str, Any]:
        """As `policy.json` has it."""
        return {
            "trial": self.trial.number, "policy_digest": self.trial.policy.digest, "trial_search": self.trial.accuracy,
            "again": {str(seed): found for seed, found in self.accuracies.items()}, "mean": self.accuracy,
        }  # fmt: skip


def in_order(trials: Sequence[Trial], searcher: Searcher, evaluator: Evaluator, n: int) -> list[Trial]:
    """Trials of different policies, the most promising first; those that failed are left out where others did not.

    Where the searcher has an opinion on what of the rewards is noise, the first `n` are in turn one that it names and one of
    those with the best rewards: a model may take for noise what it cannot express. The others come as they rank.
    """
    first: dict[BitPolicy, Trial] = {}
    for trial in [t for t in trials if not t.failure] or trials:
        first.setdefault(trial.policy, trial)
    ranked = sorted(first.values(), key=lambda t: evaluator.objective.rank(t, evaluator.constraint.limits), reverse=True)
    named = [p for p in _named(searcher, n) if p in first]
    return [first[p] for p in in_turn(named, [t.policy for t in ranked])]


def _named(searcher: Searcher, n: int) -> list[BitPolicy]:
    if not isinstance(searcher, Shortlisting):
        return []
    with blamed(searcher, "shortlist"):
        return searcher.shortlist(n)


def unconfirmed(trials: Sequence[Trial], searcher: Searcher, evaluator: Evaluator) -> Trial:
    """The answer of a search in which nothing is retrained again.

    Where the accuracy is sought that is the first one the searcher names, if it has an opinion; else the best trial.
    """
    if evaluator.objective.goal is Goal.ACCURACY:
        return in_order(trials, searcher, evaluator, 1)[0]
    return max(trials, key=lambda t: evaluator.objective.rank(t, evaluator.constraint.limits))


def in_turn(named: Sequence[BitPolicy], ranked: Sequence[BitPolicy]) -> list[BitPolicy]:
    """Policies that a searcher names and those with the best rewards, in turn, then the rest of the latter; each once."""
    return list(dict.fromkeys([*(p for pair in zip(named, ranked, strict=False) for p in pair), *ranked]))


def confirm(
    trials: Sequence[Trial], searcher: Searcher, evaluator: Evaluator, store: TrialStore, n: int, listener: Listener
) -> tuple[Finalist, ...]:
    """Retrain the most promising policies with other seeds, on as many images as a whole trial.

    What the store holds of it is not done again. A retraining that diverges counts as 0, and the listener is told. Where
    none of the first `n` turns out to be accurate enough for the objective, the next ones are looked at, and so on.

    Args:
        trials: of the search, one or more.
        searcher: that was told of them.
        evaluator: of the search.
        store: of the run; keeps what is found.
        n: policies to retrain; with 1, or where there is only one policy, nothing is, as there is nothing to choose.
        listener: is told how it gets on.

    Returns:
        The best first; none where there is nothing to choose.
    """
    order = in_order(trials, searcher, evaluator, n)
    if min(n, len(order)) == 1:
        return ()
    seeds = [evaluator.seed + 1 + i for i in range(N_OTHER_SEEDS)]
    found: list[Finalist] = []
    for _ in range(MOST_ROUNDS):
        few = order[len(found) : len(found) + n]
        total = len(found) + len(few)
        for trial in few:
            again = {seed: _retrained(trial, evaluator, store, seed, listener) for seed in seeds}
            found.append(Finalist(trial, again))
            detail = f"trial {trial.number}: {trial.accuracy:.2%}, again {found[-1].accuracy:.2%}"
            listener.advance(WORK, len(found), total, detail)
        if any(f.accuracy >= evaluator.objective.floor for f in found):
            break
    rank = evaluator.objective.rank
    return tuple(sorted(found, key=lambda f: rank(f.trial, evaluator.constraint.limits, f.accuracy), reverse=True))


def _retrained(trial: Trial, evaluator: Evaluator, store: TrialStore, seed: int, listener: Listener) -> float:
    policy, n_images = trial.policy, evaluator.whole_images
    known = store.again(policy, n_images, seed)
    if known is None:
        try:
            known = evaluator.accuracy_again(policy, n_images, seed)
        except TrainingError as error:
            known = 0.0
            listener.note(f"trial {trial.number}, retrained with seed {seed}, diverged and counts as 0 with it: {error}")
        store.add_again(policy, n_images, seed, known)
    return known
