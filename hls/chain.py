"""Costs along a chain of steps: what the cheapest design so far takes, for every amount of block RAM.

The stream between two steps costs LUT that depend on how many elements the one hands on and the
other reads a cycle. So a state is kept for every such width: a `Front` is an array (widths, block
RAM) of the fewest LUT of a part of the chain that ends (or begins) with a stream of that width
and takes at most that many block RAMs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hls.options import Options

Front = NDArray[np.float64]
StreamCost = Callable[[int, int, int], float]
"""Elements handed on, elements read, bits of an element: LUT of the stream."""

_BIG = 1e12  # more LUT than any design has


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
    exit: NDArray[np.int64]
    entries: tuple[int, ...]
    exits: tuple[int, ...]


def stage_of(options: Options, max_cycles: float, max_dsp: float) -> Stage | None:
    """The stage of a step at a limit on cycles and DSP slices; None where no option keeps to them."""
    n = int(np.searchsorted(options.cycles, max_cycles, side="right"))
    index = np.flatnonzero(options.dsp[:n] <= max_dsp)
    if not len(index):
        return None
    lut, bram18 = options.lut[index], options.bram18[index]
    widths = options.reads[index] * _width_base(options) + options.hands_on[index]
    order = np.lexsort((lut, bram18, widths))
    widths, lut, bram18, index = widths[order], lut[order], bram18[order], index[order]
    # a running minimum of LUT within each pair of widths: later pairs are pushed below all earlier ones
    group = np.cumsum(np.concatenate([[0], (widths[1:] != widths[:-1]).astype(np.int64)]))
    pushed = lut - group * _BIG
    keep = np.concatenate([[True], pushed[1:] < np.minimum.accumulate(pushed)[:-1]])
    index, lut, bram18 = index[keep], lut[keep], bram18[keep]
    entries, entry = np.unique(options.reads[index], return_inverse=True)
    exits, exit_ = np.unique(options.hands_on[index], return_inverse=True)
    return Stage(options, index, lut, bram18, entry, exit_, tuple(entries.tolist()), tuple(exits.tolist()))


def _width_base(options: Options) -> int:
    return int(options.hands_on.max()) + 1


class Streams:
    """Costs of the streams between stages, as arrays, remembered.

    Args:
        cost: of one stream.
    """

    def __init__(self, cost: StreamCost) -> None:
        self._cost = cost
        self._known: dict[tuple[tuple[int, ...], tuple[int, ...], int], NDArray[np.float64]] = {}

    def between(self, exits: tuple[int, ...], entries: tuple[int, ...], element_bits: int) -> NDArray[np.float64]:
        """LUT of every stream from one of `exits` to one of `entries`, shaped (exits, entries)."""
        found = self._known.get((exits, entries, element_bits))
        if found is None:
            found = np.array([[self._cost(a, b, element_bits) for b in entries] for a in exits])
            self._known[exits, entries, element_bits] = found
        return found


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
