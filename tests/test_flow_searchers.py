"""Searchers: one contract for all of them, how they are found by name, and that DDPG learns."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG
from stable_baselines3.common.utils import set_random_seed

from flow.env import BitwidthEnv
from flow.errors import ConstraintError, PolicyError, SettingsError
from flow.searchers import (
    SEARCHERS,
    DDPGSearcher,
    HAQSearcher,
    ModelBasedSearcher,
    RandomSearcher,
    Searcher,
    Shortlisting,
    StrippingDDPGSearcher,
    ThompsonSearcher,
    check_searcher,
    make_searcher,
)
from flow.searchers.walks import truncated_normal
from models.policy import BitPolicy, LayerBits
from tests.flow_fakes import decisions, made_up_accuracy, meets_constraint, policy_of

N = DDPGSearcher.WARM_UP + 3
LONGER = {"haq": HAQSearcher.WARM_UP + 3, "thompson": ThompsonSearcher.N_FIRST + 3} | dict.fromkeys(
    ("model-based", "model-based-no-actor"), ModelBasedSearcher.N_FIRST + 3
)  # until they have begun to learn
REPEATING = {"ddpg", "ddpg-no-weight-std", "ddpg-no-step-limits", "td3", "sac", "maskable-ppo", "haq", "finn-rl", "random"}
"""Searchers that may propose a policy again: agents that act as they were published, and independent draws."""
SAME_BEGINNING = {"uniform", "greedy", "ilp"}
"""Searchers that begin alike with every seed."""
UNBOUNDED = {"ddpg-no-step-limits", "haq", "finn-rl"}
"""Searchers that choose freely and are made to fit afterwards; they learn from policies that no episode of others leads to."""


def run(searcher: Searcher, n: int, disturb: Callable[[], object] = lambda: None) -> list[BitPolicy]:
    asked = []
    for _ in range(n):
        asked.append(searcher.ask())
        disturb()
        searcher.tell(asked[-1], made_up_accuracy(asked[-1]))
    return asked


def disturb_global_generators() -> None:
    set_random_seed(random.randrange(1000))
    np.random.rand(3)  # noqa: NPY002 - what another library might do
    torch.rand(3)


@pytest.mark.parametrize("name", SEARCHERS)
class TestContract:
    """What every searcher keeps to."""

    @pytest.fixture(autouse=True)
    def _few_steps(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(DDPGSearcher, "STEPS_A_LAYER", 1)  # and of its kin: a contract wants no good agents

    def make(self, name: str, seed: int = 0) -> Searcher:
        return make_searcher(name, decisions(), seed)

    def test_it_is_a_searcher(self, name: str) -> None:
        assert isinstance(self.make(name), Searcher)

    def test_it_goes_on_as_before_when_it_is_told_again(self, name: str) -> None:
        """As a search resumes: asked and told as before, a new searcher is where the old one was, whatever others drew."""
        n = LONGER.get(name, N)
        whole = run(self.make(name, 1), n)
        assert all(meets_constraint(p) for p in whole)
        if name not in REPEATING:
            assert len(set(whole)) == n
        again = self.make(name, 1)
        for policy in whole[:-2]:
            again.ask()
            disturb_global_generators()
            again.tell(policy, made_up_accuracy(policy))
        assert run(again, 2, disturb_global_generators) == whole[-2:]

    def test_another_seed_gives_other_policies(self, name: str) -> None:
        if name not in SAME_BEGINNING:
            assert run(self.make(name, 3), 4) != run(self.make(name, 4), 4)

    def test_it_learns_from_policies_it_did_not_propose_and_from_trials_that_failed(self, name: str) -> None:
        searcher = self.make(name)
        told = [
            policy_of((1, 1), (2, 2), (3, None)),
            policy_of((2, 2), (1, 2), (1, None)),
            policy_of((1, 2), (2, 1), (1, None)),
        ]
        for i in range(LONGER.get(name, N)):
            searcher.tell(told[i % 3], math.nan if i % 4 == 0 else 0.4 + 0.01 * i)
        assert meets_constraint(searcher.ask())
        searcher.tell(searcher.ask(), math.inf)
        assert meets_constraint(searcher.ask())

    def test_asking_twice_without_telling_is_allowed(self, name: str) -> None:
        searcher = self.make(name)
        assert searcher.ask() != searcher.ask()

    def test_it_refuses_what_is_no_policy_of_the_network(self, name: str) -> None:
        with pytest.raises(PolicyError, match="the policy does not fit the network"):
            self.make(name).tell(BitPolicy({"conv0": LayerBits(1, 1)}), 0.5)
        if name not in UNBOUNDED:
            with pytest.raises(ConstraintError, match="W8A8 in layer conv0 cannot meet the constraint"):
                self.make(name).tell(policy_of((8, 8), (1, 1), (1, None)), 0.5)


def test_random_policies_reach_all_widths() -> None:
    policies = run(RandomSearcher(decisions(), 0), 200)
    assert {p["fc1"].weight for p in policies} == set(range(1, 9))
    assert {p["fc0"].act for p in policies} == set(range(1, 9))


def actor_weights(searcher: DDPGSearcher) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in searcher._agent.actor.parameters()])


def few_bits_wanted(policy: BitPolicy) -> float:
    """A toy reward: the fewer bits the better, 1 at best."""
    bits = [b for layer in policy.values() for b in (layer.weight, layer.act or 1)]
    return 1 - sum(b - 1 for b in bits) / (7 * len(bits))


def test_ddpg_learns() -> None:
    searcher = DDPGSearcher(decisions(), 0)
    rewards, before = [], actor_weights(searcher)
    for n in range(40):
        policy = searcher.ask()
        rewards.append(few_bits_wanted(policy))
        searcher.tell(policy, rewards[-1])
        if n < DDPGSearcher.WARM_UP - 1:
            assert torch.equal(actor_weights(searcher), before)
    assert not torch.equal(actor_weights(searcher), before)
    at_random, at_the_end = np.mean(rewards[: DDPGSearcher.WARM_UP]), np.mean(rewards[-10:])
    assert at_the_end > at_random + 0.1


def test_an_agent_without_limits_learns_from_what_it_chose_not_from_what_was_left_of_it() -> None:
    searcher = StrippingDDPGSearcher(decisions(), 0)
    policy = next(p for p in (searcher.ask() for _ in range(50)) if searcher._chosen[p][0] != p)
    chosen = searcher._chosen[policy][0]
    assert not meets_constraint(chosen)
    assert sum(b.weight for b in policy.values()) < sum(b.weight for b in chosen.values())
    wanted = searcher._decisions.replay(chosen)
    searcher.tell(policy, 0.5)
    buffer = searcher._agent.replay_buffer
    assert np.array_equal(buffer.actions[:3, 0], [step.action for step in wanted])


def test_what_led_to_a_policy_is_kept_each_time_it_was_asked_for() -> None:
    """Workers side by side bring the same policy back twice."""
    searcher = StrippingDDPGSearcher(decisions(), 0)
    choices = [policy_of((8, 8), (8, a), (8, None)) for a in (7, 8)]
    policy = searcher._stripping.strip(choices[0])
    searcher._chosen[policy] += choices
    for _ in choices:
        searcher.tell(policy, 0.5)
    wanted = [step.action for chosen in choices for step in searcher._decisions.replay(chosen)]
    buffer = searcher._agent.replay_buffer
    assert np.array_equal(buffer.actions[:6, 0], wanted)


def test_an_agent_blind_to_the_weights_deviation_sees_all_else() -> None:
    seen, blind = decisions().observe(()), decisions().blind_to("weight_std").observe(())
    assert [i for i in range(14) if seen[i] != blind[i]] == [8]
    assert blind[8] == 0.5


@pytest.mark.parametrize("name", ["ddpg", "maskable-ppo", "model-based"])
def test_an_agent_that_is_told_more_of_every_layer_sees_it_behind_all_else(name: str) -> None:
    seen, more = decisions().observe(()), decisions().also_seeing(np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]))
    layer = LayerBits(1, 1)
    assert more.n_features == 16
    assert more.observe(()).tolist() == pytest.approx([*seen, 0.1, 0.9])
    assert more.observe((layer, layer))[14:].tolist() == pytest.approx([0.3, 0.7])
    both = more.blind_to("weight_std").observe((layer,))
    assert both[[8, 14, 15]].tolist() == pytest.approx([0.5, 0.2, 0.8])
    searcher = make_searcher(name, more, 0)
    for _ in range(14):
        searcher.tell(searcher.ask(), 0.5)


def test_draws_stay_in_range_without_heaping_up_at_the_ends() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([truncated_normal(rng, np.array([0.9, -1.0]), 0.5) for _ in range(500)])
    assert np.abs(draws).max() < 1
    assert draws[:, 0].mean() < 0.9
    assert draws[:, 1].mean() > -1


def test_stable_baselines3_learns_on_the_environment_by_itself() -> None:
    """The environment is a plain Gymnasium one: SB3's own loop runs on it."""
    scored: list[BitPolicy] = []

    def evaluate(policy: BitPolicy) -> float:
        scored.append(policy)
        return made_up_accuracy(policy)

    agent = DDPG("MlpPolicy", BitwidthEnv(decisions(), evaluate), learning_starts=9, batch_size=8, seed=0, device="cpu")
    agent.learn(total_timesteps=30)
    assert agent.num_timesteps >= 30
    assert len(scored) == 10
    assert all(meets_constraint(p) for p in scored)
    assert [i["r"] for i in agent.ep_info_buffer] == pytest.approx([made_up_accuracy(p) for p in scored], abs=1e-5)


