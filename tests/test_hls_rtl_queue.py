"""The output queue of FINN's RTL matrix unit: as FINN has it, it loses data where SIMD = MW; corrected, it does not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards.registry import get_board
from boards.simulated_board.circuit import Circuit
from hls.errors import MissingToolError
from hls.finn_backend import quiet
from hls.finn_rtl import _Generator
from hls.rtlsim import DeadlockError, Netlist, RtlFaultError, SimulatorError, build_simulator, find_toolchain
from hls.rtlsim.build import Options
from hls.rtlsim.library import OutputQueue
from hls.rtlsim.simulator import Feed
from tests.test_hls_circuit import ONE_CYCLE, circuit_of, one_node, random_frames

ROWS, PE, VECTORS = 8, 4, 40
PRESSED = Feed(back_pressure=0.9, seed=1, refill=False)


@dataclass(frozen=True)
class Unit:
    """A matrix unit alone."""

    netlist: Netlist
    circuit: Circuit
    folder: Path

    def answers(self, queue: OutputQueue, assertions: bool, feed: Feed = PRESSED) -> tuple[np.ndarray, np.ndarray]:
        """What it hands on, and what it is to hand on."""
        options = Options(queue, fast=False, assertions=assertions, optimization="-O0")
        shared = self.folder.parents[1] / "verilator"
        simulator = build_simulator(self.netlist, self.folder / f"{queue}-{assertions}", options, shared=shared)
        frames = random_frames(0, 3, self.circuit.reads.shape[1:], "UINT4")
        return simulator.run(frames, feed).answers, self.circuit.run(frames).reshape(3, -1)


def unit(folder: Path, columns: int, simd: int) -> Unit:
    """A unit of ROWS outputs of 4 bits times 4 bits, `columns` inputs, of which it takes `simd` a cycle."""
    weights = np.random.default_rng(columns).integers(-7, 8, (columns, ROWS))
    model: Any = one_node(
        "MVAU", (VECTORS, 1, columns), "UINT4", (VECTORS, 1, ROWS), "INT14", ((weights, "INT4"),), MW=columns, MH=ROWS,
        SIMD=simd, PE=PE, inputDataType="UINT4", weightDataType="INT4", outputDataType="INT14", accDataType="INT14",
        noActivation=1, numInputVectors=[1, VECTORS, 1],
    )  # fmt: skip
    circuit = circuit_of(model, ONE_CYCLE)
    node = model.graph.node[0]
    node.op_type, node.domain, node.name = "MVAU_rtl", "finn.custom_op.fpgadataflow.rtl", f"MVAU_rtl_{columns}"
    with quiet():
        netlist = _Generator(model, get_board("pynq-z2"), folder / "rtl", finn_fifos=False).netlist()
    return Unit(netlist, circuit, folder)


@pytest.fixture(scope="module", params=[27, pytest.param(8, marks=pytest.mark.slow)])
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    """A unit with SIMD = MW."""
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    return unit(tmp_path_factory.mktemp("queue") / "unit", request.param, request.param)


def test_finns_own_queue_overflows(full: Unit) -> None:
    with pytest.raises(SimulatorError, match=r"what FINN's RTL asserts does not hold: .*Overflowing output queue"):
        full.answers(OutputQueue.STOCK, assertions=True)


def test_the_corrected_queue_does_not(full: Unit) -> None:
    for feed in (Feed(refill=False), PRESSED, Feed(gaps=0.3, back_pressure=0.5, seed=2, refill=False)):
        found, expected = full.answers(OutputQueue.CORRECTED, assertions=True, feed=feed)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_what_overflows_loses_data(full: Unit) -> None:
    try:
        found, expected = full.answers(OutputQueue.STOCK, assertions=False)
    except (DeadlockError, SimulatorError):  # too few words come, or too many
        return
    assert not np.array_equal(found, expected)


def test_such_a_unit_is_refused_by_name(full: Unit, tmp_path: Path) -> None:
    name = full.netlist.nodes[0].node
    with pytest.raises(RtlFaultError, match=f"node {name} has SIMD = MW = ") as caught:
        build_simulator(full.netlist, tmp_path / "never", Options(OutputQueue.AVOIDED))
    report = Path(__file__).parent.parent / "docs" / "upstream" / "mvu-output-queue.md"
    assert report.is_file()
    assert "docs/upstream/mvu-output-queue.md" in str(caught.value)


@pytest.mark.slow
def test_smaller_folds_bear_any_reader_as_finn_has_them(tmp_path: Path) -> None:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    found, expected = unit(tmp_path / "unit", 27, 9).answers(OutputQueue.AVOIDED, assertions=True)
    np.testing.assert_array_equal(found, expected)
