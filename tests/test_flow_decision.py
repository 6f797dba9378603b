"""What an agent sees, and what its actions mean."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.decision import FEATURES, Decisions
from flow.errors import ConstraintError, PolicyError, SearcherError
from models.policy import BitPolicy, LayerBits
from tests.flow_fakes import CONSTRAINT, SPECS, SimulatedTables, decisions, policy_of

SHARE = st.floats(0, 1)


def feasible_prefix(shares: list[tuple[float, float]]) -> list[LayerBits]:
    """Layers decided one after the other, each among what is feasible."""
    prefix: list[LayerBits] = []
    for share, _ in shares:
        feasible = decisions().reach.feasible_bits(prefix)
        prefix.append(feasible[min(int(share * len(feasible)), len(feasible) - 1)])
    return prefix


@pytest.mark.parametrize("action", [(math.nan, 0.0), (0.0, math.nan)])
def test_an_agent_that_has_diverged_is_told_so(action: tuple[float, float]) -> None:
    with pytest.raises(SearcherError, match="an action is nan, where -1 to 1 is wanted"):
        decisions().choose([], np.array(action))


@given(st.lists(st.tuples(SHARE, SHARE), max_size=2), SHARE)
def test_action_for_is_the_inverse_of_choose(shares: list[tuple[float, float]], share: float) -> None:
    d, prefix = decisions(), feasible_prefix(shares)
    feasible = d.reach.feasible_bits(prefix)
    bits = feasible[min(int(share * len(feasible)), len(feasible) - 1)]
    action = d.action_for(prefix, bits)
    assert action.shape == (2,)
    assert np.abs(action).max() < 1
    assert d.choose(prefix, action) == bits


@given(st.lists(st.tuples(SHARE, SHARE), max_size=2), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
def test_choose_gives_feasible_bits_and_more_for_more(shares: list[tuple[float, float]], x: float, y: float) -> None:
    d, prefix = decisions(), feasible_prefix(shares)
    bits, more = d.choose(prefix, np.array([x, y])), d.choose(prefix, np.array([x + 0.3, y]))
    assert bits in d.reach.feasible_bits(prefix)
    assert more.weight >= bits.weight


def test_choose_shares_the_range_equally_among_the_widths() -> None:
    class AllOf8:
        def feasible_bits(self, _: object) -> tuple[LayerBits, ...]:
            return tuple(LayerBits(w, a) for w in range(1, 9) for a in range(1, 9))

    d = Decisions(SPECS, AllOf8())  # type: ignore[arg-type]
    picked = [d.choose((), np.array([x, -x])) for x in (-1.0, -0.76, -0.74, 0.0, 0.74, 0.76, 1.0)]
    assert picked == [LayerBits(w, 9 - w if w not in (5,) else 5) for w in (1, 1, 2, 5, 7, 8, 8)]
    assert np.allclose(d.action_for((), LayerBits(1, 8)), [-0.875, 0.875])
    assert np.allclose(d.action_for((), LayerBits(5, 4)), [0.125, -0.125])


def test_bits_that_cannot_meet_the_constraint_have_no_action() -> None:
    with pytest.raises(ConstraintError, match="a policy with W8A8 in layer conv0 cannot meet the constraint") as caught:
        decisions().action_for((), LayerBits(8, 8))
    assert str(caught.value).endswith("if it is from a run of other versions of bitloop or FINN, name another RUN")


def unit(values: list[float]) -> list[float]:
    return [(v - min(values)) / (max(values) - min(values)) for v in values]


def test_observations_re_derived_by_hand() -> None:
    d = decisions()
    prefix = [LayerBits(3, 2), LayerBits(4, 5)]
    log = math.log
    by_hand = {
        "index": [0, 0.5, 1],
        "is_linear": [0, 1, 1],
        "in_channels": unit([log(2), log(16), log(8)]),
        "out_channels": unit([log(4), log(8), log(3)]),
        "kernel_size": [1, 0, 0],
        "in_size": [1, 0, 0],
        "n_params": unit([log(72), log(128), log(24)]),
        "n_macs": unit([log(1152), log(128), log(24)]),
        "weight_std": [0.25, 0, 1],  # 0.3, 0.2, 0.6
        "previous_weight_bits": [1, 3 / 8, 4 / 8],
        "read_act_bits": [1, 2 / 8, 5 / 8],
        "lut_left": [d.reach.leeway(prefix[:n]).lut for n in range(3)],
        "bram18_left": [d.reach.leeway(prefix[:n]).bram18 for n in range(3)],
        "dsp_left": [d.reach.leeway(prefix[:n]).dsp for n in range(3)],
    }
    assert tuple(by_hand) == FEATURES
    for n in range(3):
        seen = d.observe(prefix[:n])
        assert seen.dtype == np.float32
        assert seen.tolist() == pytest.approx([column[n] for column in by_hand.values()], abs=1e-6)


def test_behind_the_last_layer_its_own_features_stay_and_its_accumulator_counts_no_bits() -> None:
    d = decisions()
    prefix = list(policy_of((1, 1), (2, 2), (3, None)).values())
    before, behind = d.observe(prefix[:2]), d.observe(prefix)
    assert np.array_equal(before[:9], behind[:9])
    assert behind[9:11].tolist() == [3 / 8, 0]


def test_what_is_left_shrinks_with_every_bit() -> None:
    d = decisions()
    left = [d.observe([LayerBits(w, 2)])[FEATURES.index("lut_left")] for w in range(1, 9)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]


def test_a_feature_all_layers_share_is_a_half() -> None:
    alike = [replace(s, weight_std=0.1) for s in SPECS]
    d = Decisions(alike, decisions().reach)
    assert d.observe(())[FEATURES.index("weight_std")] == 0.5


@given(st.lists(st.tuples(SHARE, SHARE), min_size=3, max_size=3))
def test_replay_gives_back_the_decisions(shares: list[tuple[float, float]]) -> None:
    d, prefix = decisions(), feasible_prefix(shares)
    policy = d.policy(prefix)
    steps = d.replay(policy)
    assert len(steps) == d.n_layers == 3
    for n, step in enumerate(steps):
        assert d.choose(prefix[:n], step.action) == prefix[n]
        assert np.array_equal(step.observation, d.observe(prefix[:n]))
        assert np.array_equal(step.next_observation, d.observe(prefix[: n + 1]))


def test_replay_refuses_policies_of_other_networks_and_other_constraints() -> None:
    with pytest.raises(
        PolicyError, match="the policy does not fit the network: it lacks fc0, fc1; the layers are conv0, fc0, fc1"
    ):
        decisions().replay(BitPolicy({"conv0": LayerBits(1, 1)}))
    with pytest.raises(ConstraintError, match="W8A8 in layer conv0 cannot meet the constraint"):
        decisions().replay(policy_of((8, 8), (1, 1), (1, None)))


def test_the_tables_of_these_tests_are_what_reach_was_asked_about() -> None:
    assert decisions().reach.tables.layers == SimulatedTables.of(SPECS).layers
    assert CONSTRAINT.max_cycles == 333  # of 1 MHz / 3000 fps
