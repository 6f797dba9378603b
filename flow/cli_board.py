"""The commands that have to do with boards: `board check`, `measure`, `measurements`, `calibrate`, `loop`."""

from __future__ import annotations

import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from boards.simulated_options import SIMULATED, is_simulated
from flow.cli_options import (
    MEASUREMENTS,
    BoardName,
    Calibration,
    DataDir,
    Dataset,
    Device,
    Finalists,
    Halving,
    Host,
    MaxUtil,
    Measurements,
    Model,
    RayAddress,
    Seed,
    Threads,
    TopK,
    Workers,
    settings_of,
)
from flow.interruption import ctrl_c

if TYPE_CHECKING:
    from boards.runner import Runner

TABLE_WIDTH = 180  # of output that goes to a file: nothing is folded

board_app = typer.Typer(add_completion=False, rich_markup_mode=None, help="What there is to know of a board.")
records_app = typer.Typer(add_completion=False, rich_markup_mode=None, help="Measurements that were kept.")

BatchSizes = Annotated[str, typer.Option(help="frames a call, such as 1,10,1000")]
Repeats = Annotated[int, typer.Option(min=1, help="calls of every batch size; the median counts")]
Timeout = Annotated[float, typer.Option(help="seconds for one call, and as many again for every 100 frames of it")]
AcceptHostKey = Annotated[
    bool, typer.Option("--accept-host-key", help="take the key of a board that was never met; a changed one never is")
]
BoardPython = Annotated[
    Path | None, typer.Option(help="Python with pynq, for the simulated board; .venv-board unless given (make simulated-board)")
]
TestImages = Annotated[int, typer.Option(min=0, help="of the test split, to be classified on the board; 0 for none")]
Images = Annotated[int, typer.Option(min=1, help="of the golden set, that every stage is held against first")]
OnlyBoard = Annotated[str | None, typer.Option(help="only of this board")]
Which = Annotated[bool | None, typer.Option("--simulated/--real", help="only of the simulated board, or of real ones")]
Kind = Annotated[str | None, typer.Option(help="only of this kind: measurement, synthesis or simulation (of RTL)")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(board_app, name="board")
    app.add_typer(records_app, name="measurements")
    for command in (measure, calibrate, loop):
        app.command()(command)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)


@board_app.command()
def check(
    host: Annotated[str, typer.Argument(help="as HOST")] = SIMULATED,
    board: BoardName = "pynq-z2",
    accept_host_key: AcceptHostKey = False,
    board_python: BoardPython = None,
) -> None:
    """Look whether a board is ready; the exit code is 1 where something is to be done."""
    from boards.registry import get_board
    from flow.hosts import connect, readiness_table

    with connect(host, get_board(board), accept_host_key, board_python) as runner:
        found = runner.check()
    _console().print(readiness_table(host, found))
    if not all(line.is_well for line in found):
        raise typer.Exit(1)


@records_app.command("list")
def list_records(
    measurements: Measurements = MEASUREMENTS, board: OnlyBoard = None, simulated: Which = None, kind: Kind = None
) -> None:  # fmt: skip
    """Show what was kept."""
    import boards.measurements
    from flow.measuring import measurements_table

    kept = boards.measurements.Measurements(measurements).records(board=board, simulated=simulated, kind=_known(kind))
    _console().print(measurements_table([(k.number, k.record) for k in kept]))


@records_app.command("export")
def export_records(
    out: Annotated[Path, typer.Argument(help="file of JSON lines to write")],
    measurements: Measurements = MEASUREMENTS,
    board: OnlyBoard = None,
    simulated: Which = None,
    kind: Kind = None,
) -> None:
    """Write what was kept, for another one's measurements."""
    import boards.measurements

    store = boards.measurements.Measurements(measurements)
    kept = store.records(board=board, simulated=simulated, kind=_known(kind))
    store.export(out, kept)
    _console().print(f"{len(kept)} records in {out}", soft_wrap=True)


def _known(kind: str | None) -> str | None:
    """A kind of records that there is."""
    from flow.errors import SettingsError

    if kind not in (None, "measurement", "synthesis", "simulation"):
        raise SettingsError(f"the kind {kind} is none of measurement, synthesis and simulation")
    return kind


@records_app.command("import")
def import_records(
    files: Annotated[list[Path], typer.Argument(help="that were exported, or synthesis.jsonl of a build")],
    measurements: Measurements = MEASUREMENTS,
) -> None:
    """Take in what was measured elsewhere; what is there already is left out."""
    import boards.measurements

    store = boards.measurements.Measurements(measurements)
    for path in files:
        new, there = store.take_in(path)
        _console().print(f"{path}: {new} of {there} records were new", soft_wrap=True)


