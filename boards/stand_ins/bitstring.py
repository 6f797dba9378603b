"""In place of bitstring: the one class that finn_plus_driver.packing uses, with what it uses of it.

The driver packs INT8 and UINT8 without it; other types go through here, bit for bit as through bitstring
(`tests/test_boards_driver_bundle.py`).
"""

from __future__ import annotations

import struct


class BitArray:
    """A string of bits, made of zeros (`length`) or of one number.

    Args:
        length: bits; 32 or 64 for `float`.
        int: a number in two's complement.
        uint: a number of 0 or more.
        float: a number in IEEE format, most significant byte first.

    Raises:
        ValueError: the number does not fit.
    """

    def __init__(self, length: int, int: int | None = None, uint: int | None = None, float: float | None = None) -> None:
        self.len = length
        if int is not None:
            if not -(1 << length) // 2 <= int < (1 << length) - (1 << length) // 2:
                raise ValueError(f"{int} does not fit into {length} bits with a sign")
            self._value = int % (1 << length)
        elif uint is not None:
            if not 0 <= uint < 1 << length:
                raise ValueError(f"{uint} does not fit into {length} bits")
            self._value = uint
        elif float is not None:
            if length not in (32, 64):
                raise ValueError(f"a float has 32 or 64 bits, not {length}")
            self._value = _big_endian(struct.pack(">f" if length == 32 else ">d", float))
        else:
            self._value = 0

    def append(self, other: BitArray) -> None:
        """Put other bits behind these."""
        self._value = (self._value << other.len) | other._value
        self.len += other.len

    def prepend(self, other: BitArray) -> None:
        """Put other bits before these."""
        self._value |= other._value << self.len
        self.len += other.len

    @property
    def hex(self) -> str:
        """The bits as hexadecimal digits.

        Raises:
            ValueError: they are no multiple of four.
        """
        if self.len % 4:
            raise ValueError(f"{self.len} bits are no whole hexadecimal digits")
        return f"{self._value:0{self.len // 4}x}" if self.len else ""


def _big_endian(raw: bytes) -> int:
    return int.from_bytes(raw, "big")
