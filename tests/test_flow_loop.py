"""The loop against a board that is slower than its estimate, and knows it alone; real search, build, pynq and driver."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from boards.measurement import Measurement
from boards.measurements import Measurements
from boards.package import Package
from boards.pynq_z2 import PYNQ_Z2
from boards.runner import Effort, Readiness, Runner
from flow import loop as loop_module
from flow.config import SearchSettings
from flow.errors import ConnectionLostError, MissingToolError, RunDirectoryError, SettingsError
from flow.hosts import connect
from flow.loop import Loop, Round, loop_table
from tests.board_python import board_python
from tests.test_flow_pipeline import RecordingListener, finn_once

HOST = "simulated:cycles_factor=1.4"
MIN_FPS = 500_000.0
EFFORT = Effort((1, 1000), 1)


def settings(**changed: Any) -> SearchSettings:
    return SearchSettings(
        **{
            "model": "tfc", "dataset": "digits", "data_dir": Path("nowhere"), "searcher": "random", "n_trials": 3, "seed": 4,
            "min_fps": MIN_FPS, "retrain_images": 128, "final_images": 512, "threads": 1, **changed,
        }
    )  # fmt: skip


class Board:
    """Connects to the simulated board, and loses the connection when it is told to; counts what was measured."""

    def __init__(self, state: Path) -> None:
        self.n_connected = 0
        self.drops = False
        self._state = state

    @contextmanager
    def __call__(self) -> Iterator[Runner]:
        self.n_connected += 1
        if self.drops:
            raise ConnectionLostError("the connection to the board was lost")
        with connect(HOST, PYNQ_Z2, interpreter=board_python()) as runner:
            yield runner


class Interrupted(Exception):
    pass


__all__ = ["finn_once"]


@pytest.fixture(scope="module")
def finished(
    finn_once: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Loop, Measurements, RecordingListener]]:
    """A loop that was cut off three times: without a board, behind the measurement, and behind the first round."""
    folder = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        store, board, listener = Measurements(folder / "m.db"), Board(folder), RecordingListener()

        def go_on(n_rounds: int) -> Loop:
            loop = Loop(folder / "loop", settings(), HOST, {})
            loop.run(n_rounds, board, store, EFFORT, 4, listener)
            return loop

        board.drops = True
        with pytest.raises(ConnectionLostError):
            go_on(3)
        assert store.records() == []
        board.drops = False
        with pytest.MonkeyPatch.context() as cut:

            def cut_off(*_: object) -> None:
                raise Interrupted

            cut.setattr(loop_module, "calibrate", cut_off)
            with pytest.raises(Interrupted):
                go_on(3)
        assert len(store.records()) == 1
        assert len(go_on(1).rounds) == 1
        assert len(store.records()) == 1  # what was measured before the cut was taken
        loop = go_on(3)
        n_connected = board.n_connected
        assert go_on(3).rounds == loop.rounds
        assert board.n_connected == n_connected  # nothing was left to do
        yield loop, store, listener


def test_it_ends_with_a_policy_that_holds_where_the_first_did_not(
    finished: tuple[Loop, Measurements, RecordingListener],
) -> None:
    loop, _, _ = finished
    first, last = loop.rounds[0], loop.rounds[-1]
    assert first.predicted_fps >= MIN_FPS
    assert first.found_fps < MIN_FPS
    assert not first.holds
    assert first.calibration is None
    assert last.holds
    assert last.found_fps >= MIN_FPS
    assert last.calibration is not None
    assert last.predicted_fps < last.estimated_fps / 1.4
    assert last.found_fps >= last.predicted_fps  # on the safe side
    assert loop.rounds.index(last) == 1
    assert loop.best() == last


def test_every_figure_says_that_it_is_simulated(finished: tuple[Loop, Measurements, RecordingListener]) -> None:
    loop, store, listener = finished
    text = (loop.path / "loop.md").read_text()
    assert f"the simulated PYNQ-Z2 ({HOST}), which is no board" in text
    assert text.count("| holds |") == sum(r.holds for r in loop.rounds)
    assert all(k.record.simulated for k in store.records())
    assert any("of the simulated board" in note for note in listener.notes)
    assert json.loads((loop.path / "calibration-1.json").read_text())["simulated"]
    policy = json.loads((loop.path / "round-2" / "policy.json").read_text())
    assert policy["calibration"]["simulated"]
    assert "of the simulated board" in (loop.path / "round-2" / "summary.md").read_text()
    assert not Path("calibration").exists()  # what was learned from no board is not what searches take
    console = Console(record=True, width=150)
    console.print(loop_table(loop))
    assert "does not hold" in console.export_text()


def test_float_weights_are_trained_once(finished: tuple[Loop, Measurements, RecordingListener]) -> None:
    loop, _, listener = finished
    assert sum("pretraining them" in note for note in listener.notes) == 1
    first, second = ((loop.path / f"round-{n}" / "pretrained.pt").read_bytes() for n in (1, 2))
    assert first == second


def test_another_loop_in_the_same_directory_is_refused(finished: tuple[Loop, Measurements, RecordingListener]) -> None:
    loop, _, _ = finished
    with pytest.raises(RunDirectoryError, match=r"holds a loop with MIN_FPS=500000\.0, this one has MIN_FPS=400000\.0"):
        Loop(loop.path, settings(min_fps=400_000.0), HOST, {})
    with pytest.raises(RunDirectoryError, match="HOST="):
        Loop(loop.path, settings(), "simulated", {})


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"format": 2, "loop": {}, "rounds": []}', '{"format": 1, "loop": {}, "rounds": [{}]}']
)
def test_a_state_that_cannot_be_read_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "loop.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"loop\.json cannot be read"):
        Loop(tmp_path, settings(), HOST, {})


def test_less_than_one_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="ROUNDS is 0"):
        Loop(tmp_path, settings(), HOST, {}).run(
            0, Board(tmp_path), Measurements(tmp_path / "m.db"), EFFORT, 1, RecordingListener()
        )
    (tmp_path / "file").touch()
    with pytest.raises(RunDirectoryError, match="is not a directory"):
        Loop(tmp_path / "file", settings(), HOST, {})


def test_a_board_is_reached_before_hours_of_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []
    monkeypatch.setattr(loop_module, "search", lambda *_: searched.append(1))
    board, listener = Board(tmp_path), RecordingListener()
    board.drops = True
    with pytest.raises(ConnectionLostError):
        Loop(tmp_path / "loop", settings(), HOST, {}).run(1, board, Measurements(tmp_path / "m.db"), EFFORT, 1, listener)
    assert searched == []

    @contextmanager
    def busy() -> Iterator[Any]:
        lines = [Readiness("pynq", "3.1.2"), Readiness("FPGA", "in use by process 7", "end that program first")]
        yield SimpleNamespace(host="xilinx@127.0.0.1", check=lambda: lines)

    monkeypatch.setattr(loop_module, "search", _raise_searching)
    with pytest.raises(RuntimeError, match="searching"):
        Loop(tmp_path / "loop", settings(), HOST, {}).run(1, busy, Measurements(tmp_path / "m.db"), EFFORT, 1, listener)
    assert (
        "xilinx@127.0.0.1 answers; to be done by the time it measures: FPGA: in use by process 7; end that program first"
        in listener.notes
    )


def _raise_searching(*_: object) -> None:
    raise RuntimeError("searching")


def test_what_a_hang_has_left_is_no_measurement_of_a_round(
    finished: tuple[Loop, Measurements, RecordingListener], tmp_path: Path
) -> None:
    loop, store, _ = finished
    whole = store.records()[0].record
    assert isinstance(whole, Measurement)
    package = SimpleNamespace(sha256=whole.package)
    assert loop._kept(store, cast(Package, package), EFFORT) == whole
    half = Measurements(tmp_path / "half.db")
    half.add(whole.model_copy(update={"throughput": whole.throughput[:1]}))
    assert loop._kept(half, cast(Package, package), EFFORT) is None
    assert loop._kept(store, cast(Package, package), Effort((1, 10, 1000), 1)) is None


def test_the_best_round_is_the_most_accurate_that_holds(tmp_path: Path) -> None:
    loop = Loop(tmp_path, settings(), HOST, {})
    rounds = [(0.9, False), (0.8, True), (0.85, True), (0.85, True)]
    loop.rounds = [
        Round(n + 1, f"p{n}", accuracy, None, 1.0, 1.0, 1.0, holds, "0" * 64) for n, (accuracy, holds) in enumerate(rounds)
    ]
    assert loop.best() == loop.rounds[2]
    assert "Best is round 3" in loop.document()
    loop.rounds = loop.rounds[:1]
    assert loop.best() is None
    assert "None of these policies holds" in loop.document()


def test_for_a_real_board_without_vivado_it_hands_over(
    finished: tuple[Loop, Measurements, RecordingListener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _, _ = finished
    loop = Loop(tmp_path / "loop", settings(), "xilinx@127.0.0.1", {"PATH": "/usr/bin:/bin"})
    (tmp_path / "loop").mkdir(exist_ok=True)
    (tmp_path / "loop" / "round-1").symlink_to(done.path / "round-1")  # the search is the same

    @contextmanager
    def real() -> Iterator[Any]:
        yield SimpleNamespace(simulated=False, host="xilinx@127.0.0.1", check=list)

    monkeypatch.setattr(loop_module, "search", lambda *_: None)  # all of it was done
    with pytest.raises(MissingToolError, match=r"build-1/handover"):
        loop.run(1, real, Measurements(tmp_path / "m.db"), EFFORT, 4, RecordingListener())
    assert (tmp_path / "loop" / "build-1" / "handover" / "build.sh").exists()
    assert loop.rounds == []