def test_a_shortlist_is_of_the_policies_told_and_leaves_no_trace() -> None:
    searcher, other = ModelBasedSearcher(decisions(), 2), ModelBasedSearcher(decisions(), 2)
    assert isinstance(searcher, Shortlisting)
    for n in range(20):
        policy = searcher.ask()
        assert policy == other.ask()
        for s in (searcher, other):
            s.tell(policy, made_up_accuracy(policy))
        told = searcher.shortlist(3)
        assert len(told) == min(3, n + 1)
        assert set(told) <= {searcher._space.policy(v) for v in searcher._history.vectors}
    assert made_up_accuracy(told[0]) > made_up_accuracy(policy_of((1, 1), (2, 2), (3, None)))


def test_searchers_are_known_by_name() -> None:
    for name in SEARCHERS:
        check_searcher(name)
    with pytest.raises(SettingsError) as caught:
        check_searcher("ddgp")
    assert str(caught.value).startswith("unknown searcher 'ddgp'; did you mean 'ddpg'? There are model-based, ")
    assert str(caught.value).endswith(", random, and package.module:Class")


OWN = """
from flow.searchers import RandomSearcher

class Mine(RandomSearcher):
    pass

class Deaf:
    def __init__(self, decisions, seed):
        pass
    def ask(self):
        pass

class Wants:
    def __init__(self, everything):
        pass
    ask = tell = __init__

mine = Mine
raise_later = None
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_searchers.py").write_text(OWN)
    (tmp_path / "broken_searchers.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_searchers", raising=False)
    return "own_searchers"


def test_a_class_of_ones_own_is_named_by_its_import_path(own_module: str) -> None:
    check_searcher(f"{own_module}:Mine")
    assert meets_constraint(make_searcher(f"{own_module}:Mine", decisions(), 0).ask())


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("no_such_module:Mine", "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')"),
        ("own_searchers:Other", "cannot be imported (AttributeError: module 'own_searchers' has no attribute 'Other')"),
        ("broken_searchers:Mine", "cannot be imported (ZeroDivisionError: division by zero)"),
        ("own_searchers:Deaf", "is no searcher (it lacks tell)"),
        ("own_searchers:raise_later", "is no searcher (it lacks ask and tell)"),
        (":", "cannot be imported (ValueError: Empty module name)"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_what_is_no_searcher_is_refused_by_name(path: str, says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_searcher(path)
    assert f"SEARCHER={path} {says}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_that_takes_other_arguments_is_refused(own_module: str) -> None:
    with pytest.raises(SettingsError, match=r"own_searchers:Wants cannot be made from \(decisions, seed\)"):
        make_searcher(f"{own_module}:Wants", decisions(), 0)
