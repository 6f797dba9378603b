"""Regularised evolution: the oldest die, not the worst."""

from __future__ import annotations

import numpy as np

from flow.decision import Decisions
from flow.searchers.space import History, PolicySpace, Vector, unseen
from models.policy import BitPolicy


class EvolutionSearcher:
    """Changes the best of a few drawn from the youngest policies (Real et al., "Regularized Evolution", AAAI 2019).

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    N_FIRST = 20  # random policies
    POPULATION = 60
    TOURNAMENT = 5
    MOST_CHANGES = 3  # decisions of a child

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._history = History()
        self._asked: set[Vector] = set()

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`; never a policy that was met before, as long as there are others."""
        vector = self._space.draw(self._rng) if len(self._history) < self.N_FIRST else self._child()
        vector = unseen(self._space, vector, self._history.seen | self._asked, self._rng)
        self._asked.add(vector)
        return self._space.policy(vector)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`."""
        self._history.add(self._space.told(policy), reward)

    def _child(self) -> Vector:
        """A changed policy, with half of the decisions raised where that leaves something to spend."""
        first = max(0, len(self._history) - self.POPULATION)
        drawn = self._rng.integers(first, len(self._history), self.TOURNAMENT)
        parent = self._history.vectors[max(drawn, key=lambda i: self._history.rewards[i])]
        child, n = list(parent), self._space.n
        for i in self._rng.choice(n, min(n, int(self._rng.integers(1, self.MOST_CHANGES + 1))), replace=False):
            of = self._space.levels[i]
            at = of.index(child[i]) + int(self._rng.choice([-2, -1, 1, 2]))
            child[i] = of[min(max(at, 0), len(of) - 1)]
        order = self._rng.permutation(n)
        return self._space.filled(self._space.nearest(child), order[: max(1, n // 2)])
