"""The loop of a search: ask for a policy, evaluate it, keep it, tell; and going on after an interruption."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flow.errors import SearcherError
from flow.evaluator import Evaluator, Score
from flow.objective import Goal
from flow.searchers import Aiming, Informed, Searcher
from flow.searchers.own import blamed
from flow.store import Elsewhere, TrialStore
from flow.trial import Trial
from flow.workers import Alone, Exchange, Finished, SharedWorkers, Workers
from models.errors import PolicyError
from models.policy import BitPolicy

MOST_ELSEWHERE = 4  # trials a worker that wait for other runs; a searcher that asks for nothing else is not asked without end


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
    every trial, so that this, too, is done again as it was. It is told rewards, or, if it can aim, accuracies, and NaN of a
    trial that failed.

    Of trials that were carried over from earlier runs the searcher is told before it is asked for the first time, and, if it
    learns from those, of accuracies of policies that cannot meet this run's constraint.

    Where the workers share a study with other runs (`SharedWorkers`), the searcher is told of their trials, too, and what it
    asks for and another run is at is not evaluated here: the trial gets what comes of it there, and the searcher is asked for
    another one meanwhile. So a searcher that does not adapt gives the trials that it would give alone.

    Args:
        searcher: new, seeded as in the run that filled the store.
        evaluator: knows what scores are worth, and is told them all.
        workers: give the scores.
        store: of this run.
        n_trials: of this run in all, those of others not counted.
        on_trial: called with the trials so far after each one, once for all the old ones together and for those of other runs.

    Raises:
        SearcherError: the searcher asked for what this network cannot have, or what cannot meet the constraint; or it is a
            class of one's own that raised something.

    Returns:
        All trials, those of other runs among them, in the order in which they came to their end or were heard of; of this run
        at least `n_trials`.
    """
    aims = evaluator.objective.goal is not Goal.ACCURACY and isinstance(searcher, Aiming)
    if aims and isinstance(searcher, Aiming):
        with blamed(searcher, "aim"):
            searcher.aim(evaluator.worth())

    if isinstance(searcher, Informed):
        for policy, accuracy in store.beyond:
            with blamed(searcher, "inform"):
                searcher.inform(policy, accuracy)

    def ask() -> BitPolicy:
        with blamed(searcher, "ask"):
            return searcher.ask()

    def tell(trial: Trial) -> None:
        reward = trial.accuracy if aims else trial.reward
        with blamed(searcher, "tell"):
            searcher.tell(trial.policy, math.nan if trial.failure else reward)

    trials = store.trials()
    exchange: Exchange = Alone()
    if isinstance(workers, SharedWorkers):
        exchange = store.shared = workers.exchange
    exchange.begin(trials)
    desk = _Desk(evaluator, workers, exchange, trials)
    lost = deque(_ask_and_tell_again(ask, tell, trials, store.n_carried or 0))
    n_done = n_own(trials)
    n_asked = n_done + len(lost)
    if trials:
        on_trial(trials)

    def keep(trial: Trial) -> None:
        store.add(trial)
        trials.append(trial)
        tell(trial)

    while n_done < n_trials:
        n_before = len(trials)
        for heard in exchange.news():
            if not desk.settle(heard):
                keep(replace(heard, number=n_done - len(trials) - 1, n_told=None))
        if len(trials) > n_before:
            on_trial(trials)
        desk.take_over()
        while desk.n_busy < workers.n and desk.n_open < n_trials - n_done and desk.n_elsewhere <= workers.n * MOST_ELSEWHERE:
            if lost:
                asked = lost.popleft()
            else:
                asked = _Asked(n_asked, ask(), len(trials))
                n_asked += 1
            desk.hand_over(asked)
        if not desk.n_busy:
            exchange.wait()
            continue
        trial = desk.next_trial()
        keep(trial)
        n_done += 1
        exchange.publish(trial)
        on_trial(trials)
    return trials


def n_own(trials: Sequence[Trial]) -> int:
    """How many of some trials this run's searcher asked for; the others came from runs that share its study."""
    return sum(map(_is_own, trials))


def _is_own(trial: Trial) -> bool:
    """Whether this run's searcher asked for it."""
    return not isinstance(trial, Elsewhere)


@dataclass(frozen=True)
class _Asked:
    """A policy that was asked for, and of how many trials the searcher had been told by then."""

    number: int
    policy: BitPolicy
    n_told: int


