"""Runs on the board, sent along with every command: starts it, and ends it with all that it began.

    python3 -I -c SUPERVISOR TIMEOUT_S GRACE_S SILENCE_S PROGRAM ARGUMENTS…

A command is ended when its time is up, when whoever asked for it is gone, and when this program is told to stop. Gone is who
ends standard input (a Ctrl-C, a dead bitloop), and who writes nothing to it for SILENCE_S (a cable that was pulled: of that
nobody tells; 0 for who need not write). So nothing is left behind that keeps the FPGA, and as it runs with the rights of what
it watches, it can end what root began. It sleeps in between: what is measured is not disturbed. Python 3.8 or later.
"""

from __future__ import annotations

import math
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
KILL_S = 2.0  # for the kernel to end what was ended by force
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def main(arguments: Sequence[str]) -> int:
    """Run a command; its exit code, 128 and more where a signal ended it, or one of the three above."""
    timeout_s, grace_s, silence_s = map(float, arguments[:3])
    program = arguments[3:]
    silence_s = silence_s or math.inf
    deadline = time.monotonic() + timeout_s
    heard_until = time.monotonic() + silence_s
    awake, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # is to wake the wait below, no more
    for number in ENDING:
        signal.signal(number, _stop)
    try:
        # a session of its own, so that whatever it starts can be found
        child = subprocess.Popen(program, stdin=subprocess.DEVNULL, start_new_session=True)
    except OSError as error:
        print(f"{program[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 standard error is the only way out of here
        return NOT_STARTED
    try:
        while child.poll() is None:
            now = time.monotonic()
            if now >= deadline:
                end(child, grace_s)
                print(MARK, file=sys.stderr)  # noqa: T201
                return TIMED_OUT
            if now >= heard_until:
                return LEFT_ALONE
            ready = select.select([awake, 0], [], [], min(deadline, heard_until) - now)[0]
            if awake in ready:
                os.read(awake, 64)
            if 0 in ready:
                if not os.read(0, 4096):
                    return LEFT_ALONE
                heard_until = time.monotonic() + silence_s
    finally:
        end(child, grace_s)
    code = child.returncode
    return code if code >= 0 else 128 - code


def end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a process and its whole group: asked first, then made to."""
    for number in ENDING:  # or who asks twice would be left with what does not end when it is asked
        signal.signal(number, signal.SIG_IGN)
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_S)):
        until = time.monotonic() + patience_s
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
    for other in ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
