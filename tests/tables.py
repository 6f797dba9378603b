"""Cost tables without FINN: made-up networks behind the interface of `hls.cost.CostTables`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from boards.board import Resources
from hls.legal import NodeFolding
from hls.options import LayerKey, Options, Section, layer_keys
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


def options_of(
    rows: Sequence[Row], read_bits: int = 1, handed_on_bits: int = 1, foldings: Sequence[NodeFolding] | None = None
) -> Options:
    """The options of a step with one node."""
    with_folding = sorted(
        zip([(*r, 0)[:6] for r in rows], foldings or [{"PE": i + 1} for i in range(len(rows))], strict=True), key=lambda x: x[0]
    )
    table = np.array([r for r, _ in with_folding], np.int64).reshape(-1, 6)
    cycles, lut, bram18, reads, hands_on, dsp = table.T
    by_folding = {tuple(f.items()): tuple(r) for r, f in with_folding}
    op = MadeUpNode("made up", {"rows": by_folding, "bits": (read_bits, handed_on_bits)})
    n = len(rows)
    return Options(
        cycles, lut.astype(float), bram18, dsp, reads, hands_on, read_bits, handed_on_bits,
        [(op,)], np.zeros(n, np.int64), [(f,) for _, f in with_folding], np.arange(n),
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
        return [[[o]] for o in self.options(layer, key)]

    def widths(self, _: int) -> tuple[int, ...]:
        return (1, 2, 4, 8)

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        return element_bits * (1 if hands_on == reads else hands_on + 2 * reads)

    def from_host(self, bits: int) -> float:
        return 1 + bits % 3

    def to_host(self, bits: int) -> float:
        return 2 + bits % 2

    def total(self, nodes: Sequence[MadeUpNode]) -> tuple[int, Resources]:
        """Cycles and resources of a design, added up one by one."""
        used = self.system_resources + sum((Resources(lut=n.row[1], bram18=n.row[2], dsp=n.row[5]) for n in nodes), Resources())
        lut = self.from_host(nodes[0].row[3] * nodes[0].attributes["bits"][0])
        lut += sum(self.stream(a.row[4], b.row[3], a.attributes["bits"][1]) for a, b in pairwise(nodes))
        lut += self.to_host(nodes[-1].row[4] * nodes[-1].attributes["bits"][1])
        return max(n.row[0] for n in nodes), used + Resources(lut=lut)

    def designs(self, policy: BitPolicy) -> Iterator[tuple[int, Resources]]:
        """Cycles and resources of every design there is of a policy."""
        sections = [s for i, key in enumerate(layer_keys(policy)) for s in self.sections(i, key)]
        for ways in product(*sections):
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
        nodes, own = [], Resources()
        for layer, ops in zip(self.layers, nodes_of_layers, strict=True):
            for op in ops:
                used = Resources(lut=op.row[1], bram18=op.row[2], dsp=op.row[5])
                nodes.append(NodeEstimate(f"MVAU_hls_{len(nodes)}", "MVAU_hls", layer, op.row[0], used, op.folding))
                own += used
        _, used = self.total([op for ops in nodes_of_layers for op in ops])
        rest = Resources(lut=used.lut - own.lut, bram18=used.bram18 - own.bram18, dsp=used.dsp - own.dsp)
        return tuple(nodes), (Correction("all", "", rest, "streams and system"),)
