"""The loop of a search: ask for a policy, evaluate it, keep it, tell; and going on after an interruption."""

from __future__ import annotations

import time
from collections.abc import Callable

from flow.evaluator import Evaluator, Score
from flow.objective import Goal
from flow.searchers import Aiming, Searcher
from flow.store import TrialStore
from flow.trial import Trial


def run_trials(
    searcher: Searcher,
    evaluator: Evaluator,
    store: TrialStore,
    n_trials: int,
    on_trial: Callable[[list[Trial]], None],
) -> list[Trial]:
    """Run a search up to a number of trials; those already in the store are told again, not evaluated again.

    A searcher that is asked and told as in the first run is afterwards as it was, so the search goes
    on as if it had never stopped. It is told rewards, or, if it can aim, accuracies.

    Args:
        searcher: new, seeded as in the run that filled the store.
        evaluator: gives scores and what they are worth.
        store: of this run.
        n_trials: in all.
        on_trial: called with the trials so far after each one, once for all the old ones together.

    Returns:
        All trials of the run, at least `n_trials`.
    """
    aims = evaluator.objective.goal is not Goal.ACCURACY and isinstance(searcher, Aiming)
    if aims and isinstance(searcher, Aiming):
        searcher.aim(evaluator.worth())
    trials = store.trials()
    for old in trials:
        searcher.ask()
        evaluator.remember(old.policy, Score(old.accuracy, old.estimate, old.rungs, old.stopped_at))
        searcher.tell(old.policy, old.accuracy if aims else old.reward)
    if trials:
        on_trial(trials)
    while len(trials) < n_trials:
        started = time.monotonic()
        policy = searcher.ask()
        score = evaluator.score(policy)
        trial = Trial(
            number=len(trials),
            policy=policy,
            estimate=score.estimate,
            accuracy=score.accuracy,
            reward=evaluator.reward(score),
            seed=evaluator.seed,
            duration_s=time.monotonic() - started,
            rungs=score.rungs,
            stopped_at=score.stopped_at,
        )
        store.add(trial)
        trials.append(trial)
        searcher.tell(policy, trial.accuracy if aims else trial.reward)
        on_trial(trials)
    return trials
