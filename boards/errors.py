"""What can go wrong with boards.

BoardError
├── UnknownBoardError
├── BoardFileError
└── PackageError
    └── BitfileError
"""

from __future__ import annotations


class BoardError(Exception):
    """Root of every error that `boards` raises on purpose; the text is one line a user can act on."""


class UnknownBoardError(BoardError):
    """No board bears this name."""


class BoardFileError(BoardError):
    """A user's board file that cannot be read, or says what no board can be."""


class PackageError(BoardError):
    """A deployment package that cannot be made, or that is not, file for file, what its manifest says."""


class BitfileError(PackageError):
    """A file that is no bitfile, or a bitfile for another FPGA."""
