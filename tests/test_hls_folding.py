"""The folding search against an enumeration of every design, on made-up networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.board import Resources
from hls.exact import least_share
from hls.folding import FoldingSearch
from hls.kernels import share
from hls.options import LayerKey, Options, Section
from hls.types import Estimate
from models.policy import BitPolicy, LayerBits
from tests.tables import BranchTables, MadeUpTables, Row, options_of


class FixedTables(MadeUpTables):
    """A network whose layers are one section each, with costs that do not depend on bits.

    Args:
        sections: for every layer the ways to build it, each a run of steps given by their rows.
        elements: that go through every stream a frame, and cost width converters cycles.
    """

    def __init__(self, sections: list[list[list[list[Row]]]], elements: int = 0) -> None:
        self.layers = tuple(f"fc{i}" for i in range(len(sections)))
        self._sections: list[Section] = [
            Section([_run(way, i + 1, i + 2, elements) for way in section]) for i, section in enumerate(sections)
        ]

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        return [self._sections[layer]]

    def widths(self, _: int) -> tuple[int, ...]:
        return (1, 2, 3, 4, 6, 8)

    @property
    def policy(self) -> BitPolicy:
        return BitPolicy({n: LayerBits(4, None if n == self.layers[-1] else 4) for n in self.layers})

    @property
    def search(self) -> FoldingSearch:
        return FoldingSearch(self, 100.0, "test", exact=True)  # type: ignore[arg-type]

    def shares(self, limits: Resources) -> set[tuple[int, float]]:
        """Cycles and largest share of a limit of every design."""
        return {(c, round(share_of(u, limits), 9)) for c, u in self.designs(self.policy)}


def _run(way: list[list[Row]], read_bits: int, handed_on_bits: int, elements: int) -> list[Options]:
    last = len(way) - 1
    ends = [(read_bits if i == 0 else 5, handed_on_bits if i == last else 5) for i in range(len(way))]
    return [options_of(rows, *bits, n_read=elements) for rows, bits in zip(way, ends, strict=True)]


def share_of(used: Resources, limits: Resources) -> float:
    return float(share(used.lut, used.bram18, used.dsp, np.array([limits.lut, limits.bram18, limits.dsp], float)))


widths = st.sampled_from([1, 2, 3, 4])
volumes = st.sampled_from([0, 0, 12, 24])  # elements a stream; of 12 a converter from 2 to 4 takes 6 cycles
some = st.integers(0, 5)
rows = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 20), some, widths, widths, some), min_size=1, max_size=4)
sections = st.lists(st.lists(rows, min_size=1, max_size=2), min_size=1, max_size=2)
networks = st.lists(sections, min_size=1, max_size=3)
room = st.builds(Resources, lut=st.integers(0, 90), bram18=st.integers(0, 14), dsp=st.integers(0, 12))


@settings(max_examples=150)
@given(networks, room, volumes)
def test_is_the_best_of_all_designs(network: list[list[list[list[Row]]]], limits: Resources, elements: int) -> None:
    tables = FixedTables(network, elements)
    found, proven = tables.search.fastest_and_proof(tables.policy, limits)
    fitting = [p for p in tables.shares(limits) if p[1] <= 1]
    if fitting:
        assert (found.bottleneck_cycles, round(share_of(found.resources, limits), 9)) == min(fitting)
        assert found.resources <= limits
    else:
        assert not found.resources <= limits
    assert proven


@given(networks)
def test_exceeds_by_the_smallest_factor_where_nothing_fits(network: list[list[list[list[Row]]]]) -> None:
    tables = FixedTables(network)
    limits = Resources(lut=3, bram18=2, dsp=1)  # streams alone need more
    found = tables.search.fastest(tables.policy, limits).resources
    assert share_of(found, limits) == pytest.approx(min(s for _, s in tables.shares(limits)))


@settings(max_examples=60)
@given(networks, room, st.integers(1, 10), volumes)
def test_the_leanest_folding_uses_least_of_the_scarcest_resource(
    network: list[list[list[list[Row]]]], room: Resources, max_cycles: int, elements: int
) -> None:
    tables, limits = FixedTables(network, elements), room + Resources(lut=9, bram18=2, dsp=3)
    found = tables.search.leanest(tables.policy, limits, 100e6 / max_cycles)
    fast = [s for c, s in tables.shares(limits) if c <= max_cycles]
    if found is None:
        assert not fast
    else:
        assert found.bottleneck_cycles <= max_cycles
        assert share_of(found.resources, limits) == pytest.approx(min(fast))


@settings(max_examples=60)
@given(networks, volumes)
def test_the_front_is_that_of_all_designs(network: list[list[list[list[Row]]]], elements: int) -> None:
    tables, limits = FixedTables(network, elements), Resources(lut=60, bram18=9, dsp=9)
    front = tables.search.front(tables.policy, limits)
    fitting = {p for p in tables.shares(limits) if p[1] <= 1}
    wanted = {p for p in fitting if not any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in fitting)}
    got = [(e.bottleneck_cycles, round(share_of(e.resources, limits), 9)) for e in front]
    assert set(got) == wanted
    assert got == sorted(got, reverse=True)


@pytest.mark.parametrize("elements", [0, 12])
@pytest.mark.parametrize("projects", [False, True])
@settings(max_examples=40)
@given(seed=st.integers(0, 100_000), weights=st.integers(1, 2), limits=room, max_cycles=st.integers(2, 9))
def test_branches_are_gone_through_as_if_at_once(
    projects: bool, elements: int, seed: int, weights: int, limits: Resources, max_cycles: int
) -> None:
    """A stream that is copied and added up again, against the enumeration and HiGHS."""
    tables, limits = BranchTables(seed, projects, elements), limits + Resources(lut=50, bram18=3, dsp=4)
    acts = tables.topology.min_act_bits
    policy = BitPolicy({n: LayerBits(weights, fewest and 2) for n, fewest in zip(tables.layers, acts, strict=True)})
    search = FoldingSearch(tables, 100.0, "test", exact=True)  # type: ignore[arg-type]
    shares = {(c, round(share_of(u, limits), 9)) for c, u in tables.designs(policy)}
    found = search.fastest(policy, limits)
    fitting = [p for p in shares if p[1] <= 1]
    if fitting:
        assert (found.bottleneck_cycles, round(share_of(found.resources, limits), 9)) == min(fitting)
    else:
        assert share_of(found.resources, limits) == pytest.approx(min(s for _, s in shares))
    solved = least_share(tables, policy, limits, max_cycles)  # type: ignore[arg-type]
    assert solved.share == pytest.approx(min((s for c, s in shares if c <= max_cycles), default=math.inf), abs=1e-6)


@settings(max_examples=40)
@given(networks, room, st.integers(1, 10), volumes)
def test_highs_agrees(network: list[list[list[list[Row]]]], room: Resources, max_cycles: int, elements: int) -> None:
    """The reference of the tests on real networks is held against the enumeration too."""
    tables, limits = FixedTables(network, elements), room + Resources(lut=9, bram18=2, dsp=3)
    solved = least_share(tables, tables.policy, limits, max_cycles)  # type: ignore[arg-type]
    fast = [s for c, s in tables.shares(limits) if c <= max_cycles]
    assert solved.share == pytest.approx(min(fast) if fast else math.inf, abs=1e-6)
    assert solved.bound == pytest.approx(solved.share, abs=1e-5)


@settings(max_examples=60)
@given(networks, room, volumes)
def test_the_quick_search_finds_designs_that_fit(
    network: list[list[list[list[Row]]]], limits: Resources, elements: int
) -> None:  # fmt: skip
    """Not always the best; but what it says fits does, and what it says is proven is."""
    tables = FixedTables(network, elements)
    quick = FoldingSearch(tables, 100.0, "test")  # type: ignore[arg-type]
    found, proven = quick.fastest_and_proof(tables.policy, limits)
    best = tables.search.fastest(tables.policy, limits)
    if found.resources <= limits:
        assert best.resources <= limits
        assert found.bottleneck_cycles >= best.bottleneck_cycles
        assert found.bottleneck_cycles == best.bottleneck_cycles or not proven
    elif best.resources <= limits:
        assert not proven


def test_more_room_is_never_slower() -> None:
    layers = [[[[(100, 1, 1, 1, 1), (50, 2, 1, 1, 1), (10, 9, 0, 1, 4)]]], [[[(80, 1, 0, 1, 1), (8, 6, 0, 4, 1)]]]]
    tables = FixedTables(layers)

    def fastest(lut: int) -> Estimate:
        return tables.search.fastest(tables.policy, Resources(lut=lut, bram18=2))

    cycles = [fastest(n).bottleneck_cycles for n in range(10, 50)]
    assert cycles == sorted(cycles, reverse=True)
    assert (cycles[0], cycles[-1]) == (100, 10)


def test_of_designs_that_cost_the_same_the_one_that_was_counted_is_given() -> None:
    """A block RAM is worth a LUT at one of the prices: both ways cost the same there, but only one fits."""
    of_bram, of_lut, rest = (1, 0, 9999, 1, 1), (1, 9999, 0, 1, 1), (1, 0, 500, 1, 1)
    for ways in ([[[of_bram]], [[of_lut]]], [[[of_lut]], [[of_bram]]]):
        tables, limits = FixedTables([ways, [[[rest]]]]), Resources(lut=10_100, bram18=10_100 * 1.0119)
        quick = FoldingSearch(tables, 100.0, "test")  # type: ignore[arg-type]
        assert quick.fastest(tables.policy, limits).resources <= limits


def test_that_nothing_fits_is_proven_too() -> None:
    tables = FixedTables([[[[(1, 9, 0, 1, 1)]]]])
    quick = FoldingSearch(tables, 100.0, "test")  # type: ignore[arg-type]
    found, proven = quick.fastest_and_proof(tables.policy, Resources(lut=5, bram18=9))
    assert (found.resources.lut > 5, proven) == (True, True)


def test_dsp_slices_are_added_up() -> None:
    """Each layer alone would fit with its DSP multipliers, both do not."""
    of_dsp, of_lut = (1, 0, 0, 1, 1, 3), (2, 0, 0, 1, 1, 0)
    tables = FixedTables([[[[of_dsp, of_lut]]], [[[of_dsp, of_lut]]]])
    assert tables.search.fastest(tables.policy, Resources(lut=99, bram18=9, dsp=6)).bottleneck_cycles == 1
    assert tables.search.fastest(tables.policy, Resources(lut=99, bram18=9, dsp=5)).bottleneck_cycles == 2


def test_a_frame_rate_that_is_printed_can_be_asked_for_again() -> None:
    tables = FixedTables([[[[(n, 1, 0, 1, 1)]]] for n in (3, 7, 49, 1234567)])
    found = tables.search.fastest(tables.policy, Resources(lut=999, bram18=9))
    assert tables.search.leanest(tables.policy, Resources(lut=999, bram18=9), found.fps) is not None
