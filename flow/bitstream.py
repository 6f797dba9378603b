"""From the best policy to a bitstream: `bitloop build`.

A network is held against the trained one, its estimate against the constraint and against what is really built, and only
then do FINN's steps run: with Vivado to a deployment package, without it to a hand-over package for a machine that has
Vivado. Every part leaves files in `build/<name>/` and is not done again by the next call.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.measurement import Synthesis
from boards.package import Package
from flow.build_check import verify_source
from flow.build_deployment import write_deployment, write_simulated
from flow.build_directory import BuildDirectory
from flow.build_handover import COMMAND, take_over_results, write_handover
from flow.build_handover import FOLDER as HANDOVER
from flow.build_source import BuildSource
from flow.build_sources import SOURCES, TABLE, copy_sources, write_table
from flow.build_synthesis import write_synthesis
from flow.errors import BuildError, MissingToolError, ReportError
from flow.progress import Listener
from hls.build_process import carry_out
from hls.equality import differences
from hls.finn_build import Checkpoint, prepare
from hls.handover.build import RESULTS
from hls.handover.tools import ToolError, find_tools
from hls.reports import Reports, Timing, read_reports, read_results


@dataclass(frozen=True)
class Built:
    """What a build with Vivado gave: its directory, what Vivado reported, the deployment package, and the report to keep."""

    path: Path
    reports: Reports
    package: Package
    synthesis: Synthesis


def build(
    source: BuildSource, out: Path | None, n_images: int, force: bool, environment: Mapping[str, str], listener: Listener,
    instrumented: bool = False,
) -> Built:  # fmt: skip
    """Build a network for its board.

    Args:
        source: the network.
        out: directory of the build; None for `build/<name>`.
        n_images: of the golden set to verify on, 1 or more.
        force: build what does not fit, is not what was estimated, or misses its clock.
        environment: where the tools are looked for, and what they are started with.
        listener: is told how it gets on.
        instrumented: whether the accelerator is to count its own cycles.

    Raises:
        MissingToolError: there is no Vivado; everything that could be done without it is done.
        BuildError: it does not fit, or the directory holds another build; a step failed (StepError).
        VerificationError: a stage is not the network that was trained.
        ReportError: Vivado's reports are missing or say that the clock is missed.
        PackageError: what was built is not for this board or network.
    """
    if not force:
        source.check_fit()
    with BuildDirectory(out or default_directory(source), source.plan(instrumented)) as directory:
        return _build(source, directory, n_images, force, environment, listener)


def _build(
    source: BuildSource,
    directory: BuildDirectory,
    n_images: int,
    force: bool,
    environment: Mapping[str, str],
    listener: Listener,
) -> Built:
    """`build` in a directory that nobody else builds in."""
    listener.note(f"building {source.name} for a {source.board.title} in {directory.path}, plan {directory.plan.digest}")
    checkpoint = _prepared(source, directory, n_images, force, listener)
    if not (directory / RESULTS).exists() and take_over_results(directory):
        listener.note(f"taking the results that {directory / HANDOVER} has")
    if not (directory / RESULTS).exists():
        _run(directory, source, checkpoint, environment, listener)
    results = read_results(directory / RESULTS, directory.plan.digest)
    reports = read_reports(directory / RESULTS / "report", source.board.clock_mhz)
    synthesis = write_synthesis(directory, source, checkpoint, reports)
    _write_sources(directory, source, checkpoint, reports)
    if not reports.system_timing.met and not force:
        raise ReportError(_missed(reports.system_timing, source.board.clock_mhz))
    package = write_deployment(directory, source, checkpoint, results)
    return Built(directory.path, reports, package, synthesis)


def _prepared(source: BuildSource, directory: BuildDirectory, n_images: int, force: bool, listener: Listener) -> Checkpoint:
    """The checkpoint of a build whose stages were verified and whose estimate was held against it."""
    verify_source(source, directory, n_images, listener)
    checkpoint = directory.checkpoint(lambda target: prepare(directory.plan, source.board, source.onnx, target))
    if source.estimate is not None and not force:
        _check_estimate(checkpoint, source)
    return checkpoint


def build_simulated(source: BuildSource, out: Path | None, n_images: int, listener: Listener, instrumented: bool) -> Package:
    """Build a network for the simulated board: all that needs no Vivado, and a package that no real board takes.

    Args:
        source: the network.
        out: directory of the build; None for `build/<name>`.
        n_images: of the golden set to verify on, 1 or more.
        listener: is told how it gets on.
        instrumented: whether the accelerator is to count its own cycles.

    Raises:
        BuildError, VerificationError: as `build`.
        GraphError: there is a node that cannot be simulated.
        PackageError: the driver is not installed.
    """
    with BuildDirectory(out or default_directory(source), source.plan(instrumented)) as directory:
        checkpoint = _prepared(source, directory, n_images, False, listener)
        return write_simulated(directory, source, checkpoint)


def default_directory(source: BuildSource) -> Path:
    """Where a network is built unless told otherwise."""
    return Path("build") / source.name


def _missed(timing: Timing, clock_mhz: float) -> str:
    """What to say of a design that does not meet its timing."""
    if timing.slack_ns < 0:
        return (
            f"the design misses its clock of {clock_mhz:g} MHz by {-timing.slack_ns:g} ns, {timing.fmax_mhz:.1f} MHz would do: "
            "take a board with a slower clock, or FORCE=1 to package it"
        )
    if timing.hold_ns is not None and timing.hold_ns < 0:
        return (
            f"the design violates hold by {-timing.hold_ns:g} ns (WHS), which no slower clock mends: look into "
            "results/report/post_route_timing.rpt and build again, or FORCE=1 to package it"
        )
    return (
        f"the design violates a pulse width by {-(timing.pulse_ns or 0):g} ns (WPWS) at its clock of {clock_mhz:g} MHz: take a "
        "board with a slower clock, or FORCE=1 to package it"
    )


def _check_estimate(checkpoint: Checkpoint, source: BuildSource) -> None:
    """Look whether what is built is what was estimated, node by node."""
    assert source.estimate is not None
    found = differences(source.estimate, checkpoint.estimate(source.board.clock_mhz))
    if found:
        raise BuildError(
            f"what FINN makes of {source.onnx} is not what was estimated: {found[0]}{_more(found)}; make retrain estimates it "
            "anew, FORCE=1 builds it all the same"
        )


def _more(found: list[str]) -> str:
    return f" (and {len(found) - 1} more differences)" if len(found) > 1 else ""


def _run(
    directory: BuildDirectory, source: BuildSource, checkpoint: Checkpoint, environment: Mapping[str, str], listener: Listener
) -> None:
    """Run FINN's steps: all of them where there is a Vivado.

    Raises:
        MissingToolError: there is none; the hand-over package is made.
    """
    progress = _StepProgress(listener)
    missing: str | None = None
    try:
        find_tools(environment)
    except ToolError as error:
        missing = str(error)
    if missing is None:
        try:
            carry_out(directory.path, False, environment, progress, directory.lock)
            return
        except MissingToolError as error:  # of another kind: finn-hlslib
            missing = str(error)
    carry_out(directory.path, True, environment, progress, directory.lock)
    _write_sources(directory, source, checkpoint, None)
    folder = write_handover(directory)
    raise MissingToolError(
        f"{missing}; or copy {folder} to a machine that has it, run {COMMAND} there, copy its {RESULTS}/ back to "
        f"{directory / RESULTS} and run this command again"
    )


def _write_sources(directory: BuildDirectory, source: BuildSource, checkpoint: Checkpoint, reports: Reports | None) -> None:
    generated = directory / "work" / "finn"
    files = copy_sources(generated.resolve(), directory / SOURCES) if generated.is_dir() else {}  # none: built elsewhere
    write_table(directory / TABLE, source, checkpoint, files, reports)


class _StepProgress:
    """Says of every step when it begins and how long it took."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._begun_s = time.monotonic()

    def __call__(self, event: dict[str, Any]) -> None:
        match event["event"]:
            case "again":
                self._listener.note(event["text"])
            case "plan" if event["finished"]:
                done = event["finished"]
                self._listener.note(f"going on behind {done[-1]}: {len(done)} of {len(event['steps'])} steps are finished")
            case "begun":  # told before, as one may take hours; how long is left nobody knows, no two steps being alike
                self._listener.note(f"step {event['number']} of {event['of']}, {event['step']}")
            case "finished":
                elapsed_s = time.monotonic() - self._begun_s
                self._listener.note(f"    took {event['seconds']:,.1f} s, {elapsed_s:,.0f} s in all")
