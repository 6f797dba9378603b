"""Reach against an enumeration of every policy at every folding, on made-up costs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.board import Resources
from hls import reach as reach_module
from hls.cost import LayerKey, Options, layer_keys
from hls.reach import Reach, fewest_cycles
from models.policy import BitPolicy, LayerBits

WIDTHS = range(1, 4)  # few enough to enumerate


class RandomTables:
    """Three layers of one or two steps whose costs are drawn for every key: no order in them to rely on."""

    def __init__(self, seed: int) -> None:
        self.layers = ("a", "b", "c")
        self._seed = seed
        self._n_steps = np.random.default_rng(seed).integers(1, 3, 3)

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        rng = np.random.default_rng([self._seed, layer, key.weight, key.act_in or 0, key.act_out or 0])
        out = []
        for _ in range(self._n_steps[layer]):
            n = int(rng.integers(1, 4))
            cycles = np.sort(rng.integers(1, 6, n))
            foldings = tuple(({"PE": i},) for i in range(n))
            out.append(Options((0,), cycles, rng.integers(0, 9, n).astype(float), rng.integers(0, 3, n), foldings))
        return out

    def fits(self, policy: BitPolicy, limits: Resources, max_cycles: float) -> bool:
        steps = [o for i, key in enumerate(layer_keys(policy)) for o in self.options(i, key)]
        fast = [[(o.lut[j], o.bram18[j]) for j in range(len(o.cycles)) if o.cycles[j] <= max_cycles] for o in steps]
        return any(
            sum(c[0] for c in taken) <= limits.lut and sum(c[1] for c in taken) <= limits.bram18 for taken in product(*fast)
        )

    def policies(self) -> list[BitPolicy]:
        some = [LayerBits(w, a) for w in WIDTHS for a in WIDTHS]
        last = [LayerBits(w, None) for w in WIDTHS]
        return [BitPolicy(zip(self.layers, bits, strict=True)) for bits in product(some, some, last)]


@pytest.fixture(autouse=True)
def few_widths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach_module, "WIDTHS", WIDTHS)


@settings(max_examples=12)
@given(st.integers(0, 10_000), st.integers(0, 14), st.integers(0, 4), st.integers(1, 5))
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
@given(st.integers(0, 10_000), st.integers(3, 14), st.integers(0, 4))
def test_fewest_cycles_is_what_the_fastest_policy_needs(seed: int, lut: int, bram18: int) -> None:
    tables, limits = RandomTables(seed), Resources(lut=lut, bram18=bram18)
    feasible = [c for c in range(1, 6) if any(tables.fits(p, limits, c) for p in tables.policies())]
    assert fewest_cycles(tables, limits) == (min(feasible) if feasible else None)  # type: ignore[arg-type]


def test_leeway_by_hand() -> None:
    class Tables:
        layers = ("a", "b")

        def options(self, layer: int, key: LayerKey) -> list[Options]:
            # a bit of weights costs 10 LUT and a block RAM; activations cost nothing
            one = np.array([1])
            return [Options((0,), one, np.array([10.0 * key.weight]), np.array([key.weight]), (({"PE": 1},),))]

    reach = Reach(Tables(), Resources(lut=100, bram18=10), 1.0)  # type: ignore[arg-type]
    start, after = reach.leeway(), reach.leeway([LayerBits(3, 1)])
    assert (start.lut, start.bram18) == pytest.approx((0.8, 0.8))  # both layers at 1 bit: 20 LUT, 2 block RAM
    assert (after.lut, after.bram18) == pytest.approx((0.6, 0.6))  # 3 + 1 bits
