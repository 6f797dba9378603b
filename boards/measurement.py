"""What was found out about a design behind its estimate.

A `Measurement` on a board, a `Synthesis` by Vivado, a `Simulation` of the RTL. All are kept, exported and imported as JSON
(`boards.measurements`), and are what `hls.calibrate` learns from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Throughput(_Facts):
    """Calls of one batch size.

    Attributes:
        batch_size: frames a call.
        fps: of the median call, transfers by DMA included, packing in Python not.
        median_ms, fastest_ms: of a call.
    """

    batch_size: Annotated[int, Field(ge=1)]
    fps: Positive
    median_ms: Positive
    fastest_ms: Positive


class WrongValue(_Facts):
    """The first value that came out wrong: of which image, where in its output, what came and what was due."""

    image: Count
    index: Count
    got: float
    wanted: float


class GoldenCheck(_Facts):
    """The golden set's images, how many came out wrong, by how much at most, and the first of them."""

    n_images: Count
    n_wrong: Count
    largest_difference: float
    first_wrong: WrongValue | None = None


class TestAccuracy(_Facts):
    """Images of a test set that the board classified, and how many of them rightly."""

    __test__ = False  # not one of pytest's

    n_images: Annotated[int, Field(ge=1)]
    n_right: Count


class HardwareCounters(_Facts):
    """What an instrumented build counts by itself, without processor and DMA.

    Attributes:
        latency_cycles: of a frame, the last one.
        interval_cycles: between the last two frames.
        avg_interval_cycles: over FINN's window of frames.
        min_latency_cycles: of the first frame through an empty pipeline.
        raw: all that finn-plus-driver reports.
    """

    latency_cycles: Count
    interval_cycles: Count
    avg_interval_cycles: float
    min_latency_cycles: Count
    raw: dict[str, Any]


class Power(_Facts):
    """Electrical power while the largest batch ran: the means of a board's rails, and what the whole board takes, in W.

    That is the 12 V rail where the board has one, as the others are fed from it, else the sum of the rails.
    """

    rails_w: dict[str, float]
    total_w: Positive


class Design(_Facts):
    """What was measured, as far as the package says so (`design.json`).

    Attributes:
        model: as given to MODEL; None for a QONNX file from elsewhere.
        policy: layer to bits, as in `policy.json`; None where there is none.
        folding: node to attributes.
        estimate: `hls.types.Estimate.to_dict()`; None where there is none.
        cycles: node to FINN's cycles a frame.
        instrumented: whether the build counts by itself.
    """

    model: str | None
    policy: dict[str, dict[str, int | None]] | None
    folding: dict[str, dict[str, int | str]]
    estimate: dict[str, Any] | None
    cycles: dict[str, int]
    instrumented: bool = False


class Measurement(_Facts):
    """One measurement of one package on one board.

    Attributes:
        kind, format: of this record.
        at: when, with its time zone.
        simulated: whether no board but its simulation was measured; never mixed with real ones.
        host: as given to HOST.
        board: its name.
        name: of the design.
        package: sha256 of the manifest, and so of everything that ran.
        plan, policy_digest: of what was built; see `boards.package.Manifest`.
        design: what was built.
        clock_mhz: that the accelerator was built for.
        clock_readback_mhz: that it ran at.
        image: of the board's card, such as "PYNQ 3.0.1"; None where the board does not say.
        pynq, python: versions there.
        driver: distribution to version.
        golden: None where the package has no golden set.
        latency_ms: of a call with one frame; None where no such batch was measured.
        throughput: by batch size.
        driver_report: what finn-plus-driver's own throughput test says of the largest batch.
        counters: of an instrumented build.
        power: where the board can measure it.
        power_note: why it could not, where it could not.
        test: on a test set, where one was given.
        raw: the board's whole answer.
    """

    kind: Literal["measurement"] = "measurement"
    format: Literal[1] = 1
    at: AwareDatetime
    simulated: bool
    host: str
    board: str
    name: str
    package: Sha256
    plan: str
    policy_digest: str | None
    design: Design
    clock_mhz: Positive
    clock_readback_mhz: Positive
    image: str | None
    pynq: str
    python: str
    driver: dict[str, str]
    golden: GoldenCheck | None
    latency_ms: float | None
    throughput: tuple[Throughput, ...]
    driver_report: dict[str, float]
    counters: HardwareCounters | None
    power: Power | None
    power_note: str
    test: TestAccuracy | None
    raw: dict[str, Any]

    @property
    def fps(self) -> float | None:
        """The highest frame rate over the batch sizes; None where none was measured."""
        return max((t.fps for t in self.throughput), default=None)


