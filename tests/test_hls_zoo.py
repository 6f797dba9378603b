"""Every network of the registry through FINN: as the tables have it, and those that are no chains as graphs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from qonnx.core.onnx_exec import execute_onnx

from boards.board import Resources
from boards.pynq_z2 import PYNQ_Z2
from hls.corrections import FIFO_DEPTH
from hls.equality import differences
from hls.errors import GraphError
from hls.estimators import TableEstimator
from hls.finn_backend import dataflow_model, dataflow_steps, estimate_with_flow, hardware_graph, quiet, read_model
from hls.finn_execution import answers
from hls.finn_operators import fifo_resources
from hls.finn_streamlining import needs_own_order
from hls.verify import quantizers, verdicts
from models.export import write_qonnx
from models.policy import BitPolicy, LayerBits
from models.train import scale_images
from tests.networks import Network

LIMITS = Resources(lut=0.85 * 53_200, ff=0.85 * 106_400, bram18=0.85 * 280, dsp=0.85 * 220)
PROJECTING = ("DuplicateStreams", "FMPadding", "ConvolutionInputGenerator", "MVAU", "ElementwiseAdd", "Thresholding")


# --- equal to FINN's whole flow, figure by figure -------------------------------------------------------------------

COSTED = ["sfc", "kws", "lenet5", "resnet8:0.5", "mobilenet:0.5"]
LARGE = ["lfc", "resnet8", "mobilenet", "resnet20"]


@pytest.fixture(scope="module", params=[*COSTED, *(pytest.param(n, marks=pytest.mark.slow) for n in LARGE)])
def costed(request: pytest.FixtureRequest) -> tuple[Network, TableEstimator]:
    network = Network(request.param)
    return network, TableEstimator(network.tables(PYNQ_Z2), PYNQ_Z2)


@pytest.mark.parametrize("seed", [None, 0])
def test_the_best_design_costs_what_finns_flow_says(
    costed: tuple[Network, TableEstimator], seed: int | None, tmp_path: Path
) -> None:
    network, estimator = costed
    policy = network.uniform(1) if seed is None else network.random_policy(random.Random(seed), high=4)
    network.export(policy, tmp_path / "network.onnx")
    mine = estimator.estimate(policy, LIMITS)
    finn = estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, folding=mine.folding, implementations=mine.implementations)
    assert differences(mine, finn) == []
    assert mine.finn_latency_cycles == finn.finn_latency_cycles
    assert (mine.latency_cycles, mine.bottleneck_cycles) == (finn.latency_cycles, finn.bottleneck_cycles)
    assert mine.has_paces


def test_any_design_costs_what_finns_flow_says(costed: tuple[Network, TableEstimator], tmp_path: Path) -> None:
    network, estimator = costed
    policy = network.random_policy(random.Random(1))
    network.export(policy, tmp_path / "network.onnx")
    folding, built = estimator.tables.draw_design(policy, random.Random(2))
    finn = estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, folding=folding, implementations=built)
    assert differences(estimator.foldings.at(policy, folding, built), finn) == []


def test_a_fork_is_charged_for_what_waits(costed: tuple[Network, TableEstimator]) -> None:
    network, estimator = costed
    waits = "FIFO in which one branch waits for the windows of the other"
    mine = estimator.estimate(network.uniform(4), LIMITS)
    charged = {c.subject: c.resources for c in mine.corrections if c.reason == waits}
    forks = {n.node: n for n in mine.nodes if n.op_type.startswith("DuplicateStreams")}
    assert set(charged) == set(forks)
    if network.info.name == "resnet8:0.5":
        pe = int(forks["DuplicateStreams_hls_0"].folding["PE"])
        words = 2 * (2 * 34 + 3) * 8 // pe  # two windows of 3x3 over 32 pixels and a border, 8 channels of 4 bits
        deep, usual = (fifo_resources(n, 4 * pe, PYNQ_Z2.fpga_part) for n in (words, FIFO_DEPTH))
        assert charged["DuplicateStreams_hls_0"] == Resources(lut=max(0.0, deep.lut - usual.lut), bram18=deep.bram18)
        assert charged["DuplicateStreams_hls_0"].lut + charged["DuplicateStreams_hls_0"].bram18 > 0


@pytest.mark.parametrize("name", ["tfc", "resnet8:0.5", pytest.param("cnv", marks=pytest.mark.slow)])
def test_the_choice_of_the_best_classes_costs_what_finns_flow_says(name: str, tmp_path: Path) -> None:
    network = Network(name)
    estimator = TableEstimator(network.tables(PYNQ_Z2, top_k=1), PYNQ_Z2)
    policy = network.uniform(1)  # behind which FINN counts matching bits, where it can
    network.export(policy, tmp_path / "network.onnx")
    mine = estimator.estimate(policy, LIMITS)
    assert mine.nodes[-1].op_type == "LabelSelect_hls"
    finn = estimate_with_flow(
        tmp_path / "network.onnx", PYNQ_Z2, folding=mine.folding, implementations=mine.implementations, top_k=1
    )
    assert differences(mine, finn) == []
    with pytest.raises(GraphError, match="the best 11 of 10 classes are asked for; allowed are 1 to 10, and 0 for the logits"):
        hardware_graph(tmp_path / "network.onnx", PYNQ_Z2, top_k=11)


@pytest.mark.parametrize(("name", "bits"), [("tfc", 1), ("kws", 2), ("resnet8:0.25", 2)])
def test_every_stage_answers_the_same_and_chooses_the_same_classes(name: str, bits: int, tmp_path: Path) -> None:
    network = Network(name)
    quantized = network.quantized(network.uniform(bits))
    write_qonnx(quantized, network.info.input_shape, tmp_path / "network.onnx")
    pixels = network.images.x[:4]
    trained = quantized(scale_images(pixels)).detach().double().numpy()
    stages = answers(tmp_path / "network.onnx", PYNQ_Z2, pixels.numpy(), top_k=3)
    found = verdicts(quantizers(network.specs), trained, stages)
    assert [v.agrees for v in found] == [True, True, True]
    for stage in stages[1:]:
        assert stage.chosen is not None
        assert stage.chosen.shape == (4, 3)
        assert len(stage.activations) == len(quantizers(network.specs))
    assert (stages[-1].chosen[:, 0] == trained.argmax(axis=1)).mean() > 0.7  # of equal accumulators any may be chosen
    wrong = replace(stages[-1], chosen=np.roll(stages[-1].chosen, 1, axis=1))
    assert not verdicts(quantizers(network.specs), trained, [*stages[:-1], wrong])[-1].agrees


def test_the_default_frame_rate_is_within_reach(costed: tuple[Network, TableEstimator]) -> None:
    """The frame rate a search asks for unless told otherwise is within reach of some bits."""
    network, estimator = costed
    found = estimator.estimate(network.uniform(1), LIMITS)
    assert found.resources <= LIMITS
    assert found.fps >= network.info.min_fps


# --- not chains: the graphs that FINN makes of them -------------------------------------------------------------------


@contextmanager
def graph_of(network: Network, policy: BitPolicy, folder: Path) -> Iterator[Any]:
    """FINN's dataflow graph before folding."""
    network.export(policy, folder / "network.onnx")
    with TemporaryDirectory() as out, quiet():
        model, _ = dataflow_model(folder / "network.onnx", PYNQ_Z2, Path(out))
    yield model


