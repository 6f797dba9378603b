"""The loop of a search: what is asked, kept and told, and that a killed search goes on as if nothing had been."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flow.errors import SearcherError
from flow.objective import Goal, Objective, Worth
from flow.searchers import DDPGSearcher, RandomSearcher, Searcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import InProcess
from models.errors import PolicyError
from models.policy import BitPolicy, LayerBits
from tests.flow_fakes import SimulatedEvaluator, decisions, made_up_accuracy, meets_constraint, policy_of

ROOT = Path(__file__).parents[1]
N = DDPGSearcher.WARM_UP + 5


class ScriptedSearcher:
    """Proposes what it was given, in turn, and writes down what it is told."""

    def __init__(self, *policies: BitPolicy) -> None:
        self._left = list(policies)
        self.told: list[tuple[BitPolicy, float]] = []

    def ask(self) -> BitPolicy:
        return self._left.pop(0)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        self.told.append((policy, reward))


A, B, C, D = (policy_of((w, 2), (3, 1), (2, None)) for w in (1, 2, 3, 4))


def search(path: Path, searcher: Searcher, n: int, evaluator: SimulatedEvaluator | None = None) -> list[Trial]:
    return run(searcher, TrialStore(path, "s"), n, lambda _: None, evaluator)


def run(
    searcher: Searcher,
    store: TrialStore,
    n: int,
    on_trial: Callable[[list[Trial]], None],
    evaluator: SimulatedEvaluator | None = None,
) -> list[Trial]:
    evaluator = evaluator or SimulatedEvaluator()
    return run_trials(searcher, evaluator, InProcess(evaluator), store, n, on_trial)  # type: ignore[arg-type]


class Remembering(ScriptedSearcher):
    """Writes down in which order it is asked and told."""

    def __init__(self, *policies: BitPolicy) -> None:
        super().__init__(*policies)
        self.events: list[tuple[str, BitPolicy]] = []

    def ask(self) -> BitPolicy:
        policy = super().ask()
        self.events.append(("asked", policy))
        return policy

    def tell(self, policy: BitPolicy, reward: float) -> None:
        super().tell(policy, reward)
        self.events.append(("told", policy))


def test_of_what_was_carried_over_a_searcher_is_told_before_it_is_asked(tmp_path: Path) -> None:
    """Nothing that it proposes is lost, also where the search was interrupted."""
    store = TrialStore(tmp_path / "t.db", "s")
    earlier = search(tmp_path / "earlier.db", ScriptedSearcher(A, B), 2)
    for trial in earlier:
        store.add(replace(trial, n_told=None))
    store.n_carried = 2
    first = Remembering(C)
    run(first, store, 3, lambda _: None)
    assert first.events == [("told", A), ("told", B), ("asked", C), ("told", C)]
    again = Remembering(C, D)
    trials = run(again, store, 4, lambda _: None)
    assert again.events == [*first.events, ("asked", D), ("told", D)]
    assert [(t.number, t.policy) for t in trials] == [(0, A), (1, B), (2, C), (3, D)]


def essence(trials: list[Trial]) -> list[tuple[object, ...]]:
    """All of the trials but how long they took."""
    return [(t.number, t.policy, t.estimate, t.accuracy, t.reward, t.seed) for t in trials]


def test_every_trial_is_kept_and_told(tmp_path: Path) -> None:
    searcher, seen = ScriptedSearcher(A, B, C), []
    store = TrialStore(tmp_path / "t.db", "s")
    trials = run(searcher, store, 3, lambda t: seen.append(list(t)))
    assert [t.policy for t in trials] == [A, B, C]
    assert [t.number for t in trials] == [0, 1, 2]
    assert [t.accuracy for t in trials] == [t.reward for t in trials] == [made_up_accuracy(p) for p in (A, B, C)]
    assert {t.seed for t in trials} == {SimulatedEvaluator.seed}
    assert searcher.told == [(p, made_up_accuracy(p)) for p in (A, B, C)]
    assert store.trials() == trials
    assert seen == [trials[:1], trials[:2], trials]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (policy_of((8, 8), (8, 8), (8, None)), "which cannot meet the constraint (too slow: 868 fps)"),
        (BitPolicy({"fc0": LayerBits(1, None)}), "which is none of this network: "),
        (policy_of((2, 2), (2, None), (2, None)), "which is none of this network: layer "),
        ({"fc0": 2}, "{'fc0': 2}, a dict; ask() gives a models.policy.BitPolicy"),
        (None, "None, a NoneType; ask() gives a models.policy.BitPolicy"),
    ],
)
def test_a_searcher_that_asks_for_what_it_may_not_is_told_so_and_no_trial_is_lost(
    tmp_path: Path, asked: Any, said: str
) -> None:
    path, evaluator = tmp_path / "t.db", SimulatedEvaluator()
    with pytest.raises(SearcherError) as error:
        search(path, ScriptedSearcher(A, asked, B), 3, evaluator)
    assert str(error.value).startswith(f"trial 1: the searcher asked for {asked}")
    assert said in str(error.value)
    assert str(error.value).endswith("mend it, or name another SEARCHER")
    assert evaluator.retrained == [A]
    assert [t.policy for t in TrialStore(path, "s").trials()] == [A]
    assert [t.policy for t in search(path, ScriptedSearcher(A, C, B), 3)] == [A, C, B]


class Learning(ScriptedSearcher):
    """Writes down what it is told of policies beyond the constraint, too."""

    def inform(self, policy: BitPolicy, accuracy: float) -> None:
        self.told.append((policy, accuracy))


def test_a_searcher_that_learns_from_policies_beyond_the_constraint_is_told_of_them_first_each_time(tmp_path: Path) -> None:
    store, beyond = TrialStore(tmp_path / "t.db", "s"), [(policy_of((8, 8), (8, 8), (8, None)), 0.9)]
    store.beyond = beyond
    first, again, other = Learning(A, B), Learning(A, B), ScriptedSearcher(A, B)
    run(first, store, 1, lambda _: None)
    assert first.told == [*beyond, (A, made_up_accuracy(A))]
    run(again, store, 2, lambda _: None)
    assert again.told == [*beyond, (A, made_up_accuracy(A)), (B, made_up_accuracy(B))]
    run(other, store, 2, lambda _: None)
    assert other.told == again.told[1:]


class Broken(ScriptedSearcher):
    """A class of one's own in which a method does what it should not."""

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__(A, B, C)
        self._broken, self._error = method, error

    def _may_fail(self, method: str) -> None:
        if method == self._broken and (method != "ask" or self.told):
            raise self._error

    def ask(self) -> BitPolicy:
        self._may_fail("ask")
        return super().ask()

    def tell(self, policy: BitPolicy, reward: float) -> None:
        self._may_fail("tell")
        super().tell(policy, reward)

    def aim(self, worth: Worth) -> None:
        self._may_fail("aim")


