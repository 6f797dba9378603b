"""What can still be reached: which bits a layer may take so that the rest can still meet a constraint.

The constraint is a limit on cycles a frame together with LUT and block RAM. The costs of layers
add up and a layer's depend on nothing but its own bits and the activations it reads, so a dynamic
program from the last layer to the first knows, for every layer and every width of activations
before it, the fewest LUT that the rest of the network can do with for every amount of block RAM.
It is exact: bits are allowed if and only if some completion, at some folding, meets the constraint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boards.board import Resources
from hls.cost import CostTables, LayerKey
from hls.folding import Curve, Ladder, add_ladder, climb
from models.policy import MAX_BITS, MIN_BITS, LayerBits

WIDTHS = range(MIN_BITS, MAX_BITS + 1)


@dataclass(frozen=True)
class Leeway:
    """What is left of the limits if every layer still to come takes the cheapest bits.

    Attributes:
        lut: share of the LUT limit left when all of the block RAM may be used, 0..1.
        bram18: share of the block RAM limit left when all of the LUT may be used, 0..1.
    """

    lut: float
    bram18: float


class Reach:
    """Which bits keep a network within limits at a frame rate.

    Args:
        tables: the network's costs.
        limits: LUT and block RAM that may be used.
        max_cycles: cycles a frame that no node may exceed.
    """

    def __init__(self, tables: CostTables, limits: Resources, max_cycles: float) -> None:
        self.tables = tables
        self.limits = limits
        self.max_cycles = max_cycles
        self._ladders: dict[tuple[int, LayerKey], Ladder] = {}

    @property
    def n_layers(self) -> int:
        """Layers of the network."""
        return len(self.tables.layers)

    def _choices(self, layer: int) -> list[LayerBits]:
        acts: Sequence[int | None] = [None] if layer == self.n_layers - 1 else WIDTHS
        return [LayerBits(w, a) for w in WIDTHS for a in acts]

    def _ladder(self, layer: int, act_in: int | None, bits: LayerBits) -> Ladder:
        """The undominated costs of a layer as a whole."""
        key = LayerKey(bits.weight, act_in, bits.act)
        found = self._ladders.get((layer, key))
        if found is None:
            curve = self._start()
            for options in self.tables.options(layer, key):
                curve = add_ladder(curve, climb(options, self.max_cycles))
            rungs = np.flatnonzero(curve < np.concatenate([[np.inf], curve[:-1]]))
            found = self._ladders[layer, key] = Ladder(rungs, curve[rungs], rungs)
        return found

    def _start(self) -> Curve:
        return np.zeros(int(self.limits.bram18) + 1)

    @cached_property
    def _rest(self) -> list[dict[int | None, Curve]]:
        """For every layer and activation width before it, the curve of the layers from there on."""
        rest: list[dict[int | None, Curve]] = [dict.fromkeys((None, *WIDTHS), self._start())]
        for layer in reversed(range(self.n_layers)):
            after, here = rest[0], {}
            for act_in in WIDTHS if layer else (None,):
                best = np.full_like(self._start(), np.inf)
                for bits in self._choices(layer):
                    np.minimum(best, add_ladder(after[bits.act], self._ladder(layer, act_in, bits)), out=best)
                here[act_in] = best
            rest.insert(0, here)
        return rest

    def _so_far(self, prefix: Sequence[LayerBits]) -> tuple[Curve, int | None]:
        """The curve of the layers already decided, and the width of the activations they hand on."""
        curve, act = self._start(), None
        for layer, bits in enumerate(prefix):
            curve = add_ladder(curve, self._ladder(layer, act, bits))
            act = bits.act
        return curve, act

    def feasible_bits(self, prefix: Sequence[LayerBits] = ()) -> tuple[LayerBits, ...]:
        """The bits that the next layer may take, in order; empty only if the constraint cannot be met at all.

        Args:
            prefix: the bits of the layers before it, each one allowed when it was chosen.
        """
        layer = len(prefix)
        curve, act_in = self._so_far(prefix)
        after = self._rest[layer + 1]
        return tuple(
            bits
            for bits in self._choices(layer)
            if (add_ladder(curve, self._ladder(layer, act_in, bits)) + after[bits.act][::-1]).min() <= self.limits.lut
        )

    def leeway(self, prefix: Sequence[LayerBits] = ()) -> Leeway:
        """What is left of the limits behind the layers already decided."""
        curve, act = self._so_far(prefix)
        rest = self._rest[len(prefix)][act]
        budget = len(curve) - 1
        whole = np.array([(curve[: b + 1] + rest[b::-1]).min() for b in range(budget + 1)])
        enough = np.flatnonzero(whole <= self.limits.lut)
        return Leeway(
            lut=float(max(0.0, 1 - whole[-1] / self.limits.lut)) if self.limits.lut else 0.0,
            bram18=float(1 - enough[0] / budget) if len(enough) and budget else 0.0,
        )

    @property
    def is_feasible(self) -> bool:
        """Whether any policy at all meets the constraint."""
        return bool(self._rest[0][None][-1] <= self.limits.lut)


def fewest_cycles(tables: CostTables, limits: Resources) -> int | None:
    """The fewest cycles a frame that any policy can reach within the limits; None if none fits at all."""
    keys = [
        (layer, LayerKey(w, act_in, 1 if layer < len(tables.layers) - 1 else None))
        for layer in range(len(tables.layers))
        for w in WIDTHS
        for act_in in (WIDTHS if layer else (None,))
    ]
    candidates = np.unique(np.concatenate([o.cycles for layer, key in keys for o in tables.options(layer, key)]))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if Reach(tables, limits, float(candidates[middle])).is_feasible:
            high = middle
        else:
            low = middle + 1
    return int(candidates[low]) if low < len(candidates) else None
