"""An accelerator as a trellis: sets of stream widths, and what leads from one to the next.

The stream between two steps costs LUT that depend on how many elements the one hands on and the
other reads a cycle; where they differ its width converter takes cycles, too. So a design is a path through
widths: an option leads from the width it reads to the width it hands on, a stream from a width handed on to
a width read. Layers are laid out once for their bits; a policy's trellis is theirs, one after the other.

Branches are gone through one after the other. What comes last is the width of the other branch's stream:
so between a fork and its join there is a set of widths for each of those, and the way leads through one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hls.assembly import Streams
from hls.kernels import STEP, STREAM, Floats, Ints
from hls.options import LayerKey, Options, Place, Section
from hls.pace import converter_cycles
from hls.topology import Topology

HOST = (1,)  # the host's end of a stream: one width, whatever it is
Cost = tuple[float, int]  # of a stream: LUT, and cycles a frame


class Costs(Streams, Protocol):
    """What a trellis is made from; `hls.cost.CostTables` knows."""

    topology: Topology

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        """The parts of a layer in the order of its steps, each in the ways it can be built."""
        ...

    def widths(self, layer: int) -> tuple[int, ...]:
        """Every number of elements a cycle that a layer may hand on, whatever its bits, in order."""
        ...

    def carried(self, layer: int) -> tuple[int, ...]:
        """Every width of the other branch's stream that waits behind a layer, in order; empty outside of branches."""
        ...