def described(model: Any) -> list[str]:
    """Every node in order: its kind, which nodes it reads (the host is "in"), and the type it hands on."""
    made_by = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
    lines = []
    for node in model.graph.node:
        kind = node.op_type.split("_")[0]
        sources = [str(made_by.get(name, "in")) for name in node.input if model.get_initializer(name) is None]
        lines.append(f"{kind} {'+'.join(sources)} {model.get_tensor_datatype(node.output[0])}")
    return lines


# conv 4/3 (weight/activation bits), every conv0 5/4, every conv1 3/2 with addends of 3 bits, shortcuts 6, fc 7.
RESNET8 = """
FMPadding in INT8
ConvolutionInputGenerator 0 INT8
MVAU 1 UINT3
DuplicateStreams 2 UINT3
FMPadding 3 UINT3
Thresholding 3 INT3
ConvolutionInputGenerator 4 UINT3
MVAU 6 UINT4
FMPadding 7 UINT4
ConvolutionInputGenerator 8 UINT4
MVAU 9 INT3
ElementwiseAdd 10+5 INT4
Thresholding 11 UINT2
DuplicateStreams 12 UINT2
FMPadding 13 UINT2
ConvolutionInputGenerator 13 UINT2
ConvolutionInputGenerator 14 UINT2
MVAU 15 INT3
MVAU 16 UINT4
FMPadding 18 UINT4
ConvolutionInputGenerator 19 UINT4
MVAU 20 INT3
ElementwiseAdd 21+17 INT4
Thresholding 22 UINT2
DuplicateStreams 23 UINT2
FMPadding 24 UINT2
ConvolutionInputGenerator 24 UINT2
ConvolutionInputGenerator 25 UINT2
MVAU 26 INT3
MVAU 27 UINT4
FMPadding 29 UINT4
ConvolutionInputGenerator 30 UINT4
MVAU 31 INT3
ElementwiseAdd 32+28 INT4
Thresholding 33 UINT2
GlobalAccPool 34 UINT8
MVAU 35 INT
ElementwiseMul 36 FLOAT32
""".strip().splitlines()  # fmt: skip


