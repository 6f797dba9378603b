"""Reach against an enumeration of every policy at every folding, on made-up costs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.board import Resources
from hls import reach as reach_module
from hls.options import LayerKey, Options
from hls.reach import Reach, fewest_cycles
from models.policy import BitPolicy, LayerBits
from tests.tables import MadeUpTables, options_of

WIDTHS = range(1, 4)  # few enough to enumerate


class RandomTables(MadeUpTables):
    """Three layers of one or two steps whose costs are drawn for every key: no order in them to rely on."""

    def __init__(self, seed: int) -> None:
        self.layers = ("a", "b", "c")
        self._seed = seed
        self._n_steps = np.random.default_rng(seed).integers(1, 3, 3)

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        rng = np.random.default_rng([self._seed, layer, key.weight, key.act_in or 0, key.act_out or 0])
        act_in, act_out = key.act_in or 8, key.act_out or 9
        n_steps = self._n_steps[layer]
        out = []
        for i in range(n_steps):
            n = int(rng.integers(1, 4))
            columns = (rng.integers(1, 6, n), rng.integers(0, 9, n), rng.integers(0, 3, n))
            widths = (2 ** rng.integers(0, 3, n), 2 ** rng.integers(0, 3, n))
            rows = [tuple(int(v) for v in row) for row in zip(*columns, *widths, strict=True)]
            out.append(options_of(rows, act_in if i == 0 else 1, act_out if i == n_steps - 1 else 1))  # type: ignore[arg-type]
        return out

    def policies(self) -> list[BitPolicy]:
        some = [LayerBits(w, a) for w in WIDTHS for a in WIDTHS]
        last = [LayerBits(w, None) for w in WIDTHS]
        return [BitPolicy(zip(self.layers, bits, strict=True)) for bits in product(some, some, last)]


@pytest.fixture(autouse=True)
def few_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_module, "WIDTHS", WIDTHS)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(20, 80), st.integers(0, 6), st.integers(1, 5))
def test_bits_are_allowed_if_and_only_if_a_completion_fits(seed: int, lut: int, bram18: int, max_cycles: int) -> None:
    tables, limits = RandomTables(seed), Resources(lut=lut, bram18=bram18)
    reach = Reach(tables, limits, max_cycles)  # type: ignore[arg-type]
    fitting = [tuple(p.values()) for p in tables.policies() if tables.fits(p, limits, max_cycles)]
    assert reach.is_feasible == bool(fitting)
    prefixes = {p[:n] for p in fitting for n in range(3)} | {()}
    for prefix in sorted(prefixes, key=repr)[:40]:
        wanted = {p[len(prefix)] for p in fitting if p[: len(prefix)] == prefix}
        assert set(reach.feasible_bits(prefix)) == wanted


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.integers(30, 80), st.integers(1, 6))
def test_fewest_cycles_is_what_the_fastest_policy_needs(seed: int, lut: int, bram18: int) -> None:
    tables, limits = RandomTables(seed), Resources(lut=lut, bram18=bram18)
    feasible = [c for c in range(1, 6) if any(tables.fits(p, limits, c) for p in tables.policies())]
    assert fewest_cycles(tables, limits) == (min(feasible) if feasible else None)  # type: ignore[arg-type]


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
