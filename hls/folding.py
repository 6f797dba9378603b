"""The best folding of a policy: a search over every option of every node and the streams between.

For a limit on cycles a frame every step of the pipeline must be fast enough; of those designs one is
sought that keeps to the limits (`hls.kernels`): prices for block RAM and DSP slices give designs and
bounds, which nearly always decide; where they do not, paths that the bounds leave are looked at, the most
promising ones or, if told so, every one. The smallest limit on cycles at which anything fits is found by
bisection over the cycle counts that occur.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from boards.board import Resources
from hls.cost import CostTables
from hls.kernels import GAVE_UP, STEP, Floats, Ints, follow, search, sweep
from hls.legal import NodeFolding
from hls.trellis import Layout, Part
from hls.types import Estimate, Implementation, cycles_at
from models.policy import BitPolicy

# What all of a limit of block RAM, or of DSP slices, is worth in limits of LUT: from next to nothing to everything.
# Odd figures, so that no two designs that differ cost the same.
RATIOS = (0.00103, 0.2507, 1.0119, 4.0371, 997.3)
# Where memory may be built of either, a block RAM replaces at most 288 LUT (64 bits a LUT), and mostly fewer. Between these
# prices in LUT one node after another moves from block RAM to LUT, so designs that balance the two are found there.
SWAPS_LUT = (190.0, 213.0, 226.0, 239.0, 253.0)
DSP_LUT = (7.6, 20.0, 60.0)  # of a DSP slice beside them
# Around the prices that give the highest bound others are tried: close enough for better bounds, and far enough apart
# for designs that differ, which is what the search for one that fits lives on.
FINER = (0.2503, 0.5011, 1.0, 2.003, 4.011)
# Parts of designs kept at every width of a stream (`hls.kernels.search`): in a search for a design that fits, in one
# for the design that uses least, and in that among designs that are equally fast.
BEAM, LEANEST_BEAM, TIE_BEAM = 24, 100, 4
# Parts that are within this share of the limits of one that is kept are not, so that those kept differ.
SLACK = 0.01
# A search for a design that fits and finds none tries again with so many times the parts, so much closer to each other.
AGAIN = 4


def as_array(r: Resources) -> Floats:
    """LUT, block RAM and DSP slices."""
    return np.array([r.lut, r.bram18, r.dsp], float)


def directions(limits: Floats, ratios: Sequence[float] = RATIOS) -> Floats:
    """Prices of a block RAM and a DSP slice in LUT, (2, directions): every pair of ratios.

    Args:
        limits: LUT, block RAM, DSP.
        ratios: what all of a limit is worth in limits of LUT.
    """
    lut, bram18, dsp = (max(float(n), 1.0) for n in limits)
    return np.array([(a * lut / bram18, b * lut / dsp) for a in ratios for b in ratios]).T.copy()


def swaps(dsp_lut: Sequence[float] = DSP_LUT) -> Floats:
    """Prices of a block RAM and a DSP slice in LUT at which nodes move from block RAM to LUT, (2, directions)."""
    return np.array(list(product(SWAPS_LUT, dsp_lut))).T.copy()


def around(prices: Floats, factors: Sequence[float]) -> Floats:
    """Prices near given ones (2,): every pair of factors, (2, directions)."""
    return np.array([(prices[0] * a, prices[1] * b) for a in factors for b in factors]).T.copy()


def shares(amounts: Floats, limits: Floats) -> Floats:
    """The largest share of a limit, for amounts (3, n); infinite where something is used of which there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        largest: Floats = np.where(amounts > 0, amounts / limits[:, None], 0.0).max(axis=0)
    return largest


@dataclass(frozen=True)
class Found:
    """A design.

    Attributes:
        share: largest share of a limit that it uses, of what the system around takes included.
        path: rows of its trellis and items, (steps, 2).
        proven: whether no design uses less; of a search for a design that fits, whether one was found.
    """

    share: float
    path: Ints
    proven: bool


@dataclass(frozen=True)
class _Swept:
    """Cheapest designs in some directions.

    Attributes:
        prices: of the directions, (2, directions).
        used: see `hls.kernels.sweep`.
        bounds: for each direction, a share of the limits that every design uses of its scarcest.
        k: the direction whose design uses least of its scarcest, and the share that is.
    """

    prices: Floats
    used: Floats
    bounds: Floats
    k: int
    share: float


def _cycles_of(part: Part, costs: Floats, _: Ints, streams: Floats) -> Floats:
    """The numbers of cycles that a step or a width converter of a trellis may take, in order."""
    spans = []
    for kind, first, last, src, _ in part.rows.tolist():
        spans.append(costs[first:last, 0] if kind == STEP else streams[first : first + part.sizes[src] * last, 1])
    found = np.unique(np.concatenate(spans))
    return found[found > 0]


