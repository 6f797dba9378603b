"""The header of a Xilinx bitfile: which design it is and for which FPGA.

Behind a fixed preamble come fields of a letter, a length of two bytes and that many characters: `a` the design, `b` the
part, `c` and `d` date and time; then `e` with a length of four bytes, and the configuration itself. AMD documents the
format nowhere; PYNQ reads it the same way (pynq/pl_server/embedded_device.py, parse_bit_header).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from boards.errors import BitfileError

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
