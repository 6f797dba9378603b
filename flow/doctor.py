"""What there is on this machine, a line each, and what to do about what is not: `bitloop doctor`."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from flow.config import default_data_dir
from flow.errors import HlsError
from flow.hosts import INTERPRETER
from flow.simulating import runtime_dir, toolchain
from hls.handover.tools import ToolError, find_tools
from hls.rtlsim import Fifo, Instance, Netlist, Stream, build_simulator
from hls.rtlsim.build import Options
from hls.rtlsim.library import OWN
from models.datasets import DATASETS

PYTHON = (3, 11)
PACKAGES = ("flow", "hls", "models", "boards")
_PYNQ_S = 60.0


@dataclass(frozen=True)
class Line:
    """One thing.

    Attributes:
        subject: what was looked for.
        found: what is there.
        remedy: what to do; empty where nothing is.
        is_needed: whether nothing works before that is done.
    """

    subject: str
    found: str
    remedy: str = ""
    is_needed: bool = False


def examine(environment: Mapping[str, str], data_dir: Path | None = None, interpreter: Path = INTERPRETER) -> list[Line]:
    """Look at everything; up to a minute the first time, most of it a C++ compiler's.

    Args:
        environment: where tools are looked for.
        data_dir: where data sets are looked for; None for the usual place.
        interpreter: Python of the simulated board.
    """
    return [
        _python(), _itself(), _packages(), _simulator(), _vivado(environment), _simulated_board(interpreter), _gpu(),
        *_data_sets(data_dir or default_data_dir()),
    ]  # fmt: skip


def doctor_table(found: list[Line]) -> Table:
    """The lines as a table."""
    table = Table("", box=SIMPLE, title="what bitloop finds on this machine", title_justify="left")
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    for line in found:
        table.add_row(line.subject, line.found, line.remedy or "–")
    return table


def _python() -> Line:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] == PYTHON:
        return Line("Python", here)
    return Line("Python", here, "finn-plus 1.6 runs on 3.11 alone: make setup PYTHON=python3.11", is_needed=True)


def _itself() -> Line:
    """Whether bitloop's packages are bitloop's: their names are common ones."""
    folders = {name: Path(str(importlib.import_module(name).__file__)).parent.parent for name in PACKAGES}
    strange = [name for name, folder in folders.items() if folder != folders["flow"]]
    if strange:
        return Line(
            "bitloop", f"{version('bitloop')}, but {', '.join(strange)} are of something else: {folders[strange[0]]}",
            "install bitloop into an environment of its own: make setup", is_needed=True,
        )  # fmt: skip
    return Line("bitloop", f"{version('bitloop')} in {folders['flow']}")


def _packages() -> Line:
    names = [re.split(r"[^\w.-]", told, maxsplit=1)[0] for told in requires("bitloop") or () if "extra ==" not in told]
    missing = [name for name in names if _version_of(name) is None]
    if missing:
        return Line(
            "Python packages", f"{', '.join(missing)} missing of {len(names)}",
            "make setup, or pip install -r requirements.lock --no-deps", is_needed=True,
        )  # fmt: skip
    which = ", ".join(f"{name} {_version_of(name)}" for name in ("torch", "brevitas", "finn-plus"))
    return Line("Python packages", f"all {len(names)}: {which}, …")


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _simulator() -> Line:
    """Verilator and the compiler, tried on a FIFO."""
    try:
        tools = toolchain()
        try_simulator()
    except (HlsError, OSError) as error:
        return Line("RTL simulation", "does not work", f"for make sim: {error}")
    return Line("RTL simulation", f"compiled and ran a module with {tools}")


def try_simulator() -> None:
    """Compile a module and stream some words through it.

    Raises:
        HlsError: that cannot be done, or what comes out is wrong.
    """
    width, words = 8, 16
    streams = {name: Stream(name, width, words, 1, "UINT8") for name in ("in", "out")}
    parameters = {"WIDTH": str(width), "MAX": "16", "ID": "0"}
    fifo = Instance("fifo", "StreamingFIFO_rtl", "bitloop_fifo", parameters, {"in0_V": "in"}, {"out0_V": "out"})
    held = Fifo("fifo", "", "", depth=8, bits=width, words=words)
    netlist = Netlist((fifo,), streams, "in", "out", (OWN / "bitloop_fifo.sv",), (held,))
    sent = np.arange(2 * words).reshape(2, words)
    with tempfile.TemporaryDirectory(prefix="bitloop-doctor-") as folder:
        simulator = build_simulator(netlist, Path(folder), Options(optimization="-O0"), shared=runtime_dir())
        came = simulator.run(sent, timeout_s=60.0).answers
    if not np.array_equal(came, sent):
        raise HlsError("a FIFO gives other words than it got; Verilator or the compiler is broken: install another version")


def _vivado(environment: Mapping[str, str]) -> Line:
    try:
        tools = find_tools(environment)
    except ToolError as error:
        return Line("Vivado, Vitis HLS", "none of use", f"only for a bitfile, which another machine may build: {error}")
    return Line("Vivado, Vitis HLS", f"{tools.version}, {tools.vivado}" + (" (a stand-in)" if tools.stand_in else ""))


def _simulated_board(interpreter: Path) -> Line:
    remedy = "for make measure without a board: make simulated-board"
    if not interpreter.is_file():
        return Line("simulated board", f"no {interpreter}", remedy)
    command = [str(interpreter), "-c", "from importlib.metadata import version; print(version('pynq'))"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=_PYNQ_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Line("simulated board", f"{interpreter} does not run ({error})", remedy)
    if ran.returncode:
        return Line("simulated board", f"{interpreter} has no pynq", remedy)
    return Line("simulated board", f"pynq {ran.stdout.strip()} in {interpreter}")


def _gpu() -> Line:
    import torch

    if not torch.cuda.is_available():
        return Line("GPU", "none: training runs on the processor, which is enough for the networks here")
    return Line("GPU", ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())))


def _data_sets(data_dir: Path) -> Iterator[Line]:
    found = [name for name in DATASETS if name == "digits" or (data_dir / f"{name}.npz").is_file()]
    missing = [name for name in DATASETS if name not in found]
    remedy = f"{', '.join(missing)}: downloaded when asked for, or put <name>.npz into {data_dir}" if missing else ""
    yield Line("data sets", ", ".join(found), remedy)