def mixed(network: Network) -> BitPolicy:
    """Bits that tell layers apart: those of `RESNET8`."""
    bits = {"conv": (4, 3), "conv0": (5, 4), "conv1": (3, 2), "shortcut": (6, None), "fc": (7, None)}
    return BitPolicy((s.name, LayerBits(*bits[s.name.rpartition(".")[2]])) for s in network.specs)


def same_lines(got: list[str], wanted: list[str]) -> bool:
    """Whether graphs are alike; a wanted INT without bits is one of any width."""
    return len(got) == len(wanted) and all(
        g.startswith(w) if w.endswith("INT") else g == w for g, w in zip(got, wanted, strict=True)
    )


def test_resnet8_becomes_this_graph(tmp_path: Path) -> None:
    network = Network("resnet8")
    with graph_of(network, mixed(network), tmp_path) as model:
        got = described(model)
        assert same_lines(got, RESNET8), "\n".join(got)
        units = [node for node in model.graph.node if node.op_type.startswith("MVAU")]
        rows = [tuple(int(n) for n in model.get_tensor_shape(node.input[1])) for node in units]
    # In this order: in a block whose size changes the shortcut's unit comes before both others.
    assert rows == [
        (27, 16), (144, 16), (144, 16), (16, 32), (144, 32), (288, 32), (32, 64), (288, 64), (576, 64), (64, 10),
    ]  # fmt: skip


def test_mobilenet_becomes_this_graph(tmp_path: Path) -> None:
    network = Network("mobilenet")
    policy = BitPolicy((s.name, LayerBits(3, 4 if s.is_depthwise else 5 if s.has_act else None)) for s in network.specs)
    with graph_of(network, policy, tmp_path) as model:
        got = described(model)
    kinds = [("FMPadding", 5), ("ConvolutionInputGenerator", 5), ("VVAU", 4), ("MVAU", 5)]
    wanted = ["FMPadding in INT8", "ConvolutionInputGenerator 0 INT8", "MVAU 1 UINT5"]
    for kind, bits in kinds * 5:
        wanted.append(f"{kind} {len(wanted) - 1} UINT{bits}")
    wanted += ["GlobalAccPool 22 UINT11", "MVAU 23 INT", "ElementwiseMul 24 FLOAT32"]
    assert same_lines(got, wanted), "\n".join(got)


