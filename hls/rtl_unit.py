"""What FINN's RTL matrix unit is made of, counted from its source (finn-rtllib/mvu): FINN's own estimate leaves it out.

Products of several rows of the matrix share a DSP slice, a *lane* each. A lane spills into the next one; how far is
found out, and added up, beside the slices. So every lane has two trees of adders over the inputs that are read at once,
one for its own bits and one for what it spills.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

# Constant and factor of FINN's model of an HLS unit (c0, c1 in finn/custom_op/fpgadataflow/hls/matrixvectoractivation_hls.py,
# lut_estimation), for control and for what placement adds.
CONTROL_LUT, FACTOR = 300, 1.1
_SUM_BITS = 48  # of a DSP slice's accumulator


def replay_luts(op: Any) -> float:
    """LUT of the buffer in which an RTL matrix unit keeps its input for the next rows of the matrix.

    One of as many words as it takes SIMD to read the input, rounded up to a power of two, each SIMD
    elements wide (replay_buffer.sv). Three bits of 64 such words take four LUT (Xilinx UG474 and UG574,
    simple dual-port RAM64M).
    """
    a = op.attributes
    if a["PE"] == a["MH"]:
        return 0.0
    folds = a["MW"] // a["SIMD"]
    words: int = 2 ** math.ceil(math.log2(folds))
    bits = int(a["SIMD"] * op.get_input_datatype(0).bitwidth())
    return 4.0 * math.ceil(bits / 3) * math.ceil(words / 64)


def unit_luts(op: Any, dsp_block: str) -> float:
    """LUT of a unit without its weights: one for a bit of an adder, of the output queue and of the input buffer."""
    lanes, simd, sum_bits = _lanes_of(op, dsp_block), int(op.attributes["SIMD"]), op.get_output_datatype().bitwidth()
    whole, rest = divmod(int(op.attributes["PE"]), len(lanes))
    counted = whole * _column_luts(lanes, 0, simd, sum_bits)
    if rest:
        counted += _column_luts(lanes, len(lanes) - rest, simd, sum_bits)
    return int(CONTROL_LUT + FACTOR * counted) + replay_luts(op)


def unit_slices(op: Any, dsp_block: str) -> int:
    """DSP slices of a unit."""
    pe, simd = int(op.attributes["PE"]), int(op.attributes["SIMD"])
    return math.ceil(pe / len(_lanes_of(op, dsp_block))) * simd


def _lanes_of(op: Any, dsp_block: str) -> tuple[int, ...]:
    read, weight = (op.get_input_datatype(i).bitwidth() for i in (0, 1))
    return _lanes(read, weight, op.get_output_datatype().bitwidth(), dsp_block)


@cache
def _lanes(read_bits: int, weight_bits: int, sum_bits: int, dsp_block: str) -> tuple[int, ...]:
    """Bits of the lanes of a slice from the lowest on; the last one is as wide as the accumulator (mvu.sv: sliceLanes).

    Where weights may be the least value of their type (see `hls.matrix_unit`) they are taken to be, which costs a bit.
    """
    width = 25 if dsp_block == "DSP48E1" else 27 - 1
    least = weight_bits + read_bits - 1
    n = 1 + (width - weight_bits) // least
    slack, bits = width - weight_bits - (n - 1) * least, []
    for i in range(1, n):
        extra = math.ceil(slack / (n - i))
        bits.append(least + extra)
        slack -= extra
    return (*bits, min(sum_bits, _SUM_BITS - sum(bits)))


@cache
def _column_luts(lanes: tuple[int, ...], first: int, simd: int, sum_bits: int) -> int:
    """LUT beside a column of `simd` slices that uses the lanes from `first` on (mvu.sv: genPipes)."""
    total = 0
    for i in range(first, len(lanes)):
        spilled = max(sum_bits - lanes[i], 0)
        if spilled or i < len(lanes) - 1:  # two bits compared, summed over the inputs and over time (h3, reduce, Hi4)
            total += 2 * simd + _tree_luts(simd, 2, True) + 2 + max(spilled, math.ceil(math.log2(simd)))
        if i > first:  # two bits of every product anew, and their sum (xx, X3)
            total += 3 * simd
        total += _tree_luts(simd, lanes[i], False) + 2 * sum_bits  # reduce, Res5, and OBuf in mvu_vvu_axi.sv
    return total


@cache
def _tree_luts(n: int, bits: int, signed: bool) -> int:
    """Bits of all sums of a tree over n numbers (add_multi.sv); signed ones are -1, 0 or 1."""
    leaves = [1] * (2 * n - 1)
    for i in reversed(range(n - 1)):
        leaves[i] = leaves[2 * i + 1] + leaves[2 * i + 2]
    return sum(m.bit_length() + 1 if signed else math.ceil(math.log2(m)) + bits for m in leaves[: n - 1])
