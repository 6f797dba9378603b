"""What FINN leaves out, on FINN's own operators: that it does, and that bitloop's figures follow their parts."""

from __future__ import annotations

from typing import Any

import pytest

from boards.board import Resources
from boards.pynq_z2 import PYNQ_Z2
from hls.corrections import NODE_CORRECTIONS, correct_node, replay_luts
from hls.finn_operators import HardwareGraph, operator, threshold_type
from hls.legal import NEVER

GRAPH = HardwareGraph([], PYNQ_Z2.fpga_part)

UNIT = {
    "MW": 576, "MH": 64, "PE": 4, "SIMD": 36, "inputDataType": "UINT4", "weightDataType": "INT4", "accDataType": "INT16",
    "outputDataType": "INT16", "noActivation": 1, "mem_mode": "internal_decoupled", "ram_style": "block",
    "numInputVectors": [1, 28, 28],
}  # fmt: skip
CHANNELS = {"NumChannels": 64, "PE": 4, "numInputVectors": [1, 8, 8]}
NODES: dict[str, dict[str, Any]] = {
    "MVAU_hls": {**UNIT, "noActivation": 0, "outputDataType": "UINT4"},
    "MVAU_rtl": UNIT,
    "Thresholding_rtl": {
        **CHANNELS, "numSteps": 15, "inputDataType": "INT16", "weightDataType": "INT17", "outputDataType": "UINT4",
        "depth_trigger_bram": NEVER, "depth_trigger_uram": NEVER,
    },
    "Requant_rtl": {**CHANNELS, "inputDataType": "INT16", "outputDataType": "UINT8"},
    "Requant_hls": {**CHANNELS, "inputDataType": "INT16", "outputDataType": "UINT8"},
    "Pool_hls": {"Channels": 64, "PE": 4, "KernelSize": [2, 2], "InputDataType": "UINT4", "OutputDataType": "UINT4"},
    "FMPadding_rtl": {
        "NumChannels": 64, "SIMD": 4, "inputDataType": "UINT4", "ImgDim": [8, 8], "Padding": [1, 1, 1, 1], "numInputVectors": 1,
    },
    "DuplicateStreams_hls": {**CHANNELS, "NumOutputStreams": 2, "inputDataType": "UINT4"},
    "LabelSelect_hls": {"Labels": 10, "PE": 1, "K": 1, "inputDataType": "INT16", "numInputVectors": [1]},
    "ElementwiseMul_hls": {"PE": 1},
    "ElementwiseAdd_hls": {"PE": 1},
}  # fmt: skip


def corrected(op_type: str, **told: Any) -> Resources:
    op = operator(op_type, "node", {**NODES[op_type], **told})
    (found,) = correct_node(GRAPH, op, "layer")
    assert (found.subject, found.layer) == ("node", "layer")
    assert found.reason
    return found.resources


@pytest.mark.parametrize("op_type", list(NODE_CORRECTIONS))
def test_every_correction_adds_and_grows_with_the_work_done_at_once(op_type: str) -> None:
    lanes = "SIMD" if op_type == "FMPadding_rtl" else "PE"
    one, two = corrected(op_type), corrected(op_type, **{lanes: 2 * NODES[op_type][lanes]})
    assert one.lut > 0
    assert two.lut > one.lut
    assert two.dsp >= one.dsp >= 0
    assert one.bram18 == 0


@pytest.mark.parametrize(
    "op_type", ["MVAU_rtl", "Requant_rtl", "Pool_hls", "FMPadding_rtl", "DuplicateStreams_hls", "LabelSelect_hls"]
)
def test_finn_itself_counts_no_lut_of_them(op_type: str) -> None:
    """If a later FINN does, the correction must go."""
    op = operator(op_type, "node", NODES[op_type])
    assert float(op.lut_estimation(PYNQ_Z2.fpga_part)) == 0


def test_an_rtl_unit_with_weights_in_lut_ram_pays_for_them() -> None:
    """PE·SIMD·W bits wide, a LUT for 64 words of a bit."""
    words = 576 * 64 // (4 * 36)
    assert corrected("MVAU_rtl", ram_style="distributed").lut - corrected("MVAU_rtl").lut == 4 * 36 * 4 * (words // 64)


def test_merged_thresholds_double_with_every_bit_of_the_activations() -> None:
    four, five = (corrected("MVAU_hls", outputDataType=f"UINT{n}").lut for n in (4, 5))
    assert five / four == pytest.approx(31 / 15, rel=0.01)


def test_thresholds_apart_grow_by_a_comparator_a_bit() -> None:
    steps = [corrected("Thresholding_rtl", outputDataType=f"UINT{n}").lut for n in (2, 3, 4)]
    assert steps[2] - steps[1] == steps[1] - steps[0] == 4 * (17 + 1)


def test_no_ultra_ram_is_counted_where_the_memory_is_told() -> None:
    """FINN's default counts UltraRAM, of which a 7z020 has none."""
    deep = {"NumChannels": 512, "PE": 1, "numSteps": 255, "outputDataType": "UINT8"}
    left_to_finn = operator(
        "Thresholding_rtl", "node", {**NODES["Thresholding_rtl"], **deep, "depth_trigger_bram": 512, "depth_trigger_uram": 0}
    )
    assert left_to_finn.uram_estimation(PYNQ_Z2.fpga_part) > 0
    for depth in (512, NEVER):
        op = operator("Thresholding_rtl", "node", {**NODES["Thresholding_rtl"], **deep, "depth_trigger_bram": depth})
        assert op.uram_estimation(PYNQ_Z2.fpga_part) == 0
        assert (op.bram_estimation(PYNQ_Z2.fpga_part) > 0) == (depth != NEVER)


def test_the_replay_buffer_by_hand() -> None:
    """16 words of 36 elements of 4 bits: 48 triples of bits, four LUT each; none where each word is used once."""
    assert replay_luts(operator("MVAU_rtl", "node", UNIT)) == 4 * 48
    assert replay_luts(operator("MVAU_rtl", "node", {**UNIT, "PE": 64})) == 0


@pytest.mark.parametrize(("compared", "stored"), [("INT16", "INT17"), ("UINT9", "UINT10")])
def test_thresholds_are_stored_a_bit_wider(compared: str, stored: str) -> None:
    assert threshold_type(compared) == stored
