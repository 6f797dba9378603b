"""The hand-over package: a build up to where Vivado is needed, for a machine that has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import hls.handover
from flow.build_directory import NODES, BuildDirectory
from flow.build_sources import SOURCES, TABLE
from flow.run_directory import write_text
from hls.handover.build import CHECKPOINT, PLAN, RESULTS, SEAL
from hls.handover.progress import WrongPackageError, read_object
from hls.handover.tools import VERSIONS
from hls.reports import read_results

FOLDER = "handover"
COMMAND = "./build.sh"
_SCRIPT = """#!/bin/sh
# Builds the accelerator on a machine that has Vivado; goes on where it stopped. README.md says what it needs.
cd "$(dirname "$0")" || exit 2
PYTHON="${PYTHON:-python3}"
if ! command -v "$PYTHON" >/dev/null; then
    echo "handover: $PYTHON is not there; PYTHON=/path/to/python3.11 ./build.sh" >&2
    exit 3
fi
if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
    echo "handover: $PYTHON is $("$PYTHON" --version 2>&1), FINN+ needs 3.11; PYTHON=/path/to/python3.11 ./build.sh" >&2
    exit 3
fi
exec "$PYTHON" -m handover "$@"
"""


def write_handover(directory: BuildDirectory) -> Path:
    """Write the hand-over package of a build; of one that is there only what is written here is replaced.

    What `build.sh` leaves in it where it runs in place (`work/`, `results/`, `progress.json`) are hours of work, and stay.

    It holds the plan, the checkpoint, the program that runs FINN's steps, and the sources to read. No file in it names a
    path of this machine.

    Returns:
        Its folder.
    """
    folder, part = directory / FOLDER, directory / f".{FOLDER}.part"
    copied = (PLAN, CHECKPOINT, SEAL, NODES, TABLE, "folding.json")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        for name in copied:
            if (directory / name).exists():
                shutil.copyfile(directory / name, part / name)
        shutil.copytree(directory / SOURCES, part / SOURCES)
        program = Path(hls.handover.__file__).parent
        shutil.copytree(program, part / "handover", ignore=shutil.ignore_patterns("__pycache__"))
        write_text(part / "README.md", _readme(directory))
        write_text(part / "build.sh", _SCRIPT)
        (part / "build.sh").chmod(0o755)
        folder.mkdir(exist_ok=True)
        for name in copied:
            if not (part / name).exists():
                (folder / name).unlink(missing_ok=True)
        for new in sorted(part.iterdir()):
            if new.is_dir():
                shutil.rmtree(folder / new.name, ignore_errors=True)
            new.replace(folder / new.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def take_over_results(directory: BuildDirectory) -> bool:
    """Take results that `build.sh` left in the hand-over package where it lies, if they are of this plan.

    Returns:
        Whether there were any; the package keeps its own.

    Raises:
        ReportError: they are damaged, or stand-in tools made them.
    """
    there, part = directory / FOLDER / RESULTS, directory / f".{RESULTS}.part"
    try:
        if read_object(there / "results.json").get("plan") != directory.plan.digest:
            return False
    except WrongPackageError:
        return False
    read_results(there, directory.plan.digest)
    shutil.rmtree(part, ignore_errors=True)
    try:
        shutil.copytree(there, part)
        part.replace(directory / RESULTS)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _readme(directory: BuildDirectory) -> str:
    plan = directory.plan
    steps = "\n".join(f"{i}. `{name}`" for i, name in enumerate((*plan.steps_without_tools, *plan.steps_with_tools), 1))
    finn = plan.versions["finn-plus"]
    return f"""# {plan.name} for a {plan.board.name}: what is left to build

This folder holds an accelerator up to the point where Vivado is needed. On a machine with Vivado, one command makes the
bitfile of it:

    {COMMAND}

It may lie anywhere, as long as its path has no spaces or brackets. Interrupted, the same command goes on where it stopped.
`./build.sh --without-tools` ends before the first step that needs Vivado.

## What that machine needs

- Vivado and Vitis HLS, {" or ".join(VERSIONS)}: `source /…/Vivado/{VERSIONS[0]}/settings64.sh`. They are looked for in
  `FINN_TOOL_DIR_OVERRIDE` (and nowhere else where that is set), on `PATH`, and in `XILINX_VIVADO`, `XILINX_HLS` and
  `XILINX_VITIS`.
- Python 3.11 with `pip install finn-plus=={finn} psutil` (`PYTHON=/path/to/python {COMMAND}` takes another than `python3`).
- FINN's own sources for HLS and the boards' files, once: `finn deps update --accept-defaults -d /path/to/deps`, and then
  `FINN_DEPS=/path/to/deps {COMMAND}`. Without `FINN_DEPS` they are looked for in finn-plus' own folder, `finn/finn_deps`.

## Afterwards

`results/` holds bitfile, hardware description, driver settings and reports. Copy it to `build/{plan.name}/results/` where
this folder was made, and run the same `make bitstream` there again: it checks it, reads the reports and makes the
deployment package. If this folder still lies where it was made, nothing needs to be copied.

## The steps

{steps}

## What is in here

| file | what it is |
|---|---|
| `plan.json` | board, clock, layers, folding and steps; digest {plan.digest} |
| `{CHECKPOINT}` | the network as FINN's hardware nodes, folded; `{SEAL}` says what it must be |
| `{TABLE}`, `{SOURCES}/` | every layer with the HLS C++ and RTL generated for it, to read; the steps make them anew |
| `handover/` | the program; `build.log` and `progress.json` appear when it runs |
"""
