"""What an accelerator must keep to: `Constraint`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from boards.board import Board, Resources
from flow.errors import ConstraintError, SettingsError
from hls.calibrate import Calibration
from hls.cost import CostTables
from hls.reach import Reach, fewest_cycles
from hls.types import INTERVAL, Estimate, before_factors, cycles_at

ROUNDING = 1e-9  # relative, that is forgiven
ANY_FPS = 1e-9  # where there is no frame rate to reach
LUT_SPARED = 0.0025  # share of the LUT limit; retraining took up to 0.04 % of it in docs/results.md


@dataclass(frozen=True)
class Constraint:
    """A frame rate to reach within a share of a board's resources.

    Attributes:
        board: whose capacity and clock it is about.
        min_fps: frames a second, above 0 and finite.
        max_utilisation: share of each resource that may be used, above 0 and at most 1.
        lut_spared: share of the LUT limit that is left alone, from 0 to less than 1.

    Raises:
        SettingsError: a value outside its range.
    """

    board: Board
    min_fps: float
    max_utilisation: float
    lut_spared: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.min_fps < math.inf:
            raise SettingsError(f"MIN_FPS is {self.min_fps:g}; a frame rate above 0 is wanted")
        if not 0 < self.max_utilisation <= 1:
            raise SettingsError(f"MAX_UTIL is {self.max_utilisation:g}; a share above 0 and at most 1 is wanted")

    @property
    def wants_fps(self) -> bool:
        """Whether there is a frame rate to reach."""
        return self.min_fps > ANY_FPS

    @property
    def in_words(self) -> str:
        """The begin of a sentence: what is asked of the board."""
        rate = f"At least {self.min_fps:,.0f} frames a second within" if self.wants_fps else "Within"
        return f"{rate} {self.max_utilisation:.0%} of the board's resources"

    @property
    def limits(self) -> Resources:
        """The resources that may be used."""
        c, share = self.board.capacity, self.max_utilisation
        return Resources(c.lut * share * (1 - self.lut_spared), c.ff * share, c.bram18 * share, c.dsp * share)

    @property
    def of_a_trial(self) -> Constraint:
        """What a policy keeps to before it is retrained, so that it still keeps to this one afterwards.

        Accumulators are sized for a network's own weights, and the adders in them take LUT.
        """
        return replace(self, lut_spared=LUT_SPARED)

    @property
    def max_cycles(self) -> int:
        """Cycles a frame that no node may exceed."""
        return cycles_at(self.min_fps, self.board.clock_mhz)

    def violation(self, estimate: Estimate) -> float:
        """How far an estimate is from keeping to it; at most 0 if it keeps (Optuna's sign).

        It is the largest relative excess over the frame rate and the limit of each resource.
        """
        over = [share - 1 for share in estimate.resources.share_of(self.limits).values()]
        worst = max(self.min_fps / estimate.fps - 1, *over)
        return worst if worst > ROUNDING else min(worst, 0.0)

    def describe(self, estimate: Estimate) -> str:
        """What to say of an estimate in a table: that it fits, or what is in the way."""
        if self.violation(estimate) <= 0:
            return "fits"
        what, share = estimate.resources.scarcest(self.limits)
        if share > 1 + ROUNDING:
            used, limit = getattr(estimate.resources, what), getattr(self.limits, what)
            return f"does not fit: {used:,.0f} of {limit:,.0f} {what.upper()}"
        return f"too slow: {estimate.fps:,.0f} fps"


def reach_under(constraint: Constraint, tables: CostTables, calibration: Calibration | None = None) -> Reach:
    """The bits that can still meet a constraint, layer by layer.

    With a calibration they meet it with the largest factors that any policy gets.

    Raises:
        ConstraintError: no policy meets it; the text holds the best figure that can be reached.
    """
    factors = calibration.largest if calibration else {}
    limits = before_factors(constraint.limits, factors)
    slower = factors.get(INTERVAL, 1.0)
    reach = Reach(tables, limits, replace(constraint, min_fps=constraint.min_fps * slower).max_cycles)
    if not reach.is_feasible:
        cycles = fewest_cycles(tables, limits)
        where = f"within {constraint.max_utilisation:.0%} of a {constraint.board.title}"
        if calibration:
            where += f" by calibration {calibration.digest}"
        if cycles is None:
            raise ConstraintError(f"no policy fits {where} at any frame rate; raise MAX_UTIL or take a larger board")
        best = constraint.board.clock_mhz * 1e6 / (cycles * slower)
        raise ConstraintError(
            f"no policy reaches {constraint.min_fps:,.0f} fps {where}; the most that any reaches is {best:,.0f} fps; "
            f"set MIN_FPS to {int(best)} or less, or raise MAX_UTIL"
        )
    return reach
