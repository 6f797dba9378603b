"""The loop of a search: ask for a policy, evaluate it, keep it, tell; and going on after an interruption."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flow.evaluator import Evaluator, Score
from flow.objective import Goal
from flow.searchers import Aiming, Searcher
from flow.store import TrialStore
from flow.trial import Trial
from flow.workers import Finished, Workers
from models.policy import BitPolicy


def run_trials(
    searcher: Searcher,
    evaluator: Evaluator,
    workers: Workers,
    store: TrialStore,
    n_trials: int,
    on_trial: Callable[[list[Trial]], None],
) -> list[Trial]:
    """Run a search up to a number of trials; those already in the store are told again, not evaluated again.

    A searcher that is asked and told as in the first run is afterwards as it was, so the search goes
    on as if it had never stopped. Trials that were under way when it stopped are evaluated first. With several workers a
    searcher is asked for the next policy before it was told of those under way; what it had been told by then is kept with
    every trial, so that this, too, is done again as it was. It is told rewards, or, if it can aim, accuracies.

    Args:
        searcher: new, seeded as in the run that filled the store.
        evaluator: knows what scores are worth, and is told them all.
        workers: give the scores.
        store: of this run.
        n_trials: in all.
        on_trial: called with the trials so far after each one, once for all the old ones together.

    Returns:
        All trials of the run in the order in which they came to their end, at least `n_trials`.
    """
    aims = evaluator.objective.goal is not Goal.ACCURACY and isinstance(searcher, Aiming)
    if aims and isinstance(searcher, Aiming):
        searcher.aim(evaluator.worth())

    def tell(trial: Trial) -> None:
        searcher.tell(trial.policy, trial.accuracy if aims else trial.reward)

    trials = store.trials()
    desk = _Desk(evaluator, workers, trials)
    lost = deque(_ask_and_tell_again(searcher.ask, tell, trials))
    n_asked = len(trials) + len(lost)
    if trials:
        on_trial(trials)
    while len(trials) < n_trials:
        while desk.n_open < min(workers.n, n_trials - len(trials)):
            if lost:
                asked = lost.popleft()
            else:
                asked = _Asked(n_asked, searcher.ask(), len(trials))
                n_asked += 1
            desk.hand_over(asked)
        trial = desk.next_trial()
        store.add(trial)
        trials.append(trial)
        tell(trial)
        on_trial(trials)
    return trials


@dataclass(frozen=True)
class _Asked:
    """A policy that was asked for, and of how many trials the searcher had been told by then."""

    number: int
    policy: BitPolicy
    n_told: int


class _Desk:
    """Hands policies over to workers, each once: a trial of a policy that is known or under way gets what that one gets."""

    def __init__(self, evaluator: Evaluator, workers: Workers, trials: Sequence[Trial]) -> None:
        self._evaluator, self._workers = evaluator, workers
        self._open: dict[int, _Asked] = {}
        self._waiting: dict[BitPolicy, list[int]] = {}  # for a policy that is under way
        self._done: deque[Finished] = deque()
        self._known: dict[BitPolicy, Finished] = {}
        for t in trials:
            self._remember(t.policy, Finished(t.number, Score(t.accuracy, t.estimate, t.rungs, t.stopped_at), 0.0, t.failure))

    @property
    def n_open(self) -> int:
        """Trials that were asked for and did not come to their end."""
        return len(self._open)

    def hand_over(self, asked: _Asked) -> None:
        self._open[asked.number] = asked
        if asked.policy in self._known:
            self._done.append(replace(self._known[asked.policy], number=asked.number))
        elif asked.policy in self._waiting:
            self._waiting[asked.policy].append(asked.number)
        else:
            self._waiting[asked.policy] = [asked.number]
            self._workers.submit(asked.number, asked.policy)

    def next_trial(self) -> Trial:
        """The next trial that comes to its end."""
        if not self._done:
            finished = self._workers.take()
            policy = self._open[finished.number].policy
            self._remember(policy, replace(finished, duration_s=0.0))
            _, *others = self._waiting.pop(policy)
            self._done.append(finished)
            self._done.extend(replace(self._known[policy], number=number) for number in others)
        finished = self._done.popleft()
        asked = self._open.pop(finished.number)
        return Trial(
            number=asked.number,
            policy=asked.policy,
            estimate=finished.score.estimate,
            accuracy=finished.score.accuracy,
            reward=self._evaluator.reward(finished.score),
            seed=self._evaluator.seed,
            duration_s=finished.duration_s,
            rungs=finished.score.rungs,
            stopped_at=finished.score.stopped_at,
            n_told=asked.n_told,
            failure=finished.failure,
        )

    def _remember(self, policy: BitPolicy, finished: Finished) -> None:
        self._known[policy] = finished
        self._evaluator.remember(policy, finished.score)


def _ask_and_tell_again(ask: Callable[[], BitPolicy], tell: Callable[[Trial], None], trials: Sequence[Trial]) -> list[_Asked]:
    """Bring a new searcher to where the old one was.

    Args:
        ask: the searcher's.
        tell: tells it of a trial.
        trials: in the order in which they came to their end.

    Returns:
        Every policy that was asked for and of which there is no trial, in order.
    """
    finished = {trial.number: trial for trial in trials}
    lost: list[_Asked] = []
    left, n_told = deque(trials), 0
    for number in range(max(finished, default=-1) + 1):
        trial = finished.get(number)
        if trial is not None:
            wanted = number if trial.n_told is None else trial.n_told
            while n_told < wanted:
                tell(left.popleft())
                n_told += 1
        policy = ask()
        if trial is None:
            lost.append(_Asked(number, policy, n_told))
    for trial in left:
        tell(trial)
    return lost
