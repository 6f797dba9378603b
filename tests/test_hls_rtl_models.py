"""Every module of hls/rtl alone against FINN's own Python: any shapes, types and foldings, with gaps and back-pressure."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from qonnx.custom_op.registry import getCustomOp

from hls.errors import MissingToolError
from hls.rtlsim import find_toolchain
from hls.rtlsim.library import OWN
from hls.rtlsim.models import HlsNode, model_of
from tests.rtl_bench import Bench, Case
from tests.test_hls_circuit import finn_answers, one_node, random_frames, thresholds

FRAMES = 3
TYPES = ("INT2", "UINT3", "INT8", "UINT1", "UINT8", "BIPOLAR", "TERNARY", "INT5")
WIDE = ("UINT15", "INT16", "UINT16", "INT17")  # around what is computed a row at once
Made = tuple[str, int, Case]
"""What it is, the cycles of a frame, and the case."""


def divisor(rng: random.Random, n: int) -> int:
    return rng.choice([d for d in range(1, n + 1) if n % d == 0])


def case_of(
    model: Any, kind: str, memory: Path, number: int, lanes: tuple[int, int], order: Callable[[Any], Any] = lambda frame: frame,
    **hls: Any,
) -> Case:  # fmt: skip
    """A node of FINN's as its HLS operator says it is folded.

    Args:
        model: of one node, unfolded.
        kind: FINN's class, without _hls.
        memory: for the contents of memories.
        number: of the case.
        lanes: values in a word that goes in, and in one that comes out.
        order: of a frame's values in the stream.
        hls: attributes of the folding.
    """
    reads, hands_on = (model.get_tensor_datatype(name).name for name in ("x", "y"))
    shape = model.get_tensor_shape("x")[1:]
    frames = random_frames(number, FRAMES, tuple(shape), reads)
    answers = finn_answers(model, frames)
    folded = copy.deepcopy(model)
    node = folded.graph.node[0]
    node.op_type, node.domain, node.name = f"{kind}_hls", "finn.custom_op.fpgadataflow.hls", f"{kind}_hls_{number}"
    op = getCustomOp(node)
    for name, value in hls.items():
        op.set_nodeattr(name, value)
    constants = {i: folded.get_initializer(name) for i, name in enumerate(node.input)}
    fixed = {i: values for i, values in constants.items() if values is not None}
    streams = [f"in{i}" for i in range(len(node.input) - len(fixed))]
    instance = model_of(HlsNode(node.name, node.op_type, op, fixed, streams, ["out0"], memory))
    ordered = np.stack([order(frame) for frame in frames])
    return Case(
        instance,
        {name: (ordered.reshape(-1, lanes[0]), reads) for name in streams},
        {"out0": (answers.reshape(-1, lanes[1]), hands_on)},
        FRAMES,
    )


def grouped(channels: int, pe: int) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Windows, position by position, in the order of a depthwise stream: PE channels after PE channels."""

    def order(frame: NDArray[Any]) -> NDArray[Any]:
        return frame.reshape(-1, frame.shape[-1] // channels, channels // pe, pe).swapaxes(1, 2)

    return order


def matrices(rng: random.Random, memory: Path, number: int) -> Made:
    rows, columns, seed = rng.randint(1, 12), rng.randint(1, 6), number
    simd, pe, vectors = divisor(rng, rows), divisor(rng, columns), rng.choice([1, 3])
    reads, weights, steps = rng.choice(TYPES), rng.choice(TYPES), rng.choice([None, 1, 3, 15])
    counts = number % 4 == 3
    reads, weights, low = ("BINARY", "BINARY", 0) if counts else (reads, weights, -300)
    if number % 4 == 2:
        reads = WIDE[number // 4 % len(WIDE)]
    summed = hands_on = "UINT8" if counts else "INT30"
    constants: tuple[tuple[NDArray[Any], str], ...] = ((random_frames(seed, rows, (columns,), weights), weights),)
    if steps is not None:
        table = thresholds(np.random.default_rng(seed), columns, steps, low, rows if counts else 300)
        constants += ((table, summed),)
        hands_on = "BIPOLAR" if steps == 1 and not counts else "UINT8" if counts else "INT10"
    lowest = -1 if hands_on == "BIPOLAR" else 0 if counts or not steps else -3
    model = one_node(
        "MVAU", (vectors, 1, rows), reads, (vectors, 1, columns), hands_on, constants, MW=rows, MH=columns, SIMD=1, PE=1,
        inputDataType=reads, weightDataType=weights, outputDataType=hands_on, accDataType=summed, ActVal=lowest,
        noActivation=int(steps is None), numInputVectors=[1, vectors, 1], binaryXnorMode=int(counts),
    )  # fmt: skip
    case = case_of(model, "MVAU", memory, number, (simd, pe), SIMD=simd, PE=pe)
    told = f"{rows}x{columns} {reads}*{weights} steps {steps} SIMD {simd} PE {pe}"
    return told, vectors * rows * columns // (simd * pe), case


def depthwise(rng: random.Random, memory: Path, number: int) -> Made:
    channels, kernel, side = rng.randint(1, 6), rng.choice([(1, 1), (2, 2), (3, 1), (3, 3)]), rng.randint(1, 3)
    positions, pe = prod(kernel), divisor(rng, channels)
    simd = divisor(rng, positions) if pe == channels else 1
    reads, weights, steps = rng.choice(TYPES), rng.choice(TYPES), rng.choice([None, 3])
    constants: tuple[tuple[NDArray[Any], str], ...] = ((random_frames(number, channels, (1, *kernel), weights), weights),)
    if steps is not None:
        constants += ((thresholds(np.random.default_rng(number), channels, steps, -99, 99), "INT24"),)
    model = one_node(
        "VVAU", (side, side, positions * channels), reads, (side, side, channels), "INT24", constants, PE=channels, SIMD=1,
        Dim=[side, side], Channels=channels, Kernel=list(kernel), inputDataType=reads, weightDataType=weights,
        outputDataType="INT24", accDataType="INT24", noActivation=int(steps is None),
    )  # fmt: skip
    case = case_of(model, "VVAU", memory, number, (pe * simd, pe), grouped(channels, pe), SIMD=simd, PE=pe)
    told = f"{channels} channels {kernel} {reads}*{weights} steps {steps} SIMD {simd} PE {pe}"
    return told, side * side * positions * channels // (simd * pe), case


def pools(rng: random.Random, memory: Path, number: int) -> Made:
    function = ("MaxPool", "AccPool", "QuantAvgPool")[number % 3]
    channels, kernel, side = rng.randint(1, 6), rng.choice([(2, 2), (3, 3), (1, 2), (1, 1)]), rng.randint(1, 3)
    pe = divisor(rng, channels)
    reads = rng.choice([t for t in TYPES if t.startswith("UINT") or function != "QuantAvgPool"])
    hands_on = {"MaxPool": reads, "AccPool": "INT24", "QuantAvgPool": "UINT8"}[function]
    model = one_node(
        "Pool", (side, side, prod(kernel) * channels), reads, (side, side, channels), hands_on, Channels=channels, PE=1,
        KernelSize=list(kernel), Function=function, OutImgDims=[side, side], InputDataType=reads, OutputDataType=hands_on,
    )  # fmt: skip
    case = case_of(model, "Pool", memory, number, (pe, pe), grouped(channels, pe), PE=pe)
    return f"{function} {channels} channels {kernel} {reads} PE {pe}", side * side * prod(kernel) * channels // pe, case


def sums(rng: random.Random, memory: Path, number: int) -> Made:
    height, width, channels = rng.randint(1, 4), rng.randint(1, 4), rng.randint(1, 6)
    pe, reads = divisor(rng, channels), rng.choice([t for t in TYPES if t not in ("BIPOLAR", "TERNARY")])
    model = one_node(
        "GlobalAccPool", (height, width, channels), reads, (1, 1, channels), "INT24", NumChannels=channels, PE=1,
        inputDataType=reads, numInputVectors=[1, height, width],
    )  # fmt: skip
    case = case_of(model, "GlobalAccPool", memory, number, (pe, pe), PE=pe)
    gives = case.gives["out0"][0]
    out = str(getCustomOp(model.graph.node[0]).get_output_datatype().name)  # FINN's narrowest
    case = Case(case.instance, case.reads, {"out0": (gives, out)}, FRAMES)
    return f"sum of {height}x{width}x{channels} {reads} PE {pe}", (height * width + 1) * channels // pe, case


def choices(rng: random.Random, memory: Path, number: int) -> Made:
    labels, reads = rng.randint(1, 12), rng.choice([t for t in TYPES if t != "BIPOLAR"])
    best, pe = rng.randint(1, labels), divisor(rng, labels)
    model = one_node(
        "LabelSelect", (labels,), reads, (best,), "UINT8", Labels=labels, PE=1, K=best, inputDataType=reads,
        outputDataType="UINT8", numInputVectors=[1],
    )  # fmt: skip
    case = case_of(model, "LabelSelect", memory, number, (pe, 1), PE=pe)
    return f"{best} of {labels} {reads} PE {pe}", labels // pe + best, case


def elementwise(rng: random.Random, memory: Path, number: int) -> Made:
    function, n = ("Add", "Sub", "Mul")[number % 3], rng.randint(1, 6)
    reads, constant = rng.choice(["INT8", "UINT3", "INT12", "FLOAT32"]), rng.choice(["INT8", "FLOAT32", None])
    wide, pe, draw = rng.random() < 0.7, divisor(rng, n), np.random.default_rng(number)
    fixed = draw.integers(-99, 99, (n,) if wide else (1,)) if constant == "INT8" else draw.normal(size=(1, n) if wide else (1,))
    hands_on = "FLOAT32" if "FLOAT32" in (reads, constant) else "INT26"
    rhs = [1, n] if constant is None else list(fixed.shape)
    model = one_node(
        f"Elementwise{function}", (n,), reads, (n,), hands_on, ((fixed, constant),) if constant else (),
        n_streams=1 if constant else 2, PE=1, lhs_shape=[1, n], rhs_shape=rhs, out_shape=[1, n], lhs_dtype=reads,
        rhs_dtype=constant or reads, out_dtype=hands_on,
    )  # fmt: skip
    case = case_of(model, f"Elementwise{function}", memory, number, (pe, pe), PE=pe)
    return f"{function} {n} {reads} {constant} wide {wide} PE {pe}", n // pe, case


MODULES = {"matrix": (matrices, 24), "depthwise": (depthwise, 12), "pool": (pools, 12), "sum": (sums, 8),
           "choose": (choices, 10), "elementwise": (elementwise, 15)}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Made], Bench, Path]:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    folder, found = tmp_path_factory.mktemp("models"), list[Made]()
    for draw, n in MODULES.values():
        rng = random.Random(draw.__name__)
        found += [draw(rng, folder, 1000 * len(found) + i) for i in range(n)]
    modules = sorted({case.instance.module for _, _, case in found})
    return found, Bench([case for _, _, case in found], [OWN / f"{name}.sv" for name in modules], folder / "bench"), folder


@pytest.mark.parametrize(("gaps", "pressure"), [(0.0, 0.0), (0.4, 0.0), (0.0, 0.6), (0.3, 0.3)])
def test_every_model_hands_on_what_finns_operator_does(
    made: tuple[list[Made], Bench, Path], gaps: float, pressure: float
) -> None:
    cases, bench, folder = made
    wrong = []
    for (told, cycles, case), found in zip(cases, bench.run(folder / f"{gaps}-{pressure}", gaps, pressure), strict=True):
        wanted = case.gives["out0"][0]
        got = found.words["out0"]
        if got.shape != wanted.shape or not np.array_equal(got, wanted):
            wrong.append(f"{case.instance.node}: {told}: {got.ravel()[:12]} where {wanted.ravel()[:12]} are wanted")
        if not gaps and not pressure and found.interval(FRAMES) != cycles:
            wrong.append(f"{case.instance.node}: {told}: {found.interval(FRAMES)} cycles a frame where {cycles} are wanted")
    assert not wrong, "\n".join(wrong)
