"""The hand-over package: a build up to where Vivado is needed, for a machine that has it."""

from __future__ import annotations

import shutil
from pathlib import Path

import hls.handover
from flow.build_directory import NODES, BuildDirectory
from flow.build_sources import SOURCES, TABLE
from flow.run_directory import write_text
from hls.handover.build import CHECKPOINT, PLAN, SEAL
from hls.handover.tools import VERSIONS

FOLDER = "handover"
COMMAND = "./build.sh"
_SCRIPT = """#!/bin/sh
# Builds the accelerator on a machine that has Vivado; goes on where it stopped. README.md says what it needs.
cd "$(dirname "$0")" || exit 2
exec "${PYTHON:-python3}" -m handover "$@"
"""


def write_handover(directory: BuildDirectory) -> Path:
    """Write the hand-over package of a build; one that is there is replaced.

    It holds the plan, the checkpoint, the program that runs FINN's steps, and the sources to read. No file in it names a
    path of this machine.

    Returns:
        Its folder.
    """
    folder, part = directory / FOLDER, directory / f".{FOLDER}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        for name in (PLAN, CHECKPOINT, SEAL, NODES, TABLE, "folding.json"):
            if (directory / name).exists():
                shutil.copyfile(directory / name, part / name)
        shutil.copytree(directory / SOURCES, part / SOURCES)
        program = Path(hls.handover.__file__).parent
        shutil.copytree(program, part / "handover", ignore=shutil.ignore_patterns("__pycache__"))
        write_text(part / "README.md", _readme(directory))
        write_text(part / "build.sh", _SCRIPT)
        (part / "build.sh").chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


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
- FINN's own sources for HLS and the boards' files, once: `finn deps update`, or `FINN_DEPS=/path/to/them`.

## Afterwards

`results/` holds bitfile, hardware description, driver settings and reports. Copy it to `build/{plan.name}/results/` where
this folder was made, and run the same `make bitstream` there again: it checks it, reads the reports and makes the
deployment package.

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
