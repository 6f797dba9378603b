"""A circuit answers what FINN's own Python does for the graph it is made of, bit for bit: node by node, and whole networks."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.custom_op.registry import getCustomOp
from qonnx.util.basic import qonnx_make_model

from boards.board import Resources
from boards.pynq_z2 import PYNQ_Z2
from boards.simulated_board.circuit import Circuit, Stream, read_circuit, type_range
from hls.circuit import Operation, circuit_bytes
from hls.errors import GraphError
from hls.finn_backend import dataflow_steps, fold, quiet
from hls.finn_circuit import cycles_of, operations_of
from hls.finn_operators import finn_steps
from hls.types import Estimate, Implementation, NodeEstimate
from models.policy import BitPolicy
from models.train import scale_images
from tests.made_runs import BUILT, POLICY
from tests.networks import Network

ONE_CYCLE = Estimate((NodeEstimate("node", "MVAU", "node", 1, Resources(), {}),), 100.0, "made up")
FINN_DOMAIN = "finn.custom_op.fpgadataflow"


def stream(model: Any, tensor: Any) -> Stream:
    """What a graph reads or hands on, whatever its folding."""
    shape = tuple(model.get_tensor_shape(tensor.name))
    return Stream(shape, model.get_tensor_datatype(tensor.name).name, (*shape, 1), (*shape, 4))


def circuit_of(model: Any, estimate: Estimate) -> Circuit:
    (source,), (sink,) = model.graph.input, model.graph.output
    return read_circuit(circuit_bytes(stream(model, source), stream(model, sink), operations_of(model), estimate))


def finn_answers(model: Any, frames: np.ndarray) -> np.ndarray:
    """By FINN's own Python, frame by frame."""
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    return np.concatenate([execute_onnx(model, {source: f[None].astype(np.float32)})[sink] for f in frames])


# --- whole networks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network as it is built."""

    name: str
    bits: int | None = None  # of every layer; drawn where there are none
    top_k: int = 0
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.bits or 'drawn'}-top{self.top_k}-{self.seed}"


CASES = [Case("lenet5", top_k=1), Case("cnv:0.125", 1, top_k=2), Case("resnet8:0.25"), Case("mobilenet:0.125")]
SLOW = [
    *(Case("cnv", bits) for bits in (1, 2, 8)), *(Case("resnet8", bits) for bits in (2, 4, 8)), Case("resnet20", seed=1),
    *(Case("mobilenet", bits) for bits in (2, 8)), Case("sfc", seed=1), Case("lfc", seed=1), Case("tfc", 1), Case("lenet5", 8),
    Case("kws", seed=1), Case("mobilenet:0.25", top_k=1), Case("resnet8:0.25", top_k=3),
    *(Case(name, seed=seed) for name in ("tfc", "cnv:0.25", "resnet8:0.5", "mobilenet:0.5") for seed in (2, 3)),
]  # fmt: skip


def drawn(network: Network, policy: BitPolicy, rng: random.Random) -> tuple[Implementation, ...]:
    """What every layer is built as."""
    built = []
    for spec in network.specs:
        kinds = [Implementation.HLS]
        if not spec.is_depthwise and spec.has_act:
            kinds.append(Implementation.HLS_APART)
        if not spec.is_depthwise and policy[spec.name].weight > 1:
            kinds.append(Implementation.RTL)
        built.append(rng.choice(kinds))
    return tuple(built)


def check(network: Network, policy: BitPolicy, built: tuple[Implementation, ...], top_k: int, folder: Path) -> Circuit:
    """Hold the circuit of what is built against FINN's hardware layers and against the trained network."""
    quantized = network.quantized(policy)
    network.export(policy, folder / "network.onnx")
    with TemporaryDirectory() as out, quiet():
        for step in dataflow_steps(folder / "network.onnx", PYNQ_Z2, Path(out), built, top_k):
            name, model, config = step
            if name == "step_create_dataflow_partition":
                hardware = copy.deepcopy(model)
        folded = fold(model, config, None, 100, built)
        circuit = circuit_of(folded, cycles_of(folded, 100.0))
    pixels = network.images.x
    frames = pixels.numpy().astype(np.int16) - 128
    frames = frames.transpose(0, 2, 3, 1) if len(circuit.reads.shape) == 4 else frames
    frames = frames.reshape(len(frames), *circuit.reads.shape[1:])
    answers = circuit.run(frames)
    np.testing.assert_array_equal(answers[:2], finn_answers(hardware, frames[:2]).reshape(answers[:2].shape))
    trained = quantized(scale_images(pixels)).detach().numpy()
    flat = answers.reshape(len(answers), -1)
    if top_k:  # of equal ones any may be chosen
        flat, trained = np.take_along_axis(trained, flat, axis=1), -np.sort(-trained, axis=1)[:, :top_k]
    else:
        assert len(np.unique(flat)) > 10
    # Training's floats round a value right on a threshold as they happen to; of hundreds of thousands of 8 bits some are.
    assert np.isclose(flat, trained, rtol=1e-5, atol=1e-5).all(axis=1).mean() >= 0.5
    return circuit


