"""The cycles of FINN's width converter, of which FINN's estimate says none: docs/upstream/width-converter-rate.md."""

from __future__ import annotations

from math import gcd, lcm
from pathlib import Path

import numpy as np
import pytest

from hls.errors import MissingToolError
from hls.finn_operators import finn_steps
from hls.finn_rtl import _rtl_library
from hls.rtlsim import Instance, find_toolchain
from hls.rtlsim.library import OutputQueue, readable_files
from tests.rtl_bench import Bench, Case

FRAMES = 4
PAIRS = [(2, 8), (8, 9), (3, 2), (27, 8), (6, 6)]


def case(bits_in: int, bits_out: int) -> Case:
    """Three blocks of words that fill words of either width, a frame."""
    values = np.random.default_rng(bits_in * 100 + bits_out).integers(0, 2, FRAMES * 3 * lcm(bits_in, bits_out))
    told = {"IBITS": str(bits_in), "OBITS": str(bits_out)}
    instance = Instance("converter", "dwc", "dwc_axi", told, {"s_axis": "in0"}, {"m_axis": "out0"})
    return Case(
        instance, {"in0": (values.reshape(-1, bits_in), "UINT1")}, {"out0": (values.reshape(-1, bits_out), "UINT1")}, FRAMES
    )


def test_a_converter_takes_a_cycle_for_every_word_on_either_side_but_one(tmp_path: Path) -> None:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    finn_steps()
    hdl = Path(_rtl_library()) / "dwc" / "hdl"
    files = readable_files([hdl / "vpc.sv", hdl / "dwc_axi.sv"], tmp_path / "library", OutputQueue.STOCK, False)
    cases = [case(*pair) for pair in PAIRS]
    bench = Bench(cases, files, tmp_path / "bench")
    free = bench.run(tmp_path / "free")
    for (bits_in, bits_out), one, found in zip(PAIRS, cases, free, strict=True):
        np.testing.assert_array_equal(found.words["out0"], one.gives["out0"][0])
        p, q = (bits // gcd(bits_in, bits_out) for bits in (bits_in, bits_out))
        assert found.interval(FRAMES) == 3 * (p + q - 1), f"{bits_in} to {bits_out} bits"
    for one, found in zip(cases, bench.run(tmp_path / "late", 0.3, 0.5), strict=True):
        np.testing.assert_array_equal(found.words["out0"], one.gives["out0"][0])
