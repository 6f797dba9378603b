"""Cost tables without FINN: made-up networks behind the interface of `hls.cost.CostTables`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, product

import numpy as np

from boards.board import Resources
from hls.options import LayerKey, Options, layer_keys
from hls.types import Correction, NodeEstimate
from models.policy import BitPolicy

Row = tuple[int, int, int, int, int]  # cycles, LUT, BRAM18, elements read, elements handed on


def options_of(rows: Sequence[Row], read_bits: int = 1, handed_on_bits: int = 1) -> Options:
    ordered = sorted(rows)
    cycles, lut, bram18, reads, hands_on = (np.array([r[i] for r in ordered], dtype=np.int64) for i in range(5))
    foldings = tuple(({"PE": i + 1},) for i in range(len(rows)))
    dsp = np.zeros(len(rows), np.int64)
    return Options((0,), cycles, lut.astype(float), bram18, dsp, reads, hands_on, read_bits, handed_on_bits, foldings)


class MadeUpTables:
    """A network whose steps a subclass makes up; streams cost more the less their ends match.

    `options(layer, key)` is for the subclass.
    """

    layers: tuple[str, ...] = ()
    system_resources = Resources(lut=2, bram18=1)

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        raise NotImplementedError

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        return element_bits * (1 if hands_on == reads else hands_on + 2 * reads)

    def from_host(self, bits: int) -> float:
        return 1 + bits % 3

    def to_host(self, bits: int) -> float:
        return 2 + bits % 2

    def steps(self, policy: BitPolicy) -> list[Options]:
        return [o for i, key in enumerate(layer_keys(policy)) for o in self.options(i, key)]

    def total(self, steps: Sequence[Options], taken: Sequence[int]) -> tuple[int, float, int]:
        """Cycles, LUT and BRAM18 of a design, added up one by one."""
        lut = self.system_resources.lut + sum(o.lut[j] for o, j in zip(steps, taken, strict=True))
        lut += self.from_host(int(steps[0].reads[taken[0]]) * steps[0].read_bits)
        for (a, j), (b, k) in pairwise(zip(steps, taken, strict=True)):
            lut += self.stream(int(a.hands_on[j]), int(b.reads[k]), a.handed_on_bits)
        lut += self.to_host(int(steps[-1].hands_on[taken[-1]]) * steps[-1].handed_on_bits)
        bram18 = self.system_resources.bram18 + sum(int(o.bram18[j]) for o, j in zip(steps, taken, strict=True))
        return max(int(o.cycles[j]) for o, j in zip(steps, taken, strict=True)), lut, int(bram18)

    def designs(self, policy: BitPolicy) -> Iterator[tuple[int, float, int]]:
        """Cycles, LUT and BRAM18 of every design there is of a policy."""
        steps = self.steps(policy)
        for taken in product(*(range(len(o.cycles)) for o in steps)):
            yield self.total(steps, taken)

    def fits(self, policy: BitPolicy, limits: Resources, max_cycles: float) -> bool:
        """Whether any design of a policy keeps to limits."""
        return any(c <= max_cycles and lut <= limits.lut and b <= limits.bram18 for c, lut, b in self.designs(policy))

    def assemble(
        self, policy: BitPolicy, choice: Sequence[Sequence[int]]
    ) -> tuple[tuple[NodeEstimate, ...], tuple[Correction, ...]]:
        steps, taken = self.steps(policy), [j for layer in choice for j in layer]
        nodes = []
        owners = [n for i, n in enumerate(self.layers) for _ in self.options(i, layer_keys(policy)[i])]
        for i, (o, j) in enumerate(zip(steps, taken, strict=True)):
            used = Resources(lut=float(o.lut[j]), bram18=int(o.bram18[j]))
            nodes.append(NodeEstimate(f"MVAU_{i}", "MVAU_hls", owners[i], int(o.cycles[j]), used, o.foldings[j][0]))
        _, lut, bram18 = self.total(steps, taken)
        own = sum((n.resources for n in nodes), Resources())
        rest = Resources(lut=lut - own.lut, bram18=bram18 - own.bram18)
        return tuple(nodes), (Correction("all", "", rest, "streams and system"),)