@pytest.mark.parametrize("case", [*CASES, *(pytest.param(c, marks=pytest.mark.slow) for c in SLOW)], ids=str)
def test_a_network_answers_what_finns_hardware_layers_and_its_training_say(case: Case, tmp_path: Path) -> None:
    network, rng = Network(case.name), random.Random(case.seed)
    policy = network.random_policy(rng) if case.bits is None else network.uniform(case.bits)
    check(network, policy, drawn(network, policy, rng), case.top_k, tmp_path)


def test_every_kind_of_unit_answers_the_same(tmp_path: Path) -> None:
    circuit = check(Network("tfc"), POLICY, BUILT, 3, tmp_path)
    assert circuit.hands_on.shape == (1, 3)


def test_a_bias_and_a_norm_behind_the_last_layer_are_floats_to_the_bit(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nINPUT_SHAPE = (1, 8, 8)\ndef net(n_classes=10):\n    return nn.Sequential(nn.Conv2d(1, 8, 3), "
        "nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, n_classes), nn.BatchNorm1d(n_classes))\n"
    )
    network = Network(f"{tmp_path / 'net.py'}:net")
    check(network, network.uniform(3), (), 0, tmp_path)


def test_cycles_are_those_of_the_estimate(tmp_path: Path) -> None:
    network = Network("tfc")
    circuit = check(network, network.uniform(2), (), 0, tmp_path)
    assert circuit.interval_cycles == 50176
    assert 50176 + 4096 < circuit.latency_cycles < 50176 + 4096 + 4096 + 640 + 10  # FINN's sum, in which nothing overlaps


# --- single nodes -----------------------------------------------------------------------------------------------------


def one_node(
    kind: str, shape: tuple[int, ...], reads: str, gives: tuple[int, ...], hands_on: str,
    constants: tuple[tuple[np.ndarray, str], ...] = (), n_streams: int = 1, **attributes: Any,
) -> Any:  # fmt: skip
    """A graph of one node of FINN's; a second stream is a copy of the first."""
    finn_steps()
    names = [f"c{i}" for i in range(len(constants))]
    inputs = ["x"] * n_streams + names
    node = helper.make_node(kind, inputs, ["y"], name=f"{kind}_0", domain=FINN_DOMAIN, backend="fpgadataflow", **attributes)
    source, sink = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (1, *shape)), ("y", (1, *gives))))
    model = ModelWrapper(qonnx_make_model(helper.make_graph([node], "one", [source], [sink])))
    for name, (values, datatype) in zip(names, constants, strict=True):
        model.set_initializer(name, values.astype(np.float32))
        model.set_tensor_datatype(name, DataType[datatype])
    model.set_tensor_datatype("x", DataType[reads])
    model.set_tensor_datatype("y", DataType[hands_on])
    return model


def random_frames(seed: int, n: int, shape: tuple[int, ...], datatype: str) -> np.ndarray:
    """Of any type of QONNX's."""
    rng, limits = np.random.default_rng(seed), type_range(datatype, "a frame")
    if limits is None:
        return rng.normal(size=(n, *shape)).astype(np.float32)
    if datatype == "BIPOLAR":
        return rng.choice([-1, 1], (n, *shape))
    return rng.integers(limits[0], limits[1] + 1, (n, *shape))


def same(model: Any, shape: tuple[int, ...], reads: str, seed: int) -> None:
    frames = random_frames(seed, 3, shape, reads)
    answers = circuit_of(model, ONE_CYCLE).run(frames)
    np.testing.assert_array_equal(answers, finn_answers(model, frames).reshape(answers.shape))


small, seeds = st.integers(1, 5), st.integers(0, 10**6)
int_types = st.sampled_from(["INT2", "UINT3", "INT8", "UINT1", "UINT8", "BIPOLAR", "TERNARY", "INT5"])


def thresholds(rng: np.random.Generator, n_channels: int, n_steps: int, low: int, high: int) -> np.ndarray:
    return np.sort(rng.integers(low, high + 2, (n_channels, n_steps)), axis=1)


