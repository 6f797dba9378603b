"""The constraint: its limits, its sign, its words, and what is said where no policy meets it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.board import Resources
from flow.constraint import LUT_SPARED, Constraint, reach_under
from flow.errors import ConstraintError, SettingsError
from tests.flow_fakes import BOARD, CONSTRAINT, SPECS, SimulatedTables, all_policies, estimate_of, meets_constraint

TABLES = SimulatedTables.of(SPECS)


def reach(min_fps: float, max_utilisation: float) -> None:
    reach_under(Constraint(BOARD, min_fps, max_utilisation), TABLES)  # type: ignore[arg-type]


def test_limits_are_a_share_of_the_boards_capacity() -> None:
    assert Constraint(BOARD, 1.0, 0.5).limits == Resources(lut=200, ff=500, bram18=4.5, dsp=5)


def test_a_trial_leaves_some_lut_for_what_retraining_takes_and_nothing_else() -> None:
    whole, trial = CONSTRAINT.limits, CONSTRAINT.of_a_trial.limits
    assert trial == replace(whole, lut=whole.lut * (1 - LUT_SPARED))
    assert CONSTRAINT.of_a_trial.max_cycles == CONSTRAINT.max_cycles


def test_max_cycles_are_those_of_the_frame_rate_at_the_boards_clock() -> None:
    assert Constraint(replace(BOARD, clock_mhz=100.0), 1000.0, 0.5).max_cycles == 100_000


@pytest.mark.parametrize(
    ("figures", "violation"),
    [
        ({"fps": 3000.0, "lut": 300.0, "bram18": 4.0}, 3000 / (1e6 / 333) - 1),  # 333 cycles are a little faster
        ({"fps": 1500.0, "lut": 100.0, "bram18": 4.0}, 3000 / (1e6 / 667) - 1),  # half the rate: twice what is wanted
        ({"fps": 5000.0, "lut": 400.0, "bram18": 4.0}, 400 / 320 - 1),
        ({"fps": 5000.0, "lut": 100.0, "bram18": 9.0}, 9 / 7.2 - 1),
        ({"fps": 2000.0, "lut": 800.0, "bram18": 9.0}, 800 / 320 - 1),  # the largest excess counts
    ],
)
def test_violation_is_the_largest_relative_excess(figures: dict[str, float], violation: float) -> None:
    assert CONSTRAINT.violation(estimate_of(**figures)) == pytest.approx(violation)


@given(st.floats(100, 20_000), st.floats(0, 700), st.floats(0, 14))
def test_at_most_zero_means_that_it_fits(fps: float, lut: float, bram18: float) -> None:
    estimate = estimate_of(fps, lut, bram18)
    fits = estimate.resources <= CONSTRAINT.limits and estimate.fps >= CONSTRAINT.min_fps
    assert (CONSTRAINT.violation(estimate) <= 1e-12) == fits


def test_what_is_said_of_an_estimate() -> None:
    assert CONSTRAINT.describe(estimate_of()) == "fits"
    assert CONSTRAINT.describe(estimate_of(lut=1234.0)) == "does not fit: 1,234 of 320 LUT"
    assert CONSTRAINT.describe(estimate_of(bram18=9.0)) == "does not fit: 9 of 7 BRAM18"
    assert CONSTRAINT.describe(estimate_of(fps=2500.0)) == "too slow: 2,500 fps"


@pytest.mark.parametrize(("value", "said"), [(0.0, "0"), (-5.0, "-5"), (math.nan, "nan"), (math.inf, "inf")])
def test_a_frame_rate_outside_its_range_is_refused(value: float, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^MIN_FPS is {said}; a frame rate above 0 is wanted$"):
        Constraint(BOARD, value, 0.5)


@pytest.mark.parametrize(("value", "said"), [(0.0, "0"), (1.01, "1.01"), (-1.0, "-1"), (math.nan, "nan"), (math.inf, "inf")])
def test_a_share_outside_its_range_is_refused(value: float, said: str) -> None:
    with pytest.raises(SettingsError, match=f"^MAX_UTIL is {said}; a share above 0 and at most 1 is wanted$"):
        Constraint(BOARD, 1.0, value)


def test_the_whole_board_may_be_used() -> None:
    assert Constraint(BOARD, 1.0, 1.0).limits == BOARD.capacity


def test_a_constraint_that_can_be_met_gives_its_reach() -> None:
    assert reach_under(CONSTRAINT, TABLES).feasible_bits()  # type: ignore[arg-type]


def test_too_high_a_frame_rate_is_refused_with_the_best_there_is() -> None:
    with pytest.raises(ConstraintError) as caught:
        reach(1e6, 0.8)
    assert str(caught.value) == (
        "no policy reaches 1,000,000 fps within 80% of a tiny board; the most that any reaches is 6,944 fps; "
        "set MIN_FPS to 6944 or less, or raise MAX_UTIL"
    )


def test_the_best_there_is_can_be_reached_and_nothing_above_it() -> None:
    reach(6944, 0.8)
    slower = Constraint(BOARD, 6944, 0.8)
    assert any(meets_constraint(p, slower) for p in all_policies((1, 2)))
    faster = Constraint(BOARD, 6945, 0.8)
    assert not any(meets_constraint(p, faster) for p in all_policies((1, 2)))


def test_too_small_a_share_is_refused() -> None:
    with pytest.raises(ConstraintError) as caught:
        reach(100, 0.01)
    assert str(caught.value) == (
        "no policy fits within 1% of a tiny board at any frame rate; raise MAX_UTIL or take a larger board"
    )
