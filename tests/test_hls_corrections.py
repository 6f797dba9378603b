"""What FINN leaves out, on FINN's own operators: that it does, and that bitloop's figures follow their parts."""

from __future__ import annotations

from typing import Any

import pytest

from boards.board import Resources
from boards.pynq_z2 import PYNQ_Z2
from hls.corrections import FLOAT_ADD, HLS_CONTROL_LUT, NODE_CORRECTIONS, correct_node, correct_system
from hls.finn_operators import HardwareGraph, operator, threshold_type
from hls.legal import NEVER
from hls.rtl_unit import CONTROL_LUT, FACTOR, replay_luts, unit_luts, unit_slices

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
    "ElementwiseAdd_hls": {"PE": 1, "out_dtype": "FLOAT32"},
    "GlobalAccPool_hls": {**CHANNELS, "inputDataType": "UINT4"},
    "VVAU_hls": {
        "PE": 4, "SIMD": 3, "Dim": [8, 8], "Channels": 64, "Kernel": [3, 3], "resType": "dsp", "inputDataType": "UINT4",
        "weightDataType": "INT4", "outputDataType": "UINT4", "accDataType": "INT12",
    },
}  # fmt: skip


def corrected(op_type: str, **told: Any) -> Resources:
    op = operator(op_type, "node", {**NODES[op_type], **told})
    (found,) = correct_node(GRAPH, op, "layer")
    assert (found.subject, found.layer) == ("node", "layer")
    assert found.reason
    return found.resources


def test_integers_are_added_without_floats() -> None:
    floats, integers = corrected("ElementwiseAdd_hls"), corrected("ElementwiseAdd_hls", out_dtype="INT6", PE=8)
    assert (floats.lut, floats.dsp) == (HLS_CONTROL_LUT + FLOAT_ADD.lut, FLOAT_ADD.dsp)
    assert (integers.lut, integers.dsp) == (HLS_CONTROL_LUT + 8 * 6, 0)


def test_a_filter_takes_a_slice_for_every_product() -> None:
    assert corrected("VVAU_hls").dsp == 4 * 3 - 4  # FINN counts one a lane
    op = operator("VVAU_hls", "node", {**NODES["VVAU_hls"], "resType": "lut"})
    assert correct_node(GRAPH, op, "layer") == ()


@pytest.mark.parametrize("op_type", list(NODE_CORRECTIONS))
def test_every_correction_adds_and_grows_with_the_work_done_at_once(op_type: str) -> None:
    lanes = "SIMD" if op_type == "FMPadding_rtl" else "PE"
    one, two = corrected(op_type), corrected(op_type, **{lanes: 2 * NODES[op_type][lanes]})
    if op_type == "VVAU_hls":  # FINN counts all of its LUT
        assert two.dsp > one.dsp > 0
        return
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


@pytest.mark.parametrize(
    ("weight", "act", "slice_of", "products"),
    [
        (2, 2, "DSP48E1", 8), (2, 4, "DSP48E1", 5), (4, 4, "DSP48E1", 4), (4, 8, "DSP48E1", 2), (8, 8, "DSP48E1", 2),
        (4, 4, "DSP48E2", 4), (8, 4, "DSP48E2", 2), (3, 3, "DSP48E2", 5),
    ],
)  # fmt: skip
def test_products_that_share_a_slice(weight: int, act: int, slice_of: str, products: int) -> None:
    """By NUM_LANES of finn-rtllib/mvu/mvu.sv; those of the 7 series as ../shared/facts/rtlsim.md has them."""
    told = {**UNIT, "inputDataType": f"UINT{act}", "weightDataType": f"INT{weight}", "SIMD": 1}
    slices = [unit_slices(operator("MVAU_rtl", "node", {**told, "PE": pe}), slice_of) for pe in (products, products + 1)]
    assert slices == [1, 2]


def test_slices_are_added_where_fewer_than_four_products_share_one() -> None:
    eight = {"inputDataType": "UINT8", "weightDataType": "INT8", "accDataType": "INT24", "outputDataType": "INT24"}
    op = operator("MVAU_rtl", "node", {**UNIT, **eight, "PE": 8})
    assert GRAPH.resources_of(op).dsp == 2 * 36
    assert corrected("MVAU_rtl", **eight, PE=8).dsp == 2 * 36  # two products a slice: 4 · 36 in all
    assert corrected("MVAU_rtl", PE=8).dsp == 0


def test_the_adders_of_a_small_rtl_unit_by_hand() -> None:
    """W4A4 on a 7z020: four lanes of 7, 7, 7 and 16 bits, the low ones spilling 9; see finn-rtllib/mvu/mvu.sv."""
    two = {**UNIT, "PE": 64, "SIMD": 2, "MH": 64}  # PE is MH: no input buffer
    own = 3 * 8 + 17  # a sum of two inputs in each lane, a bit wider than they are
    spills = 3 * (2 * 2 + 3 + 2 + 9)  # of the low three: compared, summed over the inputs, over time
    anew = 3 * 3 * 2  # of all but the lowest
    slices_of_four = 64 // 4
    counted = slices_of_four * (own + spills + anew + 4 * 2 * 16)
    assert unit_luts(operator("MVAU_rtl", "node", two), "DSP48E1") == int(CONTROL_LUT + FACTOR * counted)


def test_thresholds_kept_out_of_block_ram_are_in_lut() -> None:
    """FINN counts memories of 18 bits and 1,024 words or more as block or UltraRAM, whatever it is told."""
    types = {"inputDataType": "INT17", "weightDataType": "INT18", "outputDataType": "UINT8"}
    deep = {"NumChannels": 512, "PE": 2, "numSteps": 255, **types}
    op = operator("Thresholding_rtl", "node", {**NODES["Thresholding_rtl"], **deep})
    assert op.uram_estimation(PYNQ_Z2.fpga_part) > 0
    words = sum(256 << stage for stage in range(8))
    assert GRAPH.luts_of(op) + corrected("Thresholding_rtl", **deep).lut >= 2 * 18 * words / 64
    for depth in (512, NEVER):
        shallow = {"depth_trigger_bram": depth, "weightDataType": "INT17", "inputDataType": "INT16", "outputDataType": "UINT8"}
        assert corrected("Thresholding_rtl", **shallow).lut == 150 + 4 * 8 * 18  # nothing is missing


def test_buffers_of_the_dma_engines_are_as_wide_as_the_port() -> None:
    used = [sum((c.resources for c in correct_system(bits)), Resources()) for bits in (64, 128)]
    assert [r.bram18 for r in used] == [2 * 2, 2 * 4]


@pytest.mark.parametrize(("compared", "stored"), [("INT16", "INT17"), ("UINT9", "UINT10")])
def test_thresholds_are_stored_a_bit_wider(compared: str, stored: str) -> None:
    assert threshold_type(compared) == stored