@given(place=st.sampled_from([(), (3,), (2, 3)]), rows=small, columns=small, reads=int_types, weights=int_types,
       steps=st.sampled_from([None, 1, 3, 15, 40, 255]), one_for_all=st.booleans(), seed=seeds)  # fmt: skip
def test_matrix_units(
    place: tuple[int, ...], rows: int, columns: int, reads: str, weights: str, steps: int | None, one_for_all: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    matrix = random_frames(seed, rows, (columns,), weights)
    bipolar = steps == 1 and seed % 2 == 0
    low, lowest = int(rng.integers(-4, 1)), -1
    constants: tuple[tuple[np.ndarray, str], ...] = ((matrix, weights),)
    hands_on = "INT32"
    if steps is not None:
        constants += ((thresholds(rng, 1 if one_for_all else columns, steps, -300, 300), "INT32"),)
        hands_on = "BIPOLAR" if bipolar else "INT10"
        lowest = low
    vectors = [1, *place] if len(place) == 2 else [1] if not place else [1, *place, 1]
    shape = (*vectors[1:], rows)
    model = one_node(
        "MVAU", shape, reads, (*vectors[1:], columns), hands_on, constants, MW=rows, MH=columns, SIMD=1, PE=1,
        inputDataType=reads, weightDataType=weights, outputDataType=hands_on, accDataType="INT32", ActVal=lowest,
        noActivation=int(steps is None), numInputVectors=vectors,
    )  # fmt: skip
    same(model, shape, reads, seed)


@given(rows=st.integers(1, 40), columns=small, steps=st.sampled_from([None, 1, 20]), seed=seeds)
def test_units_that_count(rows: int, columns: int, steps: int | None, seed: int) -> None:
    rng = np.random.default_rng(seed)
    constants: tuple[tuple[np.ndarray, str], ...] = ((random_frames(seed, rows, (columns,), "BINARY"), "BINARY"),)
    if steps is not None:
        constants += ((thresholds(rng, columns, steps, 0, rows), "UINT8"),)
    model = one_node(
        "MVAU", (rows,), "BINARY", (columns,), "UINT8", constants, MW=rows, MH=columns, SIMD=1, PE=1, inputDataType="BINARY",
        weightDataType="BINARY", outputDataType="UINT8", accDataType="UINT8", noActivation=int(steps is None),
        binaryXnorMode=1, numInputVectors=[1],
    )  # fmt: skip
    same(model, (rows,), "BINARY", seed)


@given(side=st.integers(1, 3), channels=small, kernel=st.sampled_from([(1, 1), (2, 2), (3, 1)]), reads=int_types,
       weights=int_types, steps=st.sampled_from([None, 3, 30]), seed=seeds)  # fmt: skip
def test_depthwise_units(
    side: int, channels: int, kernel: tuple[int, int], reads: str, weights: str, steps: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    positions = prod(kernel)
    constants: tuple[tuple[np.ndarray, str], ...] = ((random_frames(seed, channels, (1, *kernel), weights), weights),)
    if steps is not None:
        constants += ((thresholds(rng, channels, steps, -99, 99), "INT32"),)
    shape = (side, side, positions * channels)
    # in one piece, as behind FINN's sliding window
    model = one_node(
        "VVAU", shape, reads, (side, side, channels), "INT24", constants, PE=channels, SIMD=1, Dim=[side, side],
        Channels=channels, Kernel=list(kernel), inputDataType=reads, weightDataType=weights, outputDataType="INT24",
        accDataType="INT24", noActivation=int(steps is None),
    )  # fmt: skip
    same(model, shape, reads, seed)


@given(height=st.integers(1, 9), width=st.integers(1, 9), channels=small, kernel=st.tuples(small, small),
       stride=st.tuples(small, small), dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)), reads=int_types,
       depthwise=st.booleans(), seed=seeds)  # fmt: skip
def test_sliding_windows(
    height: int, width: int, channels: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int],
    reads: str, depthwise: bool, seed: int,
) -> None:  # fmt: skip
    sizes = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip((height, width), kernel, stride, dilation, strict=True)]
    if min(sizes) < 1:
        return
    out_shape = (*sizes, prod(kernel) * channels)
    model = one_node(
        "ConvolutionInputGenerator", (height, width, channels), reads, out_shape, reads, ConvKernelDim=list(kernel),
        IFMChannels=channels, IFMDim=[height, width], OFMDim=sizes, SIMD=1, Stride=list(stride), Dilation=list(dilation),
        inputDataType=reads, outputDataType=reads, depthwise=int(depthwise),
    )  # fmt: skip
    same(model, (height, width, channels), reads, seed)


