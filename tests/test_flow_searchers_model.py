"""What the model-based searcher is made of: space, reward model, guess at what is feasible, local search, actor."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flow.decision import Decisions
from flow.searchers import reward_model
from flow.searchers.climbing import Climber
from flow.searchers.frontier import Frontier
from flow.searchers.imagination import Actor
from flow.searchers.model_based import ModelBasedSearcher
from flow.searchers.reward_model import LinearModel, RewardModel, errors_of
from flow.searchers.sensitivity import IntegerProgramSearcher
from flow.searchers.space import History, PolicySpace, unseen
from flow.tabular import BudgetBounds, Budgets, allowed_bits
from models.errors import PolicyError
from models.policy import BitPolicy, LayerBits
from models.spec import LayerSpec
from tests.flow_fakes import decisions, made_up_accuracy, meets_constraint

N_LAYERS = 5
CHAIN = tuple(
    LayerSpec(
        f"c{i}", i, "conv", 8, 8, 3, 1, 8, 8, n_params=100 * 2**i, n_macs=20_000 // 2**i, weight_std=0.1 + i,
        has_act=i < N_LAYERS - 1,
    )
    for i in range(N_LAYERS)
)  # fmt: skip
VECTOR = st.lists(st.integers(1, 8), min_size=5, max_size=5)


@cache
def chain() -> Decisions:
    levels = [(1, 2, 3, 4, 5, 6, 7, 8)] * (2 * N_LAYERS - 1)
    return Decisions(CHAIN, BudgetBounds(CHAIN, allowed_bits(CHAIN, levels), Budgets(0.15, 0.4)))


def random_vectors(space: PolicySpace, n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [space.draw(rng) for _ in range(n)]


@given(VECTOR)
def test_the_space_contains_what_can_be_reached_and_its_nearest_is_itself(bits: list[int]) -> None:
    space, vector = PolicySpace(decisions()), tuple(bits)
    near = space.nearest(vector)
    assert space.contains(near)
    assert (near == vector) == space.contains(vector)
    if space.contains(vector):
        assert meets_constraint(space.policy(vector))
    assert space.vector(space.policy(vector)) == vector


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_what_is_filled_leaves_nothing_to_raise(seed: int) -> None:
    space, rng = PolicySpace(decisions()), np.random.default_rng(seed)
    vector = space.draw(rng)
    filled = space.filled(vector, rng.permutation(space.n))
    assert all(b >= a for a, b in zip(vector, filled, strict=True))
    raised = [space.raised(filled, i) for i in range(space.n)]
    assert not any(v is not None and space.contains(v) for v in raised)


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_balanced_policies_are_feasible_and_leave_nothing_to_raise(seed: int) -> None:
    space, rng = PolicySpace(chain()), np.random.default_rng(seed)
    vector = space.balanced(rng)
    assert space.contains(vector)
    raised = [space.raised(vector, i) for i in range(space.n)]
    assert not any(v is not None and space.contains(v) for v in raised)


def test_balanced_policies_favour_no_layer_for_coming_first() -> None:
    alike = [replace(spec, n_params=100, n_macs=1000) for spec in CHAIN]
    levels = [(1, 2, 3, 4, 5, 6, 7, 8)] * (2 * N_LAYERS - 1)
    space = PolicySpace(Decisions(alike, BudgetBounds(alike, allowed_bits(alike, levels), Budgets(1.0, 0.3))))
    rng = np.random.default_rng(0)
    drawn, balanced = (np.array([draw(rng)[::2] for _ in range(400)]).mean(axis=0) for draw in (space.draw, space.balanced))
    assert drawn[0] > 2 * drawn[-1]  # of the weights, all that a budget of memory has to do with
    assert balanced.max() < 1.1 * balanced.min()


def test_what_failed_counts_as_the_least_there_is_also_where_it_came_first() -> None:
    history = History()
    assert history.add((1,), math.nan) == 0
    assert history.add((2,), -0.5) == -0.5
    assert history.add((3,), math.nan) == -0.5
    assert history.add((4,), -0.75) == -0.75
    assert history.rewards == [-0.75, -0.5, -0.75, -0.75]
    assert history.best() == [(2,)]


def test_unseen_policies_are_found_until_there_are_none() -> None:
    space = PolicySpace(chain())
    rng = np.random.default_rng(0)
    seen: set[tuple[int, ...]] = set()
    vector = space.draw(rng)
    for _ in range(50):
        new = unseen(space, vector, seen, rng)
        assert new not in seen
        assert space.contains(new)
        seen.add(new)


def rewards_of(vectors: list[tuple[int, ...]]) -> np.ndarray:
    """Nearly a sum of effects, but for one product."""
    x = errors_of(vectors)
    return np.asarray(0.8 - x @ np.linspace(0.02, 0.1, x.shape[1]) - 0.1 * x[:, 0] * x[:, 1])


def fitted_model(n: int = 30, learn: bool = False) -> tuple[RewardModel, np.ndarray, np.ndarray]:
    vectors = random_vectors(PolicySpace(chain()), n)
    model, rewards = RewardModel(), rewards_of(vectors)
    model.fit(vectors, rewards.tolist(), learn)
    return model, np.array(vectors), rewards


@pytest.mark.parametrize("n", [12, 60])
def test_the_model_predicts_policies_it_was_not_told_of(n: int) -> None:
    model, _, rewards = fitted_model(n, learn=True)
    others = random_vectors(PolicySpace(chain()), 40, seed=1)
    error = np.sqrt(((model.mean(others) - rewards_of(others)) ** 2).mean())
    assert error < (0.6 if n == 12 else 0.2) * rewards.std()


def test_what_the_regression_misses_the_process_learns() -> None:
    model, vectors, rewards = fitted_model(60, learn=True)
    linear = LinearModel()
    linear.fit(vectors, rewards)
    error, of_linear = (np.abs(f(vectors) - rewards).mean() for f in (model.mean, linear.mean))
    assert error < 0.9 * of_linear


@pytest.mark.parametrize("n", [12, 30])
def test_samples_are_spread_around_the_mean_and_say_that_bits_do_good(n: int) -> None:
    model, vectors, rewards = fitted_model(n)
    others = random_vectors(PolicySpace(chain()), 40, seed=2)
    rng = np.random.default_rng(0)
    drawn = np.array([model.sample(rng)(others) for _ in range(100)])
    assert np.corrcoef(drawn.mean(axis=0), model.mean(others))[0, 1] > 0.8
    assert (drawn.std(axis=0) > 0.01 * rewards.std()).all()
    linear = LinearModel()
    linear.fit(vectors, rewards)
    for _ in range(20):
        function = linear.sample(rng)
        assert (function(np.minimum(vectors + 1, 8)) >= function(vectors) - 1e-12).all()


def test_draws_become_more_daring_the_more_trials_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    others = random_vectors(PolicySpace(chain()), 40, seed=2)

    def width(n_daring: int) -> float:
        monkeypatch.setattr(reward_model, "DARING", n_daring)
        model, _, _ = fitted_model(60)
        rng = np.random.default_rng(0)
        return float(np.array([model.sample(rng)(others) for _ in range(100)]).std(axis=0).mean())

    assert width(1) == width(60) > 1.1 * width(80) > 1.1 * width(10_000)
    assert width(120) == width(10_000)


def test_a_network_that_broke_down_does_not_hide_the_differences_of_the_others() -> None:
    model, vectors, rewards = fitted_model(30)
    broken = rewards.copy()
    broken[3] = -50.0
    model.fit(vectors.tolist(), broken.tolist(), False)
    kept = np.delete(np.arange(30), 3)
    assert np.corrcoef(model.mean(vectors[kept]), rewards[kept])[0, 1] > 0.8


def test_equal_rewards_are_no_trouble() -> None:
    model = RewardModel()
    model.fit([(1, 2, 3), (2, 3, 4), (1, 2, 3)], [0.5, 0.5, 0.5], True)
    assert np.isfinite(model.mean([(1, 1, 1)])).all()


def test_the_frontier_is_learned_from_answers() -> None:
    space = PolicySpace(chain())
    frontier, rng = Frontier(space), np.random.default_rng(0)

    def near_the_boundary(n: int) -> list[tuple[int, ...]]:
        filled = [space.filled(space.draw(rng), rng.permutation(space.n)) for _ in range(n)]
        raised = [space.raised(v, int(rng.integers(space.n))) for v in filled]
        return filled + [v for v in raised if v is not None]

    for vector in near_the_boundary(100):
        frontier.contains(vector)
    others = near_the_boundary(100)
    truth = np.array([space.contains(v) for v in others])
    assert ((frontier.guess(np.array(others)) > 0) == truth).mean() > 0.85
    pairs, singles, constant = frontier.terms()
    by_hand = [constant + sum(w * v[i] * v[j] for i, j, w in pairs) + sum(w * v[i] for i, w in singles) for v in others]
    assert np.allclose(by_hand, frontier.guess(np.array(others)))


def lost(bits: object) -> np.ndarray:
    return -errors_of(bits) @ np.linspace(1, 3, 2 * N_LAYERS - 1)


def test_climbing_ends_higher_within_what_is_feasible_and_not_on_what_was_seen() -> None:
    space = PolicySpace(chain())
    climber = Climber(space)
    ends = []
    for start in random_vectors(space, 6):
        value, end = climber.climb(start, lost, set(), 60)
        assert end is not None
        assert space.contains(end)
        assert value == pytest.approx(float(lost([end])[0]))
        assert value > float(lost([start])[0])
        other_value, other = climber.climb(start, lost, {end, start}, 60)
        assert other not in {end, start}
        assert other_value <= value + 1e-9 or other is not None
        ends.append(value)
    drawn = [float(lost([v])[0]) for v in random_vectors(space, 500, seed=3)]
    assert np.mean(ends) > max(drawn)


def test_an_actor_that_practises_gets_better_at_what_it_is_rewarded_for() -> None:
    actor, space = Actor(chain(), 0), PolicySpace(chain())
    before, *_ = actor.episodes(64)
    assert all(space.contains(v) for v in before)
    met = actor.practise(lost, 30, 24)
    assert [*lost(met)] == sorted(lost(met), reverse=True)
    after, *_ = actor.episodes(64)
    assert lost(after).mean() > lost(before).mean() + lost(before).std()


def test_the_default_finds_the_best_policy_of_a_small_space() -> None:
    searcher = ModelBasedSearcher(decisions(), 0)
    space = PolicySpace(decisions())
    found: list[BitPolicy] = []
    for _ in range(25):
        found.append(searcher.ask())
        searcher.tell(found[-1], made_up_accuracy(found[-1]))
    every = (v for v in product(range(3, 9), repeat=5) if space.contains(v))  # with fewer bits there is no best one
    best = max(made_up_accuracy(space.policy(v)) for v in every)
    assert max(map(made_up_accuracy, found)) > best - 0.005


@pytest.mark.parametrize("seed", range(3))
def test_the_default_learns_from_policies_it_may_not_choose(seed: int) -> None:
    space = PolicySpace(decisions())
    rng = np.random.default_rng(seed)
    drawn = [tuple(int(rng.choice(of)) for of in space.levels) for _ in range(300)]
    beyond = [space.policy(v) for v in drawn if not space.contains(v)][:40]
    assert len(beyond) == 40

    def best_of_three(searcher: ModelBasedSearcher) -> float:
        accuracies = []
        for _ in range(3):
            policy = searcher.ask()
            assert space.contains(space.vector(policy))
            accuracies.append(made_up_accuracy(policy))
            searcher.tell(policy, accuracies[-1])
            assert set(searcher.shortlist(4)) <= {space.policy(v) for v in searcher._history.vectors}
        return max(accuracies)

    informed, cold = ModelBasedSearcher(decisions(), seed), ModelBasedSearcher(decisions(), seed)
    for policy in beyond:
        informed.inform(policy, made_up_accuracy(policy))
    assert informed.shortlist(4) == []
    assert best_of_three(informed) > best_of_three(cold)
    with pytest.raises(PolicyError):
        informed.inform(BitPolicy({"fc0": LayerBits(1, None)}), 0.5)


def test_an_integer_programs_proposals_fit_and_weigh_sensitivities() -> None:
    searcher = IntegerProgramSearcher(chain(), 0)
    space = searcher._space
    d = space.n
    for wanted in (0, 4):
        sensitivities = np.full(d, 0.01)
        sensitivities[wanted] = 10.0
        vector = searcher._proposed(sensitivities)
        assert space.contains(vector)
        assert vector[wanted] >= max(v[wanted] for v in random_vectors(space, 200)) - 1
