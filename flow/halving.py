"""Successive halving of the retraining: a trial that does badly at a cheap evaluation does not get the dear one.

As trials come one after the other, each is held against those before it (as in asynchronous successive halving; Li et al.,
"A System for Massively Parallel Hyperparameter Tuning", MLSys 2020). All rungs but the whole evaluation are proxies: what a
policy has there ranks others only roughly (docs/benchmarks.md). So a trial that was stopped is never the answer of a search,
and its accuracy is a guess, which searchers learn from and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

QUANTIZED, NORMS, SHORT = "quantized", "norms re-estimated", "short retraining"
PROMOTED = {QUANTIZED: 0.75, NORMS: 0.5, SHORT: 0.5}
"""Rungs, the cheapest first, and the share of the trials that goes on from there."""
SHORT_SHARE = 0.25  # of the images of a whole retraining
FEW = 8  # trials that a rung lets pass before it stops any
FEW_WHOLE = 4  # whole trials from which on a line is fitted


@dataclass(frozen=True)
class Climb:
    """How far an evaluation came.

    Attributes:
        rungs: accuracies of those it reached.
        whole: accuracy of the whole evaluation; None where it was stopped.
    """

    rungs: Mapping[str, float]
    whole: float | None


class Halving:
    """Remembers what trials had at each rung, and says which of them go on."""

    def __init__(self) -> None:
        self._climbs: list[Climb] = []

    def take_in(self, climb: Climb) -> None:
        """Remember how a trial did."""
        self._climbs.append(climb)

    def goes_on(self, rung: str, accuracy: float) -> bool:
        """Whether a trial with an accuracy at a rung is among the promoted share of all that were there, itself included."""
        before = [c.rungs[rung] for c in self._climbs if rung in c.rungs]
        n_better = sum(a > accuracy for a in before)
        return len(before) < FEW or n_better < PROMOTED[rung] * (len(before) + 1)

    def guess(self, rung: str, accuracy: float) -> float:
        """What a trial that is stopped at a rung would have had in the end, 0..1.

        That is on the least-squares line through the trials that came to the end, and no more than the best of them had.
        """
        whole = [(c.rungs[rung], c.whole) for c in self._climbs if c.whole is not None and rung in c.rungs]
        if len(whole) < FEW_WHOLE:
            return accuracy
        x, y = np.array(whole).T
        slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum() / max(((x - x.mean()) ** 2).sum(), 1e-12)))
        line = y.mean() + slope * (accuracy - x.mean())
        return float(np.clip(min(line, y.max()), 0.0, 1.0))
