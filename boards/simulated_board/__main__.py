"""Runs a program on a simulated board, as the board's own Python would run it.

    python boards/simulated_board STATE PROGRAM ARGUMENTS

STATE is a folder with `board.json`; PROGRAM is a Python file, such as the `on_device.py` of a package. It runs unmodified, with
the real pynq, whose active device is the simulated board.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path


def _package() -> None:
    """Make this folder known as a package; its name on the disk is not on Python's path, and its neighbours must not be."""
    here = Path(__file__).resolve().parent
    spec = importlib.util.spec_from_file_location(
        "simulated_board", here / "__init__.py", submodule_search_locations=[str(here)]
    )
    assert spec
    assert spec.loader
    sys.modules["simulated_board"] = package = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(package)
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != here]


if __name__ == "__main__":
    _package()
    launch = importlib.import_module("simulated_board.launch")
    if len(sys.argv) < 3:
        sys.exit("python boards/simulated_board STATE PROGRAM ARGUMENTS")
    launch.launch(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