@given(height=small, width=small, channels=small, padding=st.lists(st.integers(0, 3), min_size=4, max_size=4), seed=seeds)
def test_padding(height: int, width: int, channels: int, padding: list[int], seed: int) -> None:
    top, left, bottom, right = padding
    out_shape = (height + top + bottom, width + left + right, channels)
    model = one_node(
        "FMPadding", (height, width, channels), "INT4", out_shape, "INT4", ImgDim=[height, width], Padding=padding,
        NumChannels=channels, inputDataType="INT4",
    )  # fmt: skip
    same(model, (height, width, channels), "INT4", seed)


@given(place=st.sampled_from([(), (3, 2)]), channels=small, steps=st.sampled_from([1, 3, 16, 17, 255]), reads=int_types,
       one_for_all=st.booleans(), halves=st.booleans(), bipolar=st.booleans(), act=st.integers(-8, 8), seed=seeds)  # fmt: skip
def test_thresholds(
    place: tuple[int, ...], channels: int, steps: int, reads: str, one_for_all: bool, halves: bool, bipolar: bool, act: int,
    seed: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    table = thresholds(rng, 1 if one_for_all else channels, steps, -200, 200) / (2 if halves else 1)
    bipolar = bipolar and steps == 1
    hands_on = "BIPOLAR" if bipolar else "INT10"
    model = one_node(
        "Thresholding", (*place, channels), reads, (*place, channels), hands_on, ((table, "FLOAT32"),), PE=1,
        NumChannels=channels, numSteps=steps, inputDataType=reads, weightDataType="FLOAT32", outputDataType=hands_on,
        ActVal=0 if bipolar else act, numInputVectors=[1, *place],
    )  # fmt: skip
    same(model, (*place, channels), reads, seed)


def test_thresholds_of_floats() -> None:
    table = np.sort(np.random.default_rng(0).normal(size=(4, 30)), axis=1)
    model = one_node(
        "Thresholding", (4,), "FLOAT32", (4,), "UINT5", ((table, "FLOAT32"),), PE=1, NumChannels=4, numSteps=30,
        inputDataType="FLOAT32", weightDataType="FLOAT32", outputDataType="UINT5", numInputVectors=[1],
    )  # fmt: skip
    same(model, (4,), "FLOAT32", 0)


@given(side=small, channels=small, kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)), reads=int_types,
       function=st.sampled_from(["MaxPool", "AccPool", "QuantAvgPool"]), out_bits=st.integers(1, 8), seed=seeds)  # fmt: skip
def test_pools(side: int, channels: int, kernel: tuple[int, int], reads: str, function: str, out_bits: int, seed: int) -> None:
    hands_on = {"MaxPool": reads, "AccPool": "INT24", "QuantAvgPool": f"UINT{out_bits}"}[function]
    if function == "QuantAvgPool":
        reads = "UINT8"
        hands_on = f"UINT{out_bits}"
    shape = (side, side, prod(kernel) * channels)
    model = one_node(
        "Pool", shape, reads, (side, side, channels), hands_on, Channels=channels, PE=1, KernelSize=list(kernel),
        Function=function, OutImgDims=[side, side], InputDataType=reads, OutputDataType=hands_on,
    )  # fmt: skip
    same(model, shape, reads, seed)


@given(height=small, width=small, channels=small, reads=int_types, seed=seeds)
def test_sums_over_a_feature_map(height: int, width: int, channels: int, reads: str, seed: int) -> None:
    model = one_node(
        "GlobalAccPool", (height, width, channels), reads, (1, 1, channels), "INT24", NumChannels=channels, PE=1,
        inputDataType=reads, numInputVectors=[1, height, width],
    )  # fmt: skip
    same(model, (height, width, channels), reads, seed)


@given(function=st.sampled_from(["Add", "Sub", "Mul"]), reads=st.sampled_from(["INT8", "UINT3", "FLOAT32", "INT24"]),
       constant=st.sampled_from(["INT8", "FLOAT32", None]), n=small, wide=st.booleans(), first=st.booleans(),
       seed=seeds)  # fmt: skip
