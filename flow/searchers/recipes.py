"""What others published, as it is: HAQ's search and finn_rl's, with their states, limits, noise and learning."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import TD3
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import set_random_seed
from torch import Tensor, nn

from flow.decision import Decisions
from flow.searchers.space import History, PolicySpace, Vector
from flow.searchers.stripping import Stripping
from flow.searchers.walks import truncated_normal
from models.policy import MAX_BITS, BitPolicy

Steps = list[tuple[NDArray[np.float32], float]]
"""What was seen before each decision of an episode, and the action."""


def _to_unit(columns: NDArray[np.floating]) -> NDArray[np.float32]:
    """Columns (n, k) scaled to 0..1 each; one that does not vary is 0."""
    span = np.ptp(columns, axis=0)
    scaled: NDArray[np.float64] = (columns - columns.min(axis=0)) / np.where(span > 0, span, 1.0)
    return scaled.astype(np.float32)


class _Recipe:
    """Decides one number at a time, weights and activations in turn, with no limit before the end of the episode."""

    LEAST, LEAST_ACT, MOST = 1, 1, MAX_BITS  # bits that an action stands for
    n_features: int

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._specs = decisions.specs
        self._space = PolicySpace(decisions)
        self._stripping = Stripping(decisions)
        self._rng = np.random.default_rng(seed)
        self._seed = seed
        self._history = History()
        self._episodes: defaultdict[BitPolicy, deque[Steps]] = defaultdict(deque)
        self._is_act = [i > 0 and self._space.layer_of[i - 1] == layer for i, layer in enumerate(self._space.layer_of)]
        self._static = self._static_features()

    def _static_features(self) -> NDArray[np.float32]:
        """What is known of each decision before an episode, (d, k)."""
        raise NotImplementedError

    def _sees(self, decision: int, last: float) -> NDArray[np.float32]:
        """What is seen before a decision, the bits of the one before it as a share of 8 included."""
        raise NotImplementedError

    def _act(self, seen: NDArray[np.float32]) -> float:
        """The share 0..1 of the widths, with exploration."""
        raise NotImplementedError

    def _within(self, vector: Vector) -> Vector:
        """A policy made to fit."""
        raise NotImplementedError

    def _learn(self, steps: Steps, reward: float) -> None:
        """From one episode."""
        raise NotImplementedError

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        steps: Steps = []
        vector: list[int] = []
        for i in range(self._space.n):
            seen = self._sees(i, vector[-1] / MAX_BITS if vector else 1.0)
            share = self._act(seen)
            least, n_widths = self._widths(i)
            wanted = least + min(int(share * n_widths), n_widths - 1)
            vector.append(min(self._space.levels[i], key=lambda n: (abs(n - wanted), n)))
            steps.append((seen, share))
        policy = self._space.policy(self._within(tuple(vector)))
        self._episodes[policy].append(steps)
        return policy

    def _widths(self, decision: int) -> tuple[int, int]:
        """The fewest bits that an action stands for, and how many widths there are."""
        least = self.LEAST_ACT if self._is_act[decision] else self.LEAST
        return least, self.MOST - least + 1

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; of a policy of others, its bits are taken for the actions."""
        policy.check_against(self._specs)
        vector = self._space.vector(policy)
        asked = self._episodes.get(policy)
        if asked:
            steps = asked.popleft()
        else:
            widths = [self._widths(i) for i in range(self._space.n)]
            of = zip(vector, widths, strict=True)
            shares = [min(max((n - least + 0.5) / n_widths, 0.0), 1.0) for n, (least, n_widths) in of]
            before = [1.0, *(n / MAX_BITS for n in vector[:-1])]
            steps = [(self._sees(i, last), s) for i, (last, s) in enumerate(zip(before, shares, strict=True))]
        self._learn(steps, self._history.add(vector, reward))


def _layers(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, 300), nn.ReLU(), nn.Linear(300, 300), nn.ReLU(), nn.Linear(300, n_out))


