"""What policies cost, learned from the exact costs of some: asking takes milliseconds, and local search asks of thousands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from flow.searchers.frontier import Frontier
from flow.searchers.space import Floats, PolicySpace, Vector
from models.policy import BitPolicy

RIDGE = 1e-3
RELEARN_AFTER = 10  # costs


class CostModel:
    """A sum of non-negative effects of what layers take (`Frontier.features`), fitted so that relative errors are small.

    Args:
        space: the policies.
        cost: of one, exact, above 0.
    """

    def __init__(self, space: PolicySpace, cost: Callable[[BitPolicy], float]) -> None:
        self._space = space
        self._cost = cost
        self._features = Frontier(space).features
        self._known: dict[Vector, float] = {}
        self._n_learned = 0
        self._effects: Floats = np.empty(0)

    def take_in(self, vector: Vector) -> None:
        """Learn what a policy costs."""
        if vector not in self._known:
            self._known[vector] = self._cost(self._space.policy(vector))

    def exact(self, vectors: list[Vector]) -> Floats:
        """What policies cost that were taken in, (n,)."""
        return np.array([self._known[v] for v in vectors])

    def learn(self) -> None:
        """Fit the effects, if enough was taken in since the last time."""
        if self._n_learned and len(self._known) < self._n_learned + RELEARN_AFTER:
            return
        self._n_learned = len(self._known)
        costs = np.array(list(self._known.values()))
        x = self._with_constant(np.array(list(self._known))) / costs[:, None]
        scale = np.abs(x).mean(axis=0) + 1e-12
        ridge = RIDGE * np.sqrt(len(x)) * np.eye(x.shape[1])
        wanted = np.concatenate([np.ones(len(x)), np.zeros(len(scale))])
        found = lsq_linear(np.concatenate([x / scale, ridge]), wanted, (0, np.inf))
        self._effects = found.x / scale

    def costs(self, bits: object) -> Floats:
        """What policies (n, d) are expected to cost, (n,); after `learn`."""
        found: Floats = self._with_constant(np.asarray(bits)) @ self._effects
        return np.maximum(found, 1e-12)

    def _with_constant(self, vectors: NDArray[np.integer]) -> Floats:
        return np.concatenate([self._features(vectors), np.ones((len(vectors), 1))], axis=1)
