"""The reward model alone: a Bayesian linear regression, Thompson sampling and local search; nothing is practised."""

from __future__ import annotations

import numpy as np

from flow.decision import Decisions
from flow.searchers.climbing import Climber
from flow.searchers.reward_model import LinearModel
from flow.searchers.space import History, PolicySpace, Vector, unseen
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
        model = LinearModel()
        model.fit(self._history.vectors, np.array(self._history.rewards))
        function = model.sample(self._rng)
        best = self._history.best(self.N_BEST)
        starts = [best[int(self._rng.integers(len(best)))] for _ in range(self.N_STARTS - 1)] + [self._random()]
        ends = [self._climber.climb(s, function, seen, self.MOST_ASKED) for s in starts]
        _, vector = max(ends, key=lambda e: e[0])
        return starts[0] if vector is None else vector