class HAQSearcher(_Recipe):
    """HAQ (Wang et al., CVPR 2019; github.com/mit-han-lab/haq, linear quantization) as published.

    10 features without a weight deviation; DDPG of its own with 300 and 300 units, rates of 1e-4 and 1e-3, one step a
    decision, no discount, a moving average of rewards as the baseline; 20 random episodes, then truncated noise of 0.5 that
    fades by 1 % an episode; 2 to 8 bits; if a policy does not fit at the end of an episode, the weights of the first layer and
    the last, and what the last one reads, get 8 bits, and the others are stripped, last to first, to no less than 2 bits, until
    it does. HAQ ends there, as it asks for a budget that this meets. Where it does not, those three are stripped to 2 bits as
    well; what then still does not fit loses the second bit.

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    LEAST = LEAST_ACT = 2
    WARM_UP = 20  # episodes
    NOISE, NOISE_DECAY = 0.5, 0.99
    MEMORY = 128  # episodes
    BATCH_SIZE = 64
    TAU = 0.01
    BASELINE_DECAY = 0.5

    def __init__(self, decisions: Decisions, seed: int) -> None:
        super().__init__(decisions, seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._actor, self._critic = nn.Sequential(_layers(10, 1), nn.Sigmoid()), _layers(11, 1)
        self._slow_actor, self._slow_critic = copy.deepcopy(self._actor), copy.deepcopy(self._critic)
        self._of_actor = torch.optim.Adam(self._actor.parameters(), 1e-4)
        self._of_critic = torch.optim.Adam(self._critic.parameters(), 1e-3)
        self._memory: list[tuple[NDArray[np.float32], float, float, NDArray[np.float32], bool]] = []
        self._baseline: float | None = None

    def _static_features(self) -> NDArray[np.float32]:
        of = [self._specs[layer] for layer in self._space.layer_of]
        columns = np.array(
            [
                [float(s.is_depthwise), s.in_channels, s.out_channels, s.stride if s.kind == "conv" else 0,
                 s.kernel_size, s.n_params, s.in_size**2, s.index]
                for s in of
            ],
            float,
        )  # fmt: skip
        return _to_unit(columns)

    def _sees(self, decision: int, last: float) -> NDArray[np.float32]:
        return np.array([*self._static[decision], last, float(self._is_act[decision])], np.float32)

    def _act(self, seen: NDArray[np.float32]) -> float:
        n = len(self._history)
        if n <= self.WARM_UP:
            return float(self._rng.uniform())
        with torch.no_grad():
            mean = self._actor(torch.from_numpy(seen[None])).numpy()[0]
        sigma = self.NOISE * self.NOISE_DECAY ** (n - self.WARM_UP)
        return float(truncated_normal(self._rng, 2 * mean - 1, 2 * sigma)[0] + 1) / 2

    def _within(self, vector: Vector) -> Vector:
        if self._space.contains(vector):
            return vector
        pinned = list(vector)
        n_free = self._space.n - 2
        for i in (0, n_free, n_free + 1):
            pinned[i] = self._space.levels[i][-1]
        found = self._stripping.strip_in_turn(tuple(pinned), reversed(range(1, n_free)), self.LEAST)
        found = self._stripping.strip_in_turn(found, reversed(range(self._space.n)), self.LEAST)
        return self._space.vector(self._stripping.strip(self._space.policy(found)))

    def _learn(self, steps: Steps, reward: float) -> None:
        ends = [*(seen for seen, _ in steps[1:]), steps[-1][0]]
        self._memory += [
            (seen, share, 0.1 * 100 * reward, end, i == len(steps) - 1)
            for i, ((seen, share), end) in enumerate(zip(steps, ends, strict=True))
        ]
        self._memory = self._memory[-self.MEMORY * len(steps) :]
        if len(self._history) <= self.WARM_UP:
            return
        for _ in steps:
            drawn = [self._memory[i] for i in self._rng.integers(len(self._memory), size=self.BATCH_SIZE)]
            mean = float(np.mean([d[2] for d in drawn]))
            decay = self.BASELINE_DECAY if self._baseline is not None else 0.0
            self._baseline = decay * (self._baseline or 0.0) + (1 - decay) * mean
            self._step(drawn, self._baseline)

    def _step(self, drawn: Sequence[tuple[Any, ...]], baseline: float) -> None:
        """One step of actor and critic on a batch."""
        seen, ends = (torch.from_numpy(np.stack([d[k] for d in drawn])) for k in (0, 3))
        shares, rewards, going_on = (
            torch.tensor([float(f(d)) for d in drawn])[:, None] for f in (lambda d: d[1], lambda d: d[2], lambda d: not d[4])
        )
        with torch.no_grad():
            after: Tensor = self._slow_critic(torch.cat([ends, self._slow_actor(ends)], dim=1))
        wanted = rewards - baseline + going_on * after
        loss = nn.functional.mse_loss(self._critic(torch.cat([seen, shares], dim=1)), wanted)
        self._of_critic.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._of_critic.step()
        loss = -self._critic(torch.cat([seen, self._actor(seen)], dim=1)).mean()
        self._of_actor.zero_grad()
        loss.backward()
        self._of_actor.step()
        with torch.no_grad():
            for slow, fast in ((self._slow_actor, self._actor), (self._slow_critic, self._critic)):
                for p, q in zip(slow.parameters(), fast.parameters(), strict=True):
                    p.lerp_(q, self.TAU)


class _Spaces(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Only tells the agent what it sees and does."""

    def __init__(self, n_features: int) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (n_features,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)


