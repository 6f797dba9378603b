"""An error in a user's own code, in a line."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import torch

TORCH = str(Path(torch.__file__).parent)
OURS = str(Path(__file__).parent)
MAX_CHARS = 200  # of an error's own text


def reason_of(error: BaseException) -> str:
    """What an error is and where it arose: the last line that is neither torch's nor bitloop's.

    An error in the syntax says its own line.
    """
    text = (str(error).strip().splitlines() or [""])[0][:MAX_CHARS]
    name = type(error).__name__
    said = f"{name}: {text}" if text else name
    if isinstance(error, SyntaxError):  # its own text names file and line
        return said
    frames = [(f.filename, str(f.lineno)) for f in traceback.extract_tb(error.__traceback__)]
    place = _place(frames)
    return f"{said}, {place}" if place else said


def place_of(stack: str) -> str:
    """Where a stack, as Python prints it, was last in a user's own code: "at line 12 of net.py", or nothing."""
    return _place(re.findall(r'File "(.*?)", line (\d+)', stack))


def _place(frames: list[tuple[str, str]]) -> str:
    own = [(file, line) for file, line in frames if not file.startswith((TORCH, OURS, "<"))]
    return f"at line {own[-1][1]} of {Path(own[-1][0]).name}" if own else ""
