"""Frames between memory and circuit: as finn-plus-driver packs them, and as FINN's streams have them.

A frame is rows of elements, those that go through the stream in one cycle. In memory a row is a whole number of bytes,
little-endian, the first element in its lowest bits; signed elements in two's complement, BIPOLAR's -1 as 0
(finn/util/data_packing.py: reverse_inner and reverse_endian, as the driver calls it).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def unpack(raw: Array, datatype: str, per_row: int) -> Array:
    """Elements of packed rows.

    Args:
        raw: (…, bytes) uint8.
        datatype: QONNX's name.
        per_row: elements a row.

    Returns:
        (…, per_row) int64, or float32 for FLOAT32.
    """
    bits, signed = _bits(datatype)
    if datatype == "FLOAT32":
        return np.ascontiguousarray(raw).view("<f4")[..., :per_row]
    if bits == 8:
        return raw[..., :per_row].view(np.int8 if signed else np.uint8).astype(np.int64)
    single = np.unpackbits(raw, axis=-1, bitorder="little")[..., : per_row * bits].reshape(*raw.shape[:-1], per_row, bits)
    values: Array = single.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
    if datatype == "BIPOLAR":
        return 2 * values - 1
    if signed:
        values[values >= 1 << (bits - 1)] -= 1 << bits
    return values


def pack(values: Array, datatype: str, n_bytes: int) -> Array:
    """Rows of elements, packed.

    Args:
        values: (…, per_row).
        datatype: QONNX's name.
        n_bytes: a row.

    Returns:
        (…, n_bytes) uint8.
    """
    bits, _ = _bits(datatype)
    if datatype == "FLOAT32":
        row = np.ascontiguousarray(values, "<f4").view(np.uint8)
    else:
        whole = (values.astype(np.int64) + 1) // 2 if datatype == "BIPOLAR" else values.astype(np.int64)
        single = (whole[..., None] >> np.arange(bits, dtype=np.int64)) & 1
        row = np.packbits(single.astype(np.uint8).reshape(*values.shape[:-1], -1), axis=-1, bitorder="little")
    packed = np.zeros((*row.shape[:-1], n_bytes), np.uint8)
    packed[..., : row.shape[-1]] = row
    return packed


def _bits(datatype: str) -> tuple[int, bool]:
    """Bits of an element, and whether it is signed."""
    fixed = {"BINARY": (1, False), "BIPOLAR": (1, False), "TERNARY": (2, True), "FLOAT32": (32, True)}
    if datatype in fixed:
        return fixed[datatype]
    found = re.fullmatch(r"(U?)INT(\d+)", datatype)
    if not found or not 1 <= int(found[2]) <= 63:
        raise ValueError(f"{datatype} cannot be packed; INT and UINT of 1 to 63 bits, {', '.join(fixed)} can")
    return int(found[2]), not found[1]
