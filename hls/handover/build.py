"""Runs what is left of a plan, step by step, and gathers what came out."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from . import finn_steps
from .failure import failure
from .progress import FORMAT, Progress, WrongPackageError, plan_digest, read_object, sha256, write_json
from .tools import ToolError, Tools, find_tools

PLAN, CHECKPOINT, SEAL, RESULTS, LOG = "plan.json", "checkpoint.onnx", "checkpoint.sha256", "results", "build.log"
BITFILE, HARDWARE, SETTINGS = "bitfile/finn-accel.bit", "bitfile/finn-accel.hwh", "driver/settings.json"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+,@~:-]+")  # FINN quotes no path in the shell and Tcl scripts it writes
_RESULTS = ("bitfile/*", "driver/**/*", "report/*.json", "report/*.rpt", "report/*.xml")
_LEAVES = {
    "step_out_of_context_synthesis": ("report/ooc_synth_and_timing.json",),
    "step_synthesize_bitfile": (
        BITFILE, HARDWARE, "report/post_synth_resources.json", "report/post_synth_report.xml", "report/post_route_timing.rpt",
    ),
    "step_make_driver": (SETTINGS,),
}  # fmt: skip
"""What steps leave in `work/` beside their model, without which there are no results."""

Say = Callable[[dict[str, Any]], None]


def build(
    directory: Path, without_tools: bool, environment: MutableMapping[str, str], say: Say, log: Callable[[], None]
) -> bool:
    """Run what is left of the plan in a directory.

    Args:
        directory: holds `plan.json` and `checkpoint.onnx`; `progress.json`, `work/` and at last `results/` are written there.
        without_tools: end before the first step that needs a vendor tool.
        environment: of this process, FINN's own variables included from here on.
        say: is told what happens.
        log: called before FINN gets to say anything.

    Returns:
        Whether no step failed.

    Raises:
        ToolError: a vendor tool, or something else that the steps need on this machine, is missing.
        WrongPackageError: the directory is not what its plan says.
    """
    plan = read_object(directory / PLAN)
    _check(plan, directory)
    tools = None if without_tools else _tools(directory, environment)
    steps = plan["steps_without_tools"] + ([] if without_tools else plan["steps_with_tools"])
    origin = {"plan": plan["digest"], "checkpoint": sha256(directory / CHECKPOINT), "place": str(directory)}
    work = directory / "work"

    def files(step: str) -> list[Path]:
        # work/finn holds what FINN's models name by its path
        return [work / "finn", _model(work, step), *(work / name for name in _LEAVES.get(step, ()))]

    kind = None if tools is None else {"version": tools.version, "stand_in": tools.stand_in}
    progress = Progress.of(directory / "progress.json", origin, steps, files, kind, plan["steps_with_tools"])
    if progress.again:
        say({"event": "again", "text": progress.again})
    say({"event": "plan", "steps": steps, "finished": list(progress.seconds)})
    if len(progress.seconds) < len(steps) and not _run(plan, steps, progress, directory, tools, environment, say, log):
        return False
    if tools is not None:
        missing = [name for step in steps for name in _LEAVES.get(step, ()) if not (work / name).is_file()]
        if missing:  # the next call begins with the step that should have left it
            text = f"every step is done and {', '.join(missing)} is not in {work}"
            which = {"step": steps[-1], "number": len(steps), "of": len(steps)}
            say({"event": "failed", **which, "text": text, "lines": [], "logs": [], "full": False})
            return False
        _collect(directory, plan, tools, progress)
        say({"event": "results", "path": str(directory / RESULTS), "stand_in": tools.stand_in})
    return True


def _model(work: Path, step: str) -> Path:
    """The model that a step leaves."""
    return work / "models" / f"{step}.onnx"


def _run(
    plan: dict[str, Any], steps: list[str], progress: Progress, directory: Path, tools: Tools | None,
    environment: MutableMapping[str, str], say: Say, log: Callable[[], None],
) -> bool:  # fmt: skip
    """Run the unfinished steps; False once one failed."""
    work = directory / "work"
    for folder in (work / "models", work / "finn"):
        folder.mkdir(parents=True, exist_ok=True)
    told = {
        "FINN_BUILD_DIR": str(work / "finn"),
        "FINN_SETTINGS": str(work / "no-settings.yaml"),  # else FINN reads and makes ~/.finn
        "AUTOMATIC_DEPENDENCY_UPDATES": "false",
        "XILINX_LOCAL_USER_DATA": "no",  # Vivado's runs then share no folder in the home directory
    }
    if tools is not None:
        told |= tools.environment() | {"PATH": os.pathsep.join([*tools.folders(), environment.get("PATH", "")])}
    environment.update(told)
    log()
    try:
        places = finn_steps.set_up()
    except ImportError as error:  # psutil, which finn-plus imports and does not ask pip for
        raise _not_installed(plan["versions"]["finn-plus"], f"{error.name or error} cannot be imported") from error
    environment.update({name: str(path) for name, path in places.items()})
    if tools is not None:
        _check_dependencies(places["FINN_DEPS"])
    config = finn_steps.build_config(plan, work)
    source = directory / CHECKPOINT
    for number, name in enumerate(steps, 1):
        target = _model(work, name)
        if name not in progress.seconds:
            which: dict[str, Any] = {"step": name, "number": number, "of": len(steps)}
            say({"event": "begun", **which})
            begun_s, clock_s = time.time(), time.monotonic()
            try:
                finn_steps.run_step(name, config, source, target)
            except Exception as error:
                logging.exception("%s failed", name)
                say({"event": "failed", **which, **failure(error, work, begun_s)})
                return False
            progress.finish(name, time.monotonic() - clock_s)
            say({"event": "finished", **which, "seconds": progress.seconds[name]})
        source = target
    return True


def _check(plan: dict[str, Any], directory: Path) -> None:
    """Look whether a plan can be run here.

    Raises:
        WrongPackageError: it is of another format, for another finn-plus or was changed, or the checkpoint is damaged.
        ToolError: there is no finn-plus.
    """
    if plan.get("format") != FORMAT:
        raise WrongPackageError(f"{PLAN} has format {plan.get('format')}, not {FORMAT}; make it anew with the bitloop of today")
    versions = plan.get("versions")
    wanted = versions.get("finn-plus") if isinstance(versions, dict) else None
    try:
        there = importlib.metadata.version("finn-plus")
    except importlib.metadata.PackageNotFoundError:
        raise _not_installed(str(wanted), "finn-plus is not installed") from None
    if there != wanted:
        raise WrongPackageError(f"finn-plus {there} is installed, the plan is for {wanted}; pip install finn-plus=={wanted}")
    if plan.get("digest") != plan_digest(plan):
        raise WrongPackageError(
            f"{directory / PLAN} says it is {plan.get('digest')} and is {plan_digest(plan)}: it was changed; copy the "
            "directory again, whole, or build another network or board with make bitstream"
        )
    for name in (CHECKPOINT, SEAL):
        if not (directory / name).is_file():
            raise WrongPackageError(f"there is no {directory / name}; copy the directory again, whole")
    if sealed(directory) != sha256(directory / CHECKPOINT):
        raise WrongPackageError(f"{directory / CHECKPOINT} is not what {SEAL} says; copy the directory again, whole")


def _not_installed(wanted: str, what: str) -> ToolError:
    """What to raise where Python lacks something."""
    return ToolError(
        f"{what} in {sys.executable}; {sys.executable} -m pip install finn-plus=={wanted} psutil, or "
        "PYTHON=/path/to/another/python"
    )


def sealed(directory: Path) -> str:
    """The sha256 that a checkpoint must have; empty where its file says none."""
    return "".join((directory / SEAL).read_text(encoding="utf-8").split()[:1])


def _tools(directory: Path, environment: MutableMapping[str, str]) -> Tools:
    """The vendor tools, and a place where they can work.

    Raises:
        ToolError: one is missing.
        WrongPackageError: the directory's path would break the scripts that FINN writes.
    """
    tools = find_tools(environment)
    if not _PLAIN_PATH.fullmatch(str(directory)):
        raise WrongPackageError(
            f"FINN's scripts break at the path {str(directory)!r}; move it to one without spaces or brackets"
        )
    return tools


def _check_dependencies(deps: Path) -> None:
    """Look for what FINN+ does not install with itself.

    Source: finn/interface/external_dependencies.yaml.

    Raises:
        ToolError: it is not there.
    """
    missing = [name for name in ("finn-hlslib", "board_files") if not (deps / name).is_dir()]
    if missing:
        raise ToolError(
            f"no {' and no '.join(missing)} in FINN_DEPS={deps}; run `{Path(sys.executable).with_name('finn')} deps update "
            f"--accept-defaults -d {deps}` once where there is a network, or set FINN_DEPS to a folder that has both"
        )


def _collect(directory: Path, plan: dict[str, Any], tools: Tools, progress: Progress) -> None:
    """Put what was built into `results/`, with a `results.json` that says from what and by what; whole or not at all."""
    work, results, part = directory / "work", directory / RESULTS, directory / f".{RESULTS}.part"
    shutil.rmtree(part, ignore_errors=True)
    files = {}
    for source in sorted({p for pattern in _RESULTS for p in work.glob(pattern) if p.is_file()}):
        name = source.relative_to(work)
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, part / name)
        files[name.as_posix()] = sha256(part / name)
    document = {
        "format": FORMAT, "plan": plan["digest"], "tools": tools.to_dict(), "seconds": progress.seconds, "files": files,
    }  # fmt: skip
    write_json(part / "results.json", document)
    shutil.rmtree(results, ignore_errors=True)
    part.replace(results)
