"""One evaluated policy: `Trial`."""

from __future__ import annotations

from dataclasses import dataclass

from hls.types import Estimate
from models.policy import BitPolicy


@dataclass(frozen=True)
class Trial:
    """A policy, what it costs and how well it does.

    Attributes:
        number: from 0, in the order of evaluation.
        policy: the bits.
        estimate: the best accelerator for them on the board.
        accuracy: on the search split after the brief retraining, 0..1.
        reward: what the searcher was told.
        seed: of the retraining.
        duration_s: seconds the evaluation took.
    """

    number: int
    policy: BitPolicy
    estimate: Estimate
    accuracy: float
    reward: float
    seed: int
    duration_s: float


def best_trial(trials: list[Trial]) -> Trial:
    """The trial with the highest accuracy; among equals the fastest, then the first."""
    return max(trials, key=lambda t: (t.accuracy, t.estimate.fps, -t.number))
