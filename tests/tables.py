"""Cost tables without FINN: made-up networks behind the interface of `hls.cost.CostTables`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil, gcd
from typing import Any

import numpy as np

from boards.board import Resources
from hls.legal import NodeFolding
from hls.options import LayerKey, Options, Place, Section
from hls.pace import Pace
from hls.topology import Topology
from hls.types import Correction, NodeEstimate
from models.policy import BitPolicy

Row = tuple[int, ...]  # cycles, LUT, BRAM18, elements read, elements handed on, and DSP if there are any


@dataclass(frozen=True)
class MadeUpNode:
    """In place of FINN's operators: `attributes` holds the options by folding, and the bits of an element at both ends."""

    name: str
    attributes: dict[str, Any]

    @property
    def folding(self) -> NodeFolding:
        return {k: self.attributes[k] for k in ("PE", "SIMD", "ram_style") if k in self.attributes}

    @property
    def row(self) -> Row:
        """Of the folding."""
        return self.attributes["rows"][tuple(self.folding.items())]  # type: ignore[no-any-return]

    @property
    def pace(self) -> Pace | None:
        """One vector a frame; None where width converters are to cost no cycles."""
        n, row = self.attributes["n_read"], self.row
        return Pace((1, 1), (1, 1), row[3], row[4], 1, n, row[0]) if n else None


def options_of(
    rows: Sequence[Row], read_bits: int = 1, handed_on_bits: int = 1, foldings: Sequence[NodeFolding] | None = None,
    n_read: int = 0,
) -> Options:  # fmt: skip
    """The options of a step with one node; without elements that it reads no width converter takes a cycle."""
    with_folding = sorted(
        zip([(*r, 0)[:6] for r in rows], foldings or [{"PE": i + 1} for i in range(len(rows))], strict=True), key=lambda x: x[0]
    )
    table = np.array([r for r, _ in with_folding], np.int64).reshape(-1, 6)
    cycles, lut, bram18, reads, hands_on, dsp = table.T
    by_folding = {tuple(f.items()): tuple(r) for r, f in with_folding}
    op = MadeUpNode("made up", {"rows": by_folding, "bits": (read_bits, handed_on_bits), "n_read": n_read})
    n = len(rows)
    return Options(
        cycles, lut.astype(float), bram18, dsp, reads, hands_on, read_bits, handed_on_bits,
        [(op,)], np.zeros(n, np.int64), [(f,) for _, f in with_folding], np.arange(n), n_read,
    )  # fmt: skip


