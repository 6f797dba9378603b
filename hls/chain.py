"""Costs along a chain of steps: what the cheapest design so far takes, for every amount of block RAM.

The stream between two steps costs LUT that depend on how many elements the one hands on and the
other reads a cycle. So a state is kept for every such width: a `Front` is an array (widths, block
RAM) of the fewest LUT of a part of the chain that ends (or begins) with a stream of that width
and takes at most that many block RAMs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hls.options import Options

Front = NDArray[np.float64]

_BIG = 1e9  # more LUT than any step has
# What a block RAM may be worth in LUT when options are compared with a good one: none, some, everything.
_PRICES = (0.0, 90.0, _BIG)


@dataclass(frozen=True)
class Stage:
    """The options of a step within a limit on cycles that no other beats in LUT and block RAM at the same widths.

    Attributes:
        options: what they were taken from.
        index: position of each in `options`.
        lut, bram18: of each.
        entry, exit: of each, the position of its stream width in `entries` and `exits`.
        entries, exits: the stream widths that occur, in elements a cycle.
    """

    options: Options
    index: NDArray[np.int64]
    lut: NDArray[np.float64]
    bram18: NDArray[np.int64]
    entry: NDArray[np.int64]
    entries: tuple[int, ...]
    exit: NDArray[np.int64]
    exits: tuple[int, ...]


def stage_of(options: Options, max_cycles: float, max_dsp: float) -> Stage | None:
    """The stage of a step at a limit on cycles and DSP slices; None where no option keeps to them."""
    widths = options.by_width
    mask = (options.cycles <= max_cycles) & (options.dsp <= max_dsp)
    kept = np.flatnonzero(mask[widths.order])
    if not len(kept):
        return None
    index, entry, exit_ = widths.order[kept], widths.entry[kept], widths.exit[kept]
    lut, bram18 = options.lut[index], options.bram18[index]
    # a running minimum of LUT within each pair of widths: later pairs are pushed below all earlier ones
    group = entry * len(widths.exits) + exit_
    pushed = lut - group * _BIG
    better = np.flatnonzero(np.concatenate([[True], pushed[1:] < np.minimum.accumulate(pushed)[:-1]]))
    return Stage(
        options, index[better], lut[better], bram18[better], *_present(entry[better], widths.entries),
        *_present(exit_[better], widths.exits),
    )  # fmt: skip


def stages_of(steps: Sequence[Options], max_cycles: float, max_dsp: float) -> list[Stage] | None:
    """The stages of some steps, or None where one of them has no option that keeps to the limits."""
    stages = [stage_of(s, max_cycles, max_dsp) for s in steps]
    known = [s for s in stages if s is not None]
    return known if len(known) == len(stages) else None


def _present(which: NDArray[np.int64], widths: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Positions in the widths that occur, and those widths."""
    there = np.zeros(len(widths), bool)
    there[which] = True
    return (np.cumsum(there) - 1)[which], tuple(widths[there].tolist())


def thinned(stage: Stage, into: NDArray[np.float64], out_of: NDArray[np.float64]) -> Stage:
    """A stage without options that another replaces at no loss, whatever streams meet it.

    Args:
        stage: the stage.
        into: LUT of the streams into it, (widths before, entries).
        out_of: LUT of the streams out of it, (exits, widths behind).
    """
    keep = np.ones(len(stage.lut), bool)
    for price in _PRICES:
        best = int((stage.lut + price * stage.bram18).argmin())
        # what its streams may cost more than another's, at the worst
        worse_in = (into[:, [stage.entry[best]]] - into).max(axis=0)
        worse_out = (out_of[[stage.exit[best]], :] - out_of).max(axis=1)
        bound = stage.lut[best] + worse_in[stage.entry] + worse_out[stage.exit]
        beaten = (stage.bram18 >= stage.bram18[best]) & (stage.lut >= bound)
        beaten[best] = False
        keep &= ~beaten
    if keep.all():
        return stage
    kept = np.flatnonzero(keep)
    return Stage(
        stage.options, stage.index[kept], stage.lut[kept], stage.bram18[kept],
        *_present(stage.entry[kept], np.array(stage.entries)), *_present(stage.exit[kept], np.array(stage.exits)),
    )  # fmt: skip


class StreamCosts(Protocol):
    """What streams take in LUT; `hls.cost.CostTables` knows."""

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        """From a step that hands on so many elements a cycle to one that reads so many."""
        ...

    def from_host(self, bits: int) -> float:
        """From the host to a step that reads so many bits a cycle."""
        ...

    def to_host(self, bits: int) -> float:
        """To the host from a step that hands on so many bits a cycle."""
        ...


