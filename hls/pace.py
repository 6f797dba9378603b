"""When a node reads and hands on the words of a frame: `Pace`, and what the width converter between two nodes adds.

A frame goes through a node vector by vector: pixel by pixel in a convolution, as one vector in a fully connected layer.
`hls.first_frame` computes the cycles of the first frame from the paces of all nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, gcd, log2, prod
from typing import Any

Pair = tuple[int, int]

# A sum leaves FINN's RTL unit so many stages after its last word (finn-rtllib/mvu/mvu.sv); three more registers are around it
# (mvu_vvu_axi.sv). Of thresholds of their own it is a stage for each bit handed on, and two registers (thresholding.sv).
RTL_UNIT_REGISTERS, THRESHOLD_REGISTERS = 3, 2
MOST_VECTORS, MOST_CYCLES = 1 << 24, 1 << 40  # that a file may speak of: images of 4096 × 4096, hours a frame


@dataclass(frozen=True)
class Pace:
    """How a node reads and hands on one frame. Rows and columns count vectors; what is no image has one row.

    Attributes:
        reads_grid, hands_on_grid: rows and columns of the vectors that it reads and hands on.
        reads, hands_on: elements of a word.
        words: that it reads a vector.
        elements: of a vector that it hands on.
        cycles: of one vector handed on, where nothing keeps it waiting.
        behind_last: cycles from the last word that a vector follows from to the last one of the vector.
        window: rows and columns from the first vector read to the last one that a vector follows from.
        stride: rows and columns from the window of a vector to that of the next.
        border: rows above and columns left of what is read that are handed on with nothing read.
        behind_first: the cycles from the first word of the last vector that it follows from; 0 where those count for nothing.
        lead: cycles from the first word read of a vector to the first one handed on, where words go through one by one.
        burst: cycles from the first word handed on of a vector to the last one where all come in a row; None else.
        latency: cycles that a word is in the node beside all this.
    """

    reads_grid: Pair
    hands_on_grid: Pair
    reads: int
    hands_on: int
    words: int
    elements: int
    cycles: int
    behind_last: int = 0
    window: Pair = (1, 1)
    stride: Pair = (1, 1)
    border: Pair = (0, 0)
    behind_first: int = 0
    lead: int = 0
    burst: int | None = None
    latency: int = 1

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Pace:
        """Read what `dataclasses.asdict` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else, or has numbers that cannot be.
        """
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
        found = cls(**values)
        found.check()
        return found

    def check(self) -> None:
        """Look whether it can be computed with.

        Raises:
            ValueError: it cannot.
        """
        pairs = (self.reads_grid, self.hands_on_grid, self.window, self.stride, self.border)
        counts = (self.reads, self.hands_on, self.words, self.elements, self.cycles)
        delays = (self.behind_last, self.behind_first, self.lead, self.latency, -1 if self.burst is None else self.burst)
        numbers = (*(n for pair in pairs for n in pair), *counts, *delays)
        if any(type(n) is not int for n in numbers) or any(len(pair) != 2 for pair in pairs):
            raise ValueError("a pace that is not of whole numbers")
        if min(*(n for pair in pairs[:-1] for n in pair), *counts) < 1 or min(*self.border, *delays) < -1:
            raise ValueError("a pace of numbers that cannot be")
        if max(prod(self.reads_grid), prod(self.hands_on_grid)) > MOST_VECTORS or max(numbers) > MOST_CYCLES:
            raise ValueError(f"a pace of more than {MOST_VECTORS:,} vectors or {MOST_CYCLES:,} cycles")

    @property
    def n_handed_on(self) -> int:
        """Elements that it hands on a frame."""
        return prod(self.hands_on_grid) * self.elements


def converter_cycles(elements: int, hands_on: int, reads: int) -> int:
    """Cycles a frame of the width converter between two nodes; 0 where their widths are the same.

    Of widths of which neither divides the other FINN's converter takes a cycle for every word on either side but one, of as
    many elements as fill words of both; else one for every word of the narrower side (docs/upstream/width-converter-rate.md,
    measured on its RTL by tests/test_hls_rtl_converter.py).

    Args:
        elements: that go through it.
        hands_on: elements of a word of the node before it.
        reads: of the one behind it.
    """
    if hands_on == reads:
        return 0
    common = gcd(hands_on, reads)
    into, out = hands_on // common, reads // common
    return ceil(elements * (into + out - 1) / (hands_on * out))


def pace_of(op: Any) -> Pace | None:
    """The pace of an operator of FINN's at its present folding; None of a kind whose pace is not known.

    Args:
        op: of a graph, or dict-backed (`hls.finn_operators`).
    """
    get, op_type = op.get_nodeattr, str(op.onnx_node.op_type)
    kind = op_type.split("_")[0]
    *reads_grid, words, reads = map(int, op.get_folded_input_shape(0))
    *hands_on_grid, words_out, hands_on = map(int, op.get_folded_output_shape())
    ends: dict[str, Any] = {
        "reads_grid": _grid(reads_grid), "hands_on_grid": _grid(hands_on_grid), "reads": reads, "hands_on": hands_on,
        "words": words, "elements": words_out * hands_on,
    }  # fmt: skip
    if kind in ("MVAU", "VVAU", "Pool"):
        cycles = int(op.get_exp_cycles()) // prod(hands_on_grid)
        if kind == "MVAU":  # a vector is read in the first of its folds, the others follow
            behind, latency = cycles - words, 1
            if op_type == "MVAU_rtl":
                latency = 4 + ceil(log2(get("SIMD"))) + (get("SIMD") == 1) + RTL_UNIT_REGISTERS
            return Pace(**ends, cycles=cycles, behind_last=behind, burst=behind, latency=latency)
        return Pace(**ends, cycles=cycles, lead=words // words_out - 1)  # channel after channel
    if kind == "ConvolutionInputGenerator":
        kernel, dilation = get("ConvKernelDim"), get("Dilation")
        ends["window"] = tuple(int((n - 1) * d + 1) for n, d in zip(kernel, dilation, strict=True))
        ends["stride"] = tuple(map(int, get("Stride")))
        if op.select_impl_style() == "parallel":
            return Pace(**ends, cycles=words_out, behind_last=words_out, burst=words_out - 1)
        if get("depthwise"):  # the window channel after channel: of its last pixel all of them are wanted, one by one
            return Pace(**ends, cycles=words_out, behind_last=1, behind_first=(words - 1) * prod(kernel) + 1)
        return Pace(**ends, cycles=words_out, behind_last=1)
    if kind == "FMPadding":
        top, left, *_ = map(int, get("Padding"))
        return Pace(**ends, cycles=words_out, border=(top, left))
    if kind in ("LabelSelect", "GlobalAccPool"):  # the whole frame, then what is handed on
        whole = prod(reads_grid) * words + words_out
        return Pace(**ends, cycles=whole, behind_last=words_out, window=ends["reads_grid"], burst=words_out - 1)
    if kind == "Thresholding":
        return Pace(**ends, cycles=words_out, latency=THRESHOLD_REGISTERS + int(op.get_output_datatype().bitwidth()))
    if kind == "DuplicateStreams":
        return Pace(**ends, cycles=words_out, latency=0)
    if kind == "Requant" or kind.startswith("Elementwise"):
        return Pace(**ends, cycles=words_out)
    return None


def _grid(shape: list[int]) -> Pair:
    """Rows and columns of a folded shape less its last two axes: frames and rows, or frames, rows and columns."""
    return (prod(shape[:-1]), shape[-1]) if len(shape) > 1 else (1, prod(shape))