@pytest.mark.parametrize(
    ("error", "said"),
    [(ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"), (PolicyError("9 bits"), "PolicyError: 9 bits")],
)
@pytest.mark.parametrize(("method", "n_kept"), [("ask", 1), ("tell", 1), ("aim", 0)])
def test_what_a_class_of_ones_own_raises_names_it_and_no_trial_is_lost(
    tmp_path: Path, method: str, n_kept: int, error: Exception, said: str
) -> None:
    path, evaluator = tmp_path / "t.db", SimulatedEvaluator(objective=Objective(Goal.FPS, 0.5))
    with pytest.raises(SearcherError) as raised:
        search(path, Broken(method, error), 3, evaluator)
    text = str(raised.value)
    assert text.startswith(f"tests.test_flow_study:Broken.{method} failed with {said} ({__file__}, line ")
    assert text.endswith("mend it, or name another SEARCHER")
    assert len(TrialStore(path, "s").trials()) == n_kept


def test_what_a_searcher_of_bitloops_raises_is_no_mistake_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> BitPolicy:
        raise ZeroDivisionError

    monkeypatch.setattr(RandomSearcher, "ask", broken)
    with pytest.raises(ZeroDivisionError):
        search(tmp_path / "t.db", RandomSearcher(decisions(), 0), 1)


def test_a_trial_is_kept_before_anything_else_happens_with_it(tmp_path: Path) -> None:
    store = TrialStore(tmp_path / "t.db", "s")

    def fail(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(ScriptedSearcher(A), store, 1, fail)
    assert [t.policy for t in store.trials()] == [A]


def test_a_policy_met_before_is_a_trial_but_is_not_retrained(tmp_path: Path) -> None:
    evaluator = SimulatedEvaluator()
    trials = search(tmp_path / "t.db", ScriptedSearcher(A, B, A), 3, evaluator)
    assert evaluator.retrained == [A, B]
    assert essence(trials)[2][1:] == essence(trials)[0][1:]


def test_going_on_retrains_nothing_that_is_in_the_store(tmp_path: Path) -> None:
    first = search(tmp_path / "t.db", ScriptedSearcher(A, B), 2)
    evaluator, searcher = SimulatedEvaluator(), ScriptedSearcher(A, B, A, C)
    trials = search(tmp_path / "t.db", searcher, 4, evaluator)
    assert trials[:2] == first
    assert evaluator.retrained == [C]
    assert [p for p, _ in searcher.told] == [A, B, A, C]


def test_a_searcher_that_now_proposes_something_else_is_told_what_was_done(tmp_path: Path) -> None:
    search(tmp_path / "t.db", ScriptedSearcher(A, B), 2)
    searcher = ScriptedSearcher(C, C, C)
    trials = search(tmp_path / "t.db", searcher, 3)
    assert [t.policy for t in trials] == [A, B, C]
    assert [p for p, _ in searcher.told] == [A, B, C]


def test_old_trials_are_announced_once_together(tmp_path: Path) -> None:
    search(tmp_path / "t.db", ScriptedSearcher(A, B), 2)
    seen: list[int] = []
    store = TrialStore(tmp_path / "t.db", "s")
    run(ScriptedSearcher(A, B, C), store, 3, lambda t: seen.append(len(t)))
    assert seen == [2, 3]


def test_a_run_with_trials_enough_does_no_more(tmp_path: Path) -> None:
    search(tmp_path / "t.db", ScriptedSearcher(A, B), 2)
    evaluator = SimulatedEvaluator()
    assert len(search(tmp_path / "t.db", ScriptedSearcher(A, B), 1, evaluator)) == 2
    assert evaluator.retrained == []


@pytest.mark.parametrize("searcher", [RandomSearcher, DDPGSearcher])
@pytest.mark.parametrize("stop", [1, N - 3])
def test_a_search_in_two_parts_is_the_search_in_one(tmp_path: Path, searcher: type[DDPGSearcher], stop: int) -> None:
    whole = search(tmp_path / "whole.db", searcher(decisions(), 5), N)
    search(tmp_path / "parts.db", searcher(decisions(), 5), stop)
    parts = search(tmp_path / "parts.db", searcher(decisions(), 5), N)
    assert essence(parts) == essence(whole)
    assert all(meets_constraint(t.policy) for t in whole)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import sqlalchemy
import torch
from flow.searchers import DDPGSearcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.workers import InProcess
from tests.flow_fakes import SimulatedEvaluator, decisions

torch.set_num_threads(1)
decisions().observe(())

class SlowEvaluator(SimulatedEvaluator):
    def score(self, policy):
        time.sleep(0.01)
        return super().score(policy)

def kill_at_commit(n):
    commits = iter(range(n))
    def on_commit(_):
        if next(commits, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "commit", on_commit)

def attempt(prepare, kill_after_s):
    child = os.fork()
    if not child:
        prepare()
        store = TrialStore(Path(sys.argv[1]), "s")
        evaluator = SlowEvaluator()
        run_trials(DDPGSearcher(decisions(), 5), evaluator, InProcess(evaluator), store, int(sys.argv[2]), lambda _: None)
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

rng = random.Random(0)
ends = [attempt(lambda: kill_at_commit(n), None) for n in (0, 14, 25)]
ends += [attempt(lambda: None, rng.uniform(0, 0.15)) for _ in range(17)]
for n in range(1000):
    ends.append(attempt(lambda: None, rng.uniform(0, 0.1 + 0.1 * n)))
    if ends[-1] == 0:
        break
print(ends.count(signal.SIGKILL), ends[-1])
"""


def test_a_search_killed_at_any_point_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    """Killed before several commits and at several random moments, until one attempt comes to the end."""
    path, n = tmp_path / "killed.db", DDPGSearcher.WARM_UP + 2
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED, str(path), str(n)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    n_kills, last = map(int, done.stdout.split())
    assert n_kills >= 20, done.stderr
    assert last == 0
    whole = search(tmp_path / "whole.db", DDPGSearcher(decisions(), 5), n)
    assert essence(TrialStore(path, "s").trials()) == essence(whole)
