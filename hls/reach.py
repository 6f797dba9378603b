"""What can still be reached: which bits a layer may take so that the rest can still meet a constraint.

The constraint is a limit on cycles a frame together with LUT, block RAM and DSP slices. A layer's
cost depends on nothing but its own bits, the activations it reads and the width of the streams at
its ends. So for a price of block RAM and of DSP slices in LUT, one sweep from the last layer to the
first (`hls.kernels.sweep`) knows the cheapest way to the end for every layer, every choice of bits
and every stream width before it. Bits are allowed if the cheapest way through them, at one price or
another, keeps to the limits. So every choice allowed has a completion that meets the constraint, and
following that completion the next choices are allowed too; a choice whose only completions lie
between the prices is refused (`tests/test_hls_reach.py` counts them).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from boards.board import Resources
from hls.cost import CostTables
from hls.folding import DSP_LUT, as_array, directions, shares, swaps
from hls.kernels import Floats, passed, sweep, within
from hls.options import LayerKey
from hls.topology import State
from hls.trellis import Layout, Part
from models.policy import MAX_BITS, MIN_BITS, LayerBits

WIDTHS = range(MIN_BITS, MAX_BITS + 1)
RATIOS = (0.00103, 0.1213, 0.2507, 0.5039, 1.0119, 2.0173, 4.0371, 8.083, 997.3)
FEWER_RATIOS = (0.00103, 0.2507, 1.0119, 4.0371, 997.3)  # for deep networks: with all of them it takes minutes and gigabytes
DEEP = 12  # layers
MOST_FRONTS = 1000
FEW_RATIOS = (0.00103, 0.5039, 2.0173)


@dataclass(frozen=True)
class Leeway:
    """What is left of the limits if every layer still to come takes the cheapest bits.

    Attributes:
        lut, bram18, dsp: share of the limit left when all of the others may be used, 0..1.
    """

    lut: float
    bram18: float
    dsp: float


@dataclass(frozen=True)
class _Here:
    """A layer behind given activations: its choices of bits, and the cheapest ways from there to the end.

    Attributes:
        choices: the bits that meet the limit on cycles.
        rest: (choices, 4, widths, directions), see `hls.kernels.sweep`.
    """

    choices: tuple[LayerBits, ...]
    rest: Floats

    @cached_property
    def cheapest(self) -> Floats:
        """Over all choices, (4, widths, directions)."""
        best = self.rest[:, 0].argmin(axis=0)
        cheapest: Floats = np.take_along_axis(self.rest, best[None, None], axis=0)[0]
        return cheapest


class Reach:
    """Which bits keep a network within limits at a frame rate.

    Args:
        tables: the network's costs.
        limits: what may be used, by the accelerator and the system around it.
        max_cycles: cycles a frame that no node and no width converter may exceed.
        ratios: what all of the block RAM, or of the DSP slices, is worth in limits of LUT: the more, the fewer choices are
            refused needlessly. Without it as many as the depth of the network allows, and `hls.folding.swaps` besides.
    """

    def __init__(self, tables: CostTables, limits: Resources, max_cycles: float, ratios: Sequence[float] | None = None) -> None:
        self.tables = tables
        self.max_cycles = max_cycles
        self._around = as_array(tables.system_resources)
        self._limits = as_array(limits) - self._around
        if ratios is None:
            of_depth, beside = (RATIOS, DSP_LUT) if self.n_layers <= DEEP else (FEWER_RATIOS, DSP_LUT[1:2])
            self._prices = np.hstack([directions(self._limits, of_depth), swaps(beside)])
        else:
            self._prices = directions(self._limits, ratios)
        self._few_prices = directions(self._limits, FEW_RATIOS)
        self._layout = Layout(tables, max_cycles)
        self._through: dict[tuple[int, LayerKey], Floats] = {}
        self._fronts: dict[tuple[LayerBits, ...], Floats] = {}

    @property
    def n_layers(self) -> int:
        """Layers of the network."""
        return len(self.tables.topology.layers)

    def _swept(self, part: Part, end: Floats, forwards: bool, prices: Floats) -> Floats:
        """From one end of a part, (4, widths, directions), to the other."""
        offsets = part.offsets
        used = np.full((4, int(offsets[-1]), prices.shape[1]), np.inf)
        used[:, part.entry if forwards else part.exit] = end
        sweep(part.rows, offsets, *self._layout.arrays, np.inf, prices, used, forwards)
        return used[:, part.exit if forwards else part.entry].copy()

    @property
    def _host(self) -> Floats:
        return np.zeros((4, 1, self._prices.shape[1]))

    @cached_property
    def _from_here(self) -> list[dict[State, _Here | None]]:
        """For every layer and state before it, the ways from there on."""
        tables: list[dict[State, _Here | None]] = []
        for layer in reversed(range(self.n_layers)):
            behind = tables[0] if tables else None
            tables.insert(0, {state: self._here(layer, state, behind) for state in self.tables.topology.states(layer)})
        return tables

    def _here(self, layer: int, state: State, behind: dict[State, _Here | None] | None) -> _Here | None:
        topology = self.tables.topology
        choices, rest = [], []
        for bits in topology.choices(layer):
            after = None if behind is None else behind[topology.after(layer, state, bits)]
            if after is None and behind is not None:
                continue
            found = self._backwards(layer, topology.key(layer, state, bits), self._host if after is None else after.cheapest)
            if found is not None:
                choices.append(bits)
                rest.append(found)
        return _Here(tuple(choices), np.stack(rest)) if choices else None

    def _backwards(self, layer: int, key: LayerKey, end: Floats) -> Floats | None:
        part = self._layout.layer(layer, key)
        return None if part is None else self._swept(part, end, False, self._prices)

    def _next(self, prefix: Sequence[LayerBits]) -> _Here | None:
        """The ways from behind a prefix."""
        return self._from_here[len(prefix)][self.tables.topology.state(prefix)]

    def _front(self, prefix: tuple[LayerBits, ...]) -> Floats:
        """The cheapest ways from the host to the widths behind a prefix."""
        if not prefix:
            return self._host
        found = self._fronts.get(prefix)
        if found is None:
            before, layer, topology = self._front(prefix[:-1]), len(prefix) - 1, self.tables.topology
            part = self._layout.layer(layer, topology.key(layer, topology.state(prefix[:-1]), prefix[-1]))
            if part is None:
                raise ValueError(f"{prefix[-1]} in layer {topology.layers[layer]!r} is not feasible")
            found = self._swept(part, before, True, self._prices)
            if len(self._fronts) == MOST_FRONTS:  # an episode's are asked for again and again, older ones rarely
                self._fronts.clear()
            self._fronts[prefix] = found
        return found

    def feasible_bits(self, prefix: Sequence[LayerBits] = ()) -> tuple[LayerBits, ...]:
        """The bits that the next layer may take, in order; empty only if the constraint cannot be met at all.

        Args:
            prefix: the bits of the layers before it, each one allowed when it was chosen.
        """
        here = self._next(prefix)
        if here is None or (self._limits < 0).any():
            return ()
        largest = np.empty((len(here.choices), self._prices.shape[1]))
        within(self._front(tuple(prefix)), here.rest, self._prices, self._limits, largest)
        return tuple(bits for bits, least in zip(here.choices, largest.min(axis=1), strict=True) if least <= 1)

    def leeway(self, prefix: Sequence[LayerBits] = ()) -> Leeway:
        """What is left of the limits behind the layers already decided, all of them or fewer."""
        front = self._front(tuple(prefix))
        if len(prefix) == self.n_layers:
            rest = self._host
        else:
            here = self._next(prefix)
            if here is None:
                return Leeway(0.0, 0.0, 0.0)
            rest = here.cheapest
        ways = front + rest
        at = ways[0].argmin(axis=0)
        used = np.take_along_axis(ways[1:], at[None, None], axis=1)[:, 0]  # resource, direction
        fits = (used <= self._limits[:, None]).all(axis=0)
        if not fits.any():
            return Leeway(0.0, 0.0, 0.0)
        left = 1 - used[:, fits].min(axis=1) / np.maximum(self._limits, 1e-9)
        return Leeway(*(float(n) if limit > 0 else 0.0 for n, limit in zip(left, self._limits, strict=True)))

    def cost(self, policy: Sequence[LayerBits]) -> Resources | None:
        """What a whole policy takes at the frame rate, the system around included; None where it is not that fast.

        Of the cheapest designs at a few prices the one that uses least of its scarcest resource: a quick
        answer, which `hls.folding.FoldingSearch.leanest` may better a little.
        """
        ways = np.zeros((4, 1, self._few_prices.shape[1]))
        for i, key in enumerate(self.tables.topology.keys(policy)):
            through = self._through.get((i, key))
            if through is None:
                through = self._through[i, key] = self._collapsed(i, key)
            ways = passed(ways, through)
        used = ways[1:, 0] + self._around[:, None]
        k = int(shares(used, self._limits + self._around).argmin())
        lut, bram18, dsp = used[:, k].tolist()
        return Resources(lut=lut, bram18=bram18, dsp=dsp) if math.isfinite(lut) else None

    def _collapsed(self, layer: int, key: LayerKey) -> Floats:
        """The cheapest ways from each width before a layer to each behind, at few prices; infinite without any."""
        n_before, n_few = self._layout.n_widths(layer - 1), self._few_prices.shape[1]
        n_behind = self._layout.n_widths(layer if layer < self.n_layers - 1 else -1)
        out = np.full((4, n_before, n_behind, n_few), np.inf)
        part = self._layout.layer(layer, key)
        for i in range(n_before):
            if part is None:
                break
            begin = np.full((4, n_before, n_few), np.inf)
            begin[:, i] = 0.0
            out[:, i] = self._swept(part, begin, True, self._few_prices)
        return out

    @property
    def is_feasible(self) -> bool:
        """Whether any policy at all meets the constraint."""
        return bool(self.feasible_bits())


def fewest_cycles(tables: CostTables, limits: Resources) -> int | None:
    """The fewest cycles a frame that any policy is found to reach within the limits; None if none fits at all."""
    topology = tables.topology
    keys = {
        (layer, topology.key(layer, state, LayerBits(w, fewest)))  # cycles do not hang on what is handed on
        for layer, fewest in enumerate(topology.min_act_bits)
        for state in topology.states(layer)
        for w in WIDTHS
    }
    layout = Layout(tables)
    for layer, key in keys:
        layout.layer(layer, key)
    options, _, streams = layout.arrays
    candidates = np.unique(np.concatenate([options[:, 0], streams[:, 1]]))
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if Reach(tables, limits, float(candidates[middle]), FEW_RATIOS).is_feasible:
            high = middle
        else:
            low = middle + 1
    return int(candidates[low]) if low < len(candidates) else None
