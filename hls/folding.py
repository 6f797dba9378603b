"""The fastest folding that fits: an exact search over the options of every node and the streams between.

For a limit on cycles a frame every step of the pipeline must be fast enough; among those designs a
dynamic program along the chain (`hls.chain`) finds the fewest LUT for every amount of block RAM.
The smallest limit that fits is then found by going up the cycle counts that occur, from a bound
below which nothing can fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.chain import Stage, Streams, cheapest, level, stages_of, thinned, through, trace
from hls.cost import CostTables
from hls.options import Options, layer_keys
from hls.types import Estimate
from models.policy import BitPolicy

# What a block RAM may be worth in LUT when the bound on cycles is sought: any values give a bound.
_BRAM_PRICES_LUT = (0.0, 40.0, 90.0, 150.0, 300.0)


@dataclass(frozen=True)
class Chain:
    """The steps of one policy's accelerator, and what is left of the limits for them.

    Attributes:
        steps: options of every step, in the order of the data.
        streams: costs of the streams between them.
        limits: resources left once the system around is counted.
        used_around: what that takes.
    """

    steps: Sequence[Options]
    streams: Streams
    limits: Resources
    used_around: Resources

    def design(self, max_cycles: float) -> Design | None:
        """The cheapest designs within a limit on cycles; None where a step cannot be that fast."""
        stages = stages_of(self.steps, max_cycles, self.limits.dsp)
        return None if stages is None else Design(self, stages, max(0, int(self.limits.bram18)))


class Design:
    """The cheapest designs of a chain whose stages are given, for every amount of block RAM.

    Args:
        chain: the chain.
        stages: of its steps.
        n_bram18: as far as block RAM is looked at.
    """

    def __init__(self, chain: Chain, stages: list[Stage], n_bram18: int) -> None:
        ends = zip(stages, pairwise(self._links_of(chain, stages)), strict=True)
        self._stages = [thinned(stage, into, out_of) for stage, (into, out_of) in ends]
        from_host, *self._links, to_host = self._links_of(chain, self._stages)
        self._last = to_host[:, 0]
        front = level(from_host[0], n_bram18)
        self._at_entries = [front]
        for stage, link in zip(self._stages, self._links, strict=False):
            front = cheapest(through(front, stage), link)
            self._at_entries.append(front)
        self.lut: NDArray[np.float64] = (through(front, self._stages[-1]) + to_host).min(axis=0)

    @staticmethod
    def _links_of(chain: Chain, stages: Sequence[Stage]) -> list[NDArray[np.float64]]:
        """LUT of the streams into the first stage (1, entries), from each to the next, and out of the last (exits, 1)."""
        first, last = stages[0], stages[-1]
        from_host = chain.streams.from_host(first.entries, first.options.read_bits)
        to_host = chain.streams.to_host(last.exits, last.options.handed_on_bits)
        return [from_host[None, :], *chain.streams.along(stages), to_host[:, None]]

    def options(self, bram18: int) -> list[int]:
        """The option of every step in the cheapest design that takes at most `bram18` block RAMs."""
        return trace(self._at_entries, self._stages, self._links, self._last, bram18)


def _bound(chain: Chain, candidates: NDArray[np.int64]) -> int:
    """Position of the first candidate that is not ruled out by LUT and priced block RAM, streams left out."""
    first = 0
    for price in _BRAM_PRICES_LUT:
        total = np.zeros(len(candidates))
        for s in chain.steps:
            cheapest_yet = np.minimum.accumulate(s.lut + price * s.bram18)
            position = np.searchsorted(s.cycles, candidates, side="right") - 1
            total += np.where(position >= 0, cheapest_yet[np.maximum(position, 0)], np.inf)
        fits = np.flatnonzero(total <= chain.limits.lut + price * chain.limits.bram18)
        first = max(first, int(fits[0]) if len(fits) else len(candidates))
    return first


def _gallop(first: int, end: int) -> Iterator[int]:
    """Positions from `first` on, in growing steps, the last one before `end` always among them."""
    step, at = 1, first
    while at < end - 1:
        yield at
        at += step
        step *= 2
    if first < end:
        yield end - 1


def _fastest(chain: Chain) -> list[int] | None:
    """The option of every step at the smallest limit on cycles that fits; None if none fits."""
    candidates = np.unique(np.concatenate([s.cycles for s in chain.steps]))
    if chain.limits.bram18 < 0 or chain.limits.lut < 0:
        return None
    budget = int(chain.limits.bram18)

    def fitting(at: int) -> list[int] | None:
        design = chain.design(float(candidates[at]))
        return design.options(budget) if design is not None and design.lut[budget] <= chain.limits.lut else None

    low = _bound(chain, candidates)
    high, chosen = low, None
    for high in _gallop(low, len(candidates)):
        chosen = fitting(high)
        if chosen is not None:
            break
        low = high + 1
    while chosen is not None and low < high:
        middle = (low + high) // 2
        better = fitting(middle)
        if better is None:
            low = middle + 1
        else:
            high, chosen = middle, better
    return chosen


def _leanest(chain: Chain, max_cycles: float) -> tuple[float, list[int]] | None:
    """The options within a limit on cycles whose scarcest resource is used least, DSP left out.

    Returns:
        The factor by which the limits are used, above 1 where they are exceeded, and the option of every
        step; None where a step cannot be that fast.
    """
    stages = stages_of(chain.steps, max_cycles, np.inf)
    if stages is None:
        return None
    design = Design(chain, stages, sum(int(s.bram18.max()) for s in stages))
    used = chain.used_around
    lut, bram18 = max(chain.limits.lut + used.lut, 1e-9), max(chain.limits.bram18 + used.bram18, 1e-9)
    shares = np.maximum((design.lut + used.lut) / lut, (np.arange(len(design.lut)) + used.bram18) / bram18)
    best = int(shares.argmin())
    return float(shares[best]), design.options(best)


def chain_of(tables: CostTables, policy: BitPolicy, limits: Resources, streams: Streams) -> Chain:
    """The chain of a policy; the system around the accelerator is taken off the limits."""
    steps = [step for i, key in enumerate(layer_keys(policy)) for step in tables.options(i, key)]
    return Chain(steps, streams, less(limits, tables.system_resources), tables.system_resources)


def less(limits: Resources, used: Resources) -> Resources:
    """What is left of limits; below 0 where more is used."""
    return Resources(limits.lut - used.lut, limits.ff - used.ff, limits.bram18 - used.bram18, limits.dsp - used.dsp)


def fastest_folding(
    tables: CostTables, policy: BitPolicy, limits: Resources, clock_mhz: float, method: str, streams: Streams | None = None
) -> Estimate:
    """The estimate of a policy at the folding with the highest frame rate within the limits.

    Where no folding fits, the one that exceeds the limits by the smallest factor is given, so that
    `estimate.resources <= limits` tells which it is and the estimate tells what is missing.

    Args:
        tables: of the policy's network.
        policy: the bits.
        limits: LUT, block RAM and DSP slices that may be used, by the accelerator and the system around it.
        clock_mhz: handed on to the estimate.
        method: the same.
        streams: costs of streams, remembered from call to call if given.
    """
    chain = chain_of(tables, policy, limits, streams or Streams(tables))
    chosen = _fastest(chain)
    if chosen is None:
        leanest = _leanest(chain, np.inf)
        chosen = leanest[1] if leanest else []  # every step has options without a limit
    return _estimate(tables, policy, chosen, clock_mhz, method)


def _estimate(tables: CostTables, policy: BitPolicy, chosen: Sequence[int], clock_mhz: float, method: str) -> Estimate:
    """The estimate of a policy with the chosen option of every step."""
    rest = iter(chosen)
    choice = [[next(rest) for _ in tables.options(i, key)] for i, key in enumerate(layer_keys(policy))]
    nodes, corrections = tables.assemble(policy, choice)
    return Estimate(nodes, clock_mhz, method, corrections)


def leanest_folding(
    tables: CostTables, policy: BitPolicy, limits: Resources, min_fps: float, clock_mhz: float, method: str
) -> Estimate | None:
    """The estimate of a policy at the folding that reaches a frame rate with the least of its scarcest resource.

    Args:
        tables: of the policy's network.
        policy: the bits.
        limits: LUT and block RAM that shares are taken of; they may be exceeded.
        min_fps: frames a second, above 0.
        clock_mhz: what the frame rate holds for.
        method: handed on to the estimate.

    Returns:
        The estimate; None where no folding is that fast, whatever it takes.
    """
    found = _leanest(chain_of(tables, policy, limits, Streams(tables)), clock_mhz * 1e6 / min_fps)
    return None if found is None else _estimate(tables, policy, found[1], clock_mhz, method)


def folding_front(tables: CostTables, policy: BitPolicy, limits: Resources, clock_mhz: float, method: str) -> list[Estimate]:
    """Frame rate against use: every folding that is not beaten in both, within the limits, the slowest first.

    Arguments are those of `leanest_folding`.
    """
    chain = chain_of(tables, policy, limits, Streams(tables))
    least, front = np.inf, []
    for cycles in np.unique(np.concatenate([s.cycles for s in chain.steps])).tolist():
        found = _leanest(chain, cycles)
        if found is not None and found[0] < least:
            least = found[0]
            estimate = _estimate(tables, policy, found[1], clock_mhz, method)
            if estimate.resources <= limits:
                front.append(estimate)
    return front[::-1]


def estimate_at(
    tables: CostTables, policy: BitPolicy, folding: Mapping[str, Mapping[str, int | str]], clock_mhz: float, method: str
) -> Estimate:
    """The estimate of a policy at a given folding of every node, such as FINN's own.

    Raises:
        FoldingError: a node is missing, or has values that FINN does not accept; the text names those it does.
    """
    nodes, corrections = tables.assemble(policy, tables.choice_of(policy, folding))
    return Estimate(nodes, clock_mhz, method, corrections)
