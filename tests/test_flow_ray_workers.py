"""Workers that are processes of Ray's: the same trials, whatever happens to a worker."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flow.errors import WorkersError
from flow.evaluator import Score
from flow.ray_workers import MOST_LOSSES, RayWorkers, ray_cluster
from flow.searchers import RandomSearcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.workers import failed
from models.policy import BitPolicy
from tests.flow_fakes import SimulatedEvaluator, decisions, made_up_accuracy, policy_of

A, B, C = (policy_of((w, 2), (3, 1), (2, None)) for w in (1, 2, 3))


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'bitloop[distributed]'")
    with ray_cluster(None, 2) as found:
        yield found


class Mortal(SimulatedEvaluator):
    """Takes its worker with it at one policy, so many times in all."""

    def __init__(self, fatal: BitPolicy, times: int, folder: Path) -> None:
        super().__init__()
        self.fatal, self.times, self.folder = fatal, times, folder

    def score(self, policy: BitPolicy) -> Score:
        deaths = len(list(self.folder.glob("death*")))
        if policy == self.fatal and deaths < self.times:
            (self.folder / f"death{deaths}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().score(policy)  # type: ignore[no-any-return]


def workers(ray: Any, make: Any, n: int = 2, warn: Any = lambda text: None) -> RayWorkers:
    return RayWorkers(ray, make, n, partial(failed, SimulatedEvaluator()), n_cpus=0.1, warn=warn)


def test_trials_are_those_of_one_process(ray: Any, tmp_path: Path) -> None:
    evaluator = SimulatedEvaluator()
    trials = run_trials(
        RandomSearcher(decisions(), 3), evaluator, workers(ray, SimulatedEvaluator), TrialStore(tmp_path / "t.db", "s"), 12,
        lambda _: None,
    )  # fmt: skip
    lone = RandomSearcher(decisions(), 3)
    assert [t.policy for t in sorted(trials, key=lambda t: t.number)] == [lone.ask() for _ in range(12)]
    assert all(t.accuracy == made_up_accuracy(t.policy) and t.duration_s >= 0 for t in trials)
    assert evaluator.retrained == []


@pytest.mark.parametrize("times", [1, MOST_LOSSES])
def test_the_trial_of_a_lost_worker_is_done_by_another_until_it_is_given_up(ray: Any, tmp_path: Path, times: int) -> None:
    told: list[str] = []
    pool = workers(ray, lambda: Mortal(B, times, tmp_path), 2, told.append)
    for number, policy in enumerate((A, B)):
        pool.submit(number, policy)
    found = {f.number: f for f in (pool.take(), pool.take())}
    pool.submit(2, C)
    found[2] = pool.take()
    assert [found[i].score.accuracy for i in (0, 2)] == [made_up_accuracy(A), made_up_accuracy(C)]
    given_up = times == MOST_LOSSES
    assert found[1].score.accuracy == (0.0 if given_up else made_up_accuracy(B))
    assert bool(found[1].score.failure) == given_up
    assert found[1].score.estimate == SimulatedEvaluator().estimate(B)
    assert len(told) == times


def test_an_evaluator_that_cannot_be_made_is_an_error_of_one_line(ray: Any) -> None:
    def broken() -> SimulatedEvaluator:
        raise ValueError("no such data")

    pool = workers(ray, broken, 1)
    pool.submit(0, A)
    with pytest.raises(WorkersError, match="no such data") as caught:
        pool.take()
    assert "\n" not in str(caught.value)


def test_a_bug_of_the_evaluator_comes_through(ray: Any) -> None:
    class Buggy(SimulatedEvaluator):
        def score(self, policy: BitPolicy) -> Score:
            raise KeyError("a bug")

    pool = workers(ray, Buggy, 1)
    pool.submit(0, A)
    with pytest.raises(KeyError, match="a bug"):
        pool.take()
