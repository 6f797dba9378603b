"""A user's own board, from a TOML file: the keys of `Board`, checked one by one."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from boards.board import Board, Family, Resources
from boards.errors import BoardFileError

MAX_FILE_BYTES = 65_536  # a board takes 400
MAX_COUNT = 10_000_000  # more LUTs than any FPGA has
MIN_CLOCK_MHZ, MAX_CLOCK_MHZ = 10, 400  # what a FINN accelerator can be clocked at; outside, the unit is likely another
MAX_TEXT = 60  # characters of a title, and of a value that is quoted in an error
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True)


@dataclass(frozen=True)
class _FamilyFacts:
    part: re.Pattern[str]
    example: str
    host_port_bits: tuple[int, ...]


_FAMILIES: Mapping[Family, _FamilyFacts] = {
    # AMD DS190 and DS891, ordering information; widths of the S_AXI_HP ports from UG585 and UG1085
    "zynq-7000": _FamilyFacts(re.compile(r"x[caq]7z\d{3}s?i?[a-z]{2,3}\d{3,4}-\d[A-Z]*"), "xc7z020clg400-1", (32, 64)),
    "zynq-ultrascale+": _FamilyFacts(
        re.compile(r"x[caq](zu\d{1,2}[a-z]{2,3}|k\d{2})-[a-z]{4}\d{3,4}-\d[A-Z]*-[a-z]"), "xczu3eg-sbva484-1-e", (32, 64, 128)
    ),
}


def _one_line(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text:
        raise ValueError("not a line of text")
    return text


Line = Annotated[str, AfterValidator(_one_line), Field(max_length=MAX_TEXT)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
A_COUNT = f"a whole number from 1 to {MAX_COUNT:,}"


class CapacityTable(BaseModel):
    """The table `capacity` of a board file; the descriptions end the sentence "it must be"."""

    model_config = STRICT

    lut: Count = Field(description=A_COUNT)
    ff: Count = Field(description=A_COUNT)
    bram18: Count = Field(description=f"{A_COUNT}: block RAMs of 18 kbit, two for each of 36 kbit")
    dsp: int = Field(ge=0, le=MAX_COUNT, description=f"a whole number from 0 to {MAX_COUNT:,}")


class BoardTable(BaseModel):
    """A whole board file; the descriptions end the sentence "it must be"."""

    model_config = STRICT

    name: str = Field(
        pattern="^[a-z0-9]+(-[a-z0-9]+)*$",
        max_length=40,
        description="lower-case letters and digits with single hyphens between, such as my-board, at most 40 characters",
    )
    title: Line = Field(description=f"one line of text, at most {MAX_TEXT} characters")
    fpga_part: Line = Field(description="a part of that family as Vivado names it, such as xc7z020clg400-1")
    family: Family = Field(description=" or ".join(_FAMILIES))
    clock_mhz: float = Field(
        ge=MIN_CLOCK_MHZ, le=MAX_CLOCK_MHZ, description=f"a number from {MIN_CLOCK_MHZ} to {MAX_CLOCK_MHZ}"
    )
    host_port_bits: int = Field(description="32, 64 or, on a zynq-ultrascale+, 128")
    finn_name: Line | None = Field(None, description="FINN's name of the board, such as Pynq-Z2; leave it out if FINN has none")
    capacity: CapacityTable = Field(description="a table of lut, ff, bram18 and dsp")


def read_board(path: Path) -> Board:
    """The board that a TOML file describes; docs/boards.md has an example.

    Raises:
        BoardFileError: the file cannot be read, is no TOML, has an unknown key, lacks one, or has a value of another
            type or range than allowed. One line: the file, the key, its value and what is allowed, for the first fault.
    """
    try:
        table = BoardTable.model_validate(_parse(path))
    except ValidationError as error:
        raise _fault(path, _describe(error)) from error
    family = _FAMILIES[table.family]
    if not family.part.fullmatch(table.fpga_part):
        allowed = f"a {table.family} part as Vivado names it, such as {family.example}"
        raise _fault(path, _wrong("fpga_part", table.fpga_part, allowed))
    if table.host_port_bits not in family.host_port_bits:
        *others, last = family.host_port_bits
        allowed = f"{', '.join(map(str, others))} or {last} on a {table.family}"
        raise _fault(path, _wrong("host_port_bits", table.host_port_bits, allowed))
    values = table.model_dump()
    return Board(**values | {"capacity": Resources(**values["capacity"])})


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise _fault(path, "there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _fault(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise _fault(path, f"is longer than {MAX_FILE_BYTES:,} bytes; a board takes a few hundred")
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, a number or a nesting beyond Python's limits
        raise _fault(path, f"is not TOML: {error}") from error


def _describe(error: ValidationError) -> str:
    """The first fault in words; an unknown key goes first, as it is likely what a missing one was meant to be."""
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    *outer, last = (str(part) for part in first["loc"])
    fields = (CapacityTable if outer else BoardTable).model_fields
    key = ".".join((*outer, last))
    if first["type"] == "extra_forbidden":
        near = get_close_matches(last, fields, 1, 0.0)
        hint = f"did you mean {near[0]!r}? There are {', '.join(fields)}"
        return f"unknown key {_show(key)} = {_show(first['input'])}; {hint}"
    allowed = fields[last].description or ""
    return f"{key} is missing; it must be {allowed}" if first["type"] == "missing" else _wrong(key, first["input"], allowed)


def _wrong(key: str, value: object, allowed: str) -> str:
    return f"{key} is {_show(value)}; it must be {allowed}"


def _show(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a hexadecimal number beyond Python's limit of decimal digits
        return "a number of thousands of digits"
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _fault(path: Path, text: str) -> BoardFileError:
    return BoardFileError(f"board file {path}: {text}")
