"""Who evaluates policies: this process, others beside it (`flow.ray_workers`), or other runs (`flow.exchange`)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from flow.evaluator import Score
from flow.store import Again, Elsewhere
from flow.trial import Trial
from hls.types import Estimate
from models.policy import BitPolicy


class Evaluating(Protocol):
    """What workers need of an evaluator."""

    def score(self, policy: BitPolicy) -> Score:
        """Accuracy and accelerator of a policy."""
        ...

    def estimate(self, policy: BitPolicy) -> Estimate:
        """The accelerator alone, which takes no training."""
        ...


@dataclass(frozen=True)
class Finished:
    """An evaluation that came to its end.

    Attributes:
        number: the trial's.
        score: accuracy and accelerator, or why there is no accuracy.
        duration_s: seconds that it took where it was done.
    """

    number: int
    score: Score
    duration_s: float


class Workers(Protocol):
    """Evaluates policies, `n` at a time.

    A policy that is handed over comes back exactly once, in whatever order, also when the worker that had it was lost.
    Memory that runs out fails a trial, not the search.
    """

    @property
    def n(self) -> int:
        """How many policies are evaluated at a time; more are not to be handed over."""
        ...

    def submit(self, number: int, policy: BitPolicy) -> None:
        """Hand over the policy of a trial."""
        ...

    def take(self) -> Finished:
        """The next evaluation that comes to its end; waits for it."""
        ...


class Exchange(Again, Protocol):
    """What this run and others that share a study tell each other."""

    def begin(self, trials: Sequence[Trial]) -> None:
        """Hand on the trials that this run has; before anything else."""
        ...

    def claim(self, number: int, policy: BitPolicy) -> bool:
        """Whether a policy is this run's to evaluate. If not, another one is at it, or `news` tells what came of it."""
        ...

    def publish(self, trial: Trial) -> None:
        """Hand on a trial of this run that is kept."""
        ...

    def news(self) -> list[Elsewhere]:
        """Trials of other runs since this was last asked, none of a policy that this run has a trial of."""
        ...

    def wait(self) -> None:
        """Wait a moment for news."""
        ...


class Alone:
    """The exchange of a run that shares nothing."""

    def begin(self, trials: Sequence[Trial]) -> None:
        """See `Exchange.begin`."""

    def claim(self, number: int, policy: BitPolicy) -> bool:
        """See `Exchange.claim`."""
        return True

    def publish(self, trial: Trial) -> None:
        """See `Exchange.publish`."""

    def news(self) -> list[Elsewhere]:
        """See `Exchange.news`."""
        return []

    def wait(self) -> None:
        """See `Exchange.wait`."""

    def add_again(self, policy: BitPolicy, n_images: int, seed: int, accuracy: float) -> None:
        """See `flow.store.Again`."""

    def again(self, policy: BitPolicy, n_images: int, seed: int) -> float | None:
        """See `flow.store.Again`."""
        return None


@dataclass(frozen=True)
class SharedWorkers:
    """Workers of a run that shares a study.

    Attributes:
        inner: this run's own workers.
        exchange: with the other runs.
    """

    inner: Workers
    exchange: Exchange

    @property
    def n(self) -> int:
        """See `Workers.n`."""
        return self.inner.n

    def submit(self, number: int, policy: BitPolicy) -> None:
        """See `Workers.submit`."""
        self.inner.submit(number, policy)

    def take(self) -> Finished:
        """See `Workers.take`."""
        return self.inner.take()


class InProcess:
    """Evaluates one policy at a time, in this process.

    Args:
        evaluator: that does it.
    """

    n = 1

    def __init__(self, evaluator: Evaluating) -> None:
        self._evaluator = evaluator
        self._waiting: deque[tuple[int, BitPolicy]] = deque()

    def submit(self, number: int, policy: BitPolicy) -> None:
        """See `Workers.submit`."""
        self._waiting.append((number, policy))

    def take(self) -> Finished:
        """See `Workers.take`."""
        return evaluate(self._evaluator, *self._waiting.popleft())


def evaluate(evaluator: Evaluating, number: int, policy: BitPolicy) -> Finished:
    """Evaluate a policy; one that diverges fails, and so does one that memory does not suffice for."""
    begun, failure = time.monotonic(), ""
    try:
        score = evaluator.score(policy)
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        failure = f"memory ran out: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if failure:  # no longer within the exception, whose frames hold what took the memory
        score = failed(evaluator, policy, failure)
    return Finished(number, score, time.monotonic() - begun)


def failed(evaluator: Evaluating, policy: BitPolicy, failure: str) -> Score:
    """What a policy gets whose evaluation came to nothing."""
    return Score(0.0, evaluator.estimate(policy), failure=failure)


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether it is Python's, a GPU's, or what torch makes of it on a CPU: a RuntimeError like any other."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)
