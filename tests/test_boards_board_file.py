"""A board from a TOML file: everything that is right comes through, every fault is one line that says what is allowed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boards.board import Board, Family, Resources
from boards.board_file import _FAMILIES, MAX_FILE_BYTES, MAX_TEXT, BoardTable, CapacityTable, read_board
from boards.errors import BoardError, BoardFileError
from boards.registry import BOARDS, get_board

DOC = (Path(__file__).parents[1] / "docs/boards.md").read_text()
GOOD = """\
name = "my-board"
title = "My board"
fpga_part = "xczu3eg-sbva484-1-e"
family = "zynq-ultrascale+"
clock_mhz = 187.5
host_port_bits = 128
finn_name = "Ultra96"
[capacity]
lut = 70_560
ff = 141_120
bram18 = 432
dsp = 360
"""
BOARD_KEYS = "There are name, title, fpga_part, family, clock_mhz, host_port_bits, finn_name, capacity"
A_COUNT = "a whole number from 1 to 10,000,000"
A_BRAM_COUNT = f"{A_COUNT}: block RAMs of 18 kbit, two for each of 36 kbit"
A_CLOCK = "a number from 10 to 400"
A_NAME = "lower-case letters and digits with single hyphens between, such as my-board, at most 40 characters"
A_LINE = "one line of text, at most 60 characters"
A_PART = "a zynq-ultrascale+ part as Vivado names it, such as xczu3eg-sbva484-1-e"
A_PORT = "32, 64 or, on a zynq-ultrascale+, 128"
A_WIDE_PORT = "32, 64 or 128 on a zynq-ultrascale+"
A_FAMILY = "zynq-7000 or zynq-ultrascale+"
A_FINN_NAME = "FINN's name of the board, such as Pynq-Z2; leave it out if FINN has none"
A_TABLE = "a table of lut, ff, bram18 and dsp"


def to_toml(board: Board) -> str:
    c = board.capacity
    finn_name = f"finn_name = {json.dumps(board.finn_name, ensure_ascii=False)}\n" if board.finn_name else ""
    return (
        f"name = {json.dumps(board.name)}\ntitle = {json.dumps(board.title, ensure_ascii=False)}\n"
        f"fpga_part = {json.dumps(board.fpga_part)}\nfamily = {json.dumps(board.family)}\n"
        f"clock_mhz = {board.clock_mhz!r}\nhost_port_bits = {board.host_port_bits}\n{finn_name}"
        f"[capacity]\nlut = {c.lut}\nff = {c.ff}\nbram18 = {c.bram18}\ndsp = {c.dsp}\n"
    )


def fault(path: Path) -> str:
    """What is said of a file, without the words that begin every error."""
    with pytest.raises(BoardFileError) as caught:
        read_board(path)
    said = str(caught.value)
    assert isinstance(caught.value, BoardError)
    assert said.startswith(f"board file {path}: ")
    assert said.isprintable()  # one line, whatever the file holds
    return said.removeprefix(f"board file {path}: ")


def fault_of(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "board.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return fault(path)


def test_a_file_is_a_board(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD)
    assert get_board(str(path)) == Board(
        name="my-board",
        title="My board",
        fpga_part="xczu3eg-sbva484-1-e",
        family="zynq-ultrascale+",
        capacity=Resources(70_560, 141_120, 432, 360),
        clock_mhz=187.5,
        host_port_bits=128,
        finn_name="Ultra96",
    )


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_the_known_boards_are_what_a_file_may_say(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(to_toml(board))
    assert read_board(path) == board


names = st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9}){0,3}", fullmatch=True)
lines = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=MAX_TEXT)
counts = st.integers(1, 10**7)
some_boards = st.one_of(
    st.builds(
        Board,
        name=names,
        title=lines,
        fpga_part=st.sampled_from(parts),
        family=st.just(family),
        capacity=st.builds(Resources, counts, counts, counts, st.integers(0, 10**7)),
        clock_mhz=st.floats(10, 400),
        host_port_bits=st.sampled_from(_FAMILIES[family].host_port_bits),
        finn_name=st.none() | lines,
    )
    for family, parts in (
        ("zynq-7000", ["xc7z010clg225-1", "xc7z014sclg484-3", "xc7z045ffg900-2", "xa7z020clg484-1Q", "xc7z020iclg400-1L"]),
        ("zynq-ultrascale+", ["xczu9eg-ffvb1156-2-e", "xczu28dr-ffvg1517-2-e", "xck24-ubva530-2LV-c", "xazu3eg-sfvc784-1-i"]),
    )
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(some_boards)
def test_round_trip(tmp_path: Path, board: Board) -> None:
    path = tmp_path / "board.toml"
    path.write_text(to_toml(board))
    assert read_board(path) == board


def test_finn_name_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace('finn_name = "Ultra96"\n', ""))
    assert read_board(path).finn_name is None


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        # unknown keys, before the missing ones they were meant to be
        ("clock_mhz = 187.5", "clock = 100", f"unknown key 'clock' = 100; did you mean 'clock_mhz'? {BOARD_KEYS}"),
        ('title = "My board"', 'title = "x"\ntitel = "y"', f"unknown key 'titel' = 'y'; did you mean 'title'? {BOARD_KEYS}"),
        (
            "bram18 = 432",
            "bram36 = 216",
            "unknown key 'capacity.bram36' = 216; did you mean 'bram18'? There are lut, ff, bram18, dsp",
        ),
        # missing keys
        ("clock_mhz = 187.5", "", f"clock_mhz is missing; it must be {A_CLOCK}"),
        ('name = "my-board"', "", f"name is missing; it must be {A_NAME}"),
        ("dsp = 360", "", "capacity.dsp is missing; it must be a whole number from 0 to 10,000,000"),
        ("bram18 = 432", "", f"capacity.bram18 is missing; it must be {A_BRAM_COUNT}"),
        # wrong types
        ("clock_mhz = 187.5", 'clock_mhz = "100"', f"clock_mhz is '100'; it must be {A_CLOCK}"),
        ("clock_mhz = 187.5", "clock_mhz = true", f"clock_mhz is True; it must be {A_CLOCK}"),
        ("lut = 70_560", "lut = 70_560.0", f"capacity.lut is 70560.0; it must be {A_COUNT}"),
        ("ff = 141_120", "ff = true", f"capacity.ff is True; it must be {A_COUNT}"),
        ("host_port_bits = 128", "host_port_bits = 128.0", f"host_port_bits is 128.0; it must be {A_PORT}"),
        ('title = "My board"', "title = 7", f"title is 7; it must be {A_LINE}"),
        ('title = "My board"', "title = 1979-05-27", f"title is datetime.date(1979, 5, 27); it must be {A_LINE}"),
        ('name = "my-board"', 'name = ["my-board"]', f"name is ['my-board']; it must be {A_NAME}"),
        ("finn_name", "finn_name = 1 #", f"finn_name is 1; it must be {A_FINN_NAME}"),
        # values out of range
        ("clock_mhz = 187.5", "clock_mhz = 9.99", f"clock_mhz is 9.99; it must be {A_CLOCK}"),
        ("clock_mhz = 187.5", "clock_mhz = 100_000_000", f"clock_mhz is 100000000; it must be {A_CLOCK}"),
        ("clock_mhz = 187.5", "clock_mhz = nan", f"clock_mhz is nan; it must be {A_CLOCK}"),
        ("clock_mhz = 187.5", "clock_mhz = inf", f"clock_mhz is inf; it must be {A_CLOCK}"),
        ("lut = 70_560", "lut = 0", f"capacity.lut is 0; it must be {A_COUNT}"),
        ("dsp = 360", "dsp = -1", "capacity.dsp is -1; it must be a whole number from 0 to 10,000,000"),
        ("ff = 141_120", "ff = 10_000_001", f"capacity.ff is 10000001; it must be {A_COUNT}"),
        ("lut = 70_560", f"lut = 0x{'f' * 9999}", f"capacity.lut is a number of thousands of digits; it must be {A_COUNT}"),
        ("host_port_bits = 128", "host_port_bits = 256", f"host_port_bits is 256; it must be {A_WIDE_PORT}"),
        ('name = "my-board"', 'name = "My Board"', f"name is 'My Board'; it must be {A_NAME}"),
        ('name = "my-board"', 'name = "-"', f"name is '-'; it must be {A_NAME}"),
        ('name = "my-board"', 'name = "../a"', f"name is '../a'; it must be {A_NAME}"),
        ('name = "my-board"', 'name = "a\\n"', f"name is 'a\\n'; it must be {A_NAME}"),
        ('title = "My board"', 'title = ""', f"title is ''; it must be {A_LINE}"),
        ('title = "My board"', 'title = "a\\nb"', f"title is 'a\\nb'; it must be {A_LINE}"),
        ('title = "My board"', f'title = "{"x" * 70}"', f"title is '{'x' * 58}…; it must be {A_LINE}"),
        ("zynq-ultrascale+", "versal", f"family is 'versal'; it must be {A_FAMILY}"),
        ("xczu3eg-sbva484-1-e", "xc7z020clg400-1", f"fpga_part is 'xc7z020clg400-1'; it must be {A_PART}"),
        ("xczu3eg-sbva484-1-e", "XCZU3EG-SBVA484-1-E", f"fpga_part is 'XCZU3EG-SBVA484-1-E'; it must be {A_PART}"),
        ("xczu3eg-sbva484-1-e", "xczu3eg", f"fpga_part is 'xczu3eg'; it must be {A_PART}"),
    ],
)  # fmt: skip
def test_one_fault_one_line(line: str, instead: str, said: str, tmp_path: Path) -> None:
    assert GOOD.count(line) == 1
    assert fault_of(tmp_path, GOOD.replace(line, instead)) == said


def test_a_zynq_7000_has_no_port_of_128_bits(tmp_path: Path) -> None:
    content = GOOD.replace("zynq-ultrascale+", "zynq-7000").replace("xczu3eg-sbva484-1-e", "xc7z020clg400-1")
    assert fault_of(tmp_path, content) == "host_port_bits is 128; it must be 32 or 64 on a zynq-7000"


def test_capacity_must_be_a_table(tmp_path: Path) -> None:
    head, _ = GOOD.split("[capacity]")
    assert fault_of(tmp_path, head) == f"capacity is missing; it must be {A_TABLE}"
    assert fault_of(tmp_path, f"{head}capacity = 53200") == f"capacity is 53200; it must be {A_TABLE}"


def test_an_empty_file_lacks_its_first_key(tmp_path: Path) -> None:
    assert fault_of(tmp_path, "") == f"name is missing; it must be {A_NAME}"


def test_files_that_are_no_toml(tmp_path: Path) -> None:
    assert fault_of(tmp_path, 'name = "a"\nclock') == (
        "is not TOML: Expected '=' after a key in a key/value pair (at end of document)"
    )
    assert (
        fault_of(tmp_path, b"\xff\xfe") == "is not TOML: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"
    )
    assert fault_of(tmp_path, f"a = {'9' * 5000}").startswith("is not TOML: Exceeds the limit")
    assert fault_of(tmp_path, f"a = {'[' * 5000}").startswith("is not TOML: maximum recursion depth exceeded")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert fault(tmp_path / "none.toml") == "there is no such file"
    assert fault(tmp_path) == "cannot be read: Is a directory"
    assert fault(tmp_path / ("x" * 300)) == "cannot be read: File name too long"
    assert fault_of(tmp_path, "#" * (MAX_FILE_BYTES + 1)) == "is longer than 65,536 bytes; a board takes a few hundred"
    with pytest.raises(BoardFileError, match="cannot be read: embedded null byte"):
        read_board(tmp_path / "a\0b")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.touch(mode=0)
    assert fault(path) == "cannot be read: Permission denied"


toml_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), lambda inner: st.lists(inner, max_size=3)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.sampled_from([line for line in GOOD.splitlines() if "=" in line]), toml_values)
def test_any_value_is_taken_or_refused_in_one_line(tmp_path: Path, line: str, value: object) -> None:
    path = tmp_path / "board.toml"
    key = line.split(" = ")[0]
    path.write_text(GOOD.replace(line, f"{key} = {json.dumps(value)}"))  # NaN, Infinity and null are no TOML
    try:
        read_board(path)
    except BoardFileError:
        fault(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=99))
def test_any_bytes_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    fault_of(tmp_path, content)


@pytest.mark.parametrize("name", ["none.toml", "./none", "boards/pynq-z2", "/none/at/all.toml"])
def test_names_with_a_slash_or_toml_are_files(name: str) -> None:
    with pytest.raises(BoardFileError) as caught:
        get_board(name)
    assert str(caught.value) == f"board file {Path(name)}: there is no such file"


def test_a_file_may_not_take_a_known_name(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text(GOOD.replace("my-board", "zcu104"))
    with pytest.raises(BoardFileError) as caught:
        get_board(str(path))
    assert str(caught.value) == f"board file {path}: name is 'zcu104', which BOARD=zcu104 has already; take another name"


def test_every_family_has_its_facts() -> None:
    assert set(_FAMILIES) == set(get_args(Family))
    for facts in _FAMILIES.values():
        assert facts.part.fullmatch(facts.example)


def rows(heading: str) -> list[list[str]]:
    """The cells of the table in docs/boards.md whose first line begins like this."""
    table = DOC[DOC.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_doc_lists_the_boards() -> None:
    assert rows("| BOARD ") == [
        [f"`{b.name}`", f"`{b.fpga_part}`", b.family]
        + [f"{n:,}" for n in (b.capacity.lut, b.capacity.ff, b.capacity.bram18, b.capacity.dsp)]
        + [f"{b.clock_mhz:g}", str(b.host_port_bits), f"`{b.finn_name}`"]
        for b in BOARDS.values()
    ]


def test_the_doc_says_what_every_key_must_be() -> None:
    wanted = [[f"`{key}`", field.description] for key, field in BoardTable.model_fields.items()]
    wanted += [[f"`capacity.{key}`", field.description] for key, field in CapacityTable.model_fields.items()]
    assert rows("| key ") == wanted


def test_the_example_of_the_doc_is_a_board(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOC, re.DOTALL)
    path = tmp_path / "arty.toml"
    path.write_text(example)
    board = get_board(str(path))
    assert (board.name, board.title, board.finn_name) == ("arty-z7-20", "Arty Z7-20", None)
    assert board.capacity == BOARDS["pynq-z2"].capacity  # the same device
    said = fault_of(tmp_path, example.replace("clock_mhz = 100", "clock_mhz = 650"))
    assert f"bitloop: board file arty.toml: {said}" in DOC