class FinnRLSearcher(_Recipe):
    """finn_rl (github.com/joannapng/finn_rl) as published.

    6 features; TD3 of stable-baselines3 with its default settings, which learns at the end of each episode as many steps
    as it had decisions, after 100 decisions at random; 1 to 8 bits for weights, 2 to 8 for activations; while a policy does
    not fit, the decision with most bits loses one; the reward is 0.02 times the accuracy in percent, less 1.

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    LEAST_ACT = 2
    WARM_UP = 100  # decisions
    NOISE = 0.1  # of actions in -1..1

    def __init__(self, decisions: Decisions, seed: int) -> None:
        super().__init__(decisions, seed)
        self._agent = TD3("MlpPolicy", _Spaces(6), seed=seed, device="cpu", buffer_size=100_000)
        self._agent.set_logger(Logger(None, []))

    def _static_features(self) -> NDArray[np.float32]:
        of = [self._specs[layer] for layer in self._space.layer_of]
        columns = np.array([[i, s.kind == "linear", s.n_macs, s.n_params] for i, s in enumerate(of)], float)
        return _to_unit(columns)

    def _sees(self, decision: int, last: float) -> NDArray[np.float32]:
        return np.array([*self._static[decision], last, float(self._is_act[decision])], np.float32)

    def _act(self, seen: NDArray[np.float32]) -> float:
        if len(self._history) * self._space.n < self.WARM_UP:
            return float(self._rng.uniform())
        action, _ = self._agent.predict(seen, deterministic=True)
        return float(np.clip(action[0] + self._rng.normal(0.0, self.NOISE), -1, 1) + 1) / 2

    def _within(self, vector: Vector) -> Vector:
        return self._stripping.strip_largest(vector)

    def _learn(self, steps: Steps, reward: float) -> None:
        buffer = self._agent.replay_buffer
        if buffer is None:
            raise RuntimeError("stable-baselines3 made no replay buffer")
        for i, (seen, share) in enumerate(steps):
            last = i == len(steps) - 1
            after = seen if last else steps[i + 1][0]
            given = np.array([0.02 * 100 * reward - 1 if last else 0.0])
            buffer.add(seen, after, np.array([2 * share - 1], np.float32), given, np.array([float(last)]), [{}])
        n = len(self._history)
        if n * self._space.n > self.WARM_UP:
            set_random_seed(self._seed + n)  # the buffer draws from NumPy's global generator
            self._agent.train(gradient_steps=len(steps), batch_size=256)
