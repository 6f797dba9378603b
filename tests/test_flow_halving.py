"""Successive halving: who goes on, what is guessed of those that do not, and that a search with it can be gone on with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flow.halving import FEW, NORMS, PROMOTED, QUANTIZED, Climb, Halving

ACCURACIES = st.lists(st.floats(0.0, 1.0), min_size=FEW, max_size=40)


def filled(accuracies: list[float], gain: float = 0.0, floor: float | None = None) -> Halving:
    halving = Halving(floor)
    for a in accuracies:
        halving.take_in(Climb({QUANTIZED: a}, min(1.0, a + gain)))
    return halving


def test_the_first_trials_all_go_on() -> None:
    halving = Halving()
    for _ in range(FEW):
        assert halving.goes_on(QUANTIZED, 0.0)
        halving.take_in(Climb({QUANTIZED: 0.9}, 0.9))
    assert not halving.goes_on(QUANTIZED, 0.0)
    assert halving.goes_on(NORMS, 0.0)  # no trial was there yet


@given(ACCURACIES, st.floats(0.0, 1.0))
def test_no_more_than_the_share_goes_on(before: list[float], accuracy: float) -> None:
    halving = filled(before)
    n_better = sum(a > accuracy for a in before)
    assert halving.goes_on(QUANTIZED, accuracy) == (n_better < PROMOTED[QUANTIZED] * (len(before) + 1))
    assert halving.goes_on(QUANTIZED, 1.0)


@given(ACCURACIES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_floor_stops_nobody_who_would_go_on_without_it(before: list[float], accuracy: float, floor: float) -> None:
    halving = filled(before, floor=floor)
    if filled(before).goes_on(QUANTIZED, accuracy):
        assert halving.goes_on(QUANTIZED, accuracy)
    if halving.guess(QUANTIZED, accuracy) >= floor:
        assert halving.goes_on(QUANTIZED, accuracy)


def test_what_guesses_are_off_by_is_left_to_a_trial_at_the_floor() -> None:
    lower, sure, unsure = Halving(0.55), Halving(0.65), Halving(0.65)
    for i in range(FEW):
        at_rung = 0.5 + i / 20
        for halving, off in ((lower, 0.0), (sure, 0.0), (unsure, 0.04 * (-1) ** (i // 2))):
            halving.take_in(Climb({QUANTIZED: at_rung}, at_rung + 0.1 + off))
    assert lower.goes_on(QUANTIZED, 0.5)
    assert not sure.goes_on(QUANTIZED, 0.5)
    assert unsure.goes_on(QUANTIZED, 0.5)
    assert not unsure.goes_on(QUANTIZED, 0.3)


@given(ACCURACIES, st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_guess_is_an_accuracy_that_rises_and_promises_no_more_than_was_seen(before: list[float], a: float, b: float) -> None:
    halving = filled(before, gain=0.1)
    low, high = (halving.guess(QUANTIZED, x) for x in sorted((a, b)))
    assert 0 <= low <= high <= max(min(1.0, x + 0.1) for x in before) + 1e-12


def test_a_guess_is_on_the_line_through_the_whole_trials() -> None:
    halving = Halving()
    for a in (0.2, 0.4, 0.6, 0.8):
        halving.take_in(Climb({QUANTIZED: a}, 0.5 + a / 2))
    halving.take_in(Climb({QUANTIZED: 0.1}, None))  # was stopped: says nothing of the end
    assert abs(halving.guess(QUANTIZED, 0.3) - 0.65) < 1e-12
    assert halving.guess(NORMS, 0.3) == 0.3
