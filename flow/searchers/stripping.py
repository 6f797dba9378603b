"""Limits at the end of an episode, HAQ's way: choose freely, then take bits away until the policy fits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flow.decision import Bounds, Decisions, Tabulated
from flow.searchers.space import PolicySpace, Vector
from hls.reach import Leeway
from models.policy import BitPolicy, LayerBits


class Unlimited:
    """Bounds that allow all bits there are; what is left is still that of the real ones.

    Args:
        bounds: the real ones.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    @property
    def tables(self) -> Tabulated:
        """See `flow.decision.Bounds`."""
        return self._bounds.tables

    def feasible_bits(self, prefix: Sequence[LayerBits] = ()) -> tuple[LayerBits, ...]:
        """See `flow.decision.Bounds`."""
        return tuple(self.tables.topology.choices(len(prefix)))

    def leeway(self, prefix: Sequence[LayerBits] = ()) -> Leeway:
        """See `flow.decision.Bounds`; nothing where a prefix cannot be built at the frame rate at all."""
        try:
            return self._bounds.leeway(prefix)
        except ValueError:
            return Leeway(0.0, 0.0, 0.0)


class Stripping:
    """Makes free choices fit: from the last layer to the first an activation and a weight bit are taken away, again and again.

    Args:
        decisions: the pass over the layers, with its limits.
    """

    def __init__(self, decisions: Decisions) -> None:
        self.unlimited = Decisions(decisions.specs, Unlimited(decisions.reach))
        """The pass over the layers without its limits."""
        self._space = PolicySpace(decisions)

    def strip(self, policy: BitPolicy) -> BitPolicy:
        """A policy that meets the constraint; where fewer bits everywhere do not, the closest one to them that does."""
        vector = self.strip_in_turn(self._space.vector(policy), reversed(range(self._space.n)))
        return self._space.policy(vector if self._space.contains(vector) else self._space.nearest(vector))

    def strip_in_turn(self, vector: Vector, order: Iterable[int], least_bits: int = 1) -> Vector:
        """A policy whose decisions lost a bit each in turn, again and again, until it fits or none can lose any more.

        Args:
            vector: the policy.
            order: of the decisions.
            least_bits: that none of them falls below.
        """
        left = list(order)
        while left and not self._space.contains(vector):
            still = []
            for i in left:
                fewer = self._space.raised(vector, i, -1)
                if fewer is None or fewer[i] < least_bits:
                    continue
                vector = fewer
                still.append(i)
                if self._space.contains(vector):
                    break
            left = still
        return vector

    def strip_largest(self, vector: Vector) -> Vector:
        """The same, but a bit is always taken from the decision that has most, the first among equals (finn_rl's way)."""
        while not self._space.contains(vector):
            order = sorted(range(self._space.n), key=lambda i: -vector[i])
            fewer = next((f for i in order if (f := self._space.raised(vector, i, -1)) is not None), None)
            if fewer is None:
                return self._space.nearest(vector)
            vector = fewer
        return vector
