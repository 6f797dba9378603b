"""FIFO depths that a simulation found, kept beside the policy: `fifos.json`, which the next build takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flow.errors import RunDirectoryError
from flow.run_directory import write_json
from models.files import read_json

FILE = "fifos.json"
_FORMAT = 1


def read_depths(path: Path, design: str) -> dict[str, int]:
    """Node to the words of the FIFOs behind it; nothing where none were found for this design.

    Args:
        path: of the file.
        design: digest of bits, implementations and folding (`flow.build_source.BuildSource.design_digest`): depths of another
            one mean nothing here.

    Raises:
        RunDirectoryError: the file is damaged.
    """
    try:
        raw = read_json(path)
        if raw["format"] != _FORMAT:
            raise ValueError(f"it has format {raw['format']}, {_FORMAT} is read")
        depths = {str(node): int(words) for node, words in raw["depths"].items()}
        if min(depths.values(), default=1) < 1:
            raise ValueError("a depth is below 1")
        return depths if raw["design"] == design else {}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise RunDirectoryError(
            f"{path} holds no FIFO depths ({type(error).__name__}: {error}); remove it; make sim SIZE_FIFOS=1 finds them anew"
        ) from error


def write_depths(path: Path, design: str, depths: Mapping[str, int]) -> None:
    """Write depths, whole or not at all."""
    write_json(path, {"format": _FORMAT, "design": design, "depths": dict(depths)})
