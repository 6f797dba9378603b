"""Switches a simulated board on, and runs a program on it."""

from __future__ import annotations

import atexit
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .board import BoardError, read_board

LOCK = "bitloop-fpga.lock"  # that on_device.py holds while it uses the FPGA, in the folder for temporary files
_HOLDER = """
import fcntl, sys
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
lock.write("another program")
lock.flush()
print("held", flush=True)
sys.stdin.read()
"""


def switch_on(state: Path) -> Any:
    """A simulated board as pynq's active device, in this interpreter.

    Args:
        state: folder with its `board.json`.

    Raises:
        BoardError: that is none.
    """
    board = read_board(state)
    import pynq
    from pynq.pl_server.device import Device

    pynq.__version__ = board.faults.new_pynq or board.faults.old_pynq or pynq.__version__
    from .device import SimulatedDevice

    device = SimulatedDevice(board, state)
    Device._devices, Device.active_device = [device], device
    atexit.register(device.leave)
    return device


def launch(state: Path, program: Path, arguments: Sequence[str]) -> None:
    """Run a program on a simulated board, as its main program; ends as that does.

    Args:
        state: folder with `board.json`.
        program: a Python file.
        arguments: of the program.
    """
    temporary = state.resolve() / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(temporary)  # every simulated board has its own
    try:
        device = switch_on(state.resolve())
    except BoardError as error:
        sys.exit(str(error))
    board = device.board
    if board.faults.busy:
        _hold(temporary / LOCK)
    if board.faults.full_card is not None:
        _fill_card(state.resolve() / "home", board.faults.full_card)
    device.time.rule()
    sys.argv = [str(program), *arguments]
    sys.path.insert(0, str(program.resolve().parent))
    runpy.run_path(str(program), run_name="__main__")


def _fill_card(home: Path, room: int) -> None:
    """Have the card say that it has room for so many bytes and no more."""

    def disk_usage(_: Any) -> Any:
        used = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
        return SimpleNamespace(total=room, used=used, free=max(0, room - used))

    shutil.disk_usage = disk_usage  # type: ignore[assignment]


def _hold(lock: Path) -> None:
    """Have another process hold the FPGA until this one ends."""
    holder = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    atexit.register(holder.wait)
    atexit.register(holder.stdin.close)
    holder.stdout.readline()