class Used(_Facts):
    """Resources as Vivado counts them; block RAM in units of 18 kbit."""

    lut: NotNegative
    ff: NotNegative
    bram18: NotNegative
    dsp: NotNegative


class Synthesis(_Facts):
    """What Vivado made of one build.

    Attributes:
        kind, format: of this record.
        at: when it was read, with its time zone.
        simulated: always False; what stand-in tools say is not kept.
        board, name, plan, policy_digest, design, clock_mhz: as of `Measurement`.
        vivado: its version.
        system: of the whole design, shell and DMA engines included.
        nodes: of every hardware node.
        fmax_mhz: of the routed design.
        power_w: that Vivado estimates for the accelerator; None where it says nothing.
    """

    kind: Literal["synthesis"] = "synthesis"
    format: Literal[1] = 1
    at: AwareDatetime
    simulated: Literal[False] = False
    board: str
    name: str
    plan: str
    policy_digest: str | None
    design: Design
    clock_mhz: Positive
    vivado: str
    system: Used
    nodes: dict[str, Used]
    fmax_mhz: Positive
    power_w: float | None


class SimulatedNode(_Facts):
    """A node in the steady state: the shares of the cycles in which it computed, waited for its reader, waited for a word.

    Attributes:
        cycles: a frame's, by FINN.
    """

    busy: NotNegative
    stalled: NotNegative
    starved: NotNegative
    cycles: Count


class SimulatedFifo(_Facts):
    """A FIFO: the node that fills it (empty for the host), words that it can hold, and the most that it held at once."""

    behind: str
    depth: Count
    most: Count


class Simulation(_Facts):
    """One simulation of a design's RTL, cycle by cycle: no board's measurement, and not the simulated board's either.

    Attributes:
        kind, format: of this record.
        at: when, with its time zone.
        simulated: always True: whoever looks for what is real does not find it.
        board, name, plan, policy_digest, design, clock_mhz: as of `Measurement`; `plan` has the FIFO depths in it.
        network: digest of the plan without FIFO depths: the same for all simulations of a design.
        fifos: how deep FIFOs were: "2" words each, as they are "estimated", as they were "sized" by simulation, or "unbounded".
        fifo_depths: node to words behind it, where they were sized.
        gaps, back_pressure: shares of cycles in which nothing was offered, and no answer taken.
        seed: of those.
        n_frames: that were simulated.
        interval_cycles: between the last two frames; None of one frame.
        is_steady: whether the interval before was the same.
        latency_cycles: from the first word of the first frame to its last answer.
        nodes, fifo_use: by name.
        versions: of what simulated.
        duration_s, cycles: of the simulation itself.
    """

    kind: Literal["simulation"] = "simulation"
    format: Literal[1] = 1
    at: AwareDatetime
    simulated: Literal[True] = True
    board: str
    name: str
    plan: str
    network: str
    policy_digest: str | None
    design: Design
    clock_mhz: Positive
    fifos: Literal["2", "estimated", "sized", "unbounded"]
    fifo_depths: dict[str, Count]
    gaps: Annotated[float, Field(ge=0, lt=1)] = 0.0
    back_pressure: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: int = 0
    n_frames: Annotated[int, Field(ge=1)]
    interval_cycles: Annotated[int, Field(ge=1)] | None
    is_steady: bool
    latency_cycles: Annotated[int, Field(ge=1)]
    nodes: dict[str, SimulatedNode]
    fifo_use: dict[str, SimulatedFifo]
    versions: dict[str, str]
    duration_s: NotNegative
    cycles: Count

    @property
    def fps(self) -> float | None:
        """Frames a second at the design's clock; None of one frame."""
        return None if self.interval_cycles is None else self.clock_mhz * 1e6 / self.interval_cycles

    @property
    def bottleneck(self) -> str:
        """The node that was busy longest, of equal ones the last; empty where there is none."""
        return max(reversed(self.nodes), key=lambda name: self.nodes[name].busy, default="")


AnyRecord = Measurement | Synthesis | Simulation
Record = Annotated[AnyRecord, Field(discriminator="kind")]
"""Whatever is kept."""
