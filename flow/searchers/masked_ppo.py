"""Proximal policy optimisation over discrete bits, with those that are not possible masked out (sb3-contrib)."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed

from flow.decision import Decisions
from flow.searchers.space import History, PolicySpace
from models.policy import MAX_BITS, BitPolicy, LayerBits


class _Spaces(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Only tells the agent what it sees and does; the searcher walks on its own."""

    def __init__(self, n_seen: int) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (n_seen,), np.float32)
        self.action_space = spaces.Discrete(MAX_BITS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        """Nothing begins here."""
        super().reset(seed=seed, options=options)
        return np.zeros(self.observation_space.shape or (), np.float32), {}

    def step(self, action: np.int64) -> Any:
        """Nothing happens here."""
        raise NotImplementedError

    def action_masks(self) -> NDArray[np.bool_]:
        """The agent wants there to be some."""
        return np.ones(MAX_BITS, bool)


class MaskablePPOSearcher:
    """MaskablePPO of sb3-contrib; weights and activations of a layer are decided one after the other.

    It sees what every agent sees, whether it is at the weights or at the activations, and for these the weight's bits. It
    learns every few episodes, as it does by itself.

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    N_EPISODES = 8  # between two updates
    REWARD_SCALE = 10.0  # rewards are accuracies, which differ by hundredths
    BASELINE_DECAY = 0.95  # an episode

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._history = History()
        self._baseline = 0.0
        n_steps = self.N_EPISODES * self._space.n
        self._agent = MaskablePPO(
            "MlpPolicy", _Spaces(decisions.n_features + 2), learning_rate=1e-3, n_steps=n_steps, batch_size=n_steps, gamma=1.0,
            gae_lambda=1.0, ent_coef=0.01, seed=seed, device="cpu",
        )  # fmt: skip
        self._agent.set_logger(Logger(None, []))

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        set_random_seed(int(self._rng.integers(2**31)))  # the agent draws from torch's global generator
        prefix: list[LayerBits] = []
        for spec in self._decisions.specs:
            weight = self._draw(prefix, None)
            prefix.append(LayerBits(weight, self._draw(prefix, weight) if spec.has_act else None))
        return self._decisions.policy(prefix)

    def _draw(self, prefix: list[LayerBits], weight: int | None) -> int:
        seen, mask = self._sees(prefix, weight)
        action, _ = self._agent.predict(seen, deterministic=False, action_masks=mask)
        return int(action) + 1

    def _sees(self, prefix: list[LayerBits], weight: int | None) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """An observation (16,) and which bits are possible (8,)."""
        feasible = self._decisions.feasible(prefix)
        bits = {b.weight for b in feasible} if weight is None else {b.act or 0 for b in feasible if b.weight == weight}
        mask = np.isin(np.arange(1, MAX_BITS + 1), list(bits))
        phase = [float(weight is not None), (weight or 0) / MAX_BITS]
        return np.concatenate([self._decisions.observe(prefix), phase]).astype(np.float32), mask

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; an episode of others counts as if the agent had had it."""
        self._decisions.replay(policy)  # refuses what no episode leads to
        n = len(self._history)
        reward = self._history.add(self._space.vector(policy), reward)
        decay = self.BASELINE_DECAY if n else 0.0
        self._baseline = decay * self._baseline + (1 - decay) * reward
        self._keep(policy, self.REWARD_SCALE * (reward - self._baseline))
        if self._agent.rollout_buffer.full:
            set_random_seed(self._seed + n + 1)  # the buffer is shuffled by NumPy's global generator
            self._agent.rollout_buffer.compute_returns_and_advantage(torch.zeros(1), np.ones(1))
            self._agent.train()
            self._agent.rollout_buffer.reset()

    def _keep(self, policy: BitPolicy, reward: float) -> None:
        steps: list[tuple[NDArray[np.float32], NDArray[np.bool_], int]] = []
        prefix: list[LayerBits] = []
        for bits in policy.values():
            steps.append((*self._sees(prefix, None), bits.weight - 1))
            if bits.act is not None:
                steps.append((*self._sees(prefix, bits.weight), bits.act - 1))
            prefix.append(bits)
        for i, (seen, mask, action) in enumerate(steps):
            with torch.no_grad():
                value, log_p, _ = self._agent.policy.evaluate_actions(
                    torch.from_numpy(seen[None]), torch.tensor([action]), action_masks=torch.from_numpy(mask[None])
                )
            last = i == len(steps) - 1
            self._agent.rollout_buffer.add(
                seen[None], np.array([[action]]), np.array([reward if last else 0.0]), np.array([float(i == 0)]),
                value.flatten(), log_p, action_masks=mask[None],
            )  # fmt: skip
