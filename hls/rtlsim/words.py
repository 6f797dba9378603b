"""Numbers of QONNX's types to the words of a stream, and back."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SPECIAL = {"BIPOLAR": 1, "BINARY": 1, "TERNARY": 2, "FLOAT32": 32}


def bits_of(datatype: str) -> int:
    """Bits of a QONNX type.

    Raises:
        ValueError: neither an integer type nor FLOAT32.
    """
    if datatype in _SPECIAL:
        return _SPECIAL[datatype]
    found = re.fullmatch(r"U?INT([1-9]\d?)", datatype)
    if not found:
        raise ValueError(f"the type {datatype!r} has no words; integers and FLOAT32 have")
    return int(found[1])


def is_signed(datatype: str) -> bool:
    """Whether the bits of a type are those of a signed integer."""
    return datatype == "TERNARY" or datatype.startswith("INT")


def to_words(values: NDArray[Any], datatype: str, lanes: int, n_words: int) -> NDArray[np.uint32]:
    """Pack numbers.

    Args:
        values: any shape; `lanes` after `lanes` make a word, the first one in its lowest bits.
        datatype: QONNX's name.
        lanes: values in a word.
        n_words: 32-bit words that each takes.

    Returns:
        (words, n_words)
    """
    bits = bits_of(datatype)
    if datatype == "FLOAT32":
        raw = np.ascontiguousarray(values, np.float32).view(np.uint32).astype(np.uint64)
    elif datatype == "BIPOLAR":
        raw = (np.asarray(values) > 0).astype(np.uint64)
    else:
        raw = np.asarray(values).astype(np.int64).astype(np.uint64)
    raw = raw.reshape(-1, lanes)
    single = ((raw[:, :, None] >> np.arange(bits, dtype=np.uint64)) & np.uint64(1)).astype(np.uint8).reshape(len(raw), -1)
    padded = np.zeros((len(raw), 32 * n_words), np.uint8)
    padded[:, : single.shape[1]] = single
    return np.packbits(padded, axis=1, bitorder="little").view("<u4")


def from_words(words: NDArray[np.uint32], datatype: str, lanes: int) -> NDArray[Any]:
    """Unpack what `to_words` packs.

    Returns:
        (words, lanes), int64, or float32 of FLOAT32.
    """
    bits = bits_of(datatype)
    single = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")[:, : lanes * bits]
    single = single.reshape(len(words), lanes, bits)
    if datatype == "FLOAT32":
        packed = np.packbits(single, axis=2, bitorder="little").reshape(len(words), lanes, 4)
        return np.ascontiguousarray(packed).view("<f4")[:, :, 0].astype(np.float32)
    found = single.astype(np.int64) @ (np.int64(1) << np.arange(bits, dtype=np.int64))
    if datatype == "BIPOLAR":
        return np.asarray(2 * found - 1)
    if is_signed(datatype):
        found = np.where(found >> (bits - 1) & 1, found - (np.int64(1) << bits), found)
    return np.asarray(found)
