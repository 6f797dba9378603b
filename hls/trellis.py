"""An accelerator as a trellis: sets of stream widths, and what leads from one to the next.

The stream between two steps costs LUT that depend on how many elements the one hands on and the
other reads a cycle. So a design is a path through widths: an option leads from the width it reads
to the width it hands on, a stream from a width handed on to a width read. Layers are laid out once
for their bits; a policy's trellis is theirs, one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hls.assembly import Streams
from hls.kernels import STEP, STREAM, Floats, Ints
from hls.options import LayerKey, Options, Section

HOST = (1,)  # the host's end of a stream: one width, whatever it is


class Costs(Streams, Protocol):
    """What a trellis is made from; `hls.cost.CostTables` knows."""

    layers: tuple[str, ...]

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        """The parts of a layer in the order of the data, each in the ways it can be built."""
        ...

    def widths(self, layer: int) -> tuple[int, ...]:
        """Every number of elements a cycle that a layer may hand on, whatever its bits, in order."""
        ...


@dataclass(frozen=True)
class Part:
    """A piece of trellis: the rows from its first set of widths to its last one (`hls.kernels.sweep` says how).

    Attributes:
        rows: (n, 5); sets are counted from 0.
        sizes: number of widths in each set.
        steps: for each row the options it stands for and where they begin; None for a stream.
    """

    rows: Ints
    sizes: tuple[int, ...]
    steps: tuple[tuple[Options, int] | None, ...]

    @property
    def offsets(self) -> Ints:
        """Where the widths of each set begin, and their number."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)


class _Growing:
    """An array that rows are appended to; what was handed out stays valid, but does not grow."""

    def __init__(self, dtype: type, *shape: int) -> None:
        self._array: NDArray[Any] = np.empty((1024, *shape), dtype)
        self.n = 0

    def append(self, rows: NDArray[Any]) -> int:
        """Add rows and say where they begin."""
        begin, self.n = self.n, self.n + len(rows)
        if self.n > len(self._array):
            room = np.empty((2 * self.n, *self._array.shape[1:]), self._array.dtype)
            self._array = np.concatenate([self._array[:begin], room])
        self._array[begin : self.n] = rows
        return begin

    @property
    def rows(self) -> NDArray[Any]:
        """All of them."""
        return self._array[: self.n]


