"""What watches over commands on a board, run as it is there: a program of its own, with pipes for its standard streams."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from boards import supervisor

# Leaves its number, and does not let itself be asked to end.
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("part", "w").write(str(os.getpid()))
os.rename("part", "number")
time.sleep(600)
"""
# Does what on_device.py does when it is asked to end: something first.
POLITE = """
import os, signal, time
def end(*_):
    time.sleep(1)
    open("ended", "w").close()
    os._exit(3)
signal.signal(signal.SIGTERM, end)
open("part", "w").write(str(os.getpid()))
os.rename("part", "number")
time.sleep(600)
"""


class Watched:
    """A supervisor and what it watches."""

    def __init__(self, folder: Path, program: str, timeout_s: float = 60, grace_s: float = 0.5, silence_s: float = 0) -> None:
        self.folder = folder
        limits = [str(limit) for limit in (timeout_s, grace_s, silence_s)]
        self.process = subprocess.Popen(
            [sys.executable, "-I", supervisor.__file__, *limits, sys.executable, "-c", program],
            cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    @property
    def child(self) -> psutil.Process:
        until = time.monotonic() + 30
        while not (self.folder / "number").exists():
            assert time.monotonic() < until
            time.sleep(0.02)
        return psutil.Process(int((self.folder / "number").read_text()))

    def ended(self) -> tuple[int, str]:
        """Its exit code and standard error, without ending its standard input."""
        assert self.process.stderr is not None
        code = self.process.wait(60)
        return code, self.process.stderr.read()

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stderr):
            assert stream is not None
            stream.close()
        self.process.wait(60)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[list[Watched]]:
    made: list[Watched] = []
    yield made
    for each in made:
        each.close()


def test_who_is_asked_to_end_twice_leaves_nothing_behind(tmp_path: Path, watched: list[Watched]) -> None:
    watched.append(Watched(tmp_path, STUBBORN, grace_s=2))
    child = watched[0].child
    watched[0].process.terminate()
    time.sleep(0.5)  # the first is being obeyed
    watched[0].process.terminate()
    watched[0].process.send_signal(signal.SIGHUP)
    assert watched[0].ended()[0] == 128 + signal.SIGTERM
    assert not child.is_running()


def test_who_is_asked_to_end_is_given_time_for_it(tmp_path: Path, watched: list[Watched]) -> None:
    watched.append(Watched(tmp_path, POLITE, timeout_s=2, grace_s=20))
    code, errors = watched[0].ended()
    assert (code, errors.strip()) == (supervisor.TIMED_OUT, supervisor.MARK)
    assert supervisor.was_late(code, errors)
    assert (tmp_path / "ended").exists()


def test_who_does_not_end_when_asked_is_made_to(tmp_path: Path, watched: list[Watched]) -> None:
    watched.append(Watched(tmp_path, STUBBORN, timeout_s=2))
    assert watched[0].ended()[0] == supervisor.TIMED_OUT
    assert not psutil.pid_exists(int((tmp_path / "number").read_text()))


def test_silence_ends_it_and_signs_of_life_do_not(tmp_path: Path, watched: list[Watched]) -> None:
    """As of a cable that is pulled: standard input neither ends nor says anything."""
    watched.append(Watched(tmp_path, STUBBORN, silence_s=2))
    child, stdin = watched[0].child, watched[0].process.stdin
    assert stdin is not None
    for _ in range(8):
        stdin.write("\n")
        stdin.flush()
        time.sleep(0.5)
    assert child.is_running()
    assert watched[0].ended()[0] == supervisor.LEFT_ALONE
    assert not child.is_running()


def test_who_need_not_write_may_be_silent(tmp_path: Path, watched: list[Watched]) -> None:
    watched.append(Watched(tmp_path, "import time; time.sleep(2); raise SystemExit(7)"))
    assert watched[0].ended() == (7, "")


def test_the_end_of_standard_input_ends_it(tmp_path: Path, watched: list[Watched]) -> None:
    watched.append(Watched(tmp_path, POLITE, grace_s=20))
    child, stdin = watched[0].child, watched[0].process.stdin
    assert stdin is not None
    stdin.close()
    assert watched[0].process.wait(60) == supervisor.LEFT_ALONE
    assert (tmp_path / "ended").exists()
    assert not child.is_running()
