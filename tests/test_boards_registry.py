"""Boards by name, and the facts of each against its source."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from boards.board import Board, Resources
from boards.board_file import MAX_CLOCK_MHZ, MIN_CLOCK_MHZ
from boards.errors import BoardError, UnknownBoardError
from boards.registry import BOARDS, get_board

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
LISTED = f"There are {', '.join(BOARDS)}, and your own as a path to a TOML file"


def test_the_five_boards() -> None:
    assert list(BOARDS) == ["pynq-z1", "pynq-z2", "ultra96-v2", "zcu104", "kv260"]
    assert len({board.title for board in BOARDS.values()}) == len({board.finn_name for board in BOARDS.values()}) == 5


@every_board
def test_board_is_found_by_its_own_name(board: Board) -> None:
    assert BOARDS[board.name] is board
    assert get_board(board.name) is board
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", board.name)


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("pynq-z3", "pynq-z2"),
        ("PYNQ_Z1", "pynq-z1"),
        ("z2", "pynq-z2"),
        ("ultra96", "ultra96-v2"),
        ("ZCU102", "zcu104"),
        ("KV260_SOM", "kv260"),
    ],
)
def test_unknown_board_names_the_nearest_and_all(wrong: str, near: str) -> None:
    with pytest.raises(UnknownBoardError) as caught:
        get_board(wrong)
    assert str(caught.value) == f"unknown board {wrong!r}; did you mean {near!r}? {LISTED}"
    assert isinstance(caught.value, BoardError)


def test_no_name_at_all_is_an_unknown_board_too() -> None:
    with pytest.raises(UnknownBoardError, match="unknown board ''; did you mean"):
        get_board("")


@every_board
def test_every_board_has_all_facts(board: Board) -> None:
    capacity = board.capacity
    assert min(capacity.lut, capacity.ff, capacity.bram18, capacity.dsp) > 0
    assert capacity.ff == 2 * capacity.lut  # in both families a look-up table comes with two flip-flops
    assert capacity.bram18 % 2 == 0  # two blocks of 18 kbit are one of 36
    assert MIN_CLOCK_MHZ <= board.clock_mhz <= MAX_CLOCK_MHZ
    assert board.title
    assert board.finn_name


# 36-kbit block RAMs as the data sheets count them: AMD DS190 table 1; DS891; Vivado's report_utilization on a K26.
@pytest.mark.parametrize(
    ("name", "part", "lut", "ff", "bram36", "dsp", "host_port_bits"),
    [
        ("pynq-z1", "xc7z020clg400-1", 53_200, 106_400, 140, 220, 64),
        ("pynq-z2", "xc7z020clg400-1", 53_200, 106_400, 140, 220, 64),
        ("ultra96-v2", "xczu3eg-sbva484-1-i", 70_560, 141_120, 216, 360, 128),
        ("zcu104", "xczu7ev-ffvc1156-2-e", 230_400, 460_800, 312, 1_728, 128),
        ("kv260", "xck26-sfvc784-2LV-c", 117_120, 234_240, 144, 1_248, 128),
    ],
)
def test_the_figures_of_the_data_sheets(
    name: str, part: str, lut: int, ff: int, bram36: int, dsp: int, host_port_bits: int
) -> None:
    board = get_board(name)
    assert board.capacity == Resources(lut, ff, 2 * bram36, dsp)
    assert board.fpga_part == part
    assert board.host_port_bits == host_port_bits


@every_board
def test_finn_builds_for_the_same_part_and_port(board: Board) -> None:
    basic = pytest.importorskip("finn.util.basic")
    assert basic.pynq_part_map[board.finn_name] == board.fpga_part
    assert basic.pynq_native_port_width[board.finn_name] == board.host_port_bits
    templates = (
        Path(basic.__file__).parents[1] / "transformation/fpgadataflow/templates.py"
    )  # read, as its import takes seconds
    zynq_type = re.search(rf'\$BOARD == "{board.finn_name}".*?ZYNQ_TYPE "(.*?)"', templates.read_text(), re.DOTALL)
    assert zynq_type is not None
    assert zynq_type[1] == {"zynq-7000": "zynq_7000", "zynq-ultrascale+": "zynq_us+"}[board.family]


# FINN 1.6.1 has no platform of an Ultra96-V2, whose device is the Ultra96's, and none of a KV260.
@pytest.mark.parametrize(
    ("name", "platform", "tolerance"),
    [("pynq-z1", "Pynq-Z1", 0), ("pynq-z2", "Pynq-Z2", 0), ("ultra96-v2", "Ultra96", 0.05), ("zcu104", "ZCU104", 0.05)],
)
def test_capacity_is_what_finn_rounds(name: str, platform: str, tolerance: float) -> None:
    ((lut, ff, bram18, _uram, dsp),) = pytest.importorskip("finn.util.platforms").platforms[platform]().compute_resources
    capacity = get_board(name).capacity
    assert (capacity.lut, capacity.ff, capacity.bram18) == pytest.approx((lut, ff, bram18), rel=tolerance)
    assert capacity.dsp == dsp


def test_boards_are_light() -> None:
    heavy = {"torch", "finn", "qonnx", "onnx", "brevitas", "numpy", "models", "hls", "flow"}
    code = f"import sys, boards.registry; print(*({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
