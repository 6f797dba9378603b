"""Networks of the registry on RTL, whole and bit for bit, with any bits and every kind of unit."""

from __future__ import annotations

import random
from dataclasses import dataclass
from math import lcm
from pathlib import Path

import numpy as np
import pytest

from hls.errors import MissingToolError
from hls.finn_rtl import rtl_accelerator
from hls.rtlsim import Netlist, build_simulator, find_toolchain
from hls.rtlsim.build import Options
from hls.rtlsim.library import OutputQueue
from hls.rtlsim.simulator import Feed
from tests.made_accelerators import BOARD, random_frames, zoo_checkpoint
from tests.networks import Network
from tests.test_hls_circuit import drawn

DEEP = 4096  # words: of what the deepest FIFO of these networks must hold the most


@dataclass(frozen=True)
class Case:
    """A network as it is built."""

    name: str
    target_fps: int
    bits: int | None = None  # of every layer; drawn where there are none
    top_k: int = 0
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.name}-{self.bits or 'drawn'}-top{self.top_k}-{self.seed}"


CASES = [
    Case("lenet5", 2000), Case("cnv:0.25", 500, 2), Case("cnv:0.25", 500, 1, top_k=2), Case("cnv", 1000, 4),
    Case("resnet8:0.25", 500), Case("resnet8:0.25", 500, 1, top_k=1), Case("mobilenet:0.25", 200), Case("kws", 2000, seed=1),
    Case("resnet20", 100, 3),
]  # fmt: skip


def converters_cycles(netlist: Netlist) -> int:
    """A frame's cycles of the slowest width converter, which FINN does not count (docs/upstream/width-converter-rate.md)."""
    found = 0
    for instance in netlist.instances:
        if instance.kind == "StreamingDataWidthConverter_rtl":
            reads, writes = (netlist.streams[names[0]] for names in (tuple(instance.reads.values()), instance.out_streams))
            found = max(found, reads.words + writes.words - reads.words * reads.lanes // lcm(reads.lanes, writes.lanes))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_network_answers_bit_for_bit_and_as_fast_as_estimated(case: Case, tmp_path: Path) -> None:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    network, rng = Network(case.name), random.Random(case.seed)
    policy = network.random_policy(rng, high=4) if case.bits is None else network.uniform(case.bits)
    checkpoint = zoo_checkpoint(case.name, policy, drawn(network, policy, rng), tmp_path, case.target_fps, case.top_k)
    accelerator = rtl_accelerator(checkpoint, BOARD, tmp_path / "rtl")
    options = Options(OutputQueue.CORRECTED, assertions=True, optimization="-O1")
    simulator = build_simulator(accelerator.netlist, tmp_path / "simulator", options, shared=tmp_path.parent / "verilator")
    frames = random_frames(accelerator, 4)
    expected = accelerator.circuit.run(frames).reshape(4, -1)
    for feed in (Feed(), Feed(gaps=0.3, back_pressure=0.4, seed=1)):
        np.testing.assert_array_equal(simulator.run(frames, feed).answers, expected)
    found = simulator.run(frames, depths={fifo.node: DEEP for fifo in accelerator.netlist.fifos})
    np.testing.assert_array_equal(found.answers, expected)
    assert found.interval_cycles is not None
    slowest = max(accelerator.netlist.longest_cycles, converters_cycles(accelerator.netlist))
    assert found.interval_cycles <= 1.02 * slowest
