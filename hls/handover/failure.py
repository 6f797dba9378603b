"""What a failed step comes down to: its own words, and the lines of the tools' logs that say why."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

DONE, WRONG, NO_TOOLS, FAILED, INTERRUPTED = 0, 2, 3, 4, 130
"""Exit codes; see `__main__`."""

N_LINES = 8
"""Of a log, that are shown."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def failure(error: BaseException, work: Path, since_s: float) -> dict[str, Any]:
    """A failure as JSON takes it: `text`, decisive `lines`, `logs` that were written to, `full` where the disk is full.

    Args:
        error: what a step raised.
        work: where FINN and the tools write.
        since_s: when the step began, in seconds since the epoch; logs that are older say nothing of it.
    """
    chain = _chain(error)
    full = next((e for e in chain if isinstance(e, OSError) and e.errno in _FULL), None)
    if full is not None:
        return {"text": f"{os.strerror(full.errno or 0)} ({full.filename or work})", "lines": [], "logs": [], "full": True}
    lines: list[str] = []
    for one in chain:
        for stream in (getattr(one, "stdout", None), getattr(one, "stderr", None)):  # a tool that left with an error code
            lines += decisive(str(stream or ""))
    logs = _written_since(work, since_s - 1)
    for log in logs:
        lines += decisive(log.read_text(encoding="utf-8", errors="replace"))
    text = " ".join(str(error).split()) or type(error).__name__
    shown = list(dict.fromkeys(lines))[:N_LINES]
    return {"text": text, "lines": shown, "logs": [str(p) for p in logs][:N_LINES], "full": False}


def _written_since(work: Path, since_s: float) -> list[Path]:
    """Logs, the oldest first; what cannot be looked at (Vivado leaves links that lead nowhere) is none."""
    found = []
    for path in work.rglob("*.log"):
        try:
            written_s = path.stat().st_mtime
        except OSError:
            continue
        if written_s >= since_s and path.is_file() and os.access(path, os.R_OK):
            found.append((written_s, path))
    return [path for _, path in sorted(found)]


def decisive(text: str) -> list[str]:
    """The lines of a log of Vivado's or Vitis HLS' that say what went wrong."""
    return [line.strip() for line in text.splitlines() if re.match(r"\s*(ERROR|FATAL)\b", line)]


def _chain(error: BaseException) -> list[BaseException]:
    """An error and those that led to it."""
    found: list[BaseException] = []
    here: BaseException | None = error
    while here is not None and here not in found:
        found.append(here)
        here = here.__cause__ or here.__context__
    return found
