"""The simulated board's Python: where tests find it, and what they say where it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def board_python() -> Path:
    """`.venv-board`'s, or that of $BITLOOP_BOARD_PYTHON; the test is skipped by name where neither is there."""
    told = os.environ.get("BITLOOP_BOARD_PYTHON")
    path = Path(told) if told else Path(__file__).parents[1] / ".venv-board" / "bin" / "python"
    if not path.exists():
        pytest.skip(f"the simulated board's Python with pynq is not there ({path}); make simulated-board makes it")
    return path
