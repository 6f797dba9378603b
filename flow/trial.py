"""One evaluated policy: `Trial`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hls.types import Estimate
from models.policy import BitPolicy


@dataclass(frozen=True)
class Trial:
    """A policy, what it costs and how well it does.

    Attributes:
        number: from 0, in the order in which policies were asked for.
        policy: the bits.
        estimate: the best accelerator for them on the board.
        accuracy: on the search split after the brief retraining, 0..1; of a trial that was stopped what it would have been,
            as far as can be told (`flow.halving`).
        reward: what it is worth (`flow.objective.Objective.rewards`); the accuracy where that is sought.
        seed: of the retraining.
        duration_s: seconds the evaluation took.
        rungs: accuracies of cheaper evaluations, where a search has such.
        stopped_at: the last of these, where it did not get beyond.
        n_told: trials that the searcher had been told of when it was asked for this one; None for all before it.
        failure: why it could not be evaluated; empty where it was. Its accuracy is then 0.
    """

    number: int
    policy: BitPolicy
    estimate: Estimate
    accuracy: float
    reward: float
    seed: int
    duration_s: float
    rungs: Mapping[str, float] = field(default_factory=dict)
    stopped_at: str | None = None
    n_told: int | None = None
    failure: str = ""
