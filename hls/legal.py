"""The foldings that FINN's operators accept, by kind of node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from math import prod
from typing import Any

NodeFolding = Mapping[str, int | str]

# Xilinx' ap_int ends at 8191 bits (finn.transformation.fpgadataflow.set_folding, MAX_ALLOWED_AP_INT_W).
MAX_STREAM_BITS = 8191
# The HLS library unrolls at most this many folds of the weight matrix's width; SetFolding does not check it.
MAX_HLS_FOLDS = 1024
# Memories of thresholds from this depth on go into block RAM; 0 would leave it to Vivado, and FINN's estimate then
# counts UltraRAM that most parts lack (finn/custom_op/fpgadataflow/rtl/thresholding_rtl.py).
THRESHOLD_DEPTHS = (512,)
NEVER = 1 << 30  # deeper than any memory

# Attributes that a folding may leave out, as FINN's own do.
DEFAULTS: NodeFolding = {
    "parallel_window": 0, "ram_style": "block", "resType": "lut", "depth_trigger_bram": NEVER, "depth_trigger_uram": NEVER,
}  # fmt: skip


@cache
def divisors(n: int) -> tuple[int, ...]:
    """The divisors of n, in order."""
    return tuple(d for d in range(1, n + 1) if n % d == 0)


def unit_shapes(
    width: int, height: int, weight_bits: int, read_bits: int, handed_on_bits: int, rtl: bool
) -> list[tuple[int, int]]:
    """PE and SIMD that a matrix unit may have.

    Args:
        width: of its weight matrix, the fan-in.
        height: of its weight matrix, the outputs.
        weight_bits: of a weight.
        read_bits: of an element it reads.
        handed_on_bits: of an element it hands on.
        rtl: whether it is the RTL unit, which loses data where SIMD is the whole width and what follows
            stalls it (finn-plus 1.6.1, mvu_vvu_axi.sv: its output queue is one or two entries short).
    """
    shapes = []
    for simd in divisors(width):
        folds = width // simd
        if (folds < 2) if rtl else (folds > MAX_HLS_FOLDS):
            continue
        if simd * read_bits <= MAX_STREAM_BITS:
            most = MAX_STREAM_BITS // max(simd * weight_bits, handed_on_bits)
            shapes += [(pe, simd) for pe in divisors(height) if pe <= most]
    return shapes


def multipliers(op: Any) -> tuple[str, ...]:
    """What the multipliers of a matrix unit may be made of: of one-bit factors there is nothing to multiply."""
    if op.op_type == "MVAU_rtl":
        return ("dsp",)
    return ("lut", "dsp") if min(op.get_input_datatype(i).bitwidth() for i in (0, 1)) > 1 else ("lut",)


def folded_by(op: Any) -> tuple[str, ...]:
    """Names of the attributes that the folding of a node consists of."""
    kind = op.op_type
    if kind.startswith(("MVAU", "VVAU")):
        return ("PE", "SIMD", "ram_style", "resType")
    if kind.startswith("Thresholding"):
        return ("PE", "depth_trigger_bram", "depth_trigger_uram")
    if kind.startswith("ConvolutionInputGenerator"):
        return ("SIMD", "parallel_window")
    return ("SIMD",) if kind.startswith("FMPadding") else ("PE",)


def foldings_of(op: Any) -> list[dict[str, int | str]]:
    """Every folding of a node that FINN accepts by itself; depthwise windows and what they feed see `shared_foldings`."""
    a, kind = op.attributes, op.op_type
    if kind.startswith("MVAU"):
        read_bits, weight_bits = (op.get_input_datatype(i).bitwidth() for i in (0, 1))
        handed_on_bits = op.get_output_datatype().bitwidth()
        shapes = unit_shapes(a["MW"], a["MH"], weight_bits, read_bits, handed_on_bits, kind == "MVAU_rtl")
        built = [(ram, made_of) for ram in ("block", "distributed") for made_of in multipliers(op)]
        return [{"PE": pe, "SIMD": simd, "ram_style": ram, "resType": made_of} for pe, simd in shapes for ram, made_of in built]
    if kind.startswith("VVAU"):  # it unfolds the window only where it has all channels (set_folding.py)
        channels, window = a["Channels"], prod(a["Kernel"])
        lanes = [(pe, 1) for pe in divisors(channels)] + [(channels, n) for n in divisors(window) if n > 1]
        bits = max(op.get_input_datatype(i).bitwidth() for i in (0, 1))
        return [
            {"PE": pe, "SIMD": simd, "ram_style": ram, "resType": made_of}
            for pe, simd in lanes
            if pe * simd * bits <= MAX_STREAM_BITS
            for ram in ("block", "distributed")
            for made_of in multipliers(op)
        ]
    if kind.startswith("Thresholding"):
        depths = (*THRESHOLD_DEPTHS, NEVER)
        return [
            {"PE": pe, "depth_trigger_bram": depth, "depth_trigger_uram": NEVER}
            for pe in divisors(a["NumChannels"])
            for depth in depths
        ]
    if kind.startswith("ConvolutionInputGenerator"):
        channels = a["IFMChannels"]
        serial: list[dict[str, int | str]] = [{"SIMD": n, "parallel_window": 0} for n in divisors(channels)]
        return [*serial, {"SIMD": channels, "parallel_window": 1}]
    if kind.startswith("FMPadding"):
        return [{"SIMD": n} for n in divisors(a["NumChannels"])]
    shape = op.get_normal_input_shape() if kind.startswith("LabelSelect") else op.get_normal_output_shape()
    return [{"PE": n} for n in divisors(int(shape[-1]))]


def shared_foldings(ops: Sequence[Any]) -> list[tuple[NodeFolding, ...]]:
    """Every folding of a step: a node alone, or two that must go through the channels alike (set_folding.py).

    Args:
        ops: a node; or a depthwise window and the pool or unit that it feeds; or thresholds and the sum that reads them.
    """
    first = foldings_of(ops[0])
    if len(ops) == 1:
        return [(f,) for f in first]
    kind = ops[1].op_type
    if kind.startswith("Pool"):
        return [(f, {"PE": f["SIMD"]}) for f in first if not f["parallel_window"]]
    if kind.startswith("VVAU"):
        fed = foldings_of(ops[1])
        return [(f, g) for f in first for g in fed if g["PE"] == f["SIMD"] and (g["SIMD"] != 1) == bool(f["parallel_window"])]
    return [(f, {"PE": f["PE"]}) for f in first]
