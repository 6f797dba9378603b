"""What is sought: what searchers are told, how trials rank, and that a search finds what it seeks."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.constraint import ANY_FPS, Constraint
from flow.frugality import Frugal
from flow.objective import Goal, Objective
from flow.searchers import Aiming, ModelBasedSearcher, make_searcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import InProcess
from hls.estimators import TableEstimator
from models.policy import BitPolicy
from tests.flow_fakes import (
    BOARD,
    CONSTRAINT,
    SPECS,
    SimulatedEvaluator,
    SimulatedTables,
    all_policies,
    decisions,
    estimate_of,
    made_up_accuracy,
    policy_of,
)

SHARE = st.floats(0.0, 1.0)
COST = st.floats(1e-6, 1e6)
FLOOR = 0.8
OTHERS = [Goal.FPS, Goal.LATENCY, Goal.UTILISATION]
LIMITS = CONSTRAINT.limits


def told(goal: Goal, accuracy: float, cost: float, reference: float = 1.0) -> float:
    objective = Objective(goal, None if goal is Goal.ACCURACY else FLOOR)
    return float(objective.rewards(np.array([accuracy]), np.array([cost]), reference)[0])


@given(SHARE, COST)
def test_where_the_accuracy_is_sought_it_is_the_reward(accuracy: float, cost: float) -> None:
    assert told(Goal.ACCURACY, accuracy, cost) == accuracy


@given(st.sampled_from(OTHERS), SHARE, SHARE, COST, COST)
def test_an_accuracy_below_the_floor_counts_before_any_cost(goal: Goal, a: float, b: float, cost: float, other: float) -> None:
    one, two = told(goal, a, cost), told(goal, b, other)
    assert -1 <= one <= 1
    if a < FLOOR <= b:
        assert one < 0 <= two
    elif a < b < FLOOR:
        assert one <= two
    elif min(a, b) >= FLOOR and cost < other * 0.999:
        assert one >= two
    assert told(goal, 0.9, 1.0) == 0.5


def test_costs_are_of_what_is_sought() -> None:
    estimate = estimate_of(fps=2000.0, lut=160.0, bram18=1.0)  # of 320 LUT and 7.2 block RAM
    assert Objective(Goal.FPS, FLOOR).cost(estimate, LIMITS) == pytest.approx(1 / 2000)
    assert Objective(Goal.LATENCY, FLOOR).cost(estimate, LIMITS) == estimate.latency_ms
    assert Objective(Goal.UTILISATION, FLOOR).cost(estimate, LIMITS) == pytest.approx(0.5)


def trial(number: int, accuracy: float, fps: float = 5000.0, lut: float = 100.0, stopped_at: str | None = None) -> Trial:
    policy = policy_of((1 + number % 8, 2), (3, 4), (5, None))
    return Trial(number, policy, estimate_of(fps, lut), accuracy, accuracy, 3, 1.5, {}, stopped_at)


def best(objective: Objective, *trials: Trial) -> int:
    return max(trials, key=lambda t: objective.rank(t, LIMITS)).number


def test_the_most_accurate_trial_is_the_best_then_the_fastest_then_the_first() -> None:
    trials = [trial(0, 0.5), trial(1, 0.7, 4000.0), trial(2, 0.7, 6000.0), trial(3, 0.7, 6000.0)]
    assert best(Objective(), *trials) == 2
    assert best(Objective(), *trials[:2]) == 1
    assert best(Objective(), *trials, trial(4, 0.99, stopped_at="quantized")) == 2


def test_where_something_else_is_sought_the_floor_comes_first() -> None:
    trials = [trial(0, 0.79, 9000.0, 10.0), trial(1, 0.8, 6000.0, 50.0), trial(2, 0.95, 5000.0, 20.0)]
    assert best(Objective(Goal.FPS, FLOOR), *trials) == 1
    assert best(Objective(Goal.LATENCY, FLOOR), *trials) == 1
    assert best(Objective(Goal.UTILISATION, FLOOR), trial(0, 0.79, lut=10.0), trial(1, 0.8, lut=250.0), trial(2, 0.9)) == 2
    assert best(Objective(Goal.FPS, FLOOR), trial(0, 0.5, 9000.0), trial(1, 0.6)) == 1
    again = Objective(Goal.FPS, FLOOR).rank(trials[1], LIMITS, 0.7)
    assert again < Objective(Goal.FPS, FLOOR).rank(trials[2], LIMITS)


def test_it_says_in_words_what_it_is() -> None:
    assert Objective().describe() == "the highest accuracy"
    assert Objective(Goal.FPS, 0.9).describe() == "the highest frame rate at 90.00% or more on the search split"


def test_the_leanest_accelerator_reaches_the_frame_rate_with_the_least_of_its_scarcest_resource() -> None:
    tables = SimulatedTables.of(SPECS)
    fastest = TableEstimator(tables, BOARD)  # type: ignore[arg-type]
    frugal, n_leaner = Frugal(fastest, CONSTRAINT.min_fps), 0
    for policy in all_policies((1, 4, 8))[::31]:
        found, fast = frugal.estimate(policy, LIMITS), fastest.estimate(policy, LIMITS)
        designs = [u.scarcest(LIMITS)[1] for cycles, u in tables.designs(policy) if cycles <= CONSTRAINT.max_cycles]
        if not designs:
            assert found == fast
            continue
        assert found.resources.scarcest(LIMITS)[1] == pytest.approx(min(designs))
        n_leaner += found.resources.scarcest(LIMITS)[1] < fast.resources.scarcest(LIMITS)[1] * 0.99
        assert frugal.estimate(policy, LIMITS) is found
    assert n_leaner > 0


# --- searches ------------------------------------------------------------------------------------------------------

ANY = Constraint(BOARD, ANY_FPS, 0.8)
N = ModelBasedSearcher.N_FIRST + 25


def constraint_of(goal: Goal) -> Constraint:
    return CONSTRAINT if goal is Goal.UTILISATION else ANY


@cache
def costs_of_all(goal: Goal) -> dict[BitPolicy, tuple[float, float]]:
    """Accuracy and cost of policies within the constraint."""
    evaluator = SimulatedEvaluator(constraint_of(goal), Objective(goal, FLOOR))
    found = {}
    for policy in all_policies((1, 2, 3, 4, 6, 8)):
        if evaluator.constraint.violation(evaluator.estimator.estimate(policy, evaluator.constraint.limits)) <= 0:
            found[policy] = made_up_accuracy(policy), evaluator.cost(policy)
    return found


def search(goal: Goal, name: str, path: Path, n: int = N, seed: int = 0) -> list[Trial]:
    evaluator = SimulatedEvaluator(constraint_of(goal), Objective(goal, FLOOR))
    searcher = make_searcher(name, decisions(evaluator.constraint), seed)
    return run_trials(searcher, evaluator, InProcess(evaluator), TrialStore(path, "s"), n, lambda _: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("goal", [Goal.FPS, Goal.LATENCY, Goal.UTILISATION])
def test_the_default_finds_nearly_the_best_that_is_accurate_enough(goal: Goal, tmp_path: Path) -> None:
    trials = search(goal, "model-based", tmp_path / "t.db")
    objective = Objective(goal, FLOOR)
    found = max(trials, key=lambda t: objective.rank(t, LIMITS))
    assert found.accuracy >= FLOOR
    costs = sorted(cost for accuracy, cost in costs_of_all(goal).values() if accuracy >= FLOOR)
    better = np.searchsorted(costs, objective.cost(found.estimate, constraint_of(goal).limits) * (1 - 1e-9)) / len(costs)
    assert better < 0.05


@pytest.mark.parametrize("name", ["ddpg", "tpe", "random"])
def test_searchers_that_cannot_aim_are_told_what_it_is_worth(name: str, tmp_path: Path) -> None:
    trials = search(Goal.FPS, name, tmp_path / "t.db", 6)
    evaluator = SimulatedEvaluator(ANY, Objective(Goal.FPS, FLOOR))
    for t in trials:
        assert t.reward == pytest.approx(evaluator.reward(evaluator.score(t.policy)))
        assert (t.reward < 0) == (t.accuracy < FLOOR)


def test_a_search_that_aims_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    def essence(trials: list[Trial]) -> list[tuple[object, ...]]:
        return [(t.policy, t.accuracy, t.reward) for t in trials]

    n = ModelBasedSearcher.N_FIRST + 3
    whole = search(Goal.LATENCY, "model-based", tmp_path / "whole.db", n)
    search(Goal.LATENCY, "model-based", tmp_path / "parts.db", n - 2)
    assert essence(search(Goal.LATENCY, "model-based", tmp_path / "parts.db", n)) == essence(whole)
    assert isinstance(ModelBasedSearcher(decisions(ANY), 0), Aiming)
