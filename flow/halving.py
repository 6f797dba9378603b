"""Successive halving of the retraining: a trial that does badly at a cheap evaluation does not get the dear one.

As trials come one after the other, each is held against those before it (as in asynchronous successive halving; Li et al.,
"A System for Massively Parallel Hyperparameter Tuning", MLSys 2020). All rungs but the whole evaluation are proxies: what a
policy has there ranks others only roughly (docs/benchmarks.md). So the accuracy of a trial that was stopped is a guess, which
searchers learn from; it is the answer of a search only where it was a finalist, which is always retrained whole.
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
DOUBT = 2.0  # standard deviations of a guess that are left to a trial which may come to the floor


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
    """Remembers what trials had at each rung, and says which of them go on.

    Args:
        floor: the accuracy that is enough where something else is sought, 0..1; None where the accuracy is. A trial that may
            still have that goes on, however many are more accurate.
    """

    def __init__(self, floor: float | None = None) -> None:
        self._floor = floor
        self._climbs: list[Climb] = []

    def take_in(self, climb: Climb) -> None:
        """Remember how a trial did."""
        self._climbs.append(climb)

    def goes_on(self, rung: str, accuracy: float) -> bool:
        """Whether a trial with an accuracy at a rung is among the promoted share of all that were there, itself included.

        With a floor also where the whole evaluation may come to it: where the guess falls short of it by no more than twice
        the standard deviation of guesses from what came of them.
        """
        before = [c.rungs[rung] for c in self._climbs if rung in c.rungs]
        n_better = sum(a > accuracy for a in before)
        if len(before) < FEW or n_better < PROMOTED[rung] * (len(before) + 1):
            return True
        return self._floor is not None and self.guess(rung, accuracy) + DOUBT * self._deviation(rung) >= self._floor

    def guess(self, rung: str, accuracy: float) -> float:
        """What a trial that is stopped at a rung would have had in the end, 0..1.

        That is on the least-squares line through the trials that came to the end, and no more than the best of them had.
        """
        whole = self._whole(rung)
        if len(whole) < FEW_WHOLE:
            return accuracy
        x, y = np.array(whole).T
        slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum() / max(((x - x.mean()) ** 2).sum(), 1e-12)))
        line = y.mean() + slope * (accuracy - x.mean())
        return float(np.clip(min(line, y.max()), 0.0, 1.0))

    def _whole(self, rung: str) -> list[tuple[float, float]]:
        """Of trials that came to the end, what they had at a rung and there."""
        return [(c.rungs[rung], c.whole) for c in self._climbs if c.whole is not None and rung in c.rungs]

    def _deviation(self, rung: str) -> float:
        """How far guesses from a rung are off, 0..1: the root mean square over the trials that came to the end."""
        off = [self.guess(rung, at_rung) - in_the_end for at_rung, in_the_end in self._whole(rung)]
        return float(np.sqrt(np.mean(np.square(off)))) if off else 0.0
