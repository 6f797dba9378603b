"""The checkpoint that FINN's steps begin with: what was estimated, with room in every accumulator, and free of any path."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boards.registry import BOARDS
from flow.build_source import BuildSource, source_of_policy
from hls.build_plan import STEPS_WITH_TOOLS, STEPS_WITHOUT_TOOLS, planned_board
from hls.equality import differences
from hls.errors import BuildError, FoldingError, GraphError
from hls.finn_backend import quiet
from hls.finn_build import Checkpoint, Stream, finn_parts, image_of, prepare
from hls.finn_execution import answers
from hls.finn_operators import finn_steps
from hls.finn_xnor import hold_every_count
from models.policy import BitPolicy
from tests.made_runs import BOARD, BUILT, made_run, nodes_of
from tests.networks import Network


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> BuildSource:
    return source_of_policy(made_run(tmp_path_factory.mktemp("build") / "made") / "policy.json")


@pytest.fixture(scope="module")
def made(source: BuildSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path]:
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.onnx"
    return prepare(source.plan(), BOARD, source.onnx, path), path


def test_what_is_built_is_what_was_estimated(source: BuildSource, made: tuple[Checkpoint, Path]) -> None:
    assert source.estimate is not None
    assert differences(source.estimate, made[0].estimate(BOARD.clock_mhz)) == []
    assert source.estimate.implementations == BUILT
    assert (made[0].reads, made[0].hands_on) == (Stream((1, 784), "INT8"), Stream((1, 10), "FLOAT32"))


def test_types_are_those_that_bitloop_wants(made: tuple[Checkpoint, Path]) -> None:
    nodes = {n.node: n for n in made[0].nodes}
    assert nodes["MVAU_hls_0"].types["weightDataType"] == "BIPOLAR"  # one bit, not FINN's INT2
    assert nodes["MVAU_rtl_0"].op_type == "MVAU_rtl"
    thresholds = nodes["Thresholding_rtl_0"].types
    assert int(thresholds["weightDataType"][3:]) == int(thresholds["inputDataType"][3:]) + 1


def test_the_file_names_no_path(made: tuple[Checkpoint, Path]) -> None:
    raw = made[1].read_bytes()
    for path in (tempfile.gettempdir(), str(Path.home()), str(Path(__file__).parents[1]), str(made[1].parent), "site-packages"):
        assert path.encode() not in raw


def test_fifos_are_as_deep_as_they_are_estimated(made: tuple[Checkpoint, Path]) -> None:
    for op in nodes_of(made[1]).values():
        assert op.get_nodeattr("inFIFODepths") == [32]
        assert op.get_nodeattr("outFIFODepths") == [32]


def test_measured_fifos_are_as_deep_as_they_were_measured(source: BuildSource, tmp_path: Path) -> None:
    plan = replace(source.plan(), fifo_depths={"MVAU_rtl_0": 5})
    prepare(plan, BOARD, source.onnx, tmp_path / "a.onnx")
    nodes = nodes_of(tmp_path / "a.onnx")
    assert nodes["MVAU_rtl_0"].get_nodeattr("outFIFODepths") == [5]
    assert nodes["Thresholding_rtl_0"].get_nodeattr("inFIFODepths") == [5]
    assert nodes["Thresholding_rtl_0"].get_nodeattr("outFIFODepths") == [32]


def test_an_accumulator_that_counts_holds_every_count(made: tuple[Checkpoint, Path]) -> None:
    counting = [
        op for op in nodes_of(made[1]).values() if "MW" in op.get_nodeattr_types() and op.get_nodeattr("binaryXnorMode")
    ]
    assert [op.onnx_node.name for op in counting] == ["MVAU_hls_1"]
    assert counting[0].get_nodeattr("accDataType") == "UINT7"  # 0 to 64; FINN's own INT7 ends at 63


@contextmanager
def finns_own_accumulators() -> Iterator[None]:
    """FINN as it is, without `hls.finn_xnor`."""
    finn_steps()
    from finn.custom_op.fpgadataflow.matrixvectoractivation import MVAU

    ours = MVAU.minimize_accumulator_width
    MVAU.minimize_accumulator_width = ours.__wrapped__
    try:
        yield
    finally:
        MVAU.minimize_accumulator_width = ours


def test_finns_own_accumulator_would_wrap_and_is_refused(source: BuildSource, tmp_path: Path) -> None:
    with finns_own_accumulators(), pytest.raises(BuildError, match="MVAU_hls_1 counts to 64, its accumulator INT7 only to 63"):
        prepare(source.plan(), BOARD, source.onnx, tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_wider_accumulators_answer_the_same(source: BuildSource) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (2, 1, 28, 28), np.uint8)
    found = answers(source.onnx, BOARD, pixels, BUILT)
    assert np.allclose(found[0].logits, found[-1].logits, atol=1e-4)
    for a, b in zip(found[1].activations, found[2].activations, strict=True):
        assert np.array_equal(a.reshape(b.shape), b)


def test_a_folding_for_a_node_that_is_not_there_is_refused(source: BuildSource, tmp_path: Path) -> None:
    plan = replace(source.plan(), folding={"MVAU_hls_7": {"PE": 1}})
    with pytest.raises(FoldingError, match="the folding has node MVAU_hls_7; nodes are MVAU_rtl_0"):
        prepare(plan, BOARD, source.onnx, tmp_path / "a.onnx")


def test_a_folding_that_does_not_divide_is_refused(source: BuildSource, tmp_path: Path) -> None:
    plan = replace(source.plan(), folding={"MVAU_rtl_0": {"PE": 7, "SIMD": 1}})
    with pytest.raises(FoldingError, match=r"the folding of MVAU_rtl_0, \{'PE': 7, 'SIMD': 1\}, does not divide its sizes"):
        prepare(plan, BOARD, source.onnx, tmp_path / "a.onnx")


def test_finn_may_find_the_folding(source: BuildSource, tmp_path: Path) -> None:
    plan = replace(source.plan(), folding=None, target_fps=100_000, layers=())
    found = prepare(plan, BOARD, source.onnx, tmp_path / "a.onnx")
    assert max(n.cycles for n in found.nodes) <= 1000


def test_the_best_classes_may_be_handed_on_instead(source: BuildSource, tmp_path: Path) -> None:
    plan = replace(source.plan(), folding=None, target_fps=20_000, top_k=1)
    found = prepare(plan, BOARD, source.onnx, tmp_path / "a.onnx")
    assert found.nodes[-1].op_type == "LabelSelect_hls"
    assert found.hands_on.shape[-1] == 1


def test_a_full_disk_leaves_no_checkpoint(source: BuildSource, tmp_path: Path) -> None:
    from tests.flow_fakes import no_room_beyond

    with pytest.raises((OSError, GraphError), match="too large"), no_room_beyond(20_000):
        prepare(source.plan(), BOARD, source.onnx, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_image_of_a_network(source: BuildSource) -> None:
    image = image_of(source.onnx)
    assert image.is_pixels
    assert str(image) == "INT8 in steps of 0.0078125, shape 1x28x28"
    assert not replace(image, step=1 / 255, signed=False).is_pixels


def test_what_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(GraphError, match="cannot be read as ONNX"):
        image_of(tmp_path / "a.onnx")


def test_a_branch_that_waits_gets_the_depth_for_it(tmp_path: Path) -> None:
    """The shortcut of a residual block waits until the windows of the other branch are full."""
    resnet = Network("resnet8")
    resnet.export(BitPolicy.uniform(resnet.specs, 4, 4), tmp_path / "model.onnx")
    source = BuildSource("resnet8", tmp_path / "model.onnx", BOARD, (), None, 50)
    prepare(source.plan(), BOARD, source.onnx, tmp_path / "a.onnx")
    forks = {n: op for n, op in nodes_of(tmp_path / "a.onnx").items() if n.startswith("DuplicateStreams")}
    assert len(forks) == 3
    for op in forks.values():
        long, short = sorted(op.get_nodeattr("outFIFODepths"))
        assert long == 32
        assert short > 32 * 3 * 3


def test_steps_are_finns_own_in_finns_order() -> None:
    finn_steps()
    from finn.builder.build_dataflow_config import default_build_dataflow_steps as whole

    of_generate_hardware = ("step_hw_codegen", "step_hw_ipgen", "step_set_fifo_depths")
    ours = [s for s in (*STEPS_WITHOUT_TOOLS, *STEPS_WITH_TOOLS) if s not in of_generate_hardware]
    rest = whole[whole.index("step_minimize_bit_width") + 1 :]
    assert [s for s in rest if s not in ("step_generate_hardware", "step_measure_rtlsim_performance")] == ours
    assert (*STEPS_WITHOUT_TOOLS[-1:], *STEPS_WITH_TOOLS[:2]) == of_generate_hardware


def test_every_board_of_ours_can_be_built_for() -> None:
    for board in BOARDS.values():
        assert planned_board(board, finn_parts()).fpga_part == board.fpga_part


def test_finn_is_not_changed_twice() -> None:
    hold_every_count()
    from finn.custom_op.fpgadataflow.matrixvectoractivation import MVAU

    first = MVAU.minimize_accumulator_width
    with quiet():
        hold_every_count()
    assert MVAU.minimize_accumulator_width is first
