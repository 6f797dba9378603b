"""Who evaluates policies: this process, or others beside it (`flow.ray_workers`)."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch

from flow.evaluator import Score
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
        score: accuracy and accelerator; an accuracy of 0 where it failed.
        duration_s: seconds that it took where it was done.
        failure: why it failed; empty where it did not.
    """

    number: int
    score: Score
    duration_s: float
    failure: str = ""


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
    """Evaluate a policy; one that memory does not suffice for fails."""
    begun = time.monotonic()
    try:
        score, failure = evaluator.score(policy), ""
    except (MemoryError, RuntimeError) as error:
        if not _is_lack_of_memory(error):
            raise
        failure = f"memory ran out: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    if failure:  # no longer within the exception, whose frames hold what took the memory
        score = failed(evaluator, policy)
    return Finished(number, score, time.monotonic() - begun, failure)


def failed(evaluator: Evaluating, policy: BitPolicy) -> Score:
    """What a policy gets whose evaluation came to nothing."""
    return Score(0.0, evaluator.estimate(policy))


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether it is Python's, a GPU's, or what torch makes of it on a CPU: a RuntimeError like any other."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(error)
