"""A residual network on RTL: bit for bit, where it waits, how deep its FIFOs must be, and what is compiled again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hls.errors import MissingToolError
from hls.finn_rtl import Accelerator, rtl_accelerator
from hls.rtlsim import DeadlockError, SimulationError, Simulator, build_simulator, find_toolchain, size_fifos
from hls.rtlsim.build import Options
from hls.rtlsim.simulator import Feed
from tests.made_accelerators import BOARD, random_frames, small_checkpoint

OPTIONS = Options(optimization="-O0")  # it is compiled longer than it runs


@pytest.fixture(scope="module")
def residual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Accelerator, Simulator, Path]:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("residual")
    accelerator = rtl_accelerator(small_checkpoint(folder), BOARD, folder / "rtl", sizing=True)
    shared = folder.parent / "verilator"
    return accelerator, build_simulator(accelerator.netlist, folder / "simulator", OPTIONS, shared=shared), folder


def test_the_network_has_what_is_to_be_tested(residual: tuple[Accelerator, Simulator, Path]) -> None:
    kinds = {node.kind.removesuffix("_hls").removesuffix("_rtl") for node in residual[0].netlist.instances}
    assert {"ConvolutionInputGenerator", "FMPadding", "DuplicateStreams", "ElementwiseAdd", "GlobalAccPool", "MVAU"} <= kinds
    assert {"MVAU_rtl", "MVAU_hls"} <= {node.kind for node in residual[0].netlist.instances}


FEEDS = [Feed(), Feed(gaps=0.5, back_pressure=0.3, seed=3), Feed(back_pressure=0.9, seed=4, refill=False)]


@pytest.mark.parametrize("feed", FEEDS)
def test_forks_and_sums_answer_bit_for_bit(residual: tuple[Accelerator, Simulator, Path], feed: Feed) -> None:
    accelerator, simulator, _ = residual
    frames = random_frames(accelerator, 4)
    expected = accelerator.circuit.run(frames).reshape(4, -1)
    assert len(np.unique(expected)) > 10
    np.testing.assert_array_equal(simulator.run(frames, feed).answers, expected)


def test_every_stream_carries_what_its_node_hands_on(residual: tuple[Accelerator, Simulator, Path]) -> None:
    accelerator, simulator, folder = residual
    frames = random_frames(accelerator, 2, seed=5)
    simulator.run(frames, records=folder / "records")
    looked_at = 0
    for tensor, stream in accelerator.streams.items():
        found, expected = simulator.words_of(stream, folder / "records").ravel(), accelerator.expected(tensor, frames).ravel()
        assert len(found) >= len(expected)  # padding begins with the border of a frame that never comes
        np.testing.assert_array_equal(found[: len(expected)], expected, tensor)
        looked_at += 1
    assert looked_at > 25


def test_the_node_that_is_never_idle_is_the_bottleneck(residual: tuple[Accelerator, Simulator, Path]) -> None:
    accelerator, simulator, _ = residual
    deep = {fifo.node: 1 << 30 for fifo in accelerator.netlist.fifos}
    found = simulator.run(random_frames(accelerator, 6), depths=deep)
    assert found.bottleneck.busy > 0.99
    assert found.bottleneck.cycles == accelerator.netlist.longest_cycles
    for node in found.nodes:
        assert 0 <= node.busy <= 1
        assert node.busy + node.stalled + node.starved == pytest.approx(1)


def test_a_shallow_fifo_past_the_convolutions_deadlocks_and_is_named(residual: tuple[Accelerator, Simulator, Path]) -> None:
    accelerator, simulator, _ = residual
    past = [f for f in accelerator.netlist.fifos if f.into == "ElementwiseAdd_hls_0" and f.behind == "Thresholding_rtl_1"]
    forks = [f for f in accelerator.netlist.fifos if f.behind.startswith("DuplicateStreams_hls_0")]
    assert past
    assert forks
    depths = {fifo.node: 1024 for fifo in accelerator.netlist.fifos} | {fifo.node: 5 for fifo in (*past, *forks)}
    with pytest.raises(DeadlockError) as caught:
        simulator.run(random_frames(accelerator, 3), depths=depths)
    assert caught.value.cycle < 10 * accelerator.netlist.longest_cycles
    assert "DuplicateStreams_hls_0" in caught.value.waiting
    assert "DuplicateStreams_hls_0 waits for" in str(caught.value)
    assert "ElementwiseAdd_hls_0 waits for a word of" in str(caught.value)


def test_sized_fifos_slow_nothing_down_and_hold_less(residual: tuple[Accelerator, Simulator, Path]) -> None:
    accelerator, simulator, _ = residual
    frames = random_frames(accelerator, 5)
    deep = {fifo.node: 1 << 30 for fifo in accelerator.netlist.fifos}
    told: list[tuple[str, int, int]] = []
    sized = size_fifos(simulator, frames, effort=6, progress=lambda *what: told.append(what))
    assert sized.interval_cycles == simulator.run(frames, depths=deep).interval_cycles
    assert sized.sized.interval_cycles == sized.interval_cycles
    np.testing.assert_array_equal(sized.sized.answers, accelerator.circuit.run(frames).reshape(5, -1))
    longest = max(sized.by_fifo.values())
    assert longest > 32
    assert sized.bits < sum(longest * fifo.bits for fifo in accelerator.netlist.fifos)
    nodes = {node.node for node in accelerator.netlist.nodes}
    assert set(sized.depths) <= nodes  # as a plan of a build names them
    assert told[-1][1] == told[-1][2]


def test_too_few_frames_and_fixed_fifos_are_refused(residual: tuple[Accelerator, Simulator, Path]) -> None:
    accelerator, simulator, _ = residual
    with pytest.raises(SimulationError, match="2 frames are too few to size FIFOs with; 3 or more are wanted"):
        size_fifos(simulator, random_frames(accelerator, 2))
    fixed = Simulator(replace(accelerator.netlist, adjustable=False), simulator.program)
    with pytest.raises(SimulationError, match="no FIFOs whose depths can be tried"):
        size_fifos(fixed, random_frames(accelerator, 3))


def test_what_has_not_changed_is_not_compiled_again(residual: tuple[Accelerator, Simulator, Path]) -> None:
    accelerator, simulator, folder = residual
    built = simulator.program.stat().st_mtime_ns
    again = build_simulator(accelerator.netlist, folder / "simulator", OPTIONS, progress=lambda *what: pytest.fail(str(what)))
    assert again.program == simulator.program
    assert again.program.stat().st_mtime_ns == built
