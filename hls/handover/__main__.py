"""The command: `python -m handover`, for a directory that holds `plan.json` and `checkpoint.onnx`.

Exit codes: 0 all is built, 2 the directory is not what it should be, 3 something of the machine's is missing, 4 a step
failed, 130 interrupted. The same command goes on from the first unfinished step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .build import LOG, Say, build
from .failure import DONE, FAILED, INTERRUPTED, NO_TOOLS, WRONG
from .lock import alone_in, end_with_standard_input
from .progress import WrongPackageError
from .tools import ToolError

CODE_OF = {WrongPackageError: WRONG, ToolError: NO_TOOLS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the steps that a plan has left; see the module."""
    parser = argparse.ArgumentParser(prog="handover", description="Build an accelerator with FINN+ from its checkpoint.")
    parser.add_argument("--directory", type=Path, default=Path(), help="holds plan.json and checkpoint.onnx")
    parser.add_argument("--without-tools", action="store_true", help="only the steps that need no vendor tool")
    parser.add_argument("--events", action="store_true", help="say what happens in JSON, a line each")
    parser.add_argument("--locked", action="store_true", help="whoever starts this holds the directory's lock")
    parser.add_argument("--until-eof", action="store_true", help="end when standard input does")
    asked = parser.parse_args(arguments)
    directory = asked.directory.resolve()
    say = _speaker(asked.events)
    signal.signal(signal.SIGTERM, _interrupt)
    if asked.until_eof:
        end_with_standard_input()
    try:
        with contextlib.nullcontext() if asked.locked else alone_in(directory):
            built = build(directory, asked.without_tools, os.environ, say, lambda: _log_to(directory / LOG))
        return DONE if built else FAILED
    except (ToolError, WrongPackageError) as error:
        code, text = CODE_OF[type(error)], str(error)
    except KeyboardInterrupt:
        code, text = INTERRUPTED, "interrupted; what was finished is kept, the same command goes on from there"
    except Exception as error:  # a bug, or the machine: one line all the same, and the rest where all the rest is
        with contextlib.suppress(OSError):
            _log_to(directory / LOG)
        traceback.print_exc()
        said = " ".join(str(error).split())
        code, text = FAILED, f"{type(error).__name__}: {said}; where it came from is in {directory / LOG}"
    say({"event": "refused", "text": text, "code": code})
    return code


def _log_to(path: Path) -> None:
    """Send to a file whatever this process and those it starts print from here on."""
    with path.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())


def _speaker(in_json: bool) -> Say:
    """Says what happens on what is standard output now, whatever becomes of that."""
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")

    def say(event: dict[str, Any]) -> None:
        text = json.dumps(event) if in_json else sentence(event)
        if text:
            with contextlib.suppress(BrokenPipeError):  # nobody listens any more
                own.write(text + "\n")
                own.flush()

    return say


def sentence(event: dict[str, Any]) -> str:
    """An event for a person; empty where there is nothing to say."""
    match event["event"]:
        case "again":
            return str(event["text"])
        case "plan" if event["finished"]:
            return f"{len(event['finished'])} of {len(event['steps'])} steps were finished before"
        case "begun":
            return f"{event['number']} of {event['of']}: {event['step']} (what FINN says goes to build.log)"
        case "finished":
            return f"{event['number']} of {event['of']}: {event['step']} took {event['seconds']:g} s"
        case "failed":
            said = "".join(f"\n    {line}" for line in event["lines"])
            return (
                f"{event['step']} failed: {event['text']}{said}\nmend that and run the same command again; all is in build.log"
            )
        case "results":
            return f"the results are in {event['path']}; README.md says where they go"
        case "refused":
            return f"handover: {event['text']}"
    return ""


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
