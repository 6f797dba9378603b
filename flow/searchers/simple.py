"""Searchers that learn nothing: uniform bits and random ones."""

from __future__ import annotations

import numpy as np

from flow.decision import Decisions
from flow.searchers.space import History, PolicySpace, unseen
from flow.searchers.walks import walk
from models.policy import BitPolicy


class RandomSearcher:
    """Draws every layer's action uniformly: the baseline that an agent has to beat.

    Args:
        decisions: the pass over the layers.
        seed: of the draws.
    """

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        return walk(self._decisions, lambda _: self._rng.uniform(-1, 1, 2))

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; nothing is learned."""
        self._space.told(policy)


class UniformSearcher:
    """Proposes every pair of weight and activation bits that the whole network can have, then pairs nearly uniform.

    First come the pairs that fit as they are, those with most bits first; when there are no more of them, the others,
    with the bits of each layer lowered to what is still possible, and those that leave something to spend, with it spent in
    a random order.

    Args:
        decisions: the pass over the layers.
        seed: of that order.
    """

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._space = PolicySpace(decisions)
        self._history = History()
        self._rng = np.random.default_rng(seed)
        widths = range(1, 9)
        pairs = sorted(((w, a) for w in widths for a in widths), key=lambda p: (-p[0] * p[1], -p[0]))
        wanted = [tuple(self._closest(i, pair) for i in range(self._space.n)) for pair in pairs]
        self._left = list(
            dict.fromkeys([v for v in wanted if self._space.contains(v)] + [self._space.nearest(v) for v in wanted])
        )
        self._whole = list(self._left)

    def _closest(self, decision: int, pair: tuple[int, int]) -> int:
        layers = self._space.layer_of
        is_act = decision > 0 and layers[decision - 1] == layers[decision]
        return min(self._space.levels[decision], key=lambda n: (abs(n - pair[is_act]), n))

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`."""
        vector = next((v for v in self._left if v not in self._history.seen), None)
        if vector is None:
            start = self._whole[int(self._rng.integers(len(self._whole)))]
            vector = unseen(
                self._space, self._space.filled(start, self._rng.permutation(self._space.n)), self._history.seen, self._rng
            )
        else:
            self._left.remove(vector)
        self._history.seen.add(vector)
        return self._space.policy(vector)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; nothing is learned but what not to propose again."""
        self._history.add(self._space.told(policy), reward)
