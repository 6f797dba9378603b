"""The boards bitloop knows by name, and the way to a user's own."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path

from boards.board import Board
from boards.board_file import read_board
from boards.errors import BoardFileError, UnknownBoardError
from boards.kv260 import KV260
from boards.pynq_z1 import PYNQ_Z1
from boards.pynq_z2 import PYNQ_Z2
from boards.ultra96_v2 import ULTRA96_V2
from boards.zcu104 import ZCU104

BOARDS: dict[str, Board] = {b.name: b for b in (PYNQ_Z1, PYNQ_Z2, ULTRA96_V2, ZCU104, KV260)}


def get_board(name: str) -> Board:
    """The board of that name, or of that file where it ends in `.toml` or has a `/` in it.

    Raises:
        UnknownBoardError: no such name; the text holds the nearest.
        BoardFileError: a file that is no board (`boards.board_file.read_board`), or bears the name of a known one.
    """
    if name.endswith(".toml") or "/" in name:
        board = read_board(Path(name))
        if board.name in BOARDS:
            raise BoardFileError(
                f"board file {name}: name is {board.name!r}, which BOARD={board.name} has already; take another name"
            )
        return board
    if name not in BOARDS:
        near = get_close_matches(name.lower().replace("_", "-"), BOARDS, 1, 0.0)
        raise UnknownBoardError(
            f"unknown board {name!r}; did you mean {near[0]!r}? There are {', '.join(BOARDS)}, "
            "and your own as a path to a TOML file"
        )
    return BOARDS[name]
