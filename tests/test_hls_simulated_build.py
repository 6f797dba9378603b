"""Simulated bitfiles: FINN's own settings without Vivado, a description that says the same, and an accelerator that answers."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from finn.util.data_packing import finnpy_to_packed_bytearray
from qonnx.core.datatype import DataType

from boards.bitfile import check_part, read_bit_header
from boards.registry import BOARDS
from boards.simulated_board.circuit import Circuit, circuit_in, read_circuit
from flow.build_directory import BuildDirectory
from flow.build_source import BuildSource, source_of_policy
from flow.golden import read_golden
from hls.build_process import carry_out
from hls.errors import BuildError, GraphError
from hls.finn_build import Checkpoint, prepare
from hls.simulated_build import SimulatedBitfile, simulate_bitfile
from tests.made_runs import BOARD, made_run
from tests.stand_in_tools import install


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> BuildSource:
    return source_of_policy(made_run(tmp_path_factory.mktemp("simulated") / "made") / "policy.json")


@pytest.fixture(scope="module")
def built(source: BuildSource, tmp_path_factory: pytest.TempPathFactory) -> tuple[BuildDirectory, Checkpoint]:
    """A build directory with its checkpoint."""
    plan = source.plan()
    directory = BuildDirectory(tmp_path_factory.mktemp("directory") / "build", plan)
    return directory, directory.checkpoint(lambda target: prepare(plan, BOARD, source.onnx, target))


@pytest.fixture(scope="module")
def made(built: tuple[BuildDirectory, Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> SimulatedBitfile:
    return simulate_bitfile(built[0] / "checkpoint.onnx", BOARD, "tfc", tmp_path_factory.mktemp("files") / "new")


def circuit_of(bit: Path) -> Circuit:
    header = read_bit_header(bit)
    return read_circuit(circuit_in(bit.read_bytes()[-header.n_bytes :]))


def shapes_of(settings: Path) -> dict[str, Any]:
    return dict(json.loads(settings.read_text())["driver_information"]["io_shape_dict"])


def test_the_accelerator_answers_as_the_trained_network(
    source: BuildSource, made: SimulatedBitfile, built: tuple[BuildDirectory, Checkpoint]
) -> None:
    assert source.golden is not None
    assert source.estimate is not None
    golden, circuit = read_golden(source.golden), circuit_of(made.bit)
    frames = golden.pixels.reshape(len(golden.pixels), -1).astype(np.int16) - 128
    answers = circuit.run(frames)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(answers, golden.logits, rtol=1e-5, atol=1e-5)
    checkpoint = built[1]
    assert (circuit.reads.shape, circuit.reads.datatype) == (checkpoint.reads.shape, checkpoint.reads.datatype)
    assert (circuit.hands_on.shape, circuit.hands_on.datatype) == (checkpoint.hands_on.shape, checkpoint.hands_on.datatype)
    assert circuit.interval_cycles == source.estimate.bottleneck_cycles
    assert circuit.latency_cycles == source.estimate.latency_cycles
    assert not circuit.instrumented


def test_bitfile_description_and_settings_are_of_one_design(made: SimulatedBitfile) -> None:
    assert (made.bit.name, made.hwh.name, made.settings.name) == ("tfc.bit", "tfc.hwh", "settings.json")
    check_part(read_bit_header(made.bit), BOARD.fpga_part)
    shapes, circuit = shapes_of(made.settings), circuit_of(made.bit)
    instances = {m.get("INSTANCE") for m in ElementTree.parse(made.hwh).iter("MODULE")}
    assert set(shapes["idma_names"] + shapes["odma_names"]) <= instances
    assert [list(circuit.reads.folded_shape)] == shapes["ishape_folded"]
    assert [list(circuit.reads.packed_shape)] == shapes["ishape_packed"]
    assert [list(circuit.hands_on.packed_shape)] == shapes["oshape_packed"]
    told = json.loads(made.settings.read_text())["driver_information"]
    assert (told["driver_type"], told["platform"], told["fclk_mhz"]) == ("FINNDMAOverlay", "zynq-iodma", BOARD.clock_mhz)
    for stream in (circuit.reads, circuit.hands_on):
        packed = finnpy_to_packed_bytearray(np.zeros(stream.folded_shape, np.float32), DataType[stream.datatype])
        assert packed.shape == stream.packed_shape


@pytest.mark.slow
def test_settings_are_those_that_finns_step_writes(
    built: tuple[BuildDirectory, Checkpoint], made: SimulatedBitfile, tmp_path: Path
) -> None:
    """FINN's whole flow on the same checkpoint, with stand-in tools: its step_make_driver follows a synthesis."""
    directory = built[0]
    for name in ("finn-hlslib", "board_files"):
        (tmp_path / "deps" / name).mkdir(parents=True)
    tools = {
        "FINN_TOOL_DIR_OVERRIDE": str(install(tmp_path / "tools")), "XILINX_VIVADO": "/nowhere/Vivado/2022.2",
        "FINN_DEPS": str(tmp_path / "deps"), "PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/"),
    }  # fmt: skip
    carry_out(directory.path, False, tools, lambda event: None)
    written = json.loads((directory / "results/driver/settings.json").read_text())
    assert written == json.loads(made.settings.read_text())