class _Space:
    """The designs of one policy, and limits."""

    def __init__(self, layout: Layout, part: Part, limits: Resources, around: Resources, exact: bool) -> None:
        self._exact = exact
        self._trellis = (part.rows, part.offsets, *layout.arrays)
        self._limits, self._around = as_array(limits), as_array(around)
        self._prices = np.hstack([directions(self._limits), swaps()])
        offsets = part.offsets
        self._end, self._n_widths = int(offsets[-2]), int(offsets[-1])
        self.candidates = _cycles_of(part, *layout.arrays)

    def find(self, max_cycles: float, only_within: bool, beam: int) -> Found | None:
        """A design within a limit on cycles: any within the limits, or the one that uses least of its scarcest resource.

        None where there is none: within the limits, or as fast.
        """
        swept = self._sweep(max_cycles, self._prices)
        if swept is None:
            return None
        best, lowest = swept, 0.0
        for finer in (FINER, None):
            if swept.share < best.share:
                best = swept
            lowest = max(lowest, swept.bounds.max())
            if only_within and best.share > 1 and lowest > 1 + 1e-12:
                return None
            if (only_within and best.share <= 1) or lowest >= best.share * (1 - 1e-9):
                return Found(best.share, self._follow(max_cycles, best, 0, 0, best.k), True)
            if finer is not None:
                swept = self._sweep(max_cycles, around(swept.prices[:, swept.bounds.argmax()], finer)) or swept
        found = self._search(max_cycles, swept, best, only_within, beam, SLACK)
        if only_within and found is not None and not found.proven and not self._exact:
            found = self._search(max_cycles, swept, best, only_within, AGAIN * beam, SLACK / AGAIN)
        return found

    def _sweep(self, max_cycles: float, prices: Floats) -> _Swept | None:
        """The cheapest designs in some directions; None where nothing is as fast."""
        used = np.full((4, self._n_widths, prices.shape[1]), np.inf)
        used[:, self._end :] = 0.0
        sweep(*self._trellis, max_cycles, prices, used, False)
        score, amounts = used[0, 0], used[1:, 0]
        if not np.isfinite(score).any():
            return None
        whole = shares(amounts + self._around[:, None], self._limits)
        totals = self._limits[0] + self._limits[1:] @ prices
        bounds = (score + self._around[0] + self._around[1:] @ prices) / np.maximum(totals, 1e-9)
        k = int(np.argmin(whole))
        return _Swept(prices, used, bounds, k, float(whole[k]))

    def _search(
        self, max_cycles: float, swept: _Swept, best: _Swept, only_within: bool, beam: int, slack: float
    ) -> Found | None:  # fmt: skip
        """Look at designs that the bounds of a sweep leave, for one with a smaller share than the best so far.

        Those looked at are chosen by `beam` and `slack`, see `hls.kernels.search`; all of them in an exact search.
        """
        most = np.iinfo(np.int64).max
        ended, least, label, k, node, origin = search(
            *self._trellis, max_cycles, swept.prices, swept.used, self._limits, self._around, best.share, only_within,
            most if self._exact else beam, (0.0 if self._exact else slack) * self._limits,
        )  # fmt: skip
        if only_within and least > 1:
            return Found(np.inf, np.empty((0, 2), np.int64), False) if ended == GAVE_UP else None
        if label < 0:
            return Found(best.share, self._follow(max_cycles, best, 0, 0, best.k), ended != GAVE_UP)
        begun = []
        while label > 0:
            label, row, item = origin[label]
            begun.append((row, item))
        offsets = self._trellis[1]
        at_set = int(np.searchsorted(offsets, node, side="right")) - 1
        rest = self._follow(max_cycles, swept, at_set, int(node - offsets[at_set]), k)
        return Found(least, np.concatenate([np.array(begun[::-1], np.int64).reshape(-1, 2), rest]), ended != GAVE_UP)

    def _follow(self, max_cycles: float, swept: _Swept, at_set: int, at_width: int, k: int) -> Ints:
        return follow(*self._trellis, max_cycles, swept.prices, swept.used, at_set, at_width, k)

    def fastest(self) -> tuple[Found | None, bool]:
        """The design with the fewest cycles within the limits, and whether it is known that none has fewer."""
        low, high, best, proven = 0, len(self.candidates), None, True
        if self.find(np.inf, True, BEAM) is None:
            return None, True
        while low < high:
            middle = (low + high) // 2
            found = self.find(float(self.candidates[middle]), True, BEAM)
            if found is None or not found.share <= 1:
                low, proven = middle + 1, proven and found is None
            else:
                high, best = middle, found
        if best is None:
            return None, False
        leanest = self.find(float(self.candidates[high]), False, TIE_BEAM)
        return leanest if leanest is not None and leanest.share <= 1 else best, proven


