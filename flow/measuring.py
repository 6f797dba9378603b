"""Measuring a build on a board, real or simulated: `bitloop measure`."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from boards.measurement import AnyRecord, Measurement, Simulation, Synthesis
from boards.measurements import Measurements
from boards.package import Package, read_package
from boards.runner import Effort, Runner
from flow.build_check import board_inputs
from flow.build_deployment import FOLDER
from flow.config import SearchSettings
from flow.errors import BoardError, PackageError
from flow.pipeline import find_splits, settings_of
from flow.progress import Listener
from hls.calibrate import interval_cycles
from hls.types import Estimate
from models.registry import get_model


@dataclass(frozen=True)
class Measured:
    """A measurement, and whether it was kept for the first time."""

    measurement: Measurement
    is_new: bool


def measure(
    runner: Runner, package: Package, measurements: Measurements, effort: Effort, listener: Listener,
    test_set: Path | None = None,
) -> Measured:  # fmt: skip
    """Bring a package to a board, check it on its golden set, measure it, and keep what was measured.

    Args:
        runner: the board, entered.
        package: what to measure.
        measurements: where to keep it.
        effort: how long.
        listener: is told how it gets on.
        test_set: npz of `inputs` and `labels` (`test_set`); None for no accuracy.

    Raises:
        BoardError: of `boards.errors`; what had been measured by then is kept.
    """
    where = f"the simulated board ({runner.host}), which is no board" if runner.simulated else runner.host
    listener.note(f"bringing {package.manifest.name}, {package.sha256[:12]}, to {where}")
    runner.deploy(package)
    sizes = ", ".join(map(str, effort.batch_sizes))
    listener.note(f"checking it on {package.manifest.n_golden} images, then measuring batches of {sizes}")
    try:
        found = runner.measure(package, effort, test_set)
    except BoardError as error:
        if error.measured is not None:
            measurements.add(error.measured)
            sizes = ", ".join(str(t.batch_size) for t in error.measured.throughput)
            listener.note(f"batches of {sizes} had been measured by then, and are kept")
        raise
    return Measured(found, measurements.add(found))


def package_of(directory: Path) -> Package:
    """The deployment package of a build.

    Raises:
        PackageError: there is none.
    """
    if not (directory / FOLDER).is_dir():
        raise PackageError(
            f"{directory} has no {FOLDER}/, which make bitstream makes where there is a Vivado; HOST=simulated measures without"
        )
    return read_package(directory / FOLDER)


@contextlib.contextmanager
def test_set(
    run: Path | None, package: Package, n_images: int, settings: SearchSettings, listener: Listener
) -> Iterator[Path | None]:
    """Images of a run's test split as its accelerator reads them, while it is entered.

    Args:
        run: directory of the run that the package came from; None for none, and then no images.
        package: says how the accelerator reads images.
        n_images: the first so many of the split; 0 for none.
        settings: where data is.
        listener: is told of reading it.

    Returns:
        An npz file of `inputs` and `labels`; None for no images.
    """
    if run is None or not n_images:
        yield None
        return
    _, told = settings_of(run, settings)
    splits = find_splits(get_model(told.model), told.dataset, told.data_dir, listener)
    few = splits.test.first(n_images)
    inputs = board_inputs(few.x.contiguous().numpy(), package.manifest.reads.shape)
    with tempfile.TemporaryDirectory(prefix="bitloop-test-") as folder:
        path = Path(folder) / "test.npz"
        np.savez_compressed(path, inputs=inputs, labels=few.y.numpy())
        yield path


def measured_table(found: Measurement) -> Table:
    """A measurement beside its estimate."""
    title = f"{found.name} on {_who(found)}, {found.clock_readback_mhz:g} MHz"
    table = Table("", box=SIMPLE, title=title, title_justify="left")
    estimate = Estimate.from_dict(found.design.estimate) if found.design.estimate else None
    kind = "simulated" if found.simulated else "measured"
    for head in ("estimated", kind, f"{kind} / estimated"):
        table.add_column(head, justify="right")

    def row(what: str, estimated: float | None, value: float | None, form: str) -> None:
        ratio = f"{value / estimated:.3f}" if estimated and value else "–"
        told = ["–" if number is None else format(number, form) for number in (estimated, value)]
        table.add_row(what, *told, ratio)

    for t in found.throughput:
        row(f"frames a second, batches of {t.batch_size:,}", estimate.fps if estimate else None, t.fps, ",.0f")
    row("cycles a frame", estimate.bottleneck_cycles if estimate else None, interval_cycles(found), ",.0f")
    row("ms a call with one frame", estimate.latency_ms if estimate else None, found.latency_ms, ".3f")
    if found.counters:
        cycles = estimate.latency_cycles if estimate else None
        row("cycles of the first frame, by its counters", cycles, found.counters.min_latency_cycles, ",.0f")
    if found.power:
        row("W", None, found.power.total_w, ".2f")
    if found.test:
        row(f"accuracy on {found.test.n_images:,} test images", None, found.test.n_right / found.test.n_images, ".2%")
    return table


def _who(found: Measurement) -> str:
    """The board, and whether it is one."""
    return f"the simulated {found.board}, which is no board" if found.simulated else f"a {found.board} ({found.host})"


def sentences(found: Measurement) -> list[str]:
    """What there is to say beside the table; a line each."""
    said = []
    if found.golden is None:
        said.append("there is no golden set: nobody knows whether the answers are right")
    else:
        said.append(f"{found.golden.n_images} images of the golden set, bit for bit right")
    if abs(found.clock_readback_mhz / found.clock_mhz - 1) > 0.001:
        said.append(f"it was built for {found.clock_mhz:g} MHz and ran at {found.clock_readback_mhz:g} MHz")
    if found.power is None:
        said.append(f"no power: {found.power_note}")
    said.append(f"{found.image or 'an image that does not say its name'}, pynq {found.pynq}, Python {found.python}")
    return said


def measurements_table(kept: list[tuple[int, AnyRecord]]) -> Table:
    """Records, a row each."""
    table = Table(box=SIMPLE)
    for head in ("number", "at", "kind", "board", "design", "policy"):
        table.add_column(head, overflow="fold")
    for head in ("fps", "cycles a frame", "LUT", "BRAM18"):
        table.add_column(head, justify="right")
    for number, r in kept:
        at = f"{r.at.astimezone():%Y-%m-%d %H:%M}"
        if isinstance(r, Synthesis):
            figures = ["–", "–", f"{r.system.lut:,.0f}", f"{r.system.bram18:,.0f}"]
            kind = f"synthesis, Vivado {r.vivado}"
        elif isinstance(r, Simulation):
            told = [None if r.fps is None else f"{r.fps:,.0f}", None if r.interval_cycles is None else f"{r.interval_cycles:,}"]
            figures = [text or "–" for text in told] + ["–", "–"]
            kind = f"RTL simulation, FIFOs {r.fifos}"
        else:
            cycles = interval_cycles(r)
            figures = ["–" if r.fps is None else f"{r.fps:,.0f}", "–" if cycles is None else f"{cycles:,.0f}", "–", "–"]
            kind = "simulated board" if r.simulated else f"board {r.host}"
        table.add_row(str(number), at, kind, r.board, f"{r.name} {r.plan[:8]}", r.policy_digest or "–", *figures)
    return table
