"""Files that are written whole or not at all, and JSON that is read with one kind of error."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MAX_JSON_BYTES = 64 << 20  # a policy of a large network takes one


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to instead of `path`, beside it; takes its place when the block ends without an error.

    The content is on the disk before the name is: a crash leaves the old file or the new one. An error,
    Ctrl-C included, leaves the old one, and nothing else.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        os.close(handle)
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.chmod(0o644)  # mkstemp's own is 0o600
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def parse_json(text: str) -> Any:
    """A JSON document.

    Raises:
        ValueError: it is none, or is nested more deeply than Python follows.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path) -> Any:
    """A JSON document from a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it holds no JSON, is longer than `MAX_JSON_BYTES`, or nested more deeply than Python follows.
    """
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise ValueError(f"it is longer than {MAX_JSON_BYTES:,} bytes")
    return parse_json(content.decode("utf-8"))
