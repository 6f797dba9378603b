"""The leanest accelerator in place of the fastest: `Frugal`."""

from __future__ import annotations

from dataclasses import replace

from boards.board import Resources
from hls.estimators import TableEstimator
from hls.types import INTERVAL, Estimate, before_factors
from models.policy import BitPolicy


class Frugal:
    """Estimates of the accelerator that reaches a frame rate with the smallest share of its scarcest resource.

    Args:
        fastest: knows tables and calibration, and has a say where a policy cannot be that fast.
        min_fps: frames a second, above 0.
    """

    def __init__(self, fastest: TableEstimator, min_fps: float) -> None:
        self._fastest = fastest
        self._min_fps = min_fps
        self._known: dict[tuple[BitPolicy, Resources], Estimate] = {}

    def estimate(self, policy: BitPolicy, limits: Resources) -> Estimate:
        """As `hls.estimators.Estimator.estimate`, but the leanest at the frame rate; the fastest where it is not reached."""
        found = self._known.get((policy, limits))
        if found is None:
            calibration = self._fastest.calibration
            factors = calibration.of(policy) if calibration else {}
            min_fps = self._min_fps * factors.get(INTERVAL, 1.0)
            lean = self._fastest.foldings.leanest(policy, before_factors(limits, factors), min_fps)
            found = self._fastest.estimate(policy, limits) if lean is None else replace(lean, factors=factors)
            self._known[policy, limits] = found
        return found
