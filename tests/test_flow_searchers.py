"""Searchers: one contract for all of them, and that DDPG learns."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from stable_baselines3 import DDPG
from stable_baselines3.common.utils import set_random_seed

from flow.env import BitwidthEnv
from flow.errors import ConstraintError, PolicyError, SettingsError
from flow.searchers import SEARCHERS, DDPGSearcher, RandomSearcher, Searcher, check_searcher
from flow.searchers.walks import truncated_normal
from models.policy import BitPolicy, LayerBits
from tests.flow_fakes import decisions, made_up_accuracy, meets_constraint, policy_of

N = DDPGSearcher.WARM_UP + 4


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


class SearcherContract:
    """What every searcher keeps to; a subclass names its class."""

    searcher: Callable[..., Searcher]

    def make(self, seed: int = 0) -> Searcher:
        return type(self).searcher(decisions(), seed)

    def test_every_proposed_policy_meets_the_constraint(self) -> None:
        assert all(meets_constraint(p) for p in run(self.make(), N))

    def test_the_same_seed_and_rewards_give_the_same_policies(self) -> None:
        assert run(self.make(3), N) == run(self.make(3), N, disturb_global_generators)

    def test_another_seed_gives_other_policies(self) -> None:
        assert run(self.make(3), N) != run(self.make(4), N)

    def test_going_on_after_being_told_again(self) -> None:
        """As a search resumes: asked and told as before, a new searcher is where the old one was."""
        whole = run(self.make(1), N)
        again = self.make(1)
        for policy in whole[:-2]:
            again.ask()
            disturb_global_generators()
            again.tell(policy, made_up_accuracy(policy))
        assert run(again, 2) == whole[-2:]

    def test_it_can_be_told_of_a_policy_it_did_not_propose(self) -> None:
        searcher = self.make()
        for _ in range(N):
            searcher.tell(policy_of((1, 1), (2, 2), (3, None)), 0.5)
        assert meets_constraint(searcher.ask())

    def test_asking_twice_without_telling_is_allowed(self) -> None:
        searcher = self.make()
        assert searcher.ask() != searcher.ask()


class TestRandomSearcher(SearcherContract):
    searcher = RandomSearcher

    def test_it_reaches_all_widths(self) -> None:
        policies = run(self.make(), 200)
        assert {p["fc1"].weight for p in policies} == set(range(1, 9))
        assert {p["fc0"].act for p in policies} == set(range(1, 9))


class TestDDPGSearcher(SearcherContract):
    searcher = DDPGSearcher

    def test_it_refuses_to_learn_from_what_no_episode_leads_to(self) -> None:
        with pytest.raises(PolicyError, match="the policy does not fit the network"):
            self.make().tell(BitPolicy({"conv0": LayerBits(1, 1)}), 0.5)
        with pytest.raises(ConstraintError, match="W8A8 in layer conv0 cannot meet the constraint"):
            self.make().tell(policy_of((8, 8), (1, 1), (1, None)), 0.5)


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


def test_draws_stay_in_range_without_heaping_up_at_the_ends() -> None:
    searcher = DDPGSearcher(decisions(), 0)
    draws = np.array([truncated_normal(searcher._rng, np.array([0.9, -1.0]), 0.5) for _ in range(500)])
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


def test_searchers_are_known_by_name() -> None:
    assert {"ddpg": DDPGSearcher, "random": RandomSearcher} == SEARCHERS
    for name in SEARCHERS:
        check_searcher(name)
    with pytest.raises(SettingsError) as caught:
        check_searcher("ddgp")
    assert str(caught.value) == "unknown searcher 'ddgp'; did you mean 'ddpg'? There are ddpg, random"