class Streams:
    """Costs of the streams between stages and at the ends of a chain, as arrays, remembered.

    Args:
        costs: of one stream.
    """

    def __init__(self, costs: StreamCosts) -> None:
        self._costs = costs
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...], int], NDArray[np.float64]] = {}

    def between(self, exits: tuple[int, ...], entries: tuple[int, ...], element_bits: int) -> NDArray[np.float64]:
        """LUT of every stream from one of `exits` to one of `entries`, shaped (exits, entries)."""
        found = self._known.get((exits, entries, element_bits))
        if found is None:
            found = np.array([[self._costs.stream(a, b, element_bits) for b in entries] for a in exits])
            self._known[exits, entries, element_bits] = found
        return found

    def along(self, stages: Sequence[Stage]) -> list[NDArray[np.float64]]:
        """LUT of the streams from each stage to the next, each shaped (exits, entries)."""
        return [self.between(a.exits, b.entries, a.options.handed_on_bits) for a, b in pairwise(stages)]

    def from_host(self, entries: tuple[int, ...], element_bits: int) -> NDArray[np.float64]:
        """LUT of the stream from the host to each of `entries`."""
        return np.array([self._costs.from_host(n * element_bits) for n in entries])

    def to_host(self, exits: tuple[int, ...], element_bits: int) -> NDArray[np.float64]:
        """LUT of the stream to the host from each of `exits`."""
        return np.array([self._costs.to_host(n * element_bits) for n in exits])


def level(lut: NDArray[np.float64], n_bram18: int) -> Front:
    """The front of what takes LUT by its width and no block RAM, up to `n_bram18` block RAMs."""
    return np.repeat(lut[:, None], n_bram18 + 1, axis=1)


def shifted(front: Front, rows: NDArray[np.int64], bram18: NDArray[np.int64]) -> Front:
    """Rows of a front, each moved up by an amount of block RAM: what is left below it is impossible."""
    most = int(bram18.max())
    padded = np.concatenate([np.full((len(front), most), np.inf), front], axis=1)
    return padded[rows[:, None], np.arange(front.shape[1]) + (most - bram18)[:, None]]  # type: ignore[no-any-return]


def cheapest(front: Front, streams: NDArray[np.float64]) -> Front:
    """The front at the other end of the streams (a, b): over its widths a, the cheapest for every b."""
    return (front[:, None, :] + streams[:, :, None]).min(axis=0)  # type: ignore[no-any-return]


def through(front: Front, stage: Stage) -> Front:
    """From the front at a stage's entries (entries, block RAM) to the one at its exits (exits, block RAM)."""
    return _pass(front, stage, stage.entry, stage.exit, len(stage.exits))


def back_through(front: Front, stage: Stage) -> Front:
    """From the front at a stage's exits to the one at its entries: `through`, the other way round."""
    return _pass(front, stage, stage.exit, stage.entry, len(stage.entries))


def _pass(front: Front, stage: Stage, near: NDArray[np.int64], far: NDArray[np.int64], n_far: int) -> Front:
    """The cheapest option for every width at the far end, behind the front at the near end."""
    order = np.argsort(far, kind="stable")
    costs = shifted(front, near[order], stage.bram18[order])
    costs += stage.lut[order, None]
    return np.minimum.reduceat(costs, np.searchsorted(far[order], np.arange(n_far)), axis=0)


def trace(
    fronts_at_entries: Sequence[Front], stages: Sequence[Stage], streams: Sequence[NDArray[np.float64]],
    last_streams: NDArray[np.float64], bram18: int,
) -> list[int]:  # fmt: skip
    """The options of the cheapest chain that takes at most `bram18` block RAMs.

    Args:
        fronts_at_entries: of every stage.
        stages: in order.
        streams: from each stage to the next, (exits, entries).
        last_streams: LUT of the stream behind the last stage, (exits,).
        bram18: the block RAM that may be used.
    """
    chosen: list[int] = []
    behind = last_streams
    for i in reversed(range(len(stages))):
        stage, front = stages[i], fronts_at_entries[i]
        totals = shifted(front, stage.entry, stage.bram18)[:, bram18] + stage.lut + behind[stage.exit]
        best = int(totals.argmin())
        chosen.append(int(stage.index[best]))
        bram18 -= int(stage.bram18[best])
        if i:
            behind = streams[i - 1][:, stage.entry[best]]
    return chosen[::-1]
