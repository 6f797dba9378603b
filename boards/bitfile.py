"""The header of a Xilinx bitfile: which design it is and for which FPGA; and a bitfile for the simulated board.

Behind a fixed preamble come fields of a letter, a length of two bytes and that many characters: `a` the design, `b` the
part, `c` and `d` date and time; then `e` with a length of four bytes, and the configuration itself. AMD documents the
format nowhere; PYNQ reads it the same way (pynq/pl_server/embedded_device.py, parse_bit_header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from boards.errors import BitfileError
from boards.simulated_board.circuit import MARK

PREAMBLE = bytes.fromhex("0009 0ff0 0ff0 0ff0 0ff0 00 0001")
_TEXTS = b"abcd"


@dataclass(frozen=True)
class BitHeader:
    """What a bitfile says of itself: design, part (7 series: without speed grade), date, time, bytes of configuration."""

    design: str
    part: str
    date: str
    time: str
    n_bytes: int


def read_bit_header(path: Path) -> BitHeader:
    """The header of a bitfile.

    Raises:
        BitfileError: it is none, or its end is missing.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096)
        size = path.stat().st_size
    except OSError as error:
        raise BitfileError(f"{path} cannot be read ({error.strerror}); build again") from error
    if not start.startswith(PREAMBLE):
        raise BitfileError(f"{path} is no bitfile: it does not begin as Vivado's do; build again")
    here, texts = len(PREAMBLE), []
    try:
        for letter in _TEXTS:
            found, length = struct.unpack_from(">BH", start, here)
            text = start[here + 3 : here + 3 + length]
            if found != letter or len(text) != length:
                raise BitfileError(f"{path} is no bitfile: its header has no field {chr(letter)}; build again")
            texts.append(text.rstrip(b"\0").decode("ascii"))
            here += 3 + length
        found, n_bytes = struct.unpack_from(">BI", start, here)
    except (struct.error, UnicodeDecodeError) as error:
        raise BitfileError(f"{path} is no bitfile: its header is damaged ({error}); build again") from error
    if found != ord("e") or size != here + 5 + n_bytes:
        raise BitfileError(f"{path} has {size:,} bytes where its header says {here + 5 + n_bytes:,}; copy it again, whole")
    return BitHeader(texts[0], texts[1], texts[2], texts[3], n_bytes)


def check_part(header: BitHeader, fpga_part: str) -> None:
    """Look whether a bitfile is for a part.

    Raises:
        BitfileError: it is for another.
    """
    if not header.part or not fpga_part.removeprefix("xc").startswith(header.part.removeprefix("xc")):
        raise BitfileError(f"the bitfile is for a {header.part}, the board has a {fpga_part}; build for that board")


def write_bitfile(path: Path, design: str, fpga_part: str, configuration: bytes) -> None:
    """Write a bitfile; the same one for the same arguments, as its date is fixed.

    Args:
        path: where to.
        design: what it is called; ASCII, at most 1,000 characters.
        fpga_part: Vivado's name of the part.
        configuration: what lies behind the header.

    Raises:
        BitfileError: the design's name does not fit into a header.
    """
    if not design.isascii() or "\0" in design or len(design) > 1000:
        raise BitfileError(f"a bitfile cannot be named {design!r}; up to 1,000 ASCII characters are allowed")
    texts = (design, _part_in_header(fpga_part), "2000/01/01", "00:00:00")
    header = b"".join(
        struct.pack(">BH", letter, len(t) + 1) + t.encode("ascii") + b"\0" for letter, t in zip(_TEXTS, texts, strict=True)
    )
    path.write_bytes(PREAMBLE + header + struct.pack(">BI", ord("e"), len(configuration)) + configuration)


def simulated_configuration(circuit: bytes) -> bytes:
    """What a bitfile for the simulated board has in the place of a configuration; whole words, as in a real one."""
    whole = MARK + struct.pack(">Q", len(circuit)) + circuit
    return whole + bytes(-len(whole) % 4)


def _part_in_header(fpga_part: str) -> str:
    """A part as Vivado writes it into a header: of the 7 series without the xc and the speed grade."""
    return fpga_part.removeprefix("xc").rpartition("-")[0] if fpga_part.startswith("xc7") else fpga_part
