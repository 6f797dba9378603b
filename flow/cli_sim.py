"""The commands `sim`, which simulates a design's RTL, and `doctor`, which looks what this machine has."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from flow.cli_options import MEASUREMENTS, DataDir, Measurements
from flow.interruption import ctrl_c

TABLE_WIDTH = 180  # of output that goes to a file: nothing is folded


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (sim, doctor):
        app.command()(command)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)


def sim(
    run: Annotated[Path | None, typer.Option(help="directory of a run that make search has finished")] = None,
    policy: Annotated[Path | None, typer.Option(help="its policy.json instead")] = None,
    qonnx: Annotated[Path | None, typer.Option(help="a QONNX file from elsewhere instead")] = None,
    board: Annotated[str | None, typer.Option(help="of --qonnx: as for a search, pynq-z2 unless given")] = None,
    folding: Annotated[Path | None, typer.Option(help="of --qonnx: JSON as FINN's folding_config_file takes it")] = None,
    target_fps: Annotated[int | None, typer.Option(help="of --qonnx: frame rate that FINN's folding aims at instead")] = None,
    top_k: Annotated[int | None, typer.Option(help="of --qonnx: numbers of the best classes, 1 unless given")] = None,
    frames: Annotated[int | None, typer.Option(help="of the golden set; 8 unless given, of a waveform 2")] = None,
    gaps: Annotated[float, typer.Option(help="share of the cycles in which nothing comes in")] = 0.0,
    back_pressure: Annotated[float, typer.Option(help="share of the cycles in which no answer is taken")] = 0.0,
    seed: Annotated[int, typer.Option(help="of gaps and back-pressure")] = 0,
    fifos: Annotated[
        str | None,
        typer.Option(help="2, estimated, sized or unbounded; as the next build has them unless given"),
    ] = None,
    size: Annotated[
        bool, typer.Option("--size-fifos", help="find FIFO depths that slow nothing down; the next build takes them")
    ] = False,
    vcd: Annotated[Path | None, typer.Option(help="write a waveform of a few frames to this file")] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds that one simulation may take")] = None,
    out: Annotated[Path | None, typer.Option(help="where simulators are kept; beside the policy unless given")] = None,
    measurements: Measurements = MEASUREMENTS,
) -> None:
    """Simulate the accelerator's own RTL, cycle by cycle, on real images; no Vivado, no board."""
    import boards.measurements
    from flow.build_source import source_of_policy, source_of_qonnx
    from flow.config import default_threads
    from flow.errors import SettingsError
    from flow.progress import ConsoleListener
    from flow.simulating import Fifos, Request, default_folder, simulate
    from flow.simulation_tables import cycles_table, fifos_table, nodes_table, sentences
    from hls.rtlsim.simulator import Feed

    if sum(value is not None for value in (run, policy, qonnx)) != 1:
        raise SettingsError("give one of RUN=runs/…, POLICY=runs/…/policy.json and QONNX=….onnx")
    request = Request(
        frames, cast("Fifos | None", fifos), size, Feed(gaps, back_pressure, seed), vcd, timeout, jobs=default_threads()
    )
    request.check()
    if qonnx is not None:
        source = source_of_qonnx(qonnx, board or "pynq-z2", folding, target_fps, 1 if top_k is None else top_k)
        folder = keep = out or default_folder(source)
    elif strange := [n for n, v in (("BOARD", board), ("FOLDING", folding), ("TARGET_FPS", target_fps), ("TOP_K", top_k)) if v]:
        raise SettingsError(f"{', '.join(strange)} goes with QONNX; a policy has its own: leave it out")
    else:
        path = policy or cast(Path, run) / "policy.json"
        source = source_of_policy(path)
        folder, keep = out or default_folder(source), path.parent
    store = boards.measurements.Measurements(measurements)
    folder.mkdir(parents=True, exist_ok=True)
    with ctrl_c.also_on(signal.SIGTERM, signal.SIGHUP), ConsoleListener(_console(), between=ctrl_c.check) as listener:
        found = simulate(source, request, folder, keep, listener)
        store.add(found.record)
        layer_of = {n.node: n.layer for n in source.estimate.nodes} if source.estimate else {}
        for table in (nodes_table(found, layer_of), fifos_table(found), cycles_table(found)):
            _console().print(table)
        for line in sentences(found):
            listener.note(line)
        listener.note(f"{keep / 'simulation.json'} has it all; kept in {measurements}, make calibrate corrects estimates by it")


def doctor(
    data_dir: DataDir = None,
) -> None:
    """Look what this machine has, and what to do about what it has not; exit code 1 where something must be done."""
    from flow.config import environment
    from flow.doctor import doctor_table, examine

    found = examine(environment(), data_dir)
    _console().print(doctor_table(found))
    if any(line.is_needed for line in found):
        raise typer.Exit(1)
