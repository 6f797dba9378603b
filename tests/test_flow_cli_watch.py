"""The commands that show what there is, with Netron, Optuna's dashboard and TensorBoard as they are installed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

import pytest
from optuna.study import StudyDirection

from flow import cli
from flow.errors import RunDirectoryError
from flow.store import TrialStore
from flow.watch import graph
from flow.watch.dashboard import address_of, dashboard_server
from flow.watch.scalars import FOLDER, Scalars
from flow.watch.trials_file import open_storage, read_trials
from hls.handover.build import CHECKPOINT
from tests.flow_fakes import no_room_beyond
from tests.made_watched_run import BOARD, made_watched_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_watched_run(tmp_path_factory.mktemp("runs") / "tfc-pynq-z2")


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(webbrowser, "open", lambda _: pytest.fail("no browser was asked for"))
    return Path(shutil.copytree(made, tmp_path / "run"))


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """What a command says: on stdout, or where it fails its line on stderr."""
    assert cli.main([str(a) for a in arguments]) == code
    caught = capsys.readouterr()
    if code:
        assert caught.err.startswith("bitloop: ")
        assert caught.err.count("\n") == 1
    return caught.err if code else caught.out


def test_report_writes_a_page_into_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "report", run) == f"read {run / 'report.html'}\n"
    assert "<title>tfc on PYNQ-Z2, digits" in (run / "report.html").read_text(encoding="utf-8")
    assert not Path("measurements.db").exists()  # looking makes none


def test_report_writes_elsewhere(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "report", run, "--out", tmp_path / "there.html")
    assert (tmp_path / "there.html").stat().st_size > 1e6
    assert not (run / "report.html").exists()
    assert "is a directory; name a file in it" in said(capsys, "report", run, "--out", tmp_path, code=2)


def test_show_and_compare_print_tables(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "show", run)
    assert "tfc on PYNQ-Z2, digits" in text
    assert "The best policy, layer by layer" in text
    other = shutil.copytree(run, tmp_path / "other")
    assert "What differs" not in said(capsys, "compare", run, other)
    identity = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps({**identity, "SEED": 9}))
    assert "What differs: begun with" in said(capsys, "compare", run, other)
    assert "two runs or more" in said(capsys, "compare", run, code=2)


@pytest.mark.parametrize("command", ["report", "show", "dashboard", "graph"])
def test_what_is_no_run_is_one_line(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "make search" in said(capsys, command, tmp_path / "nowhere", code=2)
    assert not (tmp_path / "nowhere").exists()


def get(url: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=30) as answer:
        return bytes(answer.read())


def test_netron_shows_the_file_on_loopback(tmp_path: Path) -> None:
    pytest.importorskip("netron")
    file = tmp_path / "model.onnx"
    file.write_bytes(b"a network")
    address = graph.serve(file, 0, browse=False)
    try:
        assert address.startswith("http://127.0.0.1:")
        assert b"netron" in get(address).lower()
        assert get(f"{address}/data/model.onnx") == b"a network"
    finally:
        graph.stop()


def test_graph_ends_with_netron(run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("netron")
    (run / "model.onnx").write_bytes(b"a network")
    monkeypatch.setattr(graph, "wait", graph.stop)  # as Ctrl-C would have it
    assert f"{run / 'model.onnx'} is at http://127.0.0.1:" in said(capsys, "graph", run, "--no-browser")


def test_the_graph_of_a_build(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunDirectoryError, match="make bitstream RUN="):
        graph.graph_file(run, finn=True, build=tmp_path)
    (tmp_path / CHECKPOINT).touch()
    assert graph.graph_file(run, finn=True, build=tmp_path) == tmp_path / CHECKPOINT
    (run / "model.onnx").touch()
    assert graph.graph_file(run, finn=False, build=None) == run / "model.onnx"
    built = Path("build") / "run"
    built.mkdir(parents=True)
    (built / CHECKPOINT).touch()
    assert graph.graph_file(run, finn=True, build=None) == built / CHECKPOINT
    assert "goes with --finn" in said(capsys, "graph", run, "--out", tmp_path, code=2)


@pytest.mark.parametrize(("command", "module"), [("graph", "netron"), ("dashboard", "optuna_dashboard")])
def test_what_is_not_installed_is_named(
    command: str, module: str, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "model.onnx").touch()
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'bitloop[watch]'" in said(capsys, command, run, "--no-browser", code=2)


def test_the_dashboard_shows_the_trials_and_cannot_change_them(run: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    before = (run / "trials.db").read_bytes()
    with dashboard_server(run, 0) as server:
        assert server.server_address[0] == "127.0.0.1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = address_of(server)
            assert b"<html" in get(address).lower()
            studies = json.loads(get(address.replace("/dashboard", "/api/studies")))["study_summaries"]
            assert [s["study_name"] for s in studies] == ["ddpg"]
            with pytest.raises(urllib.error.HTTPError):
                get(address.replace("/dashboard", f"/api/studies/{studies[0]['study_id']}"), "DELETE")
        finally:
            server.shutdown()
            thread.join()
    assert (run / "trials.db").read_bytes() == before


def test_a_port_that_is_taken_is_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("optuna_dashboard")
    with dashboard_server(run, 0) as server:
        assert "Address already in use" in said(
            capsys, "dashboard", run, "--no-browser", "--port", server.server_port, code=2
        )  # fmt: skip


def scalars_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads from a folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard_has_every_trial_once_also_after_an_interruption(run: Path) -> None:
    pytest.importorskip("tensorboard")
    (trials,) = read_trials(run / "trials.db").values()
    first = Scalars(run, BOARD.capacity)
    for n in (1, 2, 3):
        first.on_trial(trials[:n])
    second = Scalars(run, BOARD.capacity)
    for n in range(4, len(trials) + 1):
        second.on_trial(trials[:n])
    found = scalars_in(run / FOLDER)
    numbers = [t.number for t in trials]
    assert [step for step, _ in found["trial/accuracy"]] == numbers
    assert [v for _, v in found["trial/accuracy"]] == pytest.approx([t.accuracy for t in trials])
    best = [max(t.accuracy for t in trials[: i + 1]) for i in range(len(trials))]
    assert [v for _, v in found["trial/best accuracy so far"]] == pytest.approx(best)
    assert [v for _, v in found["trial/fps, estimated"]] == pytest.approx([t.estimate.fps for t in trials], rel=1e-6)


def test_a_search_goes_on_without_tensorboard(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trials,) = read_trials(run / "trials.db").values()
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    scalars = Scalars(run, BOARD.capacity)
    scalars.on_trial(trials)
    assert not (run / FOLDER).exists()


def test_a_search_goes_on_where_tensorboards_files_cannot_be_written(run: Path) -> None:
    pytest.importorskip("tensorboard")
    (trials,) = read_trials(run / "trials.db").values()
    (run / FOLDER).write_text("a file where the folder would be")
    scalars = Scalars(run, BOARD.capacity)
    scalars.on_trial(trials[:1])
    scalars.on_trial(trials)
    assert (run / FOLDER).is_file()


def test_a_search_goes_on_where_the_disk_is_full_for_tensorboard(run: Path) -> None:
    pytest.importorskip("tensorboard")
    (trials,) = read_trials(run / "trials.db").values()
    scalars = Scalars(run, BOARD.capacity)
    with no_room_beyond(1000):
        for n in range(1, len(trials) + 1):
            scalars.on_trial(trials[:n])
        assert [p.stat().st_size <= 1000 for p in (run / FOLDER).iterdir()] == [True]


KILLED_WHILE_IT_WROTE = """
import os, signal, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA cache_size=1")  # so that the file itself is written before the end
db.execute("BEGIN")
for i in range(2000):
    db.execute("UPDATE trial_user_attributes SET value_json = value_json || '          '")
    if os.path.getsize(sys.argv[1] + "-journal") > 20000:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_search_that_was_killed_while_it_wrote_can_be_looked_at(run: Path) -> None:
    file = run / "trials.db"
    before = read_trials(file)
    done = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_WROTE, str(file)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (run / "trials.db-journal").stat().st_size > 0
    assert read_trials(file) == before


def test_looking_writes_nothing_whatever_is_asked(run: Path) -> None:
    storage = open_storage(run / "trials.db")
    with pytest.raises(Exception, match=r"(?i)commit|readonly"):
        storage.create_new_study([StudyDirection.MAXIMIZE], "another")
    assert list(read_trials(run / "trials.db")) == ["ddpg"]


def test_a_search_that_is_writing_can_be_looked_at(run: Path) -> None:
    (trials,) = read_trials(run / "trials.db").values()
    writing = TrialStore(run / "trials.db", "ddpg")
    assert len(read_trials(run / "trials.db")["ddpg"]) == len(trials)
    writing.add(trials[0])
    assert len(read_trials(run / "trials.db")["ddpg"]) == len(trials) + 1
