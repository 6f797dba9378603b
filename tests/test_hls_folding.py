"""The folding search against an enumeration of every design, on made-up networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.board import Resources
from hls.chain import stage_of
from hls.folding import fastest_folding, folding_front, leanest_folding
from hls.options import LayerKey, Options
from hls.types import Estimate
from models.policy import BitPolicy, LayerBits
from tests.tables import MadeUpTables, Row, options_of


class OneStepTables(MadeUpTables):
    """A network whose layers are one step each, with costs that do not depend on bits."""

    def __init__(self, steps: list[list[Row]]) -> None:
        self.layers = tuple(f"fc{i}" for i in range(len(steps)))
        self._options = [options_of(rows, i + 1, i + 2) for i, rows in enumerate(steps)]

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        return [self._options[layer]]

    @property
    def policy(self) -> BitPolicy:
        return BitPolicy({n: LayerBits(4, None if n == self.layers[-1] else 4) for n in self.layers})

    def fastest(self, limits: Resources) -> Estimate:
        return fastest_folding(self, self.policy, limits, 100.0, "test")  # type: ignore[arg-type]


widths = st.sampled_from([1, 2, 4])
rows = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20), st.integers(0, 5), widths, widths), min_size=1, max_size=6)
networks = st.lists(rows, min_size=1, max_size=4)


@given(networks, st.integers(0, 90), st.integers(0, 14))
def test_is_the_best_of_all_designs(steps: list[list[Row]], lut: int, bram18: int) -> None:
    tables = OneStepTables(steps)
    found = tables.fastest(Resources(lut=lut, bram18=bram18))
    fitting = [(c, used) for c, used, b in tables.designs(tables.policy) if used <= lut and b <= bram18]
    if fitting:
        assert (found.bottleneck_cycles, found.resources.lut) == min(fitting)
        assert found.resources.bram18 <= bram18
    else:
        assert not found.resources <= Resources(lut=lut, bram18=bram18)


@given(networks)
def test_exceeds_by_the_smallest_factor_where_nothing_fits(steps: list[list[Row]]) -> None:
    tables = OneStepTables(steps)
    limits = Resources(lut=3, bram18=2)  # streams alone need more
    found = tables.fastest(limits).resources
    least = min(share(lut, b, limits) for _, lut, b in tables.designs(tables.policy))
    assert share(found.lut, found.bram18, limits) == pytest.approx(least)


def test_more_room_is_never_slower() -> None:
    tables = OneStepTables([[(100, 1, 1, 1, 1), (50, 2, 1, 1, 1), (10, 9, 0, 1, 4)], [(80, 1, 0, 1, 1), (8, 6, 0, 4, 1)]])
    cycles = [tables.fastest(Resources(lut=n, bram18=2)).bottleneck_cycles for n in range(8, 50)]
    assert cycles == sorted(cycles, reverse=True)
    assert (cycles[0], cycles[-1]) == (100, 10)


@given(rows, st.integers(0, 10))
def test_a_stage_holds_the_undominated_options_of_every_pair_of_widths(steps: list[Row], max_cycles: int) -> None:
    stage = stage_of(options_of(steps), max_cycles, 0)
    fast = {(r[3], r[4], r[2], r[1]) for r in steps if r[0] <= max_cycles}
    undominated = {p for p in fast if not any(q != p and q[:2] == p[:2] and q[2] <= p[2] and q[3] <= p[3] for q in fast)}
    if stage is None:
        assert not fast
        return
    held = zip(np.array(stage.entries)[stage.entry], np.array(stage.exits)[stage.exit], stage.bram18, stage.lut, strict=True)
    assert {(int(a), int(b), int(c), int(d)) for a, b, c, d in held} == undominated


def test_options_that_take_too_many_dsp_slices_are_left_out() -> None:
    options = options_of([(1, 1, 0, 1, 1), (2, 1, 0, 2, 2)])
    options.dsp[:] = [9, 3]
    stage = stage_of(options, 10, 5)
    assert stage is not None
    assert stage.index.tolist() == [1]
    assert stage_of(options, 10, 2) is None


def test_a_network_that_cannot_be_fast_enough_has_no_stage() -> None:
    assert stage_of(options_of([(5, 1, 0, 1, 1)]), 4, 0) is None


def share(lut: float, bram18: float, limits: Resources) -> float:
    return max(lut / limits.lut, bram18 / limits.bram18)


@given(networks, st.integers(1, 10))
def test_the_leanest_folding_uses_least_of_the_scarcest_resource(steps: list[list[Row]], max_cycles: int) -> None:
    tables, limits = OneStepTables(steps), Resources(lut=50, bram18=8)
    found = leanest_folding(tables, tables.policy, limits, 100e6 / max_cycles, 100.0, "test")  # type: ignore[arg-type]
    fast = [share(lut, b, limits) for c, lut, b in tables.designs(tables.policy) if c <= max_cycles]
    if found is None:
        assert not fast
    else:
        assert found.bottleneck_cycles <= max_cycles
        assert share(found.resources.lut, found.resources.bram18, limits) == pytest.approx(min(fast))


@given(networks)
def test_the_front_is_that_of_all_designs(steps: list[list[Row]]) -> None:
    tables, limits = OneStepTables(steps), Resources(lut=60, bram18=9)
    front = folding_front(tables, tables.policy, limits, 100.0, "test")  # type: ignore[arg-type]
    all_of_them = {(c, round(share(lut, b, limits), 9)) for c, lut, b in tables.designs(tables.policy)}
    fitting = {p for p in all_of_them if p[1] <= 1}
    wanted = {p for p in fitting if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in fitting)}
    got = [(e.bottleneck_cycles, round(share(e.resources.lut, e.resources.bram18, limits), 9)) for e in front]
    assert set(got) == wanted
    assert got == sorted(got, reverse=True)
