"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
