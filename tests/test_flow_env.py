"""The Gymnasium environment: Gymnasium's own check, and that no action leads out of the constraint."""

from __future__ import annotations

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st

from flow.decision import FEATURES
from flow.env import BitwidthEnv
from models.policy import BitPolicy
from tests.flow_fakes import SPECS, all_policies, decisions, made_up_accuracy, meets_constraint

ACTION = st.tuples(st.floats(-1, 1, width=32), st.floats(-1, 1, width=32))


@pytest.fixture
def env() -> BitwidthEnv:
    return BitwidthEnv(decisions(), made_up_accuracy)


def rollout(env: gymnasium.Env, actions: list[np.ndarray]) -> list[tuple]:
    env.reset(seed=0)
    return [env.step(action) for action in actions]


def test_gymnasiums_check_passes_without_a_warning(env: BitwidthEnv) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env, skip_render_check=True)  # without a spec there is no telling of render modes


def test_the_registered_environment_passes_the_check_too() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gymnasium.make("flow:flow/Bitwidth-v0", decisions=decisions(), evaluate=made_up_accuracy)
        assert isinstance(made.unwrapped, BitwidthEnv)
        check_env(made.unwrapped)
        made.reset(seed=1)
        *_, terminated, truncated, info = [made.step(made.action_space.sample()) for _ in SPECS][-1]
    assert (terminated, truncated, list(info)) == (True, False, ["policy"])


def test_spaces_are_as_documented(env: BitwidthEnv) -> None:
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
    assert env.observation_space == gymnasium.spaces.Box(0.0, 1.0, (len(FEATURES),), np.float32)
    assert len(FEATURES) == 14


def test_the_reward_comes_with_the_last_layer_and_only_then(env: BitwidthEnv) -> None:
    steps = rollout(env, [np.zeros(2, np.float32)] * 3)
    policy = BitPolicy.from_json(steps[-1][4]["policy"])
    assert list(policy) == [s.name for s in SPECS]
    assert [s[1] for s in steps] == [0.0, 0.0, made_up_accuracy(policy)]
    assert [s[2] for s in steps] == [False, False, True]
    assert not any(s[3] for s in steps)
    assert [s[4] for s in steps[:2]] == [{}, {}]


def test_only_the_finished_policy_is_evaluated() -> None:
    asked: list[BitPolicy] = []
    env = BitwidthEnv(decisions(), lambda policy: asked.append(policy) or 0.5)
    steps = rollout(env, [np.ones(2, np.float32)] * 3)
    assert [p.to_json() for p in asked] == [steps[-1][4]["policy"]]


def test_a_step_without_an_episode_is_refused(env: BitwidthEnv) -> None:
    with pytest.raises(ResetNeeded, match=r"the episode has ended or not begun; call reset\(\) first"):
        env.step(np.zeros(2, np.float32))
    rollout(env, [np.zeros(2, np.float32)] * 3)
    with pytest.raises(ResetNeeded, match="the episode has ended or not begun"):
        env.step(np.zeros(2, np.float32))


def test_reset_in_the_middle_begins_anew(env: BitwidthEnv) -> None:
    first, _ = env.reset(seed=3)
    env.step(np.ones(2, np.float32))
    again, info = env.reset()
    assert np.array_equal(first, again)
    assert info == {}


def test_the_same_actions_give_the_same_episode() -> None:
    rng = np.random.default_rng(5)
    actions = [rng.uniform(-1, 1, 2).astype(np.float32) for _ in SPECS]
    a, b = (rollout(BitwidthEnv(decisions(), made_up_accuracy), actions) for _ in range(2))
    for (seen_a, *rest_a), (seen_b, *rest_b) in zip(a, b, strict=True):
        assert np.array_equal(seen_a, seen_b)
        assert rest_a == rest_b


@given(st.lists(ACTION, min_size=3, max_size=3))
def test_every_action_leads_to_a_policy_that_meets_the_constraint(actions: list[tuple[float, float]]) -> None:
    env = BitwidthEnv(decisions(), made_up_accuracy)
    steps = rollout(env, [np.array(a, np.float32) for a in actions])
    assert all(env.observation_space.contains(s[0]) for s in steps)
    assert meets_constraint(BitPolicy.from_json(steps[-1][4]["policy"]))


def test_the_constraint_is_one_that_excludes_policies() -> None:
    """Else the test above would say nothing."""
    fitting = [meets_constraint(p) for p in all_policies((1, 8))]
    assert any(fitting)
    assert not all(fitting)
