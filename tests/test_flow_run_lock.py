"""Two processes on one run directory: the second is refused, and a killed one keeps nobody out."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flow.errors import RunDirectoryError
from flow.run_lock import locked

ROOT = Path(__file__).parents[1]
HOLDER = "import sys, time; from pathlib import Path; from flow.run_lock import locked\n" \
    "with locked(Path(sys.argv[1])): print('has it', flush=True); time.sleep(600)"  # fmt: skip


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_refused_and_told_by_whom(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with (
        pytest.raises(RunDirectoryError, match=rf"in use by process {holder.pid}; wait for it or end it"),
        locked(tmp_path / "run"),
    ):
        pytest.fail("both have it")


def test_a_killed_process_keeps_nobody_out(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with locked(tmp_path / "run"):
        pass
    assert list((tmp_path / "run").iterdir()) == []


def test_it_can_be_had_again_afterwards_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), locked(tmp_path):
        raise KeyboardInterrupt
    with locked(tmp_path):
        pass


def test_a_file_in_its_place_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(RunDirectoryError, match="is not a directory; name another one"), locked(tmp_path / "run"):
        pass


def test_a_file_system_without_locks_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    told: list[str] = []
    with locked(tmp_path, told.append):
        pass
    assert len(told) == 1
    assert "without locks" in told[0]
