"""The commands that show what there is: `report`, `show`, `compare`, `graph`, `dashboard`."""

from __future__ import annotations

import contextlib
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flow.cli_options import MEASUREMENTS, Measurements

TABLE_WIDTH = 180  # of output that goes to a file: nothing is folded

RunArgument = Annotated[Path, typer.Argument(help="directory of a run that make search has begun", metavar="RUN")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="on this machine; 0 for one that is free")]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="open it in the browser")]


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (report, show, compare, graph, dashboard):
        app.command()(command)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else TABLE_WIDTH)


def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="file to write; report.html in the run's directory unless given")] = None,
    measurements: Measurements = MEASUREMENTS,
    browser: Annotated[bool, typer.Option("--browser", help="open it in the browser")] = False,
) -> None:
    """Write a run as one page, report.html, that needs no server and no network; also while its search goes on."""
    from flow.errors import SettingsError
    from flow.watch.page import REPORT_FILE, write_report
    from flow.watch.run_view import read_run

    view = read_run(run, measurements)
    path = out or run / REPORT_FILE
    if path.is_dir():
        raise SettingsError(f"OUT={path} is a directory; name a file in it")
    write_report(view, path)
    _console().print(f"read {path}", soft_wrap=True, markup=False, highlight=False)
    if browser:
        webbrowser.open(path.resolve().as_uri())


def show(run: RunArgument, measurements: Measurements = MEASUREMENTS) -> None:
    """Print the summary of a run; also while its search goes on."""
    from flow.watch.run_view import read_run
    from flow.watch.terminal import summary_of

    _console().print(*summary_of(read_run(run, measurements)), sep="\n")


def compare(
    runs: Annotated[list[Path], typer.Argument(help="directories of two runs or more", metavar="RUN RUN…")],
    measurements: Measurements = MEASUREMENTS,
) -> None:
    """Print runs side by side: figures, bits of every layer, and what differs in how they were begun and made."""
    from flow.errors import SettingsError
    from flow.watch.run_view import read_run
    from flow.watch.terminal import comparison_of

    if len(runs) < 2:
        raise SettingsError(f"there is nothing to compare {runs[0]} with; give two runs or more")
    _console().print(*comparison_of([read_run(run, measurements) for run in runs]), sep="\n")


def graph(
    run: RunArgument,
    finn: Annotated[bool, typer.Option("--finn", help="FINN's hardware layers of its build instead")] = False,
    out: Annotated[Path | None, typer.Option(help="of --finn: directory of the build; build/<name> unless given")] = None,
    port: Port = 0,
    browser: Browser = True,
) -> None:
    """Open the network of a run in Netron, until Ctrl-C: its QONNX file, or FINN's graph."""
    from flow.errors import SettingsError
    from flow.watch import graph as graphs

    if out is not None and not finn:
        raise SettingsError(f"OUT={out} goes with --finn; the QONNX file is the run's own: leave it out")
    file = graphs.graph_file(run, finn, out)
    address = graphs.serve(file, port, browser)
    _console().print(f"{file} is at {address}; Ctrl-C ends it", soft_wrap=True, markup=False, highlight=False)
    graphs.wait()


def dashboard(run: RunArgument, port: Port = 8080, browser: Browser = True) -> None:
    """Open Optuna's dashboard on the trials of a run, until Ctrl-C; it cannot change them."""
    from flow.watch.dashboard import address_of, dashboard_server

    with dashboard_server(run, port) as server:
        address = address_of(server)
        _console().print(f"{run / 'trials.db'} is at {address}; Ctrl-C ends it", soft_wrap=True, markup=False, highlight=False)
        if browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it, and no interruption
            server.serve_forever()