class _Desk:
    """Hands policies over to workers, each once: a trial of a policy that is known or under way gets what that one gets."""

    def __init__(self, evaluator: Evaluator, workers: Workers, exchange: Exchange, trials: Sequence[Trial]) -> None:
        self._evaluator, self._workers, self._exchange = evaluator, workers, exchange
        self._open: dict[int, _Asked] = {}
        self._waiting: dict[BitPolicy, list[int]] = {}  # for a policy that is under way
        self._elsewhere: set[BitPolicy] = set()  # those that are in other runs
        self._done: deque[Finished] = deque()
        self._known: dict[BitPolicy, Finished] = {}
        for trial in trials:
            self._remember(trial.policy, _finished(trial))

    @property
    def n_open(self) -> int:
        """Trials that were asked for and did not come to their end."""
        return len(self._open)

    @property
    def n_elsewhere(self) -> int:
        """Those of them that wait for other runs."""
        return sum(len(self._waiting[policy]) for policy in self._elsewhere)

    @property
    def n_busy(self) -> int:
        """Those that do not."""
        return self.n_open - self.n_elsewhere

    def hand_over(self, asked: _Asked) -> None:
        """Have a policy evaluated, unless it was or is."""
        self._check(asked)
        self._open[asked.number] = asked
        if asked.policy in self._known:
            self._done.append(replace(self._known[asked.policy], number=asked.number))
        elif asked.policy in self._waiting:
            self._waiting[asked.policy].append(asked.number)
        else:
            self._waiting[asked.policy] = [asked.number]
            if self._exchange.claim(asked.number, asked.policy):
                self._workers.submit(asked.number, asked.policy)
            else:
                self._elsewhere.add(asked.policy)

    def _check(self, asked: _Asked) -> None:
        """Look whether a searcher may ask for a policy: one of its own kind may do what it should not."""
        whose = f"trial {asked.number}: the searcher asked for {asked.policy}"
        if not isinstance(asked.policy, BitPolicy):
            raise SearcherError(
                f"{whose}, a {type(asked.policy).__name__}; ask() gives a models.policy.BitPolicy: mend it, or name another "
                "SEARCHER"
            )
        try:
            asked.policy.check_against(self._evaluator.specs)
        except PolicyError as error:
            raise SearcherError(
                f"{whose}, which is none of this network: {error}; mend it, or name another SEARCHER"
            ) from error
        constraint, estimate = self._evaluator.constraint, self._evaluator.estimate(asked.policy)
        if constraint.violation(estimate) > 0:
            raise SearcherError(
                f"{whose}, which cannot meet the constraint ({constraint.describe(estimate)}); a searcher may ask for what "
                "Decisions.feasible allows layer by layer: mend it, or name another SEARCHER"
            )

    def take_over(self) -> None:
        """Evaluate here what another run was at and has given up."""
        for policy in [p for p in self._waiting if p in self._elsewhere]:
            number = self._waiting[policy][0]
            if self.n_busy < self._workers.n and self._exchange.claim(number, policy):
                self._elsewhere.remove(policy)
                self._workers.submit(number, policy)

    def settle(self, heard: Elsewhere) -> bool:
        """Take in a trial of another run; whether trials of this one have waited for it."""
        self._remember(heard.policy, _finished(heard))
        if heard.policy not in self._elsewhere:
            return False
        self._elsewhere.remove(heard.policy)
        self._end(heard.policy, replace(self._known[heard.policy], number=self._waiting[heard.policy][0]))
        return True

    def _end(self, policy: BitPolicy, finished: Finished) -> None:
        """The trials of a policy come to their end."""
        self._remember(policy, replace(finished, duration_s=0.0))
        _, *others = self._waiting.pop(policy)
        self._done.append(finished)
        self._done.extend(replace(self._known[policy], number=number) for number in others)

    def next_trial(self) -> Trial:
        """The next trial that comes to its end."""
        if not self._done:
            finished = self._workers.take()
            self._end(self._open[finished.number].policy, finished)
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
            failure=finished.score.failure,
        )

    def _remember(self, policy: BitPolicy, finished: Finished) -> None:
        self._known[policy] = finished
        self._evaluator.remember(policy, finished.score)


def _finished(trial: Trial) -> Finished:
    """What a trial came to, for others of the same policy."""
    score = Score(trial.accuracy, trial.estimate, trial.rungs, trial.stopped_at, trial.failure)
    return Finished(trial.number, score, 0.0)


def _ask_and_tell_again(
    ask: Callable[[], BitPolicy], tell: Callable[[Trial], None], trials: Sequence[Trial], n_carried: int
) -> list[_Asked]:
    """Bring a new searcher to where the old one was.

    Args:
        ask: the searcher's.
        tell: tells it of a trial.
        trials: in the order in which they came to their end.
        n_carried: how many of the first ones nobody asked this searcher for.

    Returns:
        Every policy that was asked for and of which there is no trial, in order.
    """
    finished = {trial.number: trial for trial in trials if _is_own(trial)}
    lost: list[_Asked] = []
    left, n_told = deque(trials), 0
    while n_told < n_carried:
        tell(left.popleft())
        n_told += 1
    for number in range(n_carried, max(finished, default=-1) + 1):
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
