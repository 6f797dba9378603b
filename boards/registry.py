"""The boards bitloop knows by name."""

from __future__ import annotations

from difflib import get_close_matches

from boards.board import Board
from boards.errors import UnknownBoardError
from boards.pynq_z2 import PYNQ_Z2

BOARDS: dict[str, Board] = {b.name: b for b in (PYNQ_Z2,)}


def get_board(name: str) -> Board:
    """The board of that name.

    Raises:
        UnknownBoardError: no such name; the text holds the nearest.
    """
    if name not in BOARDS:
        near = get_close_matches(name, BOARDS, 1, 0.0)
        raise UnknownBoardError(f"unknown board {name!r}; did you mean {near[0]!r}? There are {', '.join(BOARDS)}")
    return BOARDS[name]
