"""Ctrl-C again and again, as a terminal sends it, to the search and all it started: one line, nothing lost, nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flow.store import TrialStore
from tests.test_flow_cli import QUICK, ROOT, one_line, pretrained_file, run_dir  # noqa: F401

INTERRUPTED = "interrupted; what was finished is kept, the same command goes on from there"


def interrupted(program: str, run: Path, *more: str, gap_s: float, n: int) -> list[psutil.Process]:
    """Search, press Ctrl-C so often in the second trial; what was started meanwhile, and whether it still is."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", program, "search", *QUICK, *more, "--run", str(run), "--trials", "1000000"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    started: list[psutil.Process] = []
    for line in process.stdout:
        if line.startswith("trials: 1 of 1000000"):
            started = psutil.Process(process.pid).children(recursive=True)
            for _ in range(n):
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
                time.sleep(gap_s)
            break
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert one_line(err[err.index("bitloop: ") :]) == INTERRUPTED, err  # before it Ray may say something of its own
    return started


def kept_and_gone_on_with(program: str, run: Path, *more: str) -> None:
    kept = TrialStore(run / "trials.db", "tfc-pynq-z2").trials()
    assert kept
    command = [sys.executable, "-W", "ignore", "-m", program, "search", *QUICK, *more, "--run", str(run)]
    subprocess.run([*command, "--trials", str(len(kept) + 1)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert TrialStore(run / "trials.db", "tfc-pynq-z2").trials()[: len(kept)] == kept


@pytest.mark.parametrize("gap_s", [0.0, 0.002, 0.05])
def test_ctrl_c_twice_and_more_ends_a_search_as_once_does(gap_s: float, run_dir: Path) -> None:  # noqa: F811
    interrupted("tests.flow_fakes", run_dir, gap_s=gap_s, n=8)
    kept_and_gone_on_with("tests.flow_fakes", run_dir, "--finalists", "1")


@pytest.mark.slow
@pytest.mark.parametrize("gap_s", [0.0, 0.3])
def test_ctrl_c_twice_ends_a_search_with_workers_and_them_too(gap_s: float, run_dir: Path) -> None:  # noqa: F811
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'bitloop[distributed]'")
    more = ("--searcher", "random", "--workers", "2", "--finalists", "1")
    started = interrupted("flow.cli", run_dir, *more, gap_s=gap_s, n=2)
    assert len([p for p in started if p]) >= 2  # Ray's own and the workers
    _, left = psutil.wait_procs(started, timeout=60)
    assert not left
    kept_and_gone_on_with("flow.cli", run_dir, *more)
