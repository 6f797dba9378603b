"""What can go wrong with boards.

BoardError
├── UnknownBoardError
├── BoardFileError
├── PackageError
│   └── BitfileError
├── UnreachableError
├── LoginError
├── ConnectionLostError
├── BoardTimeoutError
├── NoSpaceError
├── BoardBusyError
├── RefusedError
├── OutputMismatchError
└── MeasurementsError
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from boards.measurement import Measurement


class BoardError(Exception):
    """Root of every error that `boards` raises on purpose; the text is one line a user can act on.

    Attributes:
        measured: what a board had measured by then, of fewer batch sizes than were asked for; None where that is nothing.
    """

    measured: Measurement | None = None


class UnknownBoardError(BoardError):
    """No board bears this name."""


class BoardFileError(BoardError):
    """A user's board file that cannot be read, or says what no board can be."""


class PackageError(BoardError):
    """A deployment package that cannot be made, or that is not, file for file, what its manifest says."""


class BitfileError(PackageError):
    """A file that is no bitfile, or a bitfile for another FPGA."""


class UnreachableError(BoardError):
    """Nobody answers at a board's address, or somebody else than before (its host key has changed or is not known)."""


class LoginError(BoardError):
    """A board does not let the user in, or does not give the user root's rights."""


class ConnectionLostError(BoardError):
    """The connection to a board ended in the middle of something: a cable, a reboot.

    Attributes:
        errors: what a command had written to standard error by then.
    """

    def __init__(self, text: str, errors: str = "") -> None:
        super().__init__(text)
        self.errors = errors


class BoardTimeoutError(BoardError):
    """Something on a board did not end within its time limit, and was ended.

    Attributes:
        errors: what it had written to standard error by then.
    """

    def __init__(self, text: str, errors: str = "") -> None:
        super().__init__(text)
        self.errors = errors


class NoSpaceError(BoardError):
    """A board's card has no room for a package."""


class BoardBusyError(BoardError):
    """Somebody else uses a board's FPGA."""


class RefusedError(BoardError):
    """A board cannot run a package: another part, an image or a pynq that does not do, an interface that is not there."""


class OutputMismatchError(BoardError):
    """A board gives other numbers than the network that was trained."""


class MeasurementsError(BoardError):
    """The store of measurements cannot be read or written, or a file of measurements is none."""
