"""The reward model alone: a Bayesian linear regression, Thompson sampling and local search; nothing is practised."""

from __future__ import annotations

import numpy as np

from flow.decision import Decisions
from flow.searchers.climbing import Climber
from flow.searchers.reward_model import errors_of
from flow.searchers.space import Floats, History, PolicySpace, Vector, unseen
from models.policy import BitPolicy


class ThompsonSearcher:
    """Learns one weight for 2^-b and one for 4^-b of every decision, none of them positive, and maximizes a draw of them.

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    N_FIRST = 15  # random trials
    N_STARTS = 4  # of local search
    N_BEST = 5  # trials that it begins from
    MOST_ASKED = 40  # policies asked whether they are feasible, a start
    NOISE = 0.05  # variance of an evaluation, of rewards scaled to 1
    SPREAD = 0.5  # of the posterior's variance, which draws have

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._history = History()
        self._asked: set[Vector] = set()
        self._climber = Climber(self._space)

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`; never a policy that was met before, as long as there are others."""
        seen = self._history.seen | self._asked
        vector = self._random() if len(self._history) < self.N_FIRST else self._proposed(seen)
        vector = unseen(self._space, vector, seen, self._rng)
        self._asked.add(vector)
        return self._space.policy(vector)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`."""
        self._history.add(self._space.told(policy), reward)

    def _random(self) -> Vector:
        return self._space.filled(self._space.draw(self._rng), self._rng.permutation(self._space.n))

    def _proposed(self, seen: set[Vector]) -> Vector:
        x = _features(self._history.vectors)
        centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        z = (x - centre) / spread
        y = np.array(self._history.rewards)
        t = (y - y.mean()) / (y.std() + 1e-6)
        precision = z.T @ z / self.NOISE + np.eye(z.shape[1])
        mean = np.linalg.solve(precision, z.T @ t) / self.NOISE
        covariance = np.linalg.inv(precision) * self.SPREAD
        weights = mean + np.linalg.cholesky((covariance + covariance.T) / 2) @ self._rng.standard_normal(len(mean))
        weights = np.minimum(weights, 0.0)

        def function(bits: object) -> Floats:
            found: Floats = (_features(bits) - centre) / spread @ weights
            return found

        best = self._history.best(self.N_BEST)
        starts = [best[int(self._rng.integers(len(best)))] for _ in range(self.N_STARTS - 1)] + [self._random()]
        ends = [self._climber.climb(s, function, seen, self.MOST_ASKED) for s in starts]
        _, vector = max(ends, key=lambda e: e[0])
        return starts[0] if vector is None else vector


def _features(bits: object) -> Floats:
    """2^(1-b) and its square, of policies (n, d): (n, 2 d)."""
    errors = errors_of(bits)
    return np.concatenate([errors, errors**2], axis=1)
