"""A full disk, a read-only directory, a clock that jumps back: a line that says so, and nothing finished is lost.

The disk is a small one in memory, mounted for the test; where this user may not mount, the tests are skipped and those with a
limit on the size of a file (`tests.flow_fakes.no_room_beyond`) are what is left.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import boards
import flow
import hls
import models
from boards.measurements import Measurements
from flow import cli
from flow.errors import BITLOOP_ERRORS, MeasurementsError, RunDirectoryError, StoreError
from flow.run_directory import RunDirectory, write_json
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import InProcess
from models.files import read_json
from models.policy import BitPolicy
from models.state_file import read_state, write_state
from tests.flow_fakes import SimulatedEvaluator, estimate_of, no_room_beyond, policy_of
from tests.made_measurements import made_measurement

DISK_BYTES = 1 << 20
TRIAL = Trial(0, policy_of((3, 2), (4, 1), (8, None)), estimate_of(), accuracy=0.5, reward=0.5, seed=7, duration_s=1.0)


class Disk:
    """A small disk that is mounted at a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        free = shutil.disk_usage(self.path).free
        self._filler.write_bytes(bytes(max(0, free - left_bytes)))

    def free(self) -> None:
        self._filler.unlink()

    def mount(self, *options: str) -> None:
        """Mount it, or mount it otherwise; skips the test where that is not allowed."""
        command = ["mount", *options, "bitloop-test", str(self.path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("no program to mount a small disk with")
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    found = Disk(path)
    found.mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}")
    try:
        yield found
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def said(error: BaseException) -> str:
    """What the command line says of an error; it is one line and no traceback."""
    assert isinstance(error, Exception)
    text = cli._complaint(error)
    assert text is not None
    assert "\n" not in text
    return text


def add_until_full(store: TrialStore, n: int = 500) -> None:
    for number in range(len(store.trials()), n):
        store.add(replace(TRIAL, number=number))


# --- a full disk


def test_trials_finished_before_the_disk_was_full_are_kept_and_more_come_once_there_is_room(disk: Disk) -> None:
    store = TrialStore(disk.path / "trials.db", "tfc-pynq-z2")
    store.add(TRIAL)
    disk.fill(left_bytes=12_000)
    with pytest.raises(StoreError, match=r"trials\.db cannot be used .*; free some space if the disk is full"):
        add_until_full(store)
    n = len(store.trials())
    assert 1 <= n < 500
    disk.free()
    again = TrialStore(store.path, "tfc-pynq-z2")
    assert [t.number for t in again.trials()] == list(range(n))
    again.add(replace(TRIAL, number=n))
    assert len(again.trials()) == n + 1


class Proposals:
    """A searcher that proposes one policy after another."""

    def __init__(self) -> None:
        self._asked = 0

    def ask(self) -> BitPolicy:
        self._asked += 1
        return policy_of((1 + self._asked % 8, 2), (4, 1), (8, None))

    def tell(self, *_: object) -> None: ...


def searched(path: Path, n: int) -> list[tuple[int, BitPolicy, float]]:
    evaluator, store = SimulatedEvaluator(), TrialStore(path, "tiny")
    done = run_trials(Proposals(), evaluator, InProcess(evaluator), store, n, lambda _: None)  # type: ignore[arg-type]
    return [(t.number, t.policy, t.accuracy) for t in done]


def test_a_search_goes_on_behind_a_full_disk_as_if_it_had_not_been(disk: Disk, tmp_path: Path) -> None:
    path = disk.path / "trials.db"
    searched(path, 2)
    disk.fill(left_bytes=12_000)
    with pytest.raises(StoreError):
        searched(path, 500)
    n = len(TrialStore(path, "tiny").trials())
    disk.free()
    assert searched(path, n + 3) == searched(tmp_path / "whole.db", n + 3)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("policy.json", lambda path, size: write_json(path, {"policy": "x" * size})),
        ("weights.pt", lambda path, size: write_state({"weights": torch.zeros(size // 4)}, path)),
    ],
)
def test_a_full_disk_leaves_the_old_file_and_no_half_of_the_new(
    disk: Disk, name: str, write: Callable[[Path, int], None]
) -> None:
    path = disk.path / name
    write(path, 1000)
    before = path.read_bytes()
    disk.fill(left_bytes=8192)
    with pytest.raises((OSError, RuntimeError)) as caught:
        write(path, 100_000)
    assert "No space left on device" in said(caught.value)
    assert path.read_bytes() == before
    assert sorted(p.name for p in disk.path.iterdir()) == sorted(["filler", name])
    disk.free()
    write(path, 100_000)
    if name.endswith(".pt"):
        assert read_state(path, "weights", "make them anew")["weights"].shape == (25_000,)


def test_a_run_that_cannot_be_begun_on_a_full_disk_leaves_nothing(disk: Disk) -> None:
    run = RunDirectory(disk.path / "run")
    disk.fill()
    with pytest.raises(OSError, match="No space left") as caught:
        run.claim({"MODEL": "tfc"})
    assert "free some space and run the same command again" in said(caught.value)
    assert not run.identity
    disk.free()
    assert not RunDirectory(run.path).identity
    RunDirectory(run.path).claim({"MODEL": "tfc"})
    assert RunDirectory(run.path).identity == {"MODEL": "tfc"}


def _measured(i: int) -> Any:
    return made_measurement(package=f"{i:064x}")


def _measure_until_full(store: Measurements) -> None:
    for i in range(1, 2000):
        store.add(_measured(i))


def test_measurements_made_before_the_disk_was_full_are_kept(disk: Disk) -> None:
    store = Measurements(disk.path / "measurements.db")
    store.add(_measured(0))
    disk.fill(left_bytes=40_000)
    with pytest.raises(MeasurementsError, match=r"measurements\.db cannot be used .*; free some space if the disk is full"):
        _measure_until_full(store)
    n = len(store.records())
    assert n >= 1
    disk.free()
    again = Measurements(store.path)
    assert [k.record.package for k in again.records()] == [_measured(i).package for i in range(n)]  # type: ignore[union-attr]
    assert again.add(_measured(n))
    assert len(again.records()) == n + 1


def test_measurements_are_kept_where_a_file_cannot_grow(tmp_path: Path) -> None:
    """The same without a disk of its own."""
    store = Measurements(tmp_path / "measurements.db")
    store.add(_measured(0))
    with no_room_beyond(store.path.stat().st_size), pytest.raises(MeasurementsError, match="cannot be used"):
        _measure_until_full(store)
    n = len(store.records())
    assert n >= 1
    assert store.add(_measured(n))


# --- a directory that cannot be written to


@pytest.fixture
def read_only(disk: Disk, tmp_path: Path) -> Path:
    """A run with a trial and a measurement, which can be read and not written."""
    made = tmp_path / "made"  # elsewhere: what is open for writing cannot be made read-only
    RunDirectory(made).claim({"MODEL": "tfc"})
    TrialStore(made / "trials.db", "tiny").add(TRIAL)
    Measurements(made / "measurements.db").add(_measured(0))
    write_json(made / "policy.json", {"policy": {}})
    shutil.copytree(made, disk.path, dirs_exist_ok=True)
    disk.mount("-o", "remount,ro")
    return disk.path


def test_what_a_read_only_directory_holds_can_be_read(read_only: Path) -> None:
    assert RunDirectory(read_only).identity == {"MODEL": "tfc"}
    assert [k.record.package for k in Measurements(read_only / "measurements.db").records()] == [_measured(0).package]  # type: ignore[union-attr]
    assert read_json(read_only / "policy.json") == {"policy": {}}


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: RunDirectory(folder / "another"),
        lambda folder: TrialStore(folder / "trials.db", "tiny").add(replace(TRIAL, number=1)),
        lambda folder: TrialStore(folder / "another.db", "tiny"),
        lambda folder: Measurements(folder / "measurements.db").add(_measured(1)),
        lambda folder: Measurements(folder / "another.db"),
        lambda folder: write_json(folder / "policy.json", {}),
        lambda folder: write_state({}, folder / "weights.pt"),
    ],
    ids=["a run", "a trial", "a store", "a measurement", "measurements", "a policy", "weights"],
)
def test_writing_to_a_read_only_directory_is_refused_in_one_line(read_only: Path, write: Callable[[Path], object]) -> None:
    before = {p: p.read_bytes() for p in read_only.iterdir()}
    with pytest.raises((*BITLOOP_ERRORS, OSError)) as caught:
        write(read_only)
    assert str(read_only) in said(caught.value)
    assert {p: p.read_bytes() for p in read_only.iterdir()} == before


def test_a_run_where_no_folder_can_be_made_is_refused_by_its_name(read_only: Path) -> None:
    with pytest.raises(RunDirectoryError, match=r"RUN=.*/run cannot be made \(Read-only file system\)"):
        RunDirectory(read_only / "run")


# --- a clock that jumps back


def test_no_duration_is_negative_where_the_clock_is_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wall = iter(range(10**9, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(wall)))
    monkeypatch.setattr(time, "time_ns", lambda: next(wall) * 10**9)
    store = TrialStore(tmp_path / "trials.db", "tiny")
    evaluator = SimulatedEvaluator()
    done = run_trials(Proposals(), evaluator, InProcess(evaluator), store, 3, lambda _: None)  # type: ignore[arg-type]
    assert all(0 <= trial.duration_s < 60 for trial in done)
    assert [trial.number for trial in TrialStore(store.path, "tiny").trials()] == [0, 1, 2]


WALL_CLOCK = {
    "boards/card.py": "how old a file on the card is",
    "boards/simulated_board/board_time.py": "the simulated board's own clock",
    "flow/watch/scalars.py": "when a scalar was written, for TensorBoard",
    "hls/handover/build.py": "which logs were written since a step began",
}
"""Where the wall clock is read, and what for; never for how long something takes."""


def test_durations_are_taken_from_clocks_that_only_go_forward() -> None:
    found = set()
    root = Path(flow.__file__).parents[1]
    for package in (flow, hls, models, boards):
        for path in Path(package.__file__).parent.rglob("*.py"):  # type: ignore[arg-type]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
                    found |= {path.relative_to(root).as_posix()} if node.attr in ("time", "time_ns") else set()
    assert found <= set(WALL_CLOCK)
