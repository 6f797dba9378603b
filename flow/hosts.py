"""From HOST to a board: a real one over ssh, or the simulated one."""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from pydantic import SecretStr
from rich.box import SIMPLE
from rich.table import Table

from boards.board import Board
from boards.pynq_runner import PynqRunner
from boards.runner import Effort, Readiness, Runner
from boards.simulated import Played, SimulatedTransport
from boards.simulated_options import is_simulated
from boards.ssh import SshTransport
from boards.transport import Transport
from flow.config import board_password
from flow.errors import LoginError, SettingsError
from flow.progress import Listener

STATE = Path(".simulated-board")
WORTH_TELLING = 1_000_000  # bytes
INTERPRETER = Path(".venv-board/bin/python")
MAX_TIMEOUT_S = 24 * 3600.0


@contextmanager
def connect(
    host: str,
    board: Board | Played,
    accept_host_key: bool = False,
    interpreter: Path | None = None,
    listener: Listener | None = None,
) -> Iterator[Runner]:
    """Reach a board for as long as it is entered.

    Args:
        host: as given to HOST.
        board: that the simulated board plays.
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
        state = STATE / f"{board.name}-{hashlib.sha256(host.encode()).hexdigest()[:8]}"
        transport = SimulatedTransport(host, state, board, interpreter or INTERPRETER)
    else:
        ssh = Path("~/.ssh").expanduser()
        transport = SshTransport(
            host, ssh / "known_hosts", lambda: _password(host).get_secret_value(), config=ssh / "config",
            accept_new=accept_host_key,
        )  # fmt: skip

    def progress(done: int, total: int) -> None:
        if listener is not None and total >= WORTH_TELLING:
            listener.advance("copying, kB", done // 1000, total // 1000)

    with PynqRunner(transport, progress) as runner:
        yield runner


@functools.cache  # a loop connects again and again, and nobody sits there to type it
def _password(host: str) -> SecretStr:
    """The password for a board: of the environment, else of the person at the terminal, who is asked once."""
    told = board_password()
    if told is not None:
        return SecretStr(told)
    if not sys.stdin.isatty():
        raise LoginError(
            f"{host} wants a password, and there is no terminal to ask at; set BITLOOP_BOARD_PASSWORD, or let it take a key "
            "(ssh-copy-id) and sudo without a password"
        )
    return SecretStr(typer.prompt(f"password of {host}", hide_input=True, default="", show_default=False, err=True))


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
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise SettingsError(f"TIMEOUT is {timeout_s:g}; seconds above 0 and up to {MAX_TIMEOUT_S:g} are wanted")
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