def measure(
    run: Annotated[Path | None, typer.Option(help="directory of a run that make search has finished")] = None,
    out: Annotated[Path | None, typer.Option(help="directory of its build; build/<name> unless given")] = None,
    package: Annotated[Path | None, typer.Option(help="a deployment package instead")] = None,
    host: Host = SIMULATED,
    batch_sizes: BatchSizes = "1,10,100,1000",
    repeats: Repeats = 5,
    timeout: Timeout = 120.0,
    test_images: TestImages = 100,
    images: Images = 64,
    instrumented: Annotated[bool, typer.Option("--instrumented", help="on the simulated board: it counts its cycles")] = False,
    data_dir: DataDir = None,
    measurements: Measurements = MEASUREMENTS,
    accept_host_key: AcceptHostKey = False,
    board_python: BoardPython = None,
) -> None:
    """Run a build on a board, real or simulated: golden set, throughput, latency, accuracy; and keep what was measured."""
    import boards.measurements
    from boards.package import read_package
    from boards.simulated import Played
    from flow import measuring
    from flow.bitstream import build_simulated, default_directory
    from flow.build_source import source_of_policy
    from flow.errors import SettingsError
    from flow.hosts import connect, effort_of
    from flow.progress import ConsoleListener

    if (run is None) == (package is None):
        raise SettingsError("give one of RUN=runs/… and PACKAGE=build/…/package")
    effort = effort_of(batch_sizes, repeats, timeout)
    store = boards.measurements.Measurements(measurements)
    with ctrl_c.also_on(signal.SIGTERM, signal.SIGHUP), ConsoleListener(_console(), between=ctrl_c.check) as listener:
        if package is not None:
            what, test_images = read_package(package), 0
        else:
            assert run is not None
            source = source_of_policy(run / "policy.json")
            if is_simulated(host):
                what = build_simulated(source, out, images, listener, instrumented)
            else:
                what = measuring.package_of(out or default_directory(source))
        m = what.manifest
        board = Played(m.board.name, m.board.fpga_part, m.board.family, m.clock_mhz)
        with connect(host, board, accept_host_key, board_python, listener) as runner:
            settings = settings_of(data_dir=data_dir)
            with measuring.test_set(run, what, test_images, settings, listener) as test:
                found = measuring.measure(runner, what, store, effort, listener, test)
        _console().print(measuring.measured_table(found.measurement))
        for line in measuring.sentences(found.measurement):
            listener.note(line)
        listener.note(f"kept in {measurements}; make calibrate makes a correction of it")


def calibrate(
    board: BoardName = "pynq-z2",
    host: Annotated[str | None, typer.Option(help="a simulated board, as HOST had it; real boards unless given")] = None,
    out: Annotated[Path | None, typer.Option(help="the file; calibration/<board>.json unless given")] = None,
    measurements: Measurements = MEASUREMENTS,
) -> None:
    """Hold what was measured against what was estimated, and leave a correction for searches."""
    import boards.measurements
    from boards.registry import get_board
    from flow import calibration
    from flow.errors import SettingsError

    if host is not None and not is_simulated(host):
        raise SettingsError(f"HOST={host} is no simulated board; real boards of one name are calibrated together: leave it out")
    store = boards.measurements.Measurements(measurements)
    made = calibration.calibrate(store, get_board(board).name, host, out)
    console = _console()
    console.print(calibration.gap_table(made))
    console.print(calibration.factor_table(made.calibration))
    if host is None:
        console.print(f"{made.path}: the next make search BOARD={board} takes it", soft_wrap=True)
    else:
        console.print(
            f"{made.path}: of the simulated board, which is no board; make search takes it only with CALIBRATION={made.path}",
            soft_wrap=True,
        )


def loop(
    rounds: Annotated[int, typer.Option(help="in all, those of an interrupted loop counted")] = 3,
    path: Annotated[Path | None, typer.Option("--loop", help="directory; loops/<model>-<board> unless given")] = None,
    host: Host = SIMULATED,
    model: Model = "cnv",
    board: BoardName = "pynq-z2",
    dataset: Dataset = "auto",
    data_dir: DataDir = None,
    trials: Annotated[int | None, typer.Option(help="new trials a round")] = None,
    seed: Seed = 0,
    min_fps: Annotated[float | None, typer.Option(help="frames a second to reach; the model's own unless given")] = None,
    max_util: MaxUtil = None,
    top_k: TopK = None,
    searcher: Annotated[str | None, typer.Option(help="as for a search")] = None,
    retrain_images: Annotated[int | None, typer.Option(help="images of the brief retraining a trial")] = None,
    halving: Halving = False,
    finalists: Finalists = None,
    final_images: Annotated[int | None, typer.Option(help="images of the final retraining")] = None,
    threads: Threads = None,
    device: Device = "auto",
    calibration: Calibration = "auto",
    workers: Workers = None,
    ray_address: RayAddress = None,
    batch_sizes: BatchSizes = "1,10,100,1000",
    repeats: Repeats = 5,
    timeout: Timeout = 120.0,
    images: Images = 64,
    measurements: Measurements = MEASUREMENTS,
    accept_host_key: AcceptHostKey = False,
    board_python: BoardPython = None,
) -> None:
    """Search, build, measure, calibrate, and search again with what was learned."""
    import boards.measurements
    from flow.config import environment
    from flow.hosts import connect, effort_of
    from flow.loop import Loop, loop_table
    from flow.progress import ConsoleListener

    settings = settings_of(
        model=model, board=board, dataset=dataset, data_dir=data_dir, n_trials=trials, seed=seed, min_fps=min_fps,
        max_utilisation=max_util, top_k=top_k, searcher=searcher, retrain_images=retrain_images, final_images=final_images,
        threads=threads, device=device, calibration=calibration, halving=halving, finalists=finalists, workers=workers,
        ray_address=ray_address,
    )  # fmt: skip
    effort = effort_of(batch_sizes, repeats, timeout)
    done = Loop(path or Path("loops") / settings.directory.name, settings, host, environment())
    store = boards.measurements.Measurements(measurements)
    with ctrl_c.also_on(signal.SIGTERM, signal.SIGHUP), ConsoleListener(_console(), between=ctrl_c.check) as listener:

        def board_of_host() -> AbstractContextManager[Runner]:
            return connect(host, done.board, accept_host_key, board_python, listener)

        done.run(rounds, board_of_host, store, effort, images, listener)
        _console().print(loop_table(done))
        best = done.best()
        listener.note(
            f"best is round {best.number}; read {done.path / 'loop.md'}"
            if best
            else f"no round holds; read {done.path / 'loop.md'}"
        )
    if done.best() is None:
        raise typer.Exit(1)