class FoldingSearch:
    """Searches for the best foldings of a network's policies, as estimates.

    Args:
        tables: of the network.
        clock_mhz: what frame rates hold for.
        method: handed on to the estimates.
        exact: look at every design that the bounds leave, however many; for small networks.
    """

    def __init__(self, tables: CostTables, clock_mhz: float, method: str, exact: bool = False) -> None:
        self._tables = tables
        self._clock_mhz = clock_mhz
        self._method = method
        self._exact = exact
        self._layout = Layout(tables)

    def fastest(self, policy: BitPolicy, limits: Resources) -> Estimate:
        """The estimate of a policy at the folding with the highest frame rate within the limits.

        Of several it is the one that uses least of its scarcest resource. Where no folding fits, the one that
        exceeds the limits by the smallest factor is given, so that `estimate.resources <= limits` tells which
        it is and the estimate tells what is missing.

        Args:
            policy: the bits.
            limits: LUT, block RAM and DSP slices that may be used, by the accelerator and the system around it.
        """
        return self.fastest_and_proof(policy, limits)[0]

    def fastest_and_proof(self, policy: BitPolicy, limits: Resources) -> tuple[Estimate, bool]:
        """As `fastest`, and whether the search proved that none is faster within the limits; see `BEAM`."""
        part = self._part(policy)
        space = self._space(part, limits)
        found, proven = space.fastest()
        if found is None:
            found = space.find(np.inf, False, TIE_BEAM)
        assert found is not None  # without a limit on cycles every step has options
        return self._estimate(policy, part, found), proven

    def leanest(self, policy: BitPolicy, limits: Resources, min_fps: float) -> Estimate | None:
        """The estimate of a policy at the folding that reaches a frame rate with the least of its scarcest resource.

        Args:
            policy: the bits.
            limits: what shares are taken of; they may be exceeded.
            min_fps: frames a second, above 0.

        Returns:
            The estimate; None where no folding is that fast, whatever it takes.
        """
        part = self._part(policy)
        found = self._space(part, limits).find(float(cycles_at(min_fps, self._clock_mhz)), False, LEANEST_BEAM)
        return None if found is None else self._estimate(policy, part, found)

    def front(self, policy: BitPolicy, limits: Resources) -> list[Estimate]:
        """Frame rate against use: every folding within the limits that is not beaten in both, the slowest first."""
        part = self._part(policy)
        space, least, front = self._space(part, limits), np.inf, []
        for cycles in space.candidates.tolist():
            found = space.find(cycles, False, TIE_BEAM)
            if found is not None and found.share < least * (1 - 1e-9):
                least = found.share
                if least <= 1:
                    front.append(self._estimate(policy, part, found))
        return front[::-1]

    def at(
        self, policy: BitPolicy, folding: Mapping[str, NodeFolding], implementations: Sequence[Implementation] = ()
    ) -> Estimate:
        """The estimate of a policy at a given folding of every node, such as FINN's own.

        Raises:
            FoldingError: a node is missing, or has values that FINN does not accept; the text names those it does.
            GraphError: FINN has no such implementation for the bits.
        """
        return self._assembled(self._tables.nodes_at(policy, folding, implementations))

    def _part(self, policy: BitPolicy) -> Part:
        part = self._layout.policy(self._tables.topology.keys(policy.values()))
        assert part is not None  # without a limit on cycles every step has options
        return part

    def _space(self, part: Part, limits: Resources) -> _Space:
        return _Space(self._layout, part, limits, self._tables.system_resources, self._exact)

    def _estimate(self, policy: BitPolicy, part: Part, found: Found) -> Estimate:
        """The estimate of a design."""
        nodes: list[list[object]] = [[] for _ in policy]
        keys = self._tables.topology.keys(policy.values())
        lengths = [len(p.rows) for i, key in enumerate(keys) if (p := self._layout.layer(i, key))]
        layer_of = np.repeat(np.arange(len(lengths)), lengths)
        for row, item in found.path.tolist():
            step = part.steps[row]
            if step is not None:
                options, begin = step
                nodes[layer_of[row]] += options.nodes_of(item - begin)
        return self._assembled(nodes)

    def _assembled(self, nodes_of_layers: Sequence[Sequence[object]]) -> Estimate:
        nodes, corrections = self._tables.assemble(nodes_of_layers)
        return Estimate(nodes, self._clock_mhz, self._method, corrections)
