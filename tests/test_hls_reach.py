"""Reach against every policy at its best folding, on made-up costs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boards.board import Resources
from hls import reach as reach_module
from hls import topology as topology_module
from hls.folding import FoldingSearch
from hls.options import LayerKey, Options, Section
from hls.reach import Reach, fewest_cycles
from models.policy import BitPolicy, LayerBits
from tests.tables import BranchTables, MadeUpTables, drawn_options, options_of

WIDTHS = range(1, 4)  # few enough to enumerate


class RandomTables(MadeUpTables):
    """Three layers of one or two steps whose costs are drawn for every key: no order in them to rely on.

    With elements that go through every stream a frame, width converters take cycles.
    """

    def __init__(self, seed: int, elements: int = 0) -> None:
        self.layers = ("a", "b", "c")
        self._seed = seed
        self._elements = elements
        self._n_steps = np.random.default_rng(seed).integers(1, 3, 3)

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        rng = np.random.default_rng([self._seed, layer, key.weight, key.act_in or 0, key.act_out or 0])
        act_in, act_out = key.act_in or 8, key.act_out or 9
        n_steps = self._n_steps[layer]
        out: list[Section] = []
        for i in range(n_steps):
            ends = (act_in if i == 0 else 1, act_out if i == n_steps - 1 else 1)
            out.append(Section([[drawn_options(rng, *ends, self._elements)] for _ in range(int(rng.integers(1, 3)))]))
        return out

    def widths(self, _: int) -> tuple[int, ...]:
        return (1, 2, 3, 4, 8)


def policies(tables: MadeUpTables) -> Iterator[BitPolicy]:
    """All there are with few widths."""
    topology = tables.topology
    for bits in product(*(topology.choices(i) for i in range(len(topology.layers)))):
        yield BitPolicy(zip(tables.layers, bits, strict=True))


def fitting(tables: MadeUpTables, limits: Resources, max_cycles: int) -> list[tuple[LayerBits, ...]]:
    """Those that have a design within limits."""
    search = FoldingSearch(tables, 100.0, "exact", exact=True)  # type: ignore[arg-type]
    found = [(p, search.leanest(p, limits, 100e6 / max_cycles)) for p in policies(tables)]
    return [tuple(p.values()) for p, e in found if e is not None and e.resources <= limits]


@pytest.fixture(autouse=True)
def few_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_module, "WIDTHS", WIDTHS)
    monkeypatch.setattr(topology_module, "MAX_BITS", max(WIDTHS))


rooms = st.builds(Resources, lut=st.integers(20, 80), ff=st.just(1), bram18=st.integers(0, 6), dsp=st.integers(0, 8))


@settings(max_examples=25)
@given(st.integers(0, 10_000), rooms, st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0, 8]))
def test_what_is_allowed_can_be_finished(seed: int, limits: Resources, max_cycles: int, walk: int, elements: int) -> None:
    check_walk(RandomTables(seed, elements), limits, max_cycles, walk)


@pytest.mark.parametrize("elements", [0, 12])  # of which a converter from 2 to 4 takes 6 cycles, one from 2 to 3 eight
@pytest.mark.parametrize("projects", [False, True])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), limits=rooms, max_cycles=st.integers(2, 9), walk=st.integers(0, 1000))
def test_so_it_can_behind_a_fork(
    monkeypatch: pytest.MonkeyPatch, projects: bool, elements: int, seed: int, limits: Resources, max_cycles: int, walk: int
) -> None:
    monkeypatch.setattr(topology_module, "MAX_BITS", 2)
    check_walk(BranchTables(seed, projects, elements), limits + Resources(lut=50, bram18=3, dsp=4), max_cycles, walk)


def check_walk(tables: MadeUpTables, limits: Resources, max_cycles: int, walk: int) -> None:
    """Every choice allowed has a completion that fits, and no walk through them comes to a dead end."""
    reach = Reach(tables, limits, max_cycles)  # type: ignore[arg-type]
    fit = fitting(tables, limits, max_cycles)
    rng, prefix = random.Random(walk), ()
    while reach.is_feasible and len(prefix) < len(tables.layers):
        allowed = reach.feasible_bits(prefix)
        assert set(allowed) <= {p[len(prefix)] for p in fit if p[: len(prefix)] == prefix}
        prefix = (*prefix, rng.choice(allowed))  # which is not empty
    assert not reach.is_feasible or prefix in fit


def test_few_of_the_choices_that_can_be_finished_are_refused() -> None:
    """Those whose only completions lie between the prices; on networks this small there are more than on real ones."""
    n_allowed = n_possible = 0
    for seed in range(12):
        tables, limits = RandomTables(seed), Resources(lut=45, ff=1, bram18=4, dsp=5)
        reach, fit = Reach(tables, limits, 4), fitting(tables, limits, 4)  # type: ignore[arg-type]
        for prefix in {p[:n] for p in fit for n in range(3)} | {()}:
            n_allowed += len(reach.feasible_bits(prefix))
            n_possible += len({p[len(prefix)] for p in fit if p[: len(prefix)] == prefix})
    assert n_possible > 500
    assert n_allowed / n_possible > 0.85


@settings(max_examples=10)
@given(st.integers(0, 10_000), rooms, st.sampled_from([0, 8]))
def test_fewest_cycles_is_what_some_policy_reaches(seed: int, limits: Resources, elements: int) -> None:
    tables = RandomTables(seed, elements)
    found = fewest_cycles(tables, limits)  # type: ignore[arg-type]
    if found is not None:
        assert fitting(tables, limits, found)
        assert not Reach(tables, limits, found - 1).is_feasible  # type: ignore[arg-type]


class MemoryTables(MadeUpTables):
    """Eight layers whose weights, 20 block RAM a bit, may be held in so many LUT for each instead: between 196 and 262."""

    layers = tuple("abcdefgh")

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        n = 20 * key.weight
        return [options_of([(1, 100, n, 1, 1), (1, 100 + round(n * (189 + 66 * layer / 7)), 0, 1, 1)])]


def test_policies_that_balance_block_ram_and_lut_are_allowed() -> None:
    """The prices at which layers move from one to the other are those of the fabric, and no share of the limits."""
    tables, limits = MemoryTables(), Resources(lut=20_000, bram18=118)
    reach = Reach(tables, limits, 1.0)  # type: ignore[arg-type]
    bits = [LayerBits(1, 1)] * 7 + [LayerBits(1, None)]  # 160 block RAM in all
    assert [b in reach.feasible_bits(bits[:i]) for i, b in enumerate(bits)] == [True] * 8
    policy = BitPolicy(zip(tables.layers, bits, strict=True))
    assert tables.fits(policy, limits, 1.0)


class BitTables(MadeUpTables):
    """A bit of weights costs 10 LUT and a block RAM; activations, streams and the system cost nothing."""

    layers = ("a", "b")
    system_resources = Resources()

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        return [options_of([(1, 10 * key.weight, key.weight, 1, 1)])]

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        return 0.0

    def from_host(self, bits: int) -> float:
        return 0.0

    to_host = from_host


def test_leeway_by_hand() -> None:
    reach = Reach(BitTables(), Resources(lut=100, bram18=10), 1.0)  # type: ignore[arg-type]
    start, after = reach.leeway(), reach.leeway([LayerBits(3, 1)])
    assert (start.lut, start.bram18) == pytest.approx((0.8, 0.8))  # both layers at 1 bit: 20 LUT, 2 block RAM
    assert (after.lut, after.bram18) == pytest.approx((0.6, 0.6))  # 3 + 1 bits
    done = reach.leeway([LayerBits(3, 1), LayerBits(2, None)])
    assert (done.lut, done.bram18) == pytest.approx((0.5, 0.5))


def test_infeasible_bits_are_refused_by_name() -> None:
    reach = Reach(BitTables(), Resources(lut=100, bram18=10), 0.5)  # type: ignore[arg-type]
    assert not reach.is_feasible
    assert reach.feasible_bits() == ()
    with pytest.raises(ValueError, match="W3A1 in layer 'a' is not feasible"):
        reach.leeway([LayerBits(3, 1), LayerBits(1, None)])
