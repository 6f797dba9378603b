"""Several policies at a time: what is asked, kept and told, whatever the order in which they come to their end."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.evaluator import Score
from flow.searchers import RandomSearcher, Searcher, make_searcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import Finished, InProcess, evaluate
from models.policy import BitPolicy
from tests.flow_fakes import SimulatedEvaluator, decisions, made_up_accuracy, policy_of

A, B, C = (policy_of((w, 2), (3, 1), (2, None)) for w in (1, 2, 3))


class Stopped(Exception):
    pass


@dataclass
class ShuffledWorkers:
    """`n` workers of which one drawn at random is done next."""

    n: int
    seed: int
    evaluator: SimulatedEvaluator = field(default_factory=SimulatedEvaluator)
    handed_over: list[BitPolicy] = field(default_factory=list)
    stop_after: int | None = None
    most: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._under_way: list[tuple[int, BitPolicy]] = []

    def submit(self, number: int, policy: BitPolicy) -> None:
        self._under_way.append((number, policy))
        self.handed_over.append(policy)
        self.most = max(self.most, len(self._under_way))

    def take(self) -> Finished:
        if self.stop_after is not None:
            if not self.stop_after:
                raise Stopped
            self.stop_after -= 1
        number, policy = self._under_way.pop(self._random.randrange(len(self._under_way)))
        return Finished(number, self.evaluator.score(policy), 1.0)


class Noting:
    """A searcher, and all that it was asked and told."""

    def __init__(self, inner: Searcher) -> None:
        self.inner = inner
        self.events: list[tuple[str, BitPolicy]] = []

    def ask(self) -> BitPolicy:
        self.events.append(("ask", self.inner.ask()))
        return self.events[-1][1]

    def tell(self, policy: BitPolicy, reward: float) -> None:
        self.events.append(("tell", policy))
        self.inner.tell(policy, reward)


def search(store: TrialStore, searcher: Searcher, workers: ShuffledWorkers, n: int) -> list[Trial]:
    return run_trials(searcher, workers.evaluator, workers, store, n, lambda _: None)


def by_number(trials: list[Trial]) -> list[BitPolicy]:
    return [t.policy for t in sorted(trials, key=lambda t: t.number)]


@pytest.mark.parametrize("n", [1, 2, 5])
def test_what_does_not_adapt_gives_the_same_trials_whatever_the_number_of_workers(tmp_path: Path, n: int) -> None:
    workers = ShuffledWorkers(n, seed=n)
    trials = search(TrialStore(tmp_path / "t.db", "s"), RandomSearcher(decisions(), 3), workers, 20)
    lone = RandomSearcher(decisions(), 3)
    assert by_number(trials) == [lone.ask() for _ in range(20)]
    assert sorted(t.number for t in trials) == list(range(20))
    assert all(t.accuracy == made_up_accuracy(t.policy) for t in trials)
    assert workers.most == n


@pytest.mark.parametrize("name", ["model-based", "ddpg", "tpe", "random", "evolution"])
@settings(max_examples=4, deadline=None)
@given(st.integers(2, 5), st.integers(0, 999), st.lists(st.integers(0, 6), max_size=3))
def test_stopped_anywhere_a_searcher_is_asked_and_told_as_it_was(name: str, n: int, seed: int, stops: list[int]) -> None:
    """No trial is lost or repeated, and what is still evaluated comes to those that were under way first."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = TrialStore(Path(folder) / "t.db", "s")
        before: list[Trial] = []
        for stop in stops:
            searcher = Noting(make_searcher(name, decisions(), 5))
            with pytest.raises(Stopped):
                search(store, searcher, ShuffledWorkers(n, seed, stop_after=stop), 99)
            now = store.trials()
            assert now[: len(before)] == before
            before = now
        n_trials = len(before) + 4
        searcher, workers = Noting(make_searcher(name, decisions(), 5)), ShuffledWorkers(n, seed + 1)
        trials = search(store, searcher, workers, n_trials)
    assert trials[: len(before)] == before
    assert sorted(t.number for t in trials)[: len(before)] == sorted({t.number for t in trials})[: len(before)]
    assert Counter(workers.handed_over) == Counter({p: 1 for p in workers.handed_over})
    assert not {t.policy for t in before} & set(workers.handed_over)
    told = [p for what, p in searcher.events if what == "tell"]
    assert told == [t.policy for t in trials]
    asks = [i for i, (what, _) in enumerate(searcher.events) if what == "ask"]
    tells = [i for i, (what, _) in enumerate(searcher.events) if what == "tell"]
    for trial in trials:
        assert sum(i < asks[trial.number] for i in tells) == trial.n_told


def test_a_policy_under_way_is_not_handed_over_again(tmp_path: Path) -> None:
    class Stubborn:
        def __init__(self) -> None:
            self.left = [A, A, B, A, C]

        def ask(self) -> BitPolicy:
            return self.left.pop(0)

        def tell(self, policy: BitPolicy, reward: float) -> None:
            pass

    workers = ShuffledWorkers(3, 0)
    trials = search(TrialStore(tmp_path / "t.db", "s"), Stubborn(), workers, 5)
    assert by_number(trials) == [A, A, B, A, C]
    assert Counter(workers.handed_over) == Counter([A, B, C])
    assert {t.accuracy for t in trials if t.policy == A} == {made_up_accuracy(A)}


class Hungry(SimulatedEvaluator):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def score(self, policy: BitPolicy) -> Score:
        if policy == B:
            raise self.error
        return super().score(policy)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
        ),
    ],
)
def test_a_trial_that_memory_does_not_suffice_for_fails_and_the_search_goes_on(tmp_path: Path, error: Exception) -> None:
    class Scripted:
        def __init__(self) -> None:
            self.left = [A, B, C]
            self.told: list[float] = []

        def ask(self) -> BitPolicy:
            return self.left.pop(0)

        def tell(self, policy: BitPolicy, reward: float) -> None:
            self.told.append(reward)

    evaluator, searcher, store = Hungry(error), Scripted(), TrialStore(tmp_path / "t.db", "s")
    trials = run_trials(searcher, evaluator, InProcess(evaluator), store, 3, lambda _: None)
    assert [t.policy for t in trials] == [A, B, C]
    assert [bool(t.failure) for t in trials] == [False, True, False]
    assert trials[1].failure.startswith("memory ran out: ")
    assert trials[1].accuracy == 0
    assert [math.isnan(told) for told in searcher.told] == [False, True, False]
    assert trials[1].estimate == evaluator.estimate(B)
    assert store.trials() == trials


def test_really_too_much_memory_is_such_an_error() -> None:
    class Huge(SimulatedEvaluator):
        def score(self, policy: BitPolicy) -> Score:
            return torch.empty(2**60, dtype=torch.uint8)  # type: ignore[return-value]

    assert evaluate(Huge(), 0, A).score.failure.startswith("memory ran out: ")


def test_any_other_error_ends_the_search(tmp_path: Path) -> None:
    evaluator = Hungry(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        evaluate(evaluator, 1, B)
