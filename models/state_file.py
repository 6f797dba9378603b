"""Files of tensors and plain values: written whole or not at all, read without unpickling anything."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from models.errors import WeightsError
from models.files import whole_file


def write_state(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values with `torch.save`, whole or not at all."""
    with whole_file(path) as part, part.open("wb") as file:
        torch.save(content, file)


def read_state(path: Path, what: str, remedy: str) -> dict[str, Any]:
    """Read what `write_state` wrote, on the CPU; nothing is unpickled.

    Args:
        path: of the file.
        what: it ought to be, for the error's text.
        remedy: what to do where it cannot be read, the same.

    Raises:
        WeightsError: missing or corrupt.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
            packed = next((m.filename for m in archive.infolist() if m.compress_type != zipfile.ZIP_STORED), None)
            if packed is not None:  # torch packs nothing, and what is packed may unpack to any size
                raise ValueError(f"{packed} in it is compressed")
            damaged = archive.testzip()
        if damaged is not None:
            raise WeightsError(f"{path} is damaged: the checksum of {damaged} in it is wrong; {remedy}")
        content = torch.load(path, weights_only=True, map_location="cpu")
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}, not names and values")
    except WeightsError:
        raise
    except Exception as error:  # zipfile, zlib, pickle and torch each have errors of their own
        raise unreadable(path, error, what, remedy) from error
    return content


def unreadable(path: Path, error: Exception, what: str, remedy: str) -> WeightsError:
    """The error of a file that could not be read; for `what` and `remedy` see `read_state`."""
    reason = str(error) or type(error).__name__
    return WeightsError(f"{path} cannot be read as {what} ({reason.splitlines()[0][:120]}); {remedy}")
