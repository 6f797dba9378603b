"""Actors and critics of stable-baselines3 that learn from a replay buffer: DDPG, the reference, TD3 and SAC."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from stable_baselines3 import DDPG, SAC, TD3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed

from flow.decision import Decision, Decisions
from flow.env import BitwidthEnv
from flow.searchers.space import History, PolicySpace
from flow.searchers.stripping import Stripping
from flow.searchers.walks import truncated_normal, walk
from models.policy import BitPolicy


class DDPGSearcher:
    """Deep deterministic policy gradient, from stable-baselines3, with the sizes of HAQ: the reference.

    The first episodes are uniformly random; then the actor acts with truncated Gaussian noise that
    fades episode by episode. As in HAQ (Wang et al., "HAQ", CVPR 2019: two hidden layers of 300,
    batches of 64, soft update 0.01, memory of 128 episodes), every decision of an episode is credited
    with its reward, less a moving average of the rewards so far. As nothing is discounted, that is
    the return of every decision, and the critic learns it as it is: bootstrapped from the critic
    itself it would have to travel from the last layer to the first, for which a few dozen episodes
    are not enough. For the same reason there are more gradient steps an episode than in HAQ, which
    has 600 episodes, 10 random episodes instead of 20, noise that fades by 5 % an episode instead of 1 %,
    an actor that learns with 1e-3 as the critic does instead of 1e-4, a baseline that keeps 0.95 of
    itself instead of 0.5, and noise of 0.5 in -1..1, which is half as much as 0.5 in HAQ's 0..1.
    `flow.searchers.recipes` has HAQ as published.

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

    algorithm: ClassVar[type[OffPolicyAlgorithm]] = DDPG

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._space = PolicySpace(decisions)
        self._history = History()
        self._rewards = np.zeros(self.MEMORY)
        self._baseline = 0.0
        self._agent = self.algorithm(
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

    @property
    def _n_told(self) -> int:
        return len(self._history)

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        if self._n_told < self.WARM_UP:
            return walk(self._decisions, lambda _: self._rng.uniform(-1, 1, 2))
        return walk(self._decisions, self._act)

    def _act(self, observation: NDArray[np.float32]) -> NDArray[np.floating]:
        """The actor's action for what it sees, (2,), with its exploration."""
        action, _ = self._agent.predict(observation, deterministic=True)
        return truncated_normal(self._rng, action, self.NOISE * self.NOISE_DECAY ** (self._n_told - self.WARM_UP))

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; gradient steps begin with the last of the random episodes."""
        path = self._path(policy)
        n = self._n_told
        self._keep(path, n, self._history.add(self._space.vector(policy), reward))
        if n + 1 >= self.WARM_UP:
            # the buffer draws from NumPy's global generator: seed it, or what others drew meanwhile would matter
            set_random_seed(self._seed + n + 1)
            self._agent.train(gradient_steps=self.STEPS_A_LAYER * self._decisions.n_layers, batch_size=self.BATCH_SIZE)

    def _path(self, policy: BitPolicy) -> list[Decision]:
        """The decisions that led to a policy."""
        return self._decisions.replay(policy)

    def _keep(self, path: Sequence[Decision], n: int, reward: float) -> None:
        """Put episode number `n` into the replay buffer, and set all its rewards against the new baseline."""
        buffer = self._agent.replay_buffer
        if buffer is None:
            raise RuntimeError("stable-baselines3 made no replay buffer")
        for step in path:  # each ends an episode of its own, as its return is known
            buffer.add(step.observation, step.next_observation, step.action, np.zeros(1), np.ones(1), [{}])
        self._rewards[n % self.MEMORY] = reward
        decay = self.BASELINE_DECAY if n else 0.0
        self._baseline = decay * self._baseline + (1 - decay) * reward
        buffer.rewards[:, 0] = self.REWARD_SCALE * np.repeat(self._rewards - self._baseline, len(path))


class BlindDDPGSearcher(DDPGSearcher):
    """An ablation of DDPG: its state lacks the standard deviation of the weights."""

    def __init__(self, decisions: Decisions, seed: int) -> None:
        super().__init__(decisions.blind_to("weight_std"), seed)


class StrippingDDPGSearcher(DDPGSearcher):
    """An ablation of DDPG: no limits step by step; bits are stripped at the end of an episode, as HAQ does.

    What is learned from is what the actor chose, not what stripping made of it.
    """

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._stripping = Stripping(decisions)
        self._chosen: defaultdict[BitPolicy, deque[BitPolicy]] = defaultdict(deque)  # each time it was asked
        super().__init__(self._stripping.unlimited, seed)

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        chosen = super().ask()
        policy = self._stripping.strip(chosen)
        self._chosen[policy].append(chosen)
        return policy

    def _path(self, policy: BitPolicy) -> list[Decision]:
        chosen = self._chosen.get(policy)
        return super()._path(chosen.popleft() if chosen else policy)


class TD3Searcher(DDPGSearcher):
    """Twin delayed deep deterministic policy gradient (Fujimoto et al., ICML 2018): all else as in `DDPGSearcher`."""

    algorithm = TD3


class SACSearcher(DDPGSearcher):
    """Soft actor and critic (Haarnoja et al., ICML 2018): all else as in `DDPGSearcher`, but that it explores by itself."""

    algorithm = SAC

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        set_random_seed(int(self._rng.integers(2**31)))  # the actor draws from torch's global generator
        return super().ask()

    def _act(self, observation: NDArray[np.float32]) -> NDArray[np.floating]:
        action, _ = self._agent.predict(observation, deterministic=False)
        return action
