"""The Pareto front: its definition, trial by trial, against a front found by comparing everything with everything."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.board import Resources
from flow.pareto import pareto_document, pareto_front, utilisation
from flow.trial import Trial
from tests.flow_fakes import BOARD, estimate_of, policy_of

CAPACITY = BOARD.capacity
POLICY = policy_of((3, 2), (4, 1), (8, None))
LEVELS = st.integers(1, 4)  # few, so that ties are frequent


def trial(number: int, accuracy: float, fps: float, lut: float) -> Trial:
    return Trial(number, POLICY, estimate_of(fps, lut), accuracy, accuracy, seed=0, duration_s=1.0)


def objectives(t: Trial) -> tuple[float, float, float]:
    return t.accuracy, t.estimate.fps, -utilisation(t.estimate.resources, CAPACITY)


def dominates(one: Trial, other: Trial) -> bool:
    a, b = objectives(one), objectives(other)
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@st.composite
def some_trials(draw: st.DrawFn) -> list[Trial]:
    levels = draw(st.lists(st.tuples(LEVELS, LEVELS, LEVELS), max_size=25))
    made = [trial(i, a / 10, 2500.0 * f, 200.0 + 40 * u) for i, (a, f, u) in enumerate(levels)]
    return draw(st.permutations(made))


@given(some_trials())
def test_the_front_is_what_nothing_dominates_with_ties_once(trials: list[Trial]) -> None:
    front = pareto_front(trials, CAPACITY)
    left = {objectives(t) for t in trials if not any(dominates(o, t) for o in trials)}
    assert {objectives(t) for t in front} == left
    assert len(front) == len(left)


@given(some_trials())
def test_of_equals_the_first_is_kept(trials: list[Trial]) -> None:
    for kept in pareto_front(trials, CAPACITY):
        assert kept.number == min(t.number for t in trials if objectives(t) == objectives(kept))


@given(some_trials())
def test_the_order_of_the_trials_does_not_matter_and_the_most_accurate_comes_first(trials: list[Trial]) -> None:
    front = pareto_front(trials, CAPACITY)
    assert front == pareto_front(reversed(trials), CAPACITY)
    assert [t.accuracy for t in front] == sorted((t.accuracy for t in front), reverse=True)


@given(some_trials())
def test_the_front_of_a_front_is_itself(trials: list[Trial]) -> None:
    front = pareto_front(trials, CAPACITY)
    assert pareto_front(front, CAPACITY) == front


@pytest.mark.parametrize("why", [{"stopped_at": "512 images"}, {"failure": "memory ran out", "accuracy": 0.0}])
def test_what_was_stopped_early_or_failed_is_left_out(why: dict[str, Any]) -> None:
    whole, left_out = trial(0, 0.5, 2500.0, 240.0), replace(trial(1, 0.9, 5000.0, 24.0), **why)
    assert pareto_front([whole, left_out], CAPACITY) == (whole,)


def test_utilisation_is_the_largest_share() -> None:
    assert utilisation(Resources(lut=100, bram18=9), CAPACITY) == 1.0
    assert utilisation(Resources(lut=100), CAPACITY) == 0.25
    assert utilisation(Resources(dsp=1), Resources(lut=1)) == float("inf")


def test_the_document() -> None:
    trials = [trial(0, 0.8, 2500.0, 240.0), trial(1, 0.9, 2500.0, 240.0), trial(2, 0.7, 5000.0, 240.0)]
    document = pareto_document(trials, BOARD)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["format"], document["board"]) == (1, "pynq-z2")
    first, second = document["front"]
    assert (first["trial"], second["trial"]) == (1, 2)
    assert first["resources"]["lut"] == 240.0
    assert first["policy"]["fc1"] == {"weight": 8, "act": None}
    assert first["policy_digest"] == POLICY.digest
    assert (first["scarcest"], first["utilisation"]) == ("lut", 0.6)
