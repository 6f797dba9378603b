"""Carries a plan out in a process of its own (`hls.handover`), and tells how it gets on.

FINN writes its environment, its working directory and its standard output; none of that reaches this process. The
process gets an environment that is put together here, and its own group, so that Ctrl-C ends FINN and Vivado with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import hls.handover
from hls.errors import BuildError, MissingToolError, StepError
from hls.handover.build import CHECKPOINT, LOG, SEAL
from hls.handover.failure import NO_TOOLS
from hls.handover.lock import GRACE_S
from hls.handover.progress import sha256

_KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "LANG", "LC_ALL", "DISPLAY", "LD_LIBRARY_PATH", "LM_LICENSE_FILE",
    "XILINXD_LICENSE_FILE", "XILINX_VIVADO", "XILINX_HLS", "XILINX_VITIS", "FINN_DEPS", "FINN_TOOL_DIR_OVERRIDE",
    "NUM_DEFAULT_WORKERS",
)  # fmt: skip

OnEvent = Callable[[dict[str, Any]], None]


def seal(directory: Path) -> None:
    """Write beside a checkpoint what it must be, for the process to hold it against."""
    (directory / SEAL).write_text(f"{sha256(directory / CHECKPOINT)}  {CHECKPOINT}\n", encoding="utf-8")


def carry_out(
    directory: Path, without_tools: bool, environment: Mapping[str, str], on_event: OnEvent, lock: IO[str] | None = None
) -> None:
    """Run the steps that the plan in a directory has left.

    Args:
        directory: as `hls.handover.build.build` wants it.
        without_tools: end before the first step that needs a vendor tool.
        environment: of this process; what FINN and the tools need is taken from it.
        on_event: is told what happens, as `hls.handover.build` says it.
        lock: of the directory, where the caller holds it; the process holds it, too, for as long as it runs.

    Raises:
        MissingToolError: a vendor tool, or something else of the machine's, is missing.
        StepError: a step failed; the text has the decisive lines of the tools' logs.
        BuildError: the directory is not what its plan says.
        KeyboardInterrupt: as here; the process and all that it started are ended.
    """
    directory, root = directory.resolve(), Path(hls.handover.__file__).parents[2]
    # -P: what lies in the directory, which is the user's, stands for no module
    command = [sys.executable, "-P", "-m", "hls.handover", "--directory", str(directory), "--events", "--until-eof"]
    command += [*(["--without-tools"] if without_tools else []), *(["--locked"] if lock is not None else [])]
    told = {name: environment[name] for name in _KEPT if name in environment} | {"PYTHONPATH": str(root)}
    last: dict[str, Any] = {}
    with (
        (directory / LOG).open("ab") as log,
        subprocess.Popen(
            # it ends when this pipe does, that is also when this process is killed and can end nothing any more
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=told, cwd=directory, text=True,
            start_new_session=True, pass_fds=() if lock is None else (lock.fileno(),),
        ) as process,
    ):  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = json.loads(line)
                on_event(last)
            code = process.wait()
        except BaseException:
            _end(process)
            raise
    if code:
        raise _error(code, last, directory)


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and everything it started."""
    for number, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
            process.wait(patience_s)
        except ProcessLookupError:
            return
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: no more patience
            continue


def _error(code: int, last: Mapping[str, Any], directory: Path) -> BuildError:
    """What to raise of a process that left with an error code."""
    log = directory / LOG
    if last.get("event") == "refused":
        return (MissingToolError if code == NO_TOOLS else BuildError)(str(last["text"]))
    if last.get("event") != "failed":
        return StepError(f"the process that runs FINN ended with code {code} and without a word; its last ones are in {log}")
    where = f"step {last['number']} of {last['of']}, {last['step']}, failed"
    if last["full"]:
        return StepError(f"{where}: {last['text']}; free some space and run the same command again, it goes on with this step")
    lines = "".join(f" | {line}" for line in last["lines"])
    logs = ", ".join([str(log), *last["logs"]])
    return StepError(f"{where}: {last['text']}{lines} (all of it in {logs}); mend that and run the same command again")
