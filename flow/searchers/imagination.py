"""An agent that practises on imagined episodes: its rewards come from a model, its limits are the real ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from flow.decision import Decisions
from flow.searchers.space import Floats, PolicySpace, Vector
from models.policy import MAX_BITS, LayerBits

LEARNING_RATE = 0.01
ENTROPY = 0.02  # its weight beside the advantage, which has deviation 1
N_UNITS = 64


class Actor:
    """A policy-gradient agent over the layers: a choice among the bits still possible, weights first, then activations.

    It sees what every agent sees (`flow.decision.Decisions.observe`) and which layer it is at. It learns by the policy
    gradient (REINFORCE; Williams 1992) with the mean of the other episodes as the baseline.

    Args:
        decisions: the pass over the layers.
        seed: of its first weights and of what it draws.
    """

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._space = PolicySpace(decisions)
        self._generator = torch.Generator().manual_seed(seed)
        n_in = decisions.n_features + decisions.n_layers
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            last = nn.Linear(N_UNITS, 2 * MAX_BITS)
            self._network = nn.Sequential(nn.Linear(n_in, N_UNITS), nn.Tanh(), last)
        with torch.no_grad():  # so that the first episodes are uniformly random
            last.weight.mul_(0.01)
            last.bias.zero_()
        self._optimizer = torch.optim.Adam(self._network.parameters(), LEARNING_RATE)

    def episodes(self, n: int) -> tuple[list[Vector], Tensor, Tensor]:
        """Policies of `n` episodes, the logarithms of their probabilities (n,), and mean entropies of the choices (n,)."""
        prefixes: list[list[LayerBits]] = [[] for _ in range(n)]
        log_p, entropy = torch.zeros(n), torch.zeros(n)
        n_layers = self._decisions.n_layers
        for layer in range(n_layers):
            seen = torch.from_numpy(np.stack([self._decisions.observe(p) for p in prefixes]))
            at = torch.zeros(n, n_layers)
            at[:, layer] = 1.0
            logits = self._network(torch.cat([seen, at], dim=1))
            feasible = [self._decisions.feasible(p) for p in prefixes]
            weights, p_w, h_w = self._choose(logits[:, :MAX_BITS], [{b.weight for b in f} for f in feasible])
            log_p, entropy = log_p + p_w, entropy + h_w / n_layers
            acts: list[int | None] = [None] * n
            if self._decisions.specs[layer].has_act:
                of_weight = [{b.act or 0 for b in f if b.weight == w} for f, w in zip(feasible, weights, strict=True)]
                chosen, p_a, h_a = self._choose(logits[:, MAX_BITS:], of_weight)
                acts = list(chosen)
                log_p, entropy = log_p + p_a, entropy + h_a / n_layers
            for prefix, w, a in zip(prefixes, weights, acts, strict=True):
                prefix.append(LayerBits(w, a))
        return [self._space.vector(self._decisions.policy(p)) for p in prefixes], log_p, entropy

    def _choose(self, logits: Tensor, allowed: list[set[int]]) -> tuple[list[int], Tensor, Tensor]:
        """Bits drawn for each row of logits (n, 8) among those allowed, their log probabilities, and entropies."""
        mask = torch.zeros(logits.shape, dtype=torch.bool)
        for row, bits in zip(mask, allowed, strict=True):
            row[[b - 1 for b in bits]] = True
        log_p = torch.log_softmax(logits.masked_fill(~mask, -1e9), dim=1)
        p = log_p.exp()
        drawn = torch.multinomial(p.detach(), 1, generator=self._generator)
        entropy = -(p * log_p.masked_fill(~mask, 0.0)).sum(dim=1)
        return [int(i) + 1 for i in drawn[:, 0]], log_p.gather(1, drawn)[:, 0], entropy

    def practise(self, reward: Callable[[object], Floats], n_rounds: int, n_episodes: int) -> list[Vector]:
        """Learn from imagined episodes.

        Args:
            reward: from policies (n, d) to rewards (n,).
            n_rounds: steps of the gradient.
            n_episodes: of each step, 2 or more.

        Returns:
            All policies met, the best first.
        """
        met: dict[Vector, float] = {}
        for _ in range(n_rounds):
            policies, log_p, entropy = self.episodes(n_episodes)
            rewards = reward(policies)
            met.update(zip(policies, rewards.tolist(), strict=True))
            centred = torch.from_numpy((rewards - rewards.mean()) * n_episodes / (n_episodes - 1)).float()
            advantage = centred / max(float(rewards.std()), 1e-9)
            loss = -(advantage * log_p).mean() - ENTROPY * entropy.mean()
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
        return sorted(met, key=lambda v: (-met[v], v))
