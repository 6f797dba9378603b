"""How a board is reached: files go there, commands run there. `boards.ssh` reaches a real one, `boards.simulated` plays one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """A command that has ended: its exit code, and what it wrote to standard output and to standard error."""

    code: int
    output: str
    errors: str


class Transport(Protocol):
    """The way to one board. A context manager; nothing is open before it is entered and after it is left."""

    @property
    def address(self) -> str:
        """As the user named it in HOST."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether what answers is no board."""
        ...

    def __enter__(self) -> Transport:
        """Connect.

        Raises:
            UnreachableError: nobody answers there, or it is not who it was before (host key).
            LoginError: it does not let the user in.
        """
        ...

    def __exit__(self, *_: object) -> None: ...

    def run(self, command: Sequence[str], timeout_s: float, *, root: bool = False, python: bool = False) -> Completed:
        """Run a command to its end.

        Args:
            command: program and arguments, quoted by the transport as its shell needs it.
            timeout_s: after which the command and all that it began are ended.
            root: with the rights that the FPGA's registers need.
            python: in the environment of the image's pynq (its virtual environment, and XILINX_XRT).

        Raises:
            BoardTimeoutError: it did not end in time; nothing of it runs any more, if the board still answers.
            ConnectionLostError: the connection ended before the command did.
        """
        ...

    def upload(self, source: Path, target: PurePosixPath, progress: Callable[[int, int], None] | None = None) -> None:
        """Copy a file or a folder with all in it; a target is there whole or not at all.

        Args:
            source: here.
            target: there; relative paths begin in the user's home. Replaced if it is there.
            progress: is told of bytes done and in all.

        Raises:
            NoSpaceError: the board's card is full; what was copied is removed.
            ConnectionLostError: the connection ended in between.
        """
        ...

    def download(self, source: PurePosixPath, target: Path) -> None:
        """Copy a file from there to here, whole or not at all.

        Raises:
            ConnectionLostError: the connection ended in between.
            BoardError: there is no such file.
        """
        ...


def title_of(command: Sequence[str]) -> str:
    """A command's name for messages: its script, or its program; never all of it, as programs may be arguments."""
    scripts = [word for word in command if word.endswith(".py")]
    return PurePosixPath(scripts[0] if scripts else command[0]).name
