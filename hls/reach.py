"""What can still be reached: which bits a layer may take so that the rest can still meet a constraint.

The constraint is a limit on cycles a frame together with LUT, block RAM and DSP slices. A layer's
cost depends on nothing but its own bits, the activations it reads and the width of the streams at
its ends, so a dynamic program from the last layer to the first (`hls.chain`) knows, for every
layer, every choice of bits and every stream width before it, the fewest LUT that the network from
there on can do with for every amount of block RAM. It is exact in LUT and block RAM: bits are
allowed if and only if some completion, at some folding, meets the constraint. DSP slices are used
by the float tail alone; an option that alone takes more of them than there are is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.chain import Front, Stage, Streams, back_through, cheapest, level, stages_of, through
from hls.cost import CostTables
from hls.folding import less
from hls.options import LayerKey
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


@dataclass(frozen=True)
class _Here:
    """A layer behind given activations: its choices of bits and what each needs from here on.

    Attributes:
        choices: the bits that meet the limit on cycles.
        entries: stream widths at the layer's entry, the same for every choice.
        needed: (choices, entries, block RAM): fewest LUT of the network from here on.
        element_bits: of the stream into the layer.
    """

    choices: tuple[LayerBits, ...]
    entries: tuple[int, ...]
    needed: NDArray[np.float64]
    element_bits: int


@dataclass(frozen=True)
class _Reached:
    """Where a prefix ends: the front at its last stage's exits, their widths, and the bits of an element there."""

    front: Front
    exits: tuple[int, ...]
    element_bits: int


