"""A proposal for the latency of the first frame, held against simulations: nodes overlap, which FINN's sum over a path forgets.

    python -m benchmarks.latency_model         (every design of benchmarks/measured/sim.jsonl; some 20 s each)

FINN's estimate (`hls.types.Estimate.latency_cycles`) adds up the cycles of all nodes of the longest path, as if each began when
the one before it had finished a whole frame. In truth a convolution begins as soon as its first window is there. Here every
node says two things more: `fill`, the words that it reads before it hands its first one on, and `tail`, the cycles that it
needs after its last word. With words that come evenly between a begin and an end, node by node:

    begin' = begin + fill * (end - begin) / words
    end'   = max(end + tail, begin' + cycles - (cycles before the first word goes out))

The end of the last node is the latency with FIFOs that hold everything.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from benchmarks.bench_sim import KEPT, TRIPLES, source_of
from benchmarks.kept import read_lines
from hls.finn_backend import quiet, read_model
from hls.finn_build import prepare
from hls.finn_operators import finn_steps

PIPELINE_CYCLES = 2  # of a node and the FIFO before it


@dataclass(frozen=True)
class Pace:
    """How a node reads and writes one frame.

    Attributes:
        words: that it reads.
        fill: words that it reads before it hands one on.
        own_fill: cycles that this takes it where words do not keep it waiting.
        tail: cycles after the last word that it reads until the last one that it hands on.
        cycles: of a frame.
    """

    words: int
    fill: int
    own_fill: float
    tail: float
    cycles: int


def pace_of(op: Any, kind: str) -> Pace:
    """The pace of FINN's operator."""
    get, cycles = op.get_nodeattr, int(op.get_exp_cycles())
    words = prod(map(int, op.get_folded_input_shape(0)[:-1]))
    if kind in ("MVAU", "VVAU"):  # a vector's words are read in the first of its folds, the others follow
        vectors = prod(get("numInputVectors")) if kind == "MVAU" else prod(get("Dim"))
        fold = words // vectors
        return Pace(words, fold, fold, cycles / vectors - fold, cycles)
    if kind == "ConvolutionInputGenerator":  # rows of all but the kernel's last, and that many pixels more
        (rows, columns), width, channel_folds = get("ConvKernelDim"), get("IFMDim")[1], get("IFMChannels") // get("SIMD")
        fill = ((rows - 1) * width + columns) * channel_folds
        return Pace(words, min(fill, words), fill, rows * columns * channel_folds, cycles)
    if kind == "FMPadding":  # a border comes before and after
        top, left, bottom, right = get("Padding")
        width, channel_folds = get("ImgDim")[1] + left + right, get("NumChannels") // get("SIMD")
        return Pace(words, 1, (top * width + left) * channel_folds, (bottom * width + right) * channel_folds, cycles)
    if kind == "Pool":
        window = prod(get("KernelSize"))
        return Pace(words, window, window, 1, cycles)
    if kind in ("LabelSelect", "GlobalAccPool"):  # the whole frame
        return Pace(words, words, words, prod(map(int, op.get_folded_output_shape()[:-1])), cycles)
    return Pace(words, 1, 1, 1, cycles)


def streamed_latency(checkpoint: Path) -> float:
    """Cycles of the first frame of a checkpoint (`hls.finn_build.prepare`), as proposed above."""
    from qonnx.custom_op.registry import getCustomOp

    finn_steps()
    with quiet():
        model = read_model(checkpoint)
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    first = getCustomOp(model.graph.node[0])
    times = {source: (0.0, float(prod(map(int, first.get_folded_input_shape(0)[:-1]))))}  # the host gives a word a cycle
    for node in model.graph.node:
        pace = pace_of(getCustomOp(node), node.op_type.split("_")[0])
        reads = [times[name] for name in node.input if model.get_initializer(name) is None]
        begin, end = max(b for b, _ in reads), max(e for _, e in reads)
        begins = begin + max(pace.fill * (end - begin) / pace.words, pace.own_fill) + PIPELINE_CYCLES
        ends = max(end + pace.tail + PIPELINE_CYCLES, begins + pace.cycles - pace.own_fill)
        for name in node.output:
            times[name] = begins, ends
    return times[sink][1]


def main() -> None:
    """Print FINN's estimate, the proposal and the simulation of every design that was simulated."""
    print("| network | policy | simulated | FINN | FINN / simulated | proposed | proposed / simulated |\n" + "|---" * 7 + "|")
    for row in read_lines(KEPT):
        triple = next((t for t in TRIPLES if (t.model, t.policy, t.fps) == (row["model"], row["policy"], row["fps"])), None)
        if triple is None:
            continue
        with tempfile.TemporaryDirectory(prefix="bitloop-latency-") as name:
            folder = Path(name)
            source = source_of(triple, folder)
            prepare(source.plan(), source.board, source.onnx, folder / "checkpoint.onnx")
            proposed = streamed_latency(folder / "checkpoint.onnx")
        simulated, finn = row["simulated"]["unbounded"]["latency"], row["estimated"]["latency"]
        print(
            f"| {triple.model} | {triple.policy} | {simulated:,} | {finn:,} | {finn / simulated:.3f} | {proposed:,.0f} | "
            f"{proposed / simulated:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
