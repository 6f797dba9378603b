"""What others published for CNV, against our estimate at the same folding.

Foldings: finn-examples, build/bnn-pynq/folding_config/cnv-w1a1_folding_config.json and cnv-w1a2_folding_config.json.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from boards.board import Resources
from boards.pynq_z2 import PYNQ_Z2
from hls.cost import CostTables
from hls.folding import FoldingSearch
from hls.types import Estimate
from models.policy import BitPolicy
from tests.networks import Network

W1A1 = [(16, 3), (32, 32), (16, 32), (16, 32), (4, 32), (1, 32), (1, 4), (1, 8), (5, 1)]
WIDER = [(8, 3), (16, 16), (8, 16), (8, 16), (4, 8), (1, 8), (1, 2), (2, 2), (5, 1)]


@pytest.fixture(scope="module")
def network() -> Network:
    return Network("cnv")


@pytest.fixture(scope="module")
def tables(network: Network) -> CostTables:
    return network.tables(PYNQ_Z2)


def estimate(tables: CostTables, policy: BitPolicy, units: list[tuple[int, int]]) -> Estimate:
    """The estimate with the units' published PE and SIMD; every window as wide as its unit, pools unfolded."""
    folding: dict[str, dict[str, int | str]] = {}
    for i, (pe, simd) in enumerate(units):
        folding[f"MVAU_hls_{i}"] = {"PE": pe, "SIMD": simd}
    windows = {0: 3, 1: units[1][1], 2: 64, 3: units[2][1], 4: units[3][1], 5: 128, 6: units[4][1], 7: units[5][1]}
    for i, simd in windows.items():
        folding[f"ConvolutionInputGenerator_rtl_{i}"] = {"SIMD": simd}
    folding |= {"Pool_hls_0": {"PE": 64}, "Pool_hls_1": {"PE": 128}}
    folding |= {"ElementwiseMul_hls_0": {"PE": 1}, "ElementwiseAdd_hls_0": {"PE": 1}}
    return FoldingSearch(tables, PYNQ_Z2.clock_mhz, "tables").at(policy, folding)


@pytest.mark.parametrize(
    ("weight", "act", "units", "cycles", "fps"),
    [(1, 1, W1A1, 32_768, 3_052), (1, 2, WIDER, 115_200, 868), (2, 2, WIDER, 115_200, 868)],
)
def test_steady_state_of_the_published_foldings(
    network: Network, tables: CostTables, weight: int, act: int, units: list[tuple[int, int]], cycles: int, fps: int
) -> None:
    found = estimate(tables, BitPolicy.uniform(network.specs, weight, act), units)
    assert found.bottleneck_cycles == cycles
    assert round(found.fps) == fps
    # the first frame takes longer than a frame in the steady state: the two are never the same figure
    assert found.latency_ms > 1000 / found.fps


def test_against_the_synthesis_of_cnv_w1a1(
    network: Network, tables: CostTables, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Xilinx/finn pull request 209: 21,135 LUT, 98 BRAM36 and 9 BRAM18 on a 7z020, without shell."""
    found = estimate(tables, network.uniform(1), W1A1)
    system = sum((c.resources for c in found.corrections if not c.layer), Resources())
    believed = Resources(lut=found.resources.lut - system.lut, bram18=found.resources.bram18 - system.bram18)
    rows = [
        ("LUT", found.finn_resources.lut, believed.lut, 21_135),
        ("BRAM18", found.finn_resources.bram18, believed.bram18, 205),
    ]
    with capsys.disabled():
        for what, finn, ours, truth in rows:
            text = f"FINN {finn / truth - 1:+.1%}, with corrections {ours / truth - 1:+.1%} of {truth:,} synthesised"
            print(f"\ncnv w1a1 {what}: {text}", end="")
            record_property(what, text)
    # not a claim of accuracy: that they are of the right order, and that corrections do not make LUT too few
    assert 0.5 < believed.bram18 / 205 < 2
    assert 1 <= believed.lut / 21_135 < 2
