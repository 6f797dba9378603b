from __future__ import annotations

import json
from dataclasses import replace

from boards.board import Resources
from hls.types import Estimate, NodeEstimate

ESTIMATE = Estimate(
    (
        NodeEstimate("SWG_0", "ConvolutionInputGenerator_rtl", "conv0", 900, Resources(lut=300), {"SIMD": 3}),
        NodeEstimate("MVAU_0", "MVAU_hls", "conv0", 1000, Resources(lut=700, bram18=4), {"PE": 2, "SIMD": 3}, ("SWG_0",)),
        NodeEstimate("MVAU_1", "MVAU_hls", "fc0", 500, Resources(lut=50, bram18=1, dsp=2), {"PE": 1, "SIMD": 1}, ("MVAU_0",)),
        NodeEstimate("Mul_0", "ElementwiseMul_hls", "fc0", 10, Resources(), {}, ("MVAU_1",)),
    ),
    clock_mhz=100.0,
    method="by hand",
)


def test_figures_of_an_estimate() -> None:
    assert ESTIMATE.resources == Resources(lut=1050, bram18=5, dsp=2)
    assert ESTIMATE.bottleneck_cycles == 1000
    assert ESTIMATE.fps == 100_000  # 100e6 cycles a second / 1000 cycles a frame
    assert ESTIMATE.latency_cycles == 2410
    assert ESTIMATE.latency_ms == 0.0241
    short = NodeEstimate("SWG_1", "ConvolutionInputGenerator_rtl", "fc0", 700, Resources(), {}, ("SWG_0",))
    last = replace(ESTIMATE.nodes[3], sources=("MVAU_1", "SWG_1"))
    assert replace(ESTIMATE, nodes=(*ESTIMATE.nodes[:3], short, last)).latency_cycles == 2410  # the longer branch counts
    assert ESTIMATE.cycles_per_layer() == {"conv0": 1000, "fc0": 500}
    assert ESTIMATE.resources_per_layer()["conv0"] == Resources(lut=1000, bram18=4)
    assert ESTIMATE.folding == {"SWG_0": {"SIMD": 3}, "MVAU_0": {"PE": 2, "SIMD": 3}, "MVAU_1": {"PE": 1, "SIMD": 1}}


def test_an_estimate_survives_json() -> None:
    assert Estimate.from_dict(json.loads(json.dumps(ESTIMATE.to_dict()))) == ESTIMATE


def test_an_estimate_of_before_there_were_branches_is_one_of_a_chain() -> None:
    raw = json.loads(json.dumps(ESTIMATE.to_dict()))
    for node in raw["nodes"]:
        del node["sources"]
    assert Estimate.from_dict(raw) == ESTIMATE
