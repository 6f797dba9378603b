"""What FINN's estimate leaves out, item by item, each with its reason and source.

FINN's operators count an HLS matrix unit's multipliers, adders and weight memory, a sliding window's
buffer and the memory of thresholds of their own. What follows is not in those figures. Every item is
meant to be too much rather than too little: a search would exploit the opposite. None was checked
against a synthesis yet; `hls.calibrate`, once there are measurements, is the place for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from boards.board import Resources
from hls.finn_operators import HardwareGraph, operator
from hls.rtl_unit import unit_luts, unit_slices
from hls.types import Correction

# LUT that the state machine and handshake of a small HLS loop take: half of what FINN's model gives a whole matrix
# unit (300, the constant c0 in finn/custom_op/fpgadataflow/hls/matrixvectoractivation_hls.py, lut_estimation).
HLS_CONTROL_LUT = 150

# The figures that Vivado HLS itself reports, before synthesis, for single precision on the 7 series: fmul with maximum
# and fadd with full DSP usage, and sitofp. Quoted from experience, not from a document; synthesis takes fewer LUT.
FLOAT_MULTIPLY = Resources(lut=321, dsp=3)
FLOAT_ADD = Resources(lut=390, dsp=2)
INTEGER_TO_FLOAT = Resources(lut=554)

# Two DMA engines as one post-synthesis report of a FINN+ design has them (1,149 and 938 LUT); block RAM: one
# burst buffer of 512 words as wide as the memory port each, a BRAM18 for 36 bits.
DMA_ENGINES = (("idma0", Resources(lut=1149)), ("odma0", Resources(lut=938)))

# A SmartConnect took 910 LUT for one master in Vivado 2023.1 (analogdevicesinc/hdl pull request 1054); FINN's shell has
# one for two masters, an AXI interconnect for the registers and a reset block
# (finn/transformation/fpgadataflow/make_zynq_proj.py): three times and a half that.
ZYNQ_SHELL = Resources(lut=3200)

# The depth every stream gets. FIFOs of up to 33 words are shift registers, one LUT a bit whatever the depth
# (finn/util/resource_models.py); at depth 32 a CNV W4A4 simulated at 1.1 times its steady state.
FIFO_DEPTH = 32


def _merged_thresholds(graph: HardwareGraph, op: Any) -> Resources:
    """FINN counts a merged threshold unit only if told where its memory is; HLS puts small ones in LUT."""
    if op.attributes["noActivation"] or op.attributes["ram_style_thresholds"] == "distributed":
        return Resources()
    # thresholds are counted a lane of PE, whatever the rest is; with one rest FINN's rounding is the same for all
    silent = type(op)(op.name, {**op.attributes, "SIMD": 1, "resType": "lut"})
    told = type(op)(op.name, {**silent.attributes, "ram_style_thresholds": "distributed"})
    return Resources(lut=graph.resources_of(told).lut - graph.resources_of(silent).lut)


def _rtl_unit(graph: HardwareGraph, op: Any) -> Resources:
    """FINN gives an RTL unit no LUT, and DSP slices as if each held four products, which is true up to 4-bit types.

    Weights in LUT RAM are what FINN gives an HLS unit for them.
    """
    twin = operator("MVAU_hls", op.name, op.attributes)
    weights = graph.luts_of(twin) - graph.luts_of(type(twin)(op.name, {**twin.attributes, "ram_style": "block"}))
    slices = unit_slices(op, graph.dsp_block) - int(op.dsp_estimation(graph.fpga_part))
    return Resources(lut=unit_luts(op, graph.dsp_block) + weights, dsp=max(0, slices))


def _thresholds(graph: HardwareGraph, op: Any) -> Resources:
    """A comparator a lane and bit of the output, a LUT a bit, and the FIFO behind them (finn-rtllib/thresholding).

    Memories that the RTL is told to keep out of block RAM are in LUT, 64 words of a bit each. FINN counts some of
    them as block or UltraRAM all the same: those that fill one without a rest.
    """
    a, stages = op.attributes, op.get_output_datatype().bitwidth()
    compared = op.get_input_datatype(1).bitwidth()
    depths = [a["NumChannels"] // a["PE"] << stage for stage in range(stages)]
    memories = sum(math.ceil(n / 64) for n in depths if n < a["depth_trigger_bram"])
    uncounted = max(0.0, a["PE"] * compared * memories - graph.luts_of(op))
    return Resources(lut=HLS_CONTROL_LUT + a["PE"] * stages * (compared + 1) + uncounted)


def _pool(_: HardwareGraph, op: Any) -> Resources:
    """A comparator and a multiplexer a lane, one LUT a bit each, and the loop around them."""
    bits = op.get_input_datatype().bitwidth()
    return Resources(lut=HLS_CONTROL_LUT + 2 * bits * op.attributes["PE"])


def _float_lanes(op: Any, lane: Resources) -> Resources:
    n = op.attributes["PE"]
    return Resources(lut=HLS_CONTROL_LUT + n * lane.lut, dsp=n * lane.dsp)


def _float_multiply(_: HardwareGraph, op: Any) -> Resources:
    return _float_lanes(op, INTEGER_TO_FLOAT + FLOAT_MULTIPLY)


def _add(_: HardwareGraph, op: Any) -> Resources:
    """A float adder a lane behind the last layer; of the integers of two streams, a LUT a bit of the sum."""
    if op.get_output_datatype().is_integer():
        return Resources(lut=HLS_CONTROL_LUT + op.attributes["PE"] * op.get_output_datatype().bitwidth())
    return _float_lanes(op, FLOAT_ADD)


def _mean(_: HardwareGraph, op: Any) -> Resources:
    """An adder a lane, a LUT a bit of the sum, and the sums of all channels in LUT RAM, 64 words of a bit to a LUT."""
    a, bits = op.attributes, op.get_output_datatype().bitwidth()
    return Resources(lut=HLS_CONTROL_LUT + a["PE"] * bits * (1 + math.ceil(a["NumChannels"] / a["PE"] / 64)))


def _filter(graph: HardwareGraph, op: Any) -> Resources:
    """FINN counts a DSP slice for all products of a lane together; each takes one."""
    if op.attributes["resType"] != "dsp":
        return Resources()
    products = op.attributes["PE"] * op.attributes["SIMD"]
    return Resources(dsp=max(0, products - int(op.dsp_estimation(graph.fpga_part))))


def _requant(_: HardwareGraph, op: Any) -> Resources:
    """A multiplication and an addition a lane (finn-rtllib/requant/hdl/requant.sv): two DSP slices, for inputs of any width.

    Rounding and clipping take a LUT a bit of the input and of the output. Scale (25 bits), bias (44) and shift (7) of
    every channel are in LUT RAM, 64 words of a bit to a LUT.
    """
    a = op.attributes
    bits = op.get_input_datatype(0).bitwidth() + op.get_output_datatype().bitwidth()
    constants = (25 + 44 + 7) * math.ceil(a["NumChannels"] / a["PE"] / 64)
    return Resources(lut=HLS_CONTROL_LUT + a["PE"] * (bits + constants), dsp=2 * a["PE"])


def _padding(_: HardwareGraph, op: Any) -> Resources:
    """Counters of rows, columns and channels, and a multiplexer a bit of the stream (finn-rtllib/fmpadding)."""
    return Resources(lut=HLS_CONTROL_LUT + op.get_instream_width(0))


def _duplicate(_: HardwareGraph, op: Any) -> Resources:
    """A register slice, a LUT a bit, for every copy of the stream."""
    copies = op.attributes["NumOutputStreams"]
    return Resources(lut=HLS_CONTROL_LUT + copies * op.get_outstream_width(0))


def _label_select(_: HardwareGraph, op: Any) -> Resources:
    """For every label kept a comparator, and multiplexers for its value and its number; a LUT a bit each."""
    a = op.attributes
    number = max(1, math.ceil(math.log2(a["Labels"])))
    return Resources(lut=HLS_CONTROL_LUT + a["K"] * a["PE"] * (2 * op.get_input_datatype(0).bitwidth() + number))


NODE_CORRECTIONS: dict[str, tuple[Callable[[HardwareGraph, Any], Resources], str]] = {
    "MVAU_hls": (_merged_thresholds, "thresholds merged into the unit, in LUT"),
    "MVAU_rtl": (_rtl_unit, "adders, control, input buffer, weights in LUT RAM, DSP slices beyond FINN's"),
    "Thresholding_rtl": (_thresholds, "comparators of the thresholds, memory in LUT beyond FINN's"),
    "Requant_rtl": (_requant, "multiplier, adder and clipping a lane"),
    "Requant_hls": (_requant, "multiplier, adder and clipping a lane"),
    "Pool_hls": (_pool, "the pool itself"),
    "FMPadding_rtl": (_padding, "counters and multiplexer of the padding"),
    "DuplicateStreams_hls": (_duplicate, "the copies of the stream"),
    "LabelSelect_hls": (_label_select, "comparators of the labels"),
    "ElementwiseMul_hls": (_float_multiply, "integer to float and a float multiplier a lane"),
    "ElementwiseAdd_hls": (_add, "an adder a lane"),
    "GlobalAccPool_hls": (_mean, "adders and memory of the sums"),
    "VVAU_hls": (_filter, "a DSP slice for every product"),
}


def correct_node(graph: HardwareGraph, op: Any, layer: str) -> tuple[Correction, ...]:
    """What FINN's figures of a node leave out; empty where they leave out nothing that is known."""
    found = NODE_CORRECTIONS.get(op.op_type)
    if found is None:
        return ()
    used = found[0](graph, op)
    return () if used == Resources() else (Correction(op.name, layer, used, found[1]),)


def correct_system(host_port_bits: int) -> tuple[Correction, ...]:
    """What stands around the accelerator on a Zynq whose memory port has so many bits."""
    buffer = Resources(bram18=math.ceil(host_port_bits / 36))
    engines = [Correction(name, "", used + buffer, "DMA engine") for name, used in DMA_ENGINES]
    return (*engines, Correction("shell", "", ZYNQ_SHELL, "interconnects and reset of the Zynq shell"))
