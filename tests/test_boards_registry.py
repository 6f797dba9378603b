"""Boards by name, and the facts of each against their source."""

from __future__ import annotations

import pytest

from boards.board import Resources
from boards.errors import BoardError, UnknownBoardError
from boards.registry import BOARDS, get_board


def test_every_board_is_found_by_its_own_name() -> None:
    for name, board in BOARDS.items():
        assert board.name == name
        assert get_board(name) is board


@pytest.mark.parametrize("wrong", ["pynq-z3", "PYNQ_Z2", "z2", ""])
def test_unknown_board_names_the_nearest_and_all(wrong: str) -> None:
    with pytest.raises(UnknownBoardError) as caught:
        get_board(wrong)
    assert str(caught.value) == f"unknown board {wrong!r}; did you mean 'pynq-z2'? There are {', '.join(BOARDS)}"
    assert isinstance(caught.value, BoardError)


def test_every_board_has_all_facts() -> None:
    for board in BOARDS.values():
        assert all((board.title, board.finn_name, board.fpga_part))
        assert board.clock_mhz > 0
        assert not board.capacity <= Resources()
        assert min(board.capacity.lut, board.capacity.ff, board.capacity.bram18) > 0


def test_pynq_z2() -> None:
    # AMD DS190 table 1, XC7Z020: 53,200 LUTs, 106,400 flip-flops, 140 36-kbit block RAMs, 220 DSP slices.
    board = get_board("pynq-z2")
    assert board.capacity == Resources(lut=53_200, ff=106_400, bram18=2 * 140, dsp=220)
    assert board.fpga_part == "xc7z020clg400-1"