class Layout:
    """The layers of a network laid out as parts of trellises, each once.

    Args:
        tables: the network's costs.
        max_cycles: options with more are left out.
    """

    def __init__(self, tables: Costs, max_cycles: float = np.inf) -> None:
        self.tables = tables
        self._max_cycles = max_cycles
        self._costs = _Growing(np.float64, 4)
        self._ends = _Growing(np.int64, 2)
        self._streams = _Growing(np.float64)
        self._stream_at: dict[tuple[str, tuple[int, ...], tuple[int, ...], int], int] = {}
        self._layers: dict[tuple[int, LayerKey], Part | None] = {}

    @property
    def arrays(self) -> tuple[Floats, Ints, Floats]:
        """Costs and ends of all options, and LUT of all streams."""
        return self._costs.rows, self._ends.rows, self._streams.rows

    def layer(self, layer: int, key: LayerKey) -> Part | None:
        """A layer, from the widths the one before hands on to those it hands on itself; the last one to the host.

        None where a part of it has no option within the limit on cycles.
        """
        if (layer, key) not in self._layers:
            self._layers[layer, key] = self._laid_out(layer, key)
        return self._layers[layer, key]

    def policy(self, keys: Sequence[LayerKey]) -> Part | None:
        """All layers of a policy, from host to host; None where one of them has no option within the limit."""
        parts = [self.layer(i, key) for i, key in enumerate(keys)]
        known = [p for p in parts if p is not None]
        return joined(known) if len(known) == len(parts) else None

    def _laid_out(self, layer: int, key: LayerKey) -> Part | None:
        sections = self.tables.sections(layer, key)
        rows: list[tuple[int, int, int, int, int]] = []
        steps: list[tuple[Options, int] | None] = []
        before = self.tables.widths(layer - 1) if layer else HOST
        sets: list[tuple[int, ...]] = [before]

        def new_set(widths: tuple[int, ...]) -> int:
            sets.append(widths)
            return len(sets) - 1

        def stream(src: int, dst: int, element_bits: int, end: str = "") -> None:
            begin = self._streams_between(sets[src], sets[dst], element_bits, end)
            rows.append((STREAM, begin, len(sets[dst]), src, dst))
            steps.append(None)

        at = 0
        for i, section in enumerate(sections):
            within = [[_within(o, self._max_cycles) for o in way] for way in section]
            ways = [(way, which) for way, which in zip(section, within, strict=True) if all(len(w) for w in which)]
            if not ways:
                return None
            entry = new_set(_widths((way[0].reads[which[0]] for way, which in ways)))
            stream(at, entry, ways[0][0][0].read_bits, "from host" if layer == i == 0 else "")
            last = i == len(sections) - 1
            exits = self.tables.widths(layer) if last else _widths(way[-1].hands_on[which[-1]] for way, which in ways)
            # the set all ways end in comes after those within them: rows are in order of the data
            pending: list[tuple[Options, NDArray[np.int64], int]] = []
            for way, which in ways:
                here = entry
                for j, (options, chosen) in enumerate(zip(way, which, strict=True)):
                    if j == len(way) - 1:
                        pending.append((options, chosen, here))
                        break
                    out = new_set(_widths([options.hands_on[chosen]]))
                    self._step(rows, steps, sets, options, chosen, here, out)
                    here = new_set(_widths([way[j + 1].reads[which[j + 1]]]))
                    stream(out, here, options.handed_on_bits)
            at = new_set(exits)
            for options, chosen, here in pending:
                self._step(rows, steps, sets, options, chosen, here, at)
        if layer == len(self.tables.layers) - 1:
            bits = sections[-1][0][-1].handed_on_bits
            stream(at, new_set(HOST), bits, "to host")
        return Part(np.array(rows, np.int64), tuple(map(len, sets)), tuple(steps))

    def _step(
        self, rows: list[tuple[int, int, int, int, int]], steps: list[tuple[Options, int] | None],
        sets: list[tuple[int, ...]], options: Options, chosen: NDArray[np.int64], src: int, dst: int,
    ) -> None:  # fmt: skip
        entry = np.searchsorted(np.array(sets[src]), options.reads[chosen])
        exit_ = np.searchsorted(np.array(sets[dst]), options.hands_on[chosen])
        columns = (options.cycles, options.lut, options.bram18, options.dsp)
        begin = self._costs.append(np.stack([c[chosen] for c in columns], axis=1))
        self._ends.append(np.stack([entry, exit_], axis=1))
        rows.append((STEP, begin, begin + len(chosen), src, dst))
        # within a limit on cycles the options are the first ones: they are in order of cycles
        steps.append((options, begin))

    def _streams_between(self, exits: tuple[int, ...], entries: tuple[int, ...], element_bits: int, end: str) -> int:
        """Where the LUT of all streams between two sets begin."""
        name = (end, exits, entries, element_bits)
        if name not in self._stream_at:
            t = self.tables
            if end == "from host":
                lut = [t.from_host(n * element_bits) for n in entries]
            elif end == "to host":
                lut = [t.to_host(n * element_bits) for n in exits]
            else:
                lut = [t.stream(a, b, element_bits) for a in exits for b in entries]
            self._stream_at[name] = self._streams.append(np.array(lut, float))
        return self._stream_at[name]


def _within(options: Options, max_cycles: float) -> NDArray[np.int64]:
    """Positions of the options within a limit on cycles: the first ones, as they are in order of cycles."""
    return np.arange(np.searchsorted(options.cycles, max_cycles, side="right"))


def _widths(arrays: object) -> tuple[int, ...]:
    """The widths that occur, in order."""
    return tuple(np.unique(np.concatenate(list(arrays))).tolist())  # type: ignore[call-overload]


def joined(parts: Sequence[Part]) -> Part:
    """Parts one after the other: the last set of each is the first one of the next."""
    rows, sizes, first = [], [parts[0].sizes[:1]], 0
    for p in parts:
        shifted = p.rows.copy()
        shifted[:, 3:] += first
        rows.append(shifted)
        sizes.append(p.sizes[1:])
        first += len(p.sizes) - 1
    return Part(np.concatenate(rows), tuple(n for s in sizes for n in s), tuple(s for p in parts for s in p.steps))