class Reach:
    """Which bits keep a network within limits at a frame rate.

    Args:
        tables: the network's costs.
        limits: what may be used, by the accelerator and the system around it.
        max_cycles: cycles a frame that no node may exceed.
    """

    def __init__(self, tables: CostTables, limits: Resources, max_cycles: float) -> None:
        self.tables = tables
        self.max_cycles = max_cycles
        self._limits = less(limits, tables.system_resources)
        self._streams = Streams(tables)
        self._stages: dict[tuple[int, LayerKey], list[Stage] | None] = {}
        self._reached: dict[tuple[LayerBits, ...], _Reached] = {}

    @property
    def n_layers(self) -> int:
        """Layers of the network."""
        return len(self.tables.layers)

    @property
    def _n_bram18(self) -> int:
        return max(0, int(self._limits.bram18))

    def _choices(self, layer: int) -> list[LayerBits]:
        acts: Sequence[int | None] = [None] if layer == self.n_layers - 1 else WIDTHS
        return [LayerBits(w, a) for w in WIDTHS for a in acts]

    def _stages_of(self, layer: int, act_in: int | None, bits: LayerBits) -> list[Stage] | None:
        """The stages of a layer, or None where one cannot be fast enough."""
        key = LayerKey(bits.weight, act_in, bits.act)
        if (layer, key) not in self._stages:
            self._stages[layer, key] = stages_of(self.tables.options(layer, key), self.max_cycles, self._limits.dsp)
        return self._stages[layer, key]

    def _within(self, stages: Sequence[Stage], front: Front) -> Front:
        """From the front at the exits of a layer's last stage back to the one at its entries."""
        front = back_through(front, stages[-1])
        for stage, link in zip(reversed(stages[:-1]), reversed(self._streams.along(stages)), strict=True):
            front = back_through(cheapest(front, link.T), stage)
        return front

    @cached_property
    def _from_here(self) -> list[dict[int | None, _Here | None]]:
        """For every layer and activation width before it, what the network from there on needs."""
        tables: list[dict[int | None, _Here | None]] = []
        for layer in reversed(range(self.n_layers)):
            behind = tables[0] if tables else {}
            tables.insert(0, {a: self._here(layer, a, behind) for a in (WIDTHS if layer else (None,))})
        return tables

    def _here(self, layer: int, act_in: int | None, behind: dict[int | None, _Here | None]) -> _Here | None:
        choices, fronts, element_bits = [], [], 0
        for bits in self._choices(layer):
            stages = self._stages_of(layer, act_in, bits)
            after = self._after(stages, layer, behind.get(bits.act)) if stages else None
            if stages is None or after is None:
                continue
            choices.append(bits)
            fronts.append((stages[0].entries, self._within(stages, after)))
            element_bits = stages[0].options.read_bits
        if not choices:
            return None
        entries = tuple(sorted({w for widths, _ in fronts for w in widths}))
        needed = np.full((len(choices), len(entries), self._n_bram18 + 1), np.inf)
        for i, (widths, front) in enumerate(fronts):
            needed[i, [entries.index(w) for w in widths]] = front
        return _Here(tuple(choices), entries, needed, element_bits)

    def _after(self, stages: Sequence[Stage], layer: int, behind: _Here | None) -> Front | None:
        """The front of all that follows a layer, at the exits of its last stage; None where nothing can follow."""
        last = stages[-1]
        if layer == self.n_layers - 1:
            return level(self._streams.to_host(last.exits, last.options.handed_on_bits), self._n_bram18)
        if behind is None:
            return None
        streams = self._streams.between(last.exits, behind.entries, last.options.handed_on_bits)
        return cheapest(behind.needed.min(axis=0), streams.T)

    def _reach(self, prefix: tuple[LayerBits, ...]) -> _Reached:
        """Where a prefix ends, for prefixes of at least one layer."""
        found = self._reached.get(prefix)
        if found is not None:
            return found
        layer, bits = len(prefix) - 1, prefix[-1]
        if layer:
            self._reach(prefix[:-1])  # the first layer at fault is the one to name
        stages = self._stages_of(layer, prefix[-2].act if layer else None, bits)
        if stages is None:
            raise ValueError(f"{bits} in layer {self.tables.layers[layer]!r} is not feasible")
        front = through(self._entering(prefix[:-1], stages[0].entries, stages[0].options.read_bits), stages[0])
        for stage, link in zip(stages[1:], self._streams.along(stages), strict=True):
            front = through(cheapest(front, link), stage)
        last = stages[-1]
        found = _Reached(front, last.exits, last.options.handed_on_bits)
        self._reached[prefix] = found
        return found

    def _entering(self, prefix: tuple[LayerBits, ...], entries: tuple[int, ...], element_bits: int) -> Front:
        """The front of a prefix, or of the host before any layer, at the entries of the next layer."""
        if not prefix:
            return level(self._streams.from_host(entries, element_bits), self._n_bram18)
        reached = self._reach(prefix)
        return cheapest(reached.front, self._streams.between(reached.exits, entries, reached.element_bits))

    def _next(self, prefix: tuple[LayerBits, ...]) -> tuple[_Here | None, NDArray[np.float64]]:
        """The next layer, and for each of its choices the fewest LUT of the whole network for all block RAM."""
        act = prefix[-1].act if prefix else None
        here = self._from_here[len(prefix)].get(act)
        if here is None or self._limits.bram18 < 0:
            return None, np.empty(0)
        entering = self._entering(prefix, here.entries, here.element_bits)
        return here, (entering + here.needed[:, :, ::-1]).min(axis=(1, 2))

    def feasible_bits(self, prefix: Sequence[LayerBits] = ()) -> tuple[LayerBits, ...]:
        """The bits that the next layer may take, in order; empty only if the constraint cannot be met at all.

        Args:
            prefix: the bits of the layers before it, each one allowed when it was chosen.
        """
        here, lut = self._next(tuple(prefix))
        if here is None:
            return ()
        return tuple(bits for bits, fits in zip(here.choices, lut <= self._limits.lut, strict=True) if fits)

    def leeway(self, prefix: Sequence[LayerBits] = ()) -> Leeway:
        """What is left of the limits behind the layers already decided, all of them or fewer."""
        prefix = tuple(prefix)
        if len(prefix) == self.n_layers:
            whole = self._whole(prefix)
        else:
            here = self._from_here[len(prefix)].get(prefix[-1].act if prefix else None)
            if here is None:
                return Leeway(0.0, 0.0)
            needed, entering = here.needed.min(axis=0), self._entering(prefix, here.entries, here.element_bits)
            n = self._n_bram18 + 1
            whole = np.array([(entering[:, : b + 1] + needed[:, b::-1]).min() for b in range(n)])
        enough = np.flatnonzero(whole <= self._limits.lut)
        return Leeway(
            lut=float(max(0.0, 1 - whole[-1] / self._limits.lut)) if self._limits.lut > 0 else 0.0,
            bram18=float(1 - enough[0] / self._n_bram18) if len(enough) and self._n_bram18 else 0.0,
        )

    def _whole(self, policy: tuple[LayerBits, ...]) -> NDArray[np.float64]:
        """Fewest LUT of a whole policy for every amount of block RAM."""
        reached = self._reach(policy)
        to_host = self._streams.to_host(reached.exits, reached.element_bits)
        return (reached.front + to_host[:, None]).min(axis=0)  # type: ignore[no-any-return]

    @property
    def is_feasible(self) -> bool:
        """Whether any policy at all meets the constraint."""
        return bool(self.feasible_bits())


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
