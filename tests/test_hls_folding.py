from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.board import Resources
from hls.cost import LayerKey, Options
from hls.folding import climb, fastest_folding
from hls.types import NodeEstimate
from models.policy import BitPolicy, LayerBits

Row = tuple[int, int, int]  # cycles, LUT, BRAM18


def options_of(rows: list[Row], node: int = 0) -> Options:
    ordered = sorted(rows)
    cycles, lut, bram18 = (np.array([r[i] for r in ordered]) for i in range(3))
    return Options((node,), cycles, lut.astype(float), bram18, tuple(({"PE": i + 1},) for i in range(len(rows))))


class OneStepTables:
    """Tables of a network whose layers are one node each, with costs that do not depend on bits."""

    def __init__(self, steps: list[list[Row]]) -> None:
        self.layers = tuple(f"fc{i}" for i in range(len(steps)))
        self._options = [options_of(rows, i) for i, rows in enumerate(steps)]

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        return [self._options[layer]]

    def nodes(self, policy: BitPolicy, choice: list[list[int]]) -> tuple[NodeEstimate, ...]:
        out = []
        for name, options, (j,) in zip(self.layers, self._options, choice, strict=True):
            used = Resources(lut=options.lut[j], bram18=int(options.bram18[j]))
            out.append(NodeEstimate(name, "MVAU_hls", name, int(options.cycles[j]), used, options.foldings[j][0]))
        return tuple(out)

    @property
    def policy(self) -> BitPolicy:
        return BitPolicy({n: LayerBits(4, None if n == self.layers[-1] else 4) for n in self.layers})


rows = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20), st.integers(0, 5)), min_size=1, max_size=5)
networks = st.lists(rows, min_size=1, max_size=4)


class TestFastestFolding:
    @given(networks, st.integers(0, 60), st.integers(0, 14))
    def test_is_the_best_of_all_combinations(self, steps: list[list[Row]], lut: int, bram18: int) -> None:
        tables = OneStepTables(steps)
        limits = Resources(lut=lut, bram18=bram18)
        found = fastest_folding(tables, tables.policy, limits, 100.0, "test")  # type: ignore[arg-type]
        fitting = [
            (max(r[0] for r in combination), sum(r[1] for r in combination))
            for combination in product(*steps)
            if sum(r[1] for r in combination) <= lut and sum(r[2] for r in combination) <= bram18
        ]
        if fitting:
            assert found.resources <= limits
            assert (found.bottleneck_cycles, found.resources.lut) == min(fitting)
        else:
            assert not found.resources <= limits

    @given(networks)
    def test_exceeds_by_the_smallest_factor_where_nothing_fits(self, steps: list[list[Row]]) -> None:
        steps = [[(c, lut + 1, bram) for c, lut, bram in step] for step in steps]
        tables = OneStepTables(steps)
        limits = Resources(lut=0.5, bram18=0)
        found = fastest_folding(tables, tables.policy, limits, 100.0, "test")  # type: ignore[arg-type]
        least = min(max(sum(r[1] for r in c) / 0.5, sum(r[2] for r in c) / 1e-9) for c in product(*steps))
        assert max(found.resources.lut / 0.5, found.resources.bram18 / 1e-9) == pytest.approx(least)

    def test_more_room_is_never_slower(self) -> None:
        tables = OneStepTables([[(100, 1, 1), (50, 2, 1), (10, 9, 0)], [(80, 1, 0), (8, 6, 0)]])
        cycles = [
            fastest_folding(tables, tables.policy, Resources(lut=n, bram18=1), 100.0, "test").bottleneck_cycles  # type: ignore[arg-type]
            for n in (2, 3, 7, 10, 15)
        ]
        assert cycles == [100, 80, 80, 50, 10]


@given(rows, st.integers(0, 10))
def test_a_ladder_holds_the_undominated_options(steps: list[Row], max_cycles: int) -> None:
    options = options_of(steps)
    ladder = climb(options, max_cycles)
    fast = [(r[2], r[1]) for r in steps if r[0] <= max_cycles]
    undominated = {p for p in fast if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in fast)}
    assert set(zip(ladder.bram18.tolist(), ladder.lut.tolist(), strict=True)) == undominated
    assert all(options.cycles[i] <= max_cycles for i in ladder.index)
    assert (np.diff(ladder.bram18) > 0).all()
    assert (np.diff(ladder.lut) < 0).all()
