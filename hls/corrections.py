"""What FINN's estimate leaves out, item by item, each with its reason and source.

FINN's operators count a matrix unit's multipliers, adders and weight memory and a sliding window's
buffer. What follows is not in those figures. Every item is meant to be too much rather than too
little: a search would exploit the opposite. None was checked against a synthesis yet;
`hls.calibrate`, once there are measurements, is the place for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from boards.board import Resources
from hls.finn_backend import HardwareGraph
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
# burst buffer of 512 words of 64 bits each, two BRAM18.
DMA_ENGINES = (("idma0", Resources(lut=1149, bram18=2)), ("odma0", Resources(lut=938, bram18=2)))

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
    # thresholds are counted a lane of PE, whatever SIMD is; at SIMD 1 FINN's rounding is the same for all of them
    silent = type(op)(op.name, {**op.attributes, "SIMD": 1})
    told = type(op)(op.name, {**silent.attributes, "ram_style_thresholds": "distributed"})
    return Resources(lut=graph.resources_of(told).lut - graph.resources_of(silent).lut)


def _pool(_: HardwareGraph, op: Any) -> Resources:
    """A comparator and a multiplexer a lane, one LUT a bit each, and the loop around them."""
    bits = op.get_input_datatype().bitwidth()
    return Resources(lut=HLS_CONTROL_LUT + 2 * bits * op.attributes["PE"])


def _float_lanes(op: Any, lane: Resources) -> Resources:
    n = op.attributes["PE"]
    return Resources(lut=HLS_CONTROL_LUT + n * lane.lut, dsp=n * lane.dsp)


def _float_multiply(_: HardwareGraph, op: Any) -> Resources:
    return _float_lanes(op, INTEGER_TO_FLOAT + FLOAT_MULTIPLY)


def _float_add(_: HardwareGraph, op: Any) -> Resources:
    return _float_lanes(op, FLOAT_ADD)


NODE_CORRECTIONS: dict[str, tuple[Callable[[HardwareGraph, Any], Resources], str]] = {
    "MVAU_hls": (_merged_thresholds, "thresholds merged into the unit, in LUT"),
    "Pool_hls": (_pool, "the pool itself"),
    "ElementwiseMul_hls": (_float_multiply, "integer to float and a float multiplier a lane"),
    "ElementwiseAdd_hls": (_float_add, "a float adder a lane"),
}


def correct_node(graph: HardwareGraph, op: Any, layer: str) -> tuple[Correction, ...]:
    """What FINN's figures of a node leave out; empty where they leave out nothing that is known."""
    found = NODE_CORRECTIONS.get(op.op_type)
    if found is None:
        return ()
    used = found[0](graph, op)
    return () if used == Resources() else (Correction(op.name, layer, used, found[1]),)


def correct_system() -> tuple[Correction, ...]:
    """What stands around the accelerator on a Zynq."""
    engines = [Correction(name, "", used, "DMA engine") for name, used in DMA_ENGINES]
    return (*engines, Correction("shell", "", ZYNQ_SHELL, "interconnects and reset of the Zynq shell"))
