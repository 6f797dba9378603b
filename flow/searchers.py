"""Searchers: what proposes the next policy and learns from how the last ones did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import DDPG
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed

from flow.decision import Decision, Decisions
from flow.env import BitwidthEnv
from flow.errors import SettingsError
from models.policy import BitPolicy, LayerBits


class Searcher(Protocol):
    """Proposes policies and is told their rewards, one after the other.

    A searcher with the same seed that was told the same rewards proposes the same policies; that is
    how an interrupted search goes on. Every proposed policy can meet the constraint.
    """

    def ask(self) -> BitPolicy:
        """The next policy to evaluate."""
        ...

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """Learn from the reward of a policy, proposed by this searcher or not."""
        ...


class RandomSearcher:
    """Draws every layer's action uniformly: the baseline that an agent has to beat.

    Args:
        decisions: the pass over the layers.
        seed: of the draws.
    """

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._rng = np.random.default_rng(seed)

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        return walk(self._decisions, lambda _: self._rng.uniform(-1, 1, 2))

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; nothing is learned."""


class DDPGSearcher:
    """Deep deterministic policy gradient, from stable-baselines3, with the sizes of HAQ.

    The first episodes are uniformly random; then the actor acts with truncated Gaussian noise that
    fades episode by episode. As in HAQ (Wang et al., "HAQ", CVPR 2019: two hidden layers of 300,
    batches of 64, soft update 0.01, memory of 128 episodes), every decision of an episode is credited
    with its reward, less a moving average of the rewards so far. As nothing is discounted, that is
    the return of every decision, and the critic learns it as it is: bootstrapped from the critic
    itself it would have to travel from the last layer to the first, for which a few dozen episodes
    are not enough. For the same reason there are more gradient steps an episode than in HAQ, which
    has 600 episodes, and the noise fades faster.

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    WARM_UP = 10  # episodes
    NOISE = 0.5  # standard deviation, of actions in -1..1
    NOISE_DECAY = 0.95  # an episode
    BASELINE_DECAY = 0.95  # an episode
    REWARD_SCALE = 10.0  # rewards are accuracies, which differ by hundredths
    STEPS_A_LAYER = 10  # gradient steps an episode, for every layer
    MEMORY = 128  # episodes
    BATCH_SIZE = 64  # decisions

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._n_told = 0
        self._rewards = np.zeros(self.MEMORY)
        self._baseline = 0.0
        self._agent = DDPG(
            "MlpPolicy",
            BitwidthEnv(decisions, lambda _: 0.0),  # for its spaces; this searcher walks on its own
            learning_rate=1e-3,
            buffer_size=self.MEMORY * decisions.n_layers,
            tau=0.01,
            policy_kwargs={"net_arch": [300, 300]},
            seed=seed,
            device="cpu",
        )
        self._agent.set_logger(Logger(None, []))

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        if self._n_told < self.WARM_UP:
            return walk(self._decisions, lambda _: self._rng.uniform(-1, 1, 2))
        sigma = self.NOISE * self.NOISE_DECAY ** (self._n_told - self.WARM_UP)

        def act(observation: NDArray[np.float32]) -> NDArray[np.floating]:
            action, _ = self._agent.predict(observation, deterministic=True)
            return self._truncated_normal(action, sigma)

        return walk(self._decisions, act)

    def _truncated_normal(self, mean: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
        """One draw around `mean` within -1..1, without heaping up at the ends."""
        for _ in range(100):
            draw = self._rng.normal(mean, sigma)
            if np.abs(draw).max() <= 1:
                return draw
        return np.clip(draw, -1, 1)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; gradient steps begin with the last of the random episodes."""
        self._keep(self._decisions.replay(policy), reward)
        self._n_told += 1
        if self._n_told >= self.WARM_UP:
            # the buffer draws from NumPy's global generator: seed it, or what others drew meanwhile would matter
            set_random_seed(self._seed + self._n_told)
            self._agent.train(gradient_steps=self.STEPS_A_LAYER * self._decisions.n_layers, batch_size=self.BATCH_SIZE)

    def _keep(self, path: Sequence[Decision], reward: float) -> None:
        """Put an episode into the replay buffer, and set all its rewards against the new baseline."""
        buffer = self._agent.replay_buffer
        if buffer is None:
            raise RuntimeError("stable-baselines3 made no replay buffer")
        for step in path:  # each ends an episode of its own, as its return is known
            buffer.add(step.observation, step.next_observation, step.action, np.zeros(1), np.ones(1), [{}])
        self._rewards[self._n_told % self.MEMORY] = reward
        decay = self.BASELINE_DECAY if self._n_told else 0.0
        self._baseline = decay * self._baseline + (1 - decay) * reward
        buffer.rewards[:, 0] = self.REWARD_SCALE * np.repeat(self._rewards - self._baseline, len(path))


def walk(decisions: Decisions, act: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> BitPolicy:
    """One pass over the layers with an agent: observation (14,) to action (2,)."""
    prefix: list[LayerBits] = []
    for _ in range(decisions.n_layers):
        prefix.append(decisions.choose(prefix, act(decisions.observe(prefix))))
    return decisions.policy(prefix)


SEARCHERS: dict[str, Callable[[Decisions, int], Searcher]] = {"ddpg": DDPGSearcher, "random": RandomSearcher}


def check_searcher(name: str) -> None:
    """Raise `SettingsError`, with the nearest name, unless there is a searcher of that name."""
    if name not in SEARCHERS:
        near = get_close_matches(name, SEARCHERS, 1, 0.0)
        raise SettingsError(f"unknown searcher {name!r}; did you mean {near[0]!r}? There are {', '.join(SEARCHERS)}")
