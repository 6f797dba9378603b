"""A guess at which policies are feasible, learned from those that were asked about.

Whether a policy is feasible takes milliseconds to find out where the network is deep; local search looks at
thousands. A guess tells which of them are worth asking about; what counts is always the answer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flow.searchers.space import Floats, PolicySpace, Vector
from models.policy import MAX_BITS

MOST_LABELS = 1000
RELEARN_AFTER = 20  # answers
RIDGE = 3e-5
N_STEPS = 8  # of Newton's method, each time


class Frontier:
    """A logistic regression on what layers take: operations times bits of weights and inputs, weights times bits.

    Args:
        space: the policies; its answers are what is learned from.
    """

    def __init__(self, space: PolicySpace) -> None:
        self._space = space
        specs = space.decisions.specs
        macs, params = np.array([s.n_macs for s in specs], float), np.array([s.n_params for s in specs], float)
        self._shares = np.concatenate([macs / macs.mean() / MAX_BITS**2, params / params.mean() / MAX_BITS])
        first = [space.layer_of.index(layer) for layer in range(len(specs))]
        self._weights_at = np.array(first)
        # where the bits of the activation that a layer reads stand; at the end stand the image's
        sources = space.decisions.reach.tables.topology.source
        self._reads_at = np.array([space.n if s is None or not specs[s].has_act else first[s] + 1 for s in sources])
        self._features = np.empty((0, 2 * len(specs)))
        self._labels = np.empty(0)
        self._w = np.zeros(2 * len(specs) + 1)
        self._new = 0
        self.n_lessons = 0

    def features(self, vectors: NDArray[np.integer]) -> Floats:
        """Of policies (n, d), (n, 2 layers): bits of weights times bits of inputs, and bits of weights, weighted by size."""
        bits = np.concatenate([vectors, np.full((len(vectors), 1), MAX_BITS)], axis=1).astype(float)
        weights = bits[:, self._weights_at]
        features: Floats = np.concatenate([weights * bits[:, self._reads_at], weights], axis=1) * self._shares
        return features

    def contains(self, vector: Vector) -> bool:
        """Whether a policy is feasible: asked, and learned from."""
        found = self._space.contains(vector)
        self.take_in(vector, found)
        return found

    def take_in(self, vector: Vector, found: bool) -> None:
        """Learn of a policy whether it is feasible."""
        self._features = np.concatenate([self._features, self.features(np.array([vector]))])[-MOST_LABELS:]
        self._labels = np.append(self._labels, 1.0 if found else -1.0)[-MOST_LABELS:]
        self._new += 1
        if self._new >= RELEARN_AFTER:
            self.learn()

    def guess(self, vectors: NDArray[np.integer]) -> Floats:
        """The logarithm of the odds that each of some policies (n, d) is feasible, (n,)."""
        odds: Floats = self.features(vectors) @ self._w[:-1] + self._w[-1]
        return odds

    def terms(self) -> tuple[list[tuple[int, int, float]], list[tuple[int, float]], float]:
        """What is guessed, as a sum that is 0 or more for feasible policies.

        Returns:
            Decisions of a weight and of the activation it reads, with the factor of the product of their bits; decisions
            of a weight with the factor of its bits; and what is added. The image has 8 bits.
        """
        n = len(self._weights_at)
        of_products, of_weights = self._w[:n] * self._shares[:n], self._w[n:-1] * self._shares[n:]
        pairs, singles = [], []
        for i, j, product, single in zip(self._weights_at, self._reads_at, of_products, of_weights, strict=True):
            if j == self._space.n:
                singles.append((int(i), float(single + MAX_BITS * product)))
            else:
                pairs.append((int(i), int(j), float(product)))
                singles.append((int(i), float(single)))
        return pairs, singles, float(self._w[-1])

    def learn(self) -> None:
        """Improve the guess with all answers so far."""
        self._new = 0
        self.n_lessons += 1
        x = np.concatenate([self._features, np.ones((len(self._features), 1))], axis=1)
        ridge = RIDGE * len(x) / 100 * np.eye(x.shape[1])
        ridge[-1, -1] = 1e-9
        n_feasible = max(1, int((self._labels > 0).sum()))
        n_not = max(1, len(x) - n_feasible)
        weight = np.where(self._labels > 0, len(x) / 2 / n_feasible, len(x) / 2 / n_not)  # both kinds count alike
        for _ in range(N_STEPS):
            p = 1 / (1 + np.exp(np.clip(self._labels * (x @ self._w), -30, 30)))  # of the other label
            gradient = ridge @ self._w - x.T @ (weight * self._labels * p)
            hessian = ridge + (x * (weight * p * (1 - p) + 1e-6)[:, None]).T @ x
            step = np.linalg.solve(hessian, gradient)
            self._w -= step / max(1.0, float(np.abs(step).max()) / 10)
