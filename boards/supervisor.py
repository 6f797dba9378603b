"""Runs on the board, sent along with every command: starts it, and ends it with all that it began.

    python3 -c SUPERVISOR TIMEOUT_S PROGRAM ARGUMENTS…

A command is ended when its time is up, when whoever asked for it is gone (standard input ends: a cable, a Ctrl-C, a dead
bitloop), and when this program is told to stop. So nothing is left behind that keeps the FPGA, and as it runs with the rights
of what it watches, it can end what root began. It sleeps in between: what is measured is not disturbed. Python 3.8 or later.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

TIMED_OUT, NOT_STARTED, LEFT_ALONE = 124, 127, 125
MARK = "bitloop: the time limit ended it"
GRACE_S = 2.0  # between asking a process to end and ending it


def main(arguments: Sequence[str]) -> int:
    """Run a command; its exit code, 128 and more where a signal ended it, or one of the three above."""
    deadline = time.monotonic() + float(arguments[0])
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # is to wake the wait below, no more
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    try:
        # a session of its own, so that whatever it starts can be found
        child = subprocess.Popen(arguments[1:], stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{arguments[1]}: {error.strerror}", file=sys.stderr)  # noqa: T201 standard error is the only way out of here
        return NOT_STARTED
    try:
        while child.poll() is None:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                end(child)
                print(MARK, file=sys.stderr)  # noqa: T201
                return TIMED_OUT
            ready = select.select([awake, 0], [], [], left_s)[0]
            if awake in ready:
                os.read(awake, 64)
            if 0 in ready and not os.read(0, 4096):
                return LEFT_ALONE
    finally:
        end(child)
    code = child.returncode
    return code if code >= 0 else 128 - code


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and its whole group: asked first, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE_S
        try:
            os.killpg(child.pid, number)
            while time.monotonic() < until:
                child.poll()  # else the dead child itself keeps the group alive
                os.killpg(child.pid, 0)
                time.sleep(0.02)
        except ProcessLookupError:
            return


def was_late(code: int, errors: str) -> bool:
    """Whether a command's exit code and standard error say that its time limit ended it."""
    return code == TIMED_OUT and errors.rstrip().endswith(MARK)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