@dataclass(frozen=True)
class Part:
    """A piece of trellis: the rows from its first sets of widths to its last ones (`hls.kernels.sweep` says how).

    Attributes:
        rows: (n, 5); sets are counted from 0.
        sizes: number of widths in each set.
        steps: for each row the options it stands for and what to take from an item for the number of its option; None for
            a stream.
        n_first, n_last: sets that it begins and ends with: one, or one for every width of a stream that waits.
    """

    rows: Ints
    sizes: tuple[int, ...]
    steps: tuple[tuple[Options, int] | None, ...]
    n_first: int = 1
    n_last: int = 1

    @property
    def entry(self) -> slice:
        """The widths that it begins with, counted over all sets."""
        return slice(0, int(self.offsets[self.n_first]))

    @property
    def exit(self) -> slice:
        """The widths that it ends with."""
        return slice(int(self.offsets[-1 - self.n_last]), int(self.offsets[-1]))

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
        max_cycles: options with more are left out, and streams with more cost without end.
    """

    def __init__(self, tables: Costs, max_cycles: float = np.inf) -> None:
        self.tables = tables
        self._max_cycles = max_cycles
        self._costs = _Growing(np.float64, 4)
        self._ends = _Growing(np.int64, 2)
        self._streams = _Growing(np.float64, 2)
        self._stream_at: dict[tuple[Any, ...], int] = {}
        self._step_at: dict[tuple[Any, ...], int] = {}
        self._kept: list[Options] = []  # as long as they live no others have their id
        self._layers: dict[tuple[int, LayerKey], Part | None] = {}

    @property
    def arrays(self) -> tuple[Floats, Ints, Floats]:
        """Costs and ends of all options, and LUT and cycles of all streams."""
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

    def n_widths(self, layer: int) -> int:
        """Widths behind a layer, one for every width of a stream that waits; -1 stands for the host."""
        return len(self.tables.widths(layer)) * max(1, len(self.tables.carried(layer))) if layer >= 0 else len(HOST)

    def _laid_out(self, layer: int, key: LayerKey) -> Part | None:
        t, is_last = self.tables, layer == len(self.tables.topology.layers) - 1
        draft = _Draft(t.carried(layer - 1) if layer else (), t.widths(layer - 1) if layer else HOST)
        n_first = len(draft.at)
        sections = t.sections(layer, key)
        for i, section in enumerate(sections):
            within = [[_within(o, self._max_cycles) for o in way] for way in section.ways]
            ways = [(way, which) for way, which in zip(section.ways, within, strict=True) if all(len(w) for w in which)]
            if not ways:
                return None
            entry = _widths((way[0].reads[which[0]] for way, which in ways))
            self._enter(draft, section, entry, ways[0][0][0], layer == i == 0)
            exits = _widths(way[-1].hands_on[which[-1]] for way, which in ways)
            self._pass(draft, section, ways, t.widths(layer) if i == len(sections) - 1 else exits)
        if is_last:
            ((_, at),) = draft.at.items()
            bits = sections[-1].ways[0][-1].handed_on_bits
            draft.stream(self._streams_between(draft.sets[at], HOST, bits, 0, "to host"), at, draft.new_set(HOST))
        return Part(np.array(draft.rows, np.int64), tuple(map(len, draft.sets)), tuple(draft.steps), n_first, len(draft.at))

    def _enter(self, draft: _Draft, section: Section, entry: tuple[int, ...], reader: Options, from_host: bool) -> None:
        """Lay the streams into a section, of which `reader` is any way's first step."""
        before, bits, n = list(draft.at.items()), reader.read_bits, reader.n_read
        if section.place is Place.JOIN:
            here = draft.new_set(entry)
            for waiting, at in before:
                widths = draft.sets[at]
                name = ("join", widths, entry, bits, n, waiting, section.other_bits)
                draft.stream(self._streams_named(name, self._joining), at, here)
            draft.at = {None: here}
        elif section.place is Place.TURN:
            widths = draft.sets[before[0][1]]
            draft.at = {width: draft.new_set(entry) for width in widths}
            for waiting, at in before:
                for width, here in draft.at.items():
                    draft.stream(self._streams_named(("turn", widths, entry, bits, n, waiting, width), self._turning), at, here)
        else:
            for waiting, at in before:
                draft.at[waiting] = draft.new_set(entry)
                begin = self._streams_between(draft.sets[at], entry, bits, n, "from host" if from_host else "")
                draft.stream(begin, at, draft.at[waiting])

    def _pass(
        self, draft: _Draft, section: Section, ways: list[tuple[Sequence[Options], list[NDArray[np.int64]]]],
        exits: tuple[int, ...],
    ) -> None:  # fmt: skip
        """Lay the steps of a section."""
        # the sets all ways end in come after those within them: rows are in order of the data
        pending: list[tuple[int | None, Options, NDArray[np.int64], int]] = []
        for waiting, at in draft.at.items():
            for way, which in ways:
                here = at
                for j, (options, chosen) in enumerate(zip(way, which, strict=True)):
                    if j == len(way) - 1:
                        pending.append((waiting, options, chosen, here))
                        break
                    out = draft.new_set(_widths([options.hands_on[chosen]]))
                    self._step(draft, options, chosen, here, out)
                    here = draft.new_set(_widths([way[j + 1].reads[which[j + 1]]]))
                    bits, n = options.handed_on_bits, way[j + 1].n_read
                    begin = self._streams_between(draft.sets[out], draft.sets[here], bits, n, "")
                    draft.stream(begin, out, here)
        if section.place is Place.FORK:
            ((_, options, chosen, here),) = pending
            draft.at = {}
            for width in np.unique(options.hands_on).tolist():
                draft.at[width] = draft.new_set((width,))
                self._step(draft, options, chosen[options.hands_on[chosen] == width], here, draft.at[width])
            return
        draft.at = {waiting: draft.new_set(exits) for waiting in draft.at}
        for waiting, options, chosen, here in pending:
            self._step(draft, options, chosen, here, draft.at[waiting])

    def _step(self, draft: _Draft, options: Options, chosen: NDArray[np.int64], src: int, dst: int) -> None:
        if len(chosen) == 0:
            return
        # the same options stand between sets of the same widths again and again: for every stream that waits, and in
        # layers that differ in other steps
        name = (id(options), int(chosen[0]), len(chosen), draft.sets[src], draft.sets[dst])
        begin = self._step_at.get(name)
        if begin is None:
            entry = np.searchsorted(np.array(draft.sets[src]), options.reads[chosen])
            exit_ = np.searchsorted(np.array(draft.sets[dst]), options.hands_on[chosen])
            columns = (options.cycles, options.lut, options.bram18, options.dsp)
            begin = self._costs.append(np.stack([c[chosen] for c in columns], axis=1))
            self._ends.append(np.stack([entry, exit_], axis=1))
            self._step_at[name] = begin
            self._kept.append(options)
        draft.step(options, chosen, begin, src, dst)

    def _streams_between(
        self, exits: tuple[int, ...], entries: tuple[int, ...], element_bits: int, n: int, end: str
    ) -> int:  # fmt: skip
        """Where LUT and cycles of all streams between two sets begin; `n` elements go through them a frame."""
        return self._streams_named((end, exits, entries, element_bits, n), self._all_streams)

    def _streams_named(self, name: tuple[Any, ...], make: Callable[..., list[Cost]]) -> int:
        if name not in self._stream_at:
            made = np.array(make(*name), float)
            made[made[:, 1] > self._max_cycles, 0] = np.inf
            self._stream_at[name] = self._streams.append(made)
        return self._stream_at[name]

    def _all_streams(
        self, end: str, exits: tuple[int, ...], entries: tuple[int, ...], element_bits: int, n: int
    ) -> list[Cost]:  # fmt: skip
        t = self.tables
        if end == "from host":
            return [(t.from_host(width * element_bits), 0) for width in entries]
        if end == "to host":
            return [(t.to_host(width * element_bits), 0) for width in exits]
        return [(t.stream(a, b, element_bits), converter_cycles(n, a, b)) for a in exits for b in entries]

    def _joining(
        self, _: str, exits: tuple[int, ...], entries: tuple[int, ...], bits: int, n: int, waiting: int, other_bits: int
    ) -> list[Cost]:
        """Streams into a sum: that of the branch gone through last, and that of the other one, which waits."""
        t = self.tables
        return [
            (
                t.stream(a, b, bits) + t.stream(waiting, b, other_bits),
                max(converter_cycles(n, a, b), converter_cycles(n, waiting, b)),
            )
            for a in exits
            for b in entries
        ]

    def _turning(
        self, _: str, exits: tuple[int, ...], entries: tuple[int, ...], bits: int, n: int, waiting: int, kept: int
    ) -> list[Cost]:
        """Streams from a fork into its second branch, while what the first branch handed on waits: only for one width."""
        into = [(self.tables.stream(waiting, b, bits), converter_cycles(n, waiting, b)) for b in entries]
        return [(lut if a == kept else np.inf, cycles) for a in exits for lut, cycles in into]