def test_the_same_checkpoint_gives_the_same_files_and_names_no_path(
    built: tuple[BuildDirectory, Checkpoint], made: SimulatedBitfile, tmp_path: Path
) -> None:
    again = simulate_bitfile(built[0] / "checkpoint.onnx", BOARD, "tfc", tmp_path)
    for one, other in zip((made.bit, made.hwh, made.settings), (again.bit, again.hwh, again.settings), strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert str(tmp_path).encode() not in other.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["settings.json", "tfc.bit", "tfc.hwh"]


def test_a_design_that_counts_says_so_everywhere(built: tuple[BuildDirectory, Checkpoint], tmp_path: Path) -> None:
    found = simulate_bitfile(built[0] / "checkpoint.onnx", BOARD, "counting", tmp_path, instrumented=True)
    told = json.loads(found.settings.read_text())["driver_information"]
    assert told["driver_type"] == "FINNDMAInstrumentationOverlay"
    assert circuit_of(found.bit).instrumented
    assert "instrumentation_wrap_0" in {m.get("INSTANCE") for m in ElementTree.parse(found.hwh).iter("MODULE")}


def test_the_best_classes_are_bytes(source: BuildSource, tmp_path: Path) -> None:
    plan = replace(source.plan(), folding=None, target_fps=20_000, top_k=3)
    prepare(plan, BOARD, source.onnx, tmp_path / "checkpoint.onnx")
    found = simulate_bitfile(tmp_path / "checkpoint.onnx", BOARD, "best", tmp_path / "files")
    circuit = circuit_of(found.bit)
    assert circuit.hands_on.packed_shape[-1] == 1
    answers = circuit.run(np.random.default_rng(0).integers(-128, 128, (20, 784)))
    assert answers.shape == (20, 3)
    assert all(len(set(row)) == 3 and set(row) <= set(range(10)) for row in answers.tolist())


@pytest.mark.parametrize("name", sorted(set(BOARDS) - {BOARD.name}))
def test_every_board_gets_one(name: str, built: tuple[BuildDirectory, Checkpoint], tmp_path: Path) -> None:
    """Its memory is as wide as its own, and the bitfile fits no other board."""
    found = simulate_bitfile(built[0] / "checkpoint.onnx", BOARDS[name], "tfc", tmp_path)
    check_part(read_bit_header(found.bit), BOARDS[name].fpga_part)
    assert circuit_of(found.bit).reads.shape == (1, 784)


@pytest.mark.parametrize(
    ("board", "error", "said"),
    [
        (replace(BOARD, finn_name=None), BuildError, "FINN has no PYNQ-Z2, so BOARD=pynq-z2 can be estimated but not built"),
        (replace(BOARD, finn_name="ZCU104"), BuildError, "has the part xc7z020clg400-1, but FINN's ZCU104 is a"),
    ],
)
def test_a_board_that_finn_does_not_build_for_is_refused(
    board: Any, error: type[Exception], said: str, built: tuple[BuildDirectory, Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        simulate_bitfile(built[0] / "checkpoint.onnx", board, "tfc", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.onnx").write_bytes(b"nothing of the kind")
    with pytest.raises(GraphError, match="cannot be read as ONNX"):
        simulate_bitfile(tmp_path / "checkpoint.onnx", BOARD, "tfc", tmp_path)