def test_elementwise(function: str, reads: str, constant: str | None, n: int, wide: bool, first: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    if reads == "INT24" and constant != "FLOAT32":
        reads = "INT12"  # FINN's Python holds integers in float32
    fixed = rng.integers(-99, 99, (n,) if wide else (1,)) if constant == "INT8" else rng.normal(size=(1, n) if wide else (1,))
    hands_on = "FLOAT32" if "FLOAT32" in (reads, constant) else "INT48"
    first = first and constant is not None and function != "Sub"
    shapes = [[1, n], [1, n] if constant is None else list(fixed.shape)]
    types = [reads, constant or reads]
    model = one_node(
        f"Elementwise{function}", (n,), reads, (n,), hands_on, ((fixed, constant),) if constant else (),
        n_streams=1 if constant else 2, PE=1,
        **dict(zip(("lhs_shape", "rhs_shape"), shapes[::-1] if first else shapes, strict=True)), out_shape=[1, n],
        **dict(zip(("lhs_dtype", "rhs_dtype"), types[::-1] if first else types, strict=True)), out_dtype=hands_on,
    )  # fmt: skip
    if first:
        inputs = list(model.graph.node[0].input)[::-1]
        model.graph.node[0].input[:] = inputs
    same(model, (n,), reads, seed)


@given(labels=st.integers(1, 12), best=st.integers(1, 12), reads=int_types, seed=seeds)
def test_the_choice_of_the_best(labels: int, best: int, reads: str, seed: int) -> None:
    best = min(labels, best)
    model = one_node(
        "LabelSelect", (labels,), reads, (best,), "UINT8", Labels=labels, PE=1, K=best, inputDataType=reads,
        outputDataType="UINT8", numInputVectors=[1],
    )  # fmt: skip
    same(model, (labels,), reads, seed)


# --- what is refused --------------------------------------------------------------------------------------------------


def lone(**changed: Any) -> Any:
    facts: dict[str, Any] = {
        "MW": 2, "MH": 2, "SIMD": 1, "PE": 1, "inputDataType": "INT4", "weightDataType": "INT4", "outputDataType": "INT32",
        "accDataType": "INT32", "noActivation": 1, "numInputVectors": [1],
    }  # fmt: skip
    return one_node("MVAU", (2,), "INT4", (2,), "INT32", ((np.eye(2), "INT4"),), **{**facts, **changed})


def test_what_is_unknown_is_refused_by_name() -> None:
    model = lone()
    model.graph.node[0].op_type = "Lookup_hls"
    with pytest.raises(GraphError, match=r"^node MVAU_0 is a Lookup_hls, which cannot be simulated; known are MVAU, VVAU, "):
        operations_of(model)
    with pytest.raises(GraphError, match="node MVAU_0 has mem_mode external, which cannot be simulated"):
        operations_of(lone(mem_mode="external"))
    with pytest.raises(GraphError, match="node MVAU_0 has runtime_writeable_weights 1, which cannot"):
        operations_of(lone(runtime_writeable_weights=1))
    with pytest.raises(GraphError, match="node MVAU_0 reads 4 frames at a time, which cannot be simulated; 1 is wanted"):
        operations_of(lone(numInputVectors=[4]))
    model = lone()
    model.set_initializer("c0", np.array([[0.5, 0], [0, 1]], np.float32))
    with pytest.raises(GraphError, match="the weights of node MVAU_0 are no integers"):
        operations_of(model)
    model = one_node(
        "FMPadding", (2, 2, 1), "BIPOLAR", (4, 4, 1), "BIPOLAR", ImgDim=[2, 2], Padding=[1, 1, 1, 1], NumChannels=1,
        inputDataType="BIPOLAR",
    )  # fmt: skip
    with pytest.raises(GraphError, match="node FMPadding_0 pads BIPOLAR with zeros, which it does not hold"):
        operations_of(model)


def test_what_cannot_be_computed_exactly_is_refused() -> None:
    big = Operation("matrix", ("reads",), "y", {"shape": [2]}, {"weights": np.full((2, 1), 2**20)})
    ends = [Stream((1, n), "INT40", (1, n, 1), (1, n, 5)) for n in (2, 1)]
    with pytest.raises(GraphError, match=r"the accelerator cannot be simulated: .* may add up to .* 2\*\*53 is the most"):
        circuit_bytes(*ends, [big], ONE_CYCLE)


def test_a_graph_is_left_as_it_is_and_gives_the_same_bytes_again() -> None:
    model = lone()
    before = model.model.SerializeToString()
    first, second = (
        circuit_bytes(
            stream(model, model.graph.input[0]), stream(model, model.graph.output[0]), operations_of(model),
            ONE_CYCLE,
        )
        for _ in range(2)
    )  # fmt: skip
    assert first == second
    assert model.model.SerializeToString() == before


@pytest.mark.parametrize("name", ["BIPOLAR", "BINARY", "TERNARY", "INT2", "UINT1", "INT32", "UINT17"])
def test_ranges_of_types_are_qonnx_own(name: str) -> None:
    kind = DataType[name]
    assert type_range(name, "it") == (kind.min(), kind.max())
    assert getCustomOp(lone().graph.node[0]).get_input_datatype().name == "INT4"