class _Draft:
    """A part while it is laid out.

    Args:
        carried: widths of the stream that waits before it.
        widths: of the stream that it reads.

    Attributes:
        at: where the way has come to: of every width of the stream that waits (None without one) a set.
    """

    def __init__(self, carried: tuple[int, ...], widths: tuple[int, ...]) -> None:
        self.rows: list[tuple[int, int, int, int, int]] = []
        self.steps: list[tuple[Options, int] | None] = []
        self.sets: list[tuple[int, ...]] = []
        self.at: dict[int | None, int] = {w: self.new_set(widths) for w in carried or (None,)}

    def new_set(self, widths: tuple[int, ...]) -> int:
        """Add a set of widths and say its number."""
        self.sets.append(widths)
        return len(self.sets) - 1

    def stream(self, begin: int, src: int, dst: int) -> None:
        """Add a stream between two sets, its costs from `begin` on."""
        self.rows.append((STREAM, begin, len(self.sets[dst]), src, dst))
        self.steps.append(None)

    def step(self, options: Options, chosen: NDArray[np.int64], begin: int, src: int, dst: int) -> None:
        """Add some options of a step between two sets, their costs from `begin` on."""
        self.rows.append((STEP, begin, begin + len(chosen), src, dst))
        # chosen options are in a row: within a limit on cycles the first ones, of a fork the one of a width
        self.steps.append((options, begin - int(chosen[0])))


def _within(options: Options, max_cycles: float) -> NDArray[np.int64]:
    """Positions of the options within a limit on cycles: the first ones, as they are in order of cycles."""
    return np.arange(np.searchsorted(options.cycles, max_cycles, side="right"))


def _widths(arrays: object) -> tuple[int, ...]:
    """The widths that occur, in order."""
    return tuple(np.unique(np.concatenate(list(arrays))).tolist())  # type: ignore[call-overload]


def joined(parts: Sequence[Part]) -> Part:
    """Parts one after the other: the last sets of each are the first ones of the next."""
    rows, sizes, first = [], [parts[0].sizes[: parts[0].n_first]], 0
    for p in parts:
        shifted = p.rows.copy()
        shifted[:, 3:] += first
        rows.append(shifted)
        sizes.append(p.sizes[p.n_first :])
        first += len(p.sizes) - p.n_last
    steps = tuple(s for p in parts for s in p.steps)
    return Part(np.concatenate(rows), tuple(n for s in sizes for n in s), steps, parts[0].n_first, parts[-1].n_last)
