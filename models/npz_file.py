"""Reading npz files, those of data sets above all: sizes before content, nothing unpickled."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.arrays import KEYS, OPTIONAL_KEYS, REMEDY, Arrays, check_arrays
from models.errors import DataError

MAX_ARRAY_BYTES = 4 << 30  # of one array: CIFAR-10's largest has 154 MB


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo, key: str, path: Path) -> None:
    """Hold what an array says of itself against the room it takes, before any of it is unpacked."""
    if member.file_size > MAX_ARRAY_BYTES:
        raise DataError(f"{key} in {path} is larger than {MAX_ARRAY_BYTES:,} bytes; {REMEDY}")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{key} is an array of npy version {version}")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise DataError(
                f"{key} in {path} holds Python objects, which is also how NumPy saves images of mixed size; they are not "
                f"unpickled; save one uint8 array of images of one size, or use an image folder, whose images are resized"
            )
        n_bytes = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or file.tell() + n_bytes != member.file_size:
            raise ValueError(f"{key} says it has shape {shape}, its {member.file_size} bytes do not")


def _check_list(archive: zipfile.ZipFile, path: Path) -> None:
    """Hold the list of contents against the number of entries after it: a damaged one may hide arrays that may be missing."""
    with path.open("rb") as file:
        file.seek(-22 - len(archive.comment), os.SEEK_END)  # the end record, which zipfile has found there
        n_listed = int.from_bytes(file.read(12)[10:], "little")
    if n_listed != min(len(archive.infolist()), 0xFFFF):
        raise ValueError(f"{n_listed} arrays are said to be in it, {len(archive.infolist())} are listed")


def _load(path: Path, keys: Sequence[str]) -> Arrays:
    with zipfile.ZipFile(path) as archive:  # np.load would take other formats, too
        _check_list(archive, path)
        members = {m.filename: m for m in archive.infolist()}
        found = [key for key in keys if f"{key}.npy" in members]
        for key in found:
            _check_header(archive, members[f"{key}.npy"], key, path)
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in found}


def read_npz(path: Path) -> Arrays:
    """Read and check a data set file.

    Args:
        path: `.npz` with the arrays that `models.arrays` names; others in it are left unread.

    Raises:
        DataError: unreadable, too large, Python objects in it, or not as `check_arrays` wants them.
    """
    try:
        arrays = _load(path, (*KEYS, *OPTIONAL_KEYS))
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib, lzma, ast and numpy each have errors of their own; MemoryError, too
        raise DataError(f"{path} cannot be read as npz ({_reason(error)}); {REMEDY}") from error
    check_arrays(arrays, str(path))
    return arrays


def read_arrays(path: Path, keys: Sequence[str]) -> Arrays:
    """Arrays that bitloop has kept for itself.

    Args:
        path: `.npz`.
        keys: names of those that are read, as far as they are there; the content is for the caller to look at.

    Raises:
        OSError: the file is not there, or the system does not give it.
        ValueError: it is damaged, too large, or holds Python objects, which are not unpickled; one line.
    """
    try:
        return _load(path, keys)
    except OSError:
        raise
    except Exception as error:  # see read_npz
        raise ValueError(_reason(error)) from error


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
