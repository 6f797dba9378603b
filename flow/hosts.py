"""From HOST to a board: a real one over ssh, or the simulated one."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.box import SIMPLE
from rich.table import Table

from boards.pynq_runner import PynqRunner
from boards.registry import get_board
from boards.runner import Effort, Readiness, Runner
from boards.simulated import SimulatedTransport
from boards.simulated_options import is_simulated
from boards.ssh import SshTransport
from boards.transport import Transport
from flow.config import board_password
from flow.errors import LoginError, SettingsError
from flow.progress import Listener

STATE = Path(".simulated-board")
WORTH_TELLING = 1_000_000  # bytes
INTERPRETER = Path(".venv-board/bin/python")


@contextmanager
def connect(
    host: str, board: str, accept_host_key: bool = False, interpreter: Path | None = None, listener: Listener | None = None
) -> Iterator[Runner]:
    """Reach a board for as long as it is entered.

    Args:
        host: as given to HOST.
        board: its name, or the path of its TOML file; the simulated board is one of these.
        accept_host_key: whether to take down the key of a board that was never met.
        interpreter: Python of the simulated board; None for that of `make simulated-board`.
        listener: is told of what is copied.

    Raises:
        BoardError: it cannot be reached.
        SettingsError: HOST is empty.
    """
    if not host:
        raise SettingsError("HOST is empty; user@address of a board, or simulated, is wanted")
    transport: Transport
    if is_simulated(host):
        found = get_board(board)
        state = STATE / f"{found.name}-{hashlib.sha256(host.encode()).hexdigest()[:8]}"
        transport = SimulatedTransport(host, state, found, interpreter or INTERPRETER)
    else:
        known_hosts = Path("~/.ssh/known_hosts").expanduser()
        transport = SshTransport(host, known_hosts, lambda: _password(host), accept_new=accept_host_key)

    def progress(done: int, total: int) -> None:
        if listener is not None and total >= WORTH_TELLING:
            listener.advance("copying, kB", done // 1000, total // 1000)

    with PynqRunner(transport, progress) as runner:
        yield runner


def _password(host: str) -> str:
    """The password for a board: of the environment, else of the person at the terminal."""
    told = board_password()
    if told is not None:
        return told
    if not sys.stdin.isatty():
        raise LoginError(
            f"{host} wants a password, and there is no terminal to ask at; set BITLOOP_BOARD_PASSWORD, or let it take a key "
            "(ssh-copy-id) and sudo without a password"
        )
    return str(typer.prompt(f"password of {host}", hide_input=True, default="", show_default=False, err=True))


def effort_of(batch_sizes: str, n_repeats: int, timeout_s: float) -> Effort:
    """How long to measure.

    Raises:
        SettingsError: a batch size is no number, or a value is outside its range.
    """
    try:
        sizes = tuple(int(size) for size in batch_sizes.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise SettingsError(f"BATCH_SIZES is {batch_sizes!r}; whole numbers of 1 or more are wanted, such as 1,10,1000")
    if not timeout_s > 0:
        raise SettingsError(f"TIMEOUT is {timeout_s:g}; seconds above 0 are wanted")
    return Effort(tuple(sorted(set(sizes))), n_repeats, timeout_s)


def readiness_table(host: str, found: Sequence[Readiness]) -> Table:
    """What a board has, and what is to be done."""
    well = all(line.is_well for line in found)
    table = Table("", box=SIMPLE, title=f"{host} is {'ready' if well else 'not ready'}", title_justify="left")
    table.add_column("found", overflow="fold")
    table.add_column("to be done", overflow="fold")
    for line in found:
        table.add_row(line.subject, line.found, line.remedy or "–")
    return table