class MadeUpTables:
    """A network whose steps a subclass makes up; streams cost more the less their ends match.

    A subclass gives `options(layer, key)`, or `sections(layer, key)` where there are several ways to build something.
    """

    layers: tuple[str, ...] = ()
    system_resources = Resources(lut=2, bram18=1)

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        raise NotImplementedError

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        return [Section([[o]]) for o in self.options(layer, key)]

    @property
    def topology(self) -> Topology:
        return Topology.chain(self.layers)

    def carried(self, _: int) -> tuple[int, ...]:
        return ()

    def widths(self, _: int) -> tuple[int, ...]:
        return (1, 2, 4, 8)

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        return element_bits * (1 if hands_on == reads else hands_on + 2 * reads)

    def from_host(self, bits: int) -> float:
        return 1 + bits % 3

    def to_host(self, bits: int) -> float:
        return 2 + bits % 2

    def streams_between(self, nodes: Sequence[MadeUpNode]) -> Iterator[tuple[MadeUpNode, MadeUpNode, int]]:
        """Which node hands on to which, and how many bits an element has."""
        for a, b in pairwise(nodes):
            yield a, b, a.attributes["bits"][1]

    def total(self, nodes: Sequence[MadeUpNode]) -> tuple[int, Resources]:
        """Cycles and resources of a design, added up one by one."""
        used = self.system_resources + sum((Resources(lut=n.row[1], bram18=n.row[2], dsp=n.row[5]) for n in nodes), Resources())
        lut = self.from_host(nodes[0].row[3] * nodes[0].attributes["bits"][0])
        lut += sum(self.stream(a.row[4], b.row[3], bits) for a, b, bits in self.streams_between(nodes))
        lut += self.to_host(nodes[-1].row[4] * nodes[-1].attributes["bits"][1])
        return max(*(n.row[0] for n in nodes), *self.converters(nodes), 0), used + Resources(lut=lut)

    def converters(self, nodes: Sequence[MadeUpNode]) -> Iterator[int]:
        """Cycles of the width converters between nodes."""
        for a, b, _ in self.streams_between(nodes):
            n, hands_on, reads = b.attributes["n_read"], a.row[4], b.row[3]
            if hands_on != reads:  # so many cycles for what fills words of both
                common = gcd(hands_on, reads)
                yield ceil(n * common / (hands_on * reads) * (hands_on // common + reads // common - 1) - 1e-9)

    def designs(self, policy: BitPolicy) -> Iterator[tuple[int, Resources]]:
        """Cycles and resources of every design there is of a policy."""
        sections = [s for i, key in enumerate(self.topology.keys(policy.values())) for s in self.sections(i, key)]
        for ways in product(*(s.ways for s in sections)):
            steps = [o for way in ways for o in way]
            for taken in product(*(range(len(o.cycles)) for o in steps)):
                yield self.total([n for o, j in zip(steps, taken, strict=True) for n in o.nodes_of(j)])

    def fits(self, policy: BitPolicy, limits: Resources, max_cycles: float) -> bool:
        """Whether any design of a policy keeps to limits, flip-flops left out."""
        return any(
            c <= max_cycles and u.lut <= limits.lut and u.bram18 <= limits.bram18 and u.dsp <= limits.dsp
            for c, u in self.designs(policy)
        )

    def assemble(
        self, nodes_of_layers: Sequence[Sequence[MadeUpNode]]
    ) -> tuple[tuple[NodeEstimate, ...], tuple[Correction, ...]]:
        nodes: list[NodeEstimate] = []
        own = Resources()
        flat = [op for ops in nodes_of_layers for op in ops]
        at = {id(op): i for i, op in enumerate(flat)}
        read: dict[int, tuple[str, ...]] = {}
        for a, b, _ in self.streams_between(flat) if flat[0].pace else ():
            read[at[id(b)]] = (*read.get(at[id(b)], ()), f"MVAU_hls_{at[id(a)]}")
        for layer, ops in zip(self.layers, nodes_of_layers, strict=True):
            for op in ops:
                used = Resources(lut=op.row[1], bram18=op.row[2], dsp=op.row[5])
                n, sources = len(nodes), read.get(len(nodes), ())
                nodes.append(NodeEstimate(f"MVAU_hls_{n}", "MVAU_hls", layer, op.row[0], used, op.folding, sources, op.pace))
                own += used
        _, used = self.total(flat)
        rest = Resources(lut=used.lut - own.lut, bram18=used.bram18 - own.bram18, dsp=used.dsp - own.dsp)
        return tuple(nodes), (Correction("all", "", rest, "streams and system"),)


class BranchTables(MadeUpTables):
    """A network with one block whose input is added to its output, with costs that are drawn for every key.

    Args:
        seed: of the costs.
        projects: whether the shortcut has a layer of its own.
        elements: that go through every stream a frame; with some the widths of streams are such that some do not divide others,
            and width converters take cycles.
    """

    def __init__(self, seed: int, projects: bool, elements: int = 0) -> None:
        self._seed = seed
        self.projects = projects
        self._elements = elements
        self._copied = (2, 3) if elements else (1, 2)
        self.layers = ("a", "b", "c", "s", "d") if projects else ("a", "b", "c", "d")

    @property
    def topology(self) -> Topology:
        none = (None,) * len(self.layers)
        if self.projects:
            shortcut_of = (None, None, None, 2, None)
            adds = (False, False, True, True, False)
            return Topology(self.layers, (None, 0, 1, 0, 2), adds, none, shortcut_of, (1, 1, 1, None, None), (1,) * 5)
        past = (None, None, 0, None)
        return Topology(self.layers, (None, 0, 1, 2), (False, False, True, False), past, none, (1, 1, 1, None), (1,) * 4)

    def carried(self, layer: int) -> tuple[int, ...]:
        return self._copied if self.layers[layer] == "b" or (self.projects and self.layers[layer] == "c") else ()

    def widths(self, _: int) -> tuple[int, ...]:
        return (1, 2, 3, 4, 6) if self._elements else super().widths(_)

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        name = self.layers[layer]
        bits = [n or 0 for n in (key.act_in, key.act_out, key.addend, key.past)]
        rng = np.random.default_rng([self._seed, layer, key.weight, *bits])
        read = key.act_in or 8
        n = self._elements
        unit = [[drawn_options(rng, read, key.addend or key.act_out or 9, n)] for _ in range(int(rng.integers(1, 3)))]
        out = [Section(unit, Place.TURN if name == "s" else Place.ALONG)]
        if name == "b":
            copies = [(int(rng.integers(1, 4)), int(rng.integers(0, 9)), int(rng.integers(0, 2)), w, w) for w in self._copied]
            out.insert(0, Section([[options_of(copies, read, read, n_read=n)]], Place.FORK))
        if name == ("s" if self.projects else "c"):
            assert key.addend is not None
            assert key.act_out is not None
            sums = [[drawn_options(rng, key.addend, key.act_out, n)]]
            out.append(Section(sums, Place.JOIN, key.addend if self.projects else key.past or 0))
        return out

    def streams_between(self, nodes: Sequence[MadeUpNode]) -> Iterator[tuple[MadeUpNode, MadeUpNode, int]]:
        pairs = [(0, 1), (1, 2), (2, 3), (1, 4), (4, 5), (3, 5), (5, 6)] if self.projects else [
            (0, 1), (1, 2), (2, 3), (3, 4), (1, 4), (4, 5)
        ]  # fmt: skip
        for a, b in pairs:
            yield nodes[a], nodes[b], nodes[a].attributes["bits"][1]


def drawn_options(rng: np.random.Generator, read_bits: int, handed_on_bits: int, n_read: int = 0) -> Options:
    """A few options of a step, drawn at random; widths that do not divide each other only where elements are read."""
    n = int(rng.integers(1, 4))
    columns = (rng.integers(1, 6, n), rng.integers(0, 9, n), rng.integers(0, 3, n))
    among = np.array((2, 3, 4) if n_read else (1, 2, 4))
    widths = (among[rng.integers(0, 3, n)], among[rng.integers(0, 3, n)])
    rows = [tuple(int(v) for v in row) for row in zip(*columns, *widths, rng.integers(0, 4, n), strict=True)]
    return options_of(rows, read_bits, handed_on_bits, n_read=n_read)