@pytest.mark.parametrize(
    ("name", "seed"),
    [("resnet8:0.5", 0), ("mobilenet:0.5", 0), pytest.param("resnet20:0.5", 0, marks=pytest.mark.slow)]
    + [pytest.param(name, seed, marks=pytest.mark.slow) for name in ("resnet8", "mobilenet") for seed in range(1, 6)],
)
def test_finns_graph_answers_what_the_network_does(name: str, seed: int, tmp_path: Path) -> None:
    network = Network(name)
    policy = network.random_policy(random.Random(seed), high=8 if seed else 3)
    quantized = network.quantized(policy)
    write_qonnx(quantized, network.info.input_shape, tmp_path / "network.onnx")
    pixels = network.images.x[:2]
    answers: list[np.ndarray] = []

    def run(step: str, model: Any) -> None:
        if step == "step_convert_to_hw":
            assert not [n.op_type for n in model.graph.node[1:] if "fpgadataflow" not in n.domain]  # a transpose comes first
            for image in pixels.float() - 128:
                answers.extend(execute_onnx(model, {model.graph.input[0].name: image[None].numpy()}).values())

    with TemporaryDirectory() as out, quiet():
        for step, model, _ in dataflow_steps(tmp_path / "network.onnx", PYNQ_Z2, Path(out)):
            run(step, model)
    wanted = quantized(scale_images(pixels)).detach().numpy()
    np.testing.assert_allclose(np.concatenate(answers), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("resnet8", 4), ("mobilenet", 4), pytest.param("resnet20", 4, marks=pytest.mark.slow)]
    + [pytest.param(n, b, marks=pytest.mark.slow) for n in ("resnet8", "mobilenet") for b in (1, 2, 8)],
)
def test_finn_estimates(name: str, bits: int, tmp_path: Path) -> None:
    network = Network(name)
    network.export(network.uniform(bits), tmp_path / "network.onnx")
    estimate = estimate_with_flow(tmp_path / "network.onnx", PYNQ_Z2, target_fps=100)
    assert estimate.fps >= 100
    assert estimate.finn_resources.lut > 0
    kinds = {node.op_type.split("_")[0] for node in estimate.nodes}
    assert kinds <= {*PROJECTING, "VVAU", "GlobalAccPool", "ElementwiseMul"}


@pytest.mark.parametrize(
    ("name", "layer", "text"),
    [
        ("resnet8:0.5", "block0_0.conv1", "out_scale must be 1"),
        pytest.param("mobilenet:0.5", "depth0", "out_scale must be equal to 1.0", marks=pytest.mark.slow),
        pytest.param("mobilenet:0.5", "conv", "must support zero", marks=pytest.mark.slow),
    ],
)
def test_what_policies_refuse_finn_refuses(name: str, layer: str, text: str, tmp_path: Path) -> None:
    """Where FINN takes it some day, `models.probe` need not refuse it any more."""
    network = Network(name)
    policy = network.uniform(2)
    network.export(policy.replace(**{layer: LayerBits(2, 1)}), tmp_path / "network.onnx")
    with pytest.raises(GraphError, match=text):
        hardware_graph(tmp_path / "network.onnx", PYNQ_Z2)


@pytest.mark.parametrize(
    ("name", "own"), [("cnv:0.25", False), ("lenet5", False), ("tfc", False), ("resnet8:0.5", True), ("mobilenet:0.5", True)]
)
def test_chains_keep_finns_own_order(name: str, own: bool, tmp_path: Path) -> None:
    network = Network(name)
    network.export(network.uniform(4), tmp_path / "network.onnx")
    model = read_model(tmp_path / "network.onnx")
    with quiet():
        from qonnx.util.cleanup import cleanup_model

        assert needs_own_order(cleanup_model(model)) == own
