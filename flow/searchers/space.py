"""The policies of a search as vectors of bits, what is feasible among them, and what was told of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from flow.decision import Decisions
from models.policy import MAX_BITS, BitPolicy, LayerBits

Vector = tuple[int, ...]
"""A policy as bits alone, decision by decision: weights and activation of the first layer, of the second, …"""
Vectors = NDArray[np.int64]
Floats = NDArray[np.float64]

MOST_KEPT = 100_000  # answers about policies
UNEVENNESS = 0.5  # of the shares of a balanced policy: standard deviation of their logarithm
N_HALVINGS = 10  # of the size it may have; finer than any level of its bits


class PolicySpace:
    """The policies that can be reached step by step.

    Args:
        decisions: the pass over the layers.
    """

    def __init__(self, decisions: Decisions) -> None:
        self.decisions = decisions
        topology = decisions.reach.tables.topology
        levels: list[tuple[int, ...]] = []
        self.layer_of: list[int] = []
        for layer in range(decisions.n_layers):
            choices = topology.choices(layer)
            levels.append(tuple(sorted({b.weight for b in choices})))
            acts = {b.act for b in choices if b.act is not None}
            if acts:
                levels.append(tuple(sorted(acts)))
            self.layer_of += [layer] * (1 + bool(acts))
        self.levels = tuple(levels)
        """For every decision the bits there are, ascending."""
        self._contains: dict[Vector, bool] = {}

    @property
    def n(self) -> int:
        """Decisions of a policy."""
        return len(self.levels)

    def vector(self, policy: BitPolicy) -> Vector:
        """A policy as a vector."""
        return tuple(n for b in policy.values() for n in (b.weight, b.act) if n is not None)

    def told(self, policy: BitPolicy) -> Vector:
        """A policy that a searcher is told of, as a vector.

        Raises:
            PolicyError: it is not one of this network.
            ConstraintError: it cannot meet the constraint.
        """
        policy.check_against(self.decisions.specs)
        vector = self.vector(policy)
        if not self.contains(vector):
            self.decisions.replay(policy)  # says which layer is in the way
        return vector

    def bits(self, vector: Sequence[int]) -> list[LayerBits]:
        """A vector as the bits of the layers."""
        out: list[LayerBits] = []
        i = 0
        for layer in range(self.decisions.n_layers):
            has_act = i + 1 < self.n and self.layer_of[i + 1] == layer
            out.append(LayerBits(int(vector[i]), int(vector[i + 1]) if has_act else None))
            i += 1 + has_act
        return out

    def policy(self, vector: Sequence[int]) -> BitPolicy:
        """A vector as a policy."""
        return self.decisions.policy(self.bits(vector))

    def contains(self, vector: Vector) -> bool:
        """Whether a policy can be reached step by step."""
        found = self._contains.get(vector)
        if found is None:
            bits = self.bits(vector)
            found = all(b in self.decisions.feasible(bits[:i]) for i, b in enumerate(bits))
            if len(self._contains) == MOST_KEPT:
                self._contains.clear()
            self._contains[vector] = found
        return found

    def draw(self, rng: np.random.Generator) -> Vector:
        """A policy of uniformly random actions."""
        prefix: list[LayerBits] = []
        for _ in range(self.decisions.n_layers):
            prefix.append(self.decisions.choose(prefix, rng.uniform(-1, 1, 2)))
        return self.vector(self.decisions.policy(prefix))

    def balanced(self, rng: np.random.Generator) -> Vector:
        """A random policy that leaves nothing to spend, in which no decision gets more for being made first.

        Every decision has a share, drawn around one that is the same for all; their bits grow together, in proportion, as far
        as is feasible. Uniformly random actions (`draw`) let the first layers spend what the last ones then lack.
        """
        shares = np.exp(UNEVENNESS * rng.standard_normal(self.n))

        def grown(size: float) -> Vector:
            return tuple(of[min(int(size * s), len(of) - 1)] for of, s in zip(self.levels, shares.tolist(), strict=True))

        least, most = 0.0, MAX_BITS / float(shares.min())
        vector = self.nearest(grown(least))
        for _ in range(N_HALVINGS):
            size = (least + most) / 2
            if self.contains(grown(size)):
                least, vector = size, grown(size)
            else:
                most = size
        return self.filled(vector, rng.permutation(self.n))

    def nearest(self, wanted: Sequence[int]) -> Vector:
        """A policy with the wanted bits, or in every layer the feasible ones that are closest to them."""
        targets = self.bits(wanted)
        prefix: list[LayerBits] = []
        for target in targets:
            prefix.append(min(self.decisions.feasible(prefix), key=partial(_apart, target)))
        return self.vector(self.decisions.policy(prefix))

    def raised(self, vector: Vector, decision: int, by: int = 1) -> Vector | None:
        """A policy with one decision some levels higher, or lower; None where there are no such bits."""
        of = self.levels[decision]
        at = of.index(vector[decision]) + by
        return (*vector[:decision], of[at], *vector[decision + 1 :]) if 0 <= at < len(of) else None

    def filled(self, vector: Vector, order: Iterable[int]) -> Vector:
        """A policy that leaves nothing to spend: decisions are raised in turn for as long as that is feasible."""
        left = list(order)
        while left:
            still = []
            for i in left:
                more = self.raised(vector, i)
                if more is not None and self.contains(more):
                    vector = more
                    still.append(i)
            left = still
        return vector


def _apart(a: LayerBits, b: LayerBits) -> tuple[int, int, int]:
    """How far bits are from others; what is as far is told apart by its bits."""
    return abs(b.weight - a.weight) + abs((b.act or 0) - (a.act or 0)), b.weight, b.act or 0


class History:
    """What a searcher was told, and what it proposed."""

    def __init__(self) -> None:
        self.vectors: list[Vector] = []
        self.rewards: list[float] = []
        self.seen: set[Vector] = set()
        self._failed: list[int] = []
        self._least = math.inf  # of the rewards that are numbers

    def __len__(self) -> int:
        return len(self.vectors)

    def add(self, vector: Vector, reward: float) -> float:
        """Keep a reward; one that is no finite number counts as the least there is. Returns what it counts as by now."""
        if math.isfinite(reward):
            self._least = min(self._least, reward)
        else:
            self._failed.append(len(self.rewards))
        self.vectors.append(vector)
        self.rewards.append(reward)
        self.seen.add(vector)
        for i in self._failed:
            self.rewards[i] = self._least if math.isfinite(self._least) else 0.0
        return self.rewards[-1]

    def best(self, n: int = 1) -> list[Vector]:
        """The policies with the highest mean rewards, at most `n`, the best first, among equals the first told."""
        of: dict[Vector, list[float]] = {}
        for vector, reward in zip(self.vectors, self.rewards, strict=True):
            of.setdefault(vector, []).append(reward)
        return sorted(of, key=lambda v: -sum(of[v]) / len(of[v]))[:n]


def unseen(space: PolicySpace, vector: Vector, seen: set[Vector], rng: np.random.Generator) -> Vector:
    """A policy that was not met before, the given one or one close to it; an old one only where none is found."""
    for attempt in range(60):
        if vector not in seen:
            return vector
        changed = list(vector)
        for i in rng.choice(space.n, min(space.n, 2 + attempt // 10), replace=False):
            changed[i] = int(rng.choice(space.levels[i]))
        vector = space.filled(space.nearest(changed), rng.permutation(space.n)) if attempt < 20 else space.nearest(changed)
    return vector
