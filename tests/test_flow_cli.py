"""The command line: every error is one line on stderr, with the right exit code and nothing half-written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flow import cli, pipeline
from flow.errors import GraphError
from flow.run_directory import RunDirectory
from flow.store import TrialStore
from models.data import load_splits
from models.files import whole_file
from models.registry import get_model
from models.train import Recipe
from models.weights import pretrain, write_pretrained
from tests.flow_fakes import REPLACED, no_room_beyond, tables_without_finn

ROOT = Path(__file__).parents[1]
QUICK = ("--model", "tfc", "--dataset", "digits", "--min-fps", "100000", "--threads", "1", "--retrain-images", "128",
         "--final-images", "128")  # fmt: skip


@pytest.fixture(scope="session")
def pretrained_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Float weights of tfc on digits, so that no test here has to pretrain."""
    model = replace(get_model("tfc"), pretraining=Recipe(n_images=2000, lr=0.1))
    weights = pretrain(model, load_splits("digits", Path("nowhere"), model.input_shape).for_search(), seed=0)
    path = tmp_path_factory.mktemp("weights") / "pretrained.pt"
    write_pretrained(weights, path)
    return path


@pytest.fixture
def run_dir(tmp_path: Path, pretrained_file: Path) -> Path:
    """A run directory with float weights in it."""
    path = tmp_path / "run"
    path.mkdir()
    shutil.copy(pretrained_file, path / "pretrained.pt")
    return path


@pytest.fixture
def without_finn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, replacement in REPLACED.items():
        monkeypatch.setattr(name, replacement)


Complaint = Callable[..., str]


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Runs a command that must fail, and gives its one line without the name at its start."""

    def run(*arguments: object, code: int = 2) -> str:
        assert cli.main([str(a) for a in arguments]) == code
        return one_line(capsys.readouterr().err)

    return run


def one_line(stderr: str) -> str:
    """What was said on stderr, which must be one line of bitloop's."""
    assert stderr.startswith("bitloop: ")
    assert stderr.endswith("\n")
    assert stderr.count("\n") == 1
    return stderr.removeprefix("bitloop: ").rstrip("\n")


def leftovers(folder: Path) -> list[str]:
    """Files that are neither results nor what a test put there."""
    known = {
        "run.json", "trials.db", "policy.json", "pareto.json", "weights.pt", "model.onnx", "golden.npz", "summary.md",
        "pretrained.pt", "tensorboard",
    }  # fmt: skip
    # the checkpoint of the final retraining is there until all is written
    return [p.name for p in folder.iterdir() if p.name not in known and not re.fullmatch(r"retraining-[0-9a-f]+\.pt", p.name)]


# --- usage and settings ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing command; see bitloop --help"),
        (("serach",), "No such command 'serach'"),
        (("search", "--trails", "3"), "No such option: --trails"),
        (("search", "--trials", "many"), "Invalid value for '--trials'"),
        (("search", "--trials"), "Option '--trials' requires an argument; see bitloop --help"),
        (("search", "surplus"), "Got unexpected extra argument"),
        (("search", "--model", "cvn"), "unknown model 'cvn'; did you mean 'cnv'? There are cnv, tfc"),
        (("pretrain", "--model", "tcf"), "unknown model 'tcf'; did you mean 'tfc'? There are cnv, tfc"),
        (("search", "--board", "pynq-zz2"), "unknown board 'pynq-zz2'; did you mean 'pynq-z2'?"),
        (("search", "--board", "nowhere/board.toml"), "board file nowhere/board.toml"),
        (("search", "--dataset", "minst"), "unknown data set 'minst'; did you mean 'mnist'?"),
        (("search", "--searcher", "ddgp"), "unknown searcher 'ddgp'; did you mean 'ddpg'?"),
        (("search", "--trials", "0"), "TRIALS is 0; a whole number of 1 or more is wanted"),
        (("search", "--seed", "-1"), "SEED is -1; a whole number from 0 to 2147483647 is wanted"),
        (("search", "--threads", "0"), "THREADS is 0; a whole number of 1 or more is wanted"),
        (("search", "--min-fps", "nan"), "MIN_FPS is nan; a frame rate above 0 is wanted"),
        (("search", "--min-fps", "inf"), "MIN_FPS is inf; a frame rate above 0 is wanted"),
        (("search", "--max-util", "85"), "MAX_UTIL is 85; a share above 0 and at most 1 is wanted"),
    ],
)
def test_what_is_wrong_in_a_command_is_said_in_one_line(
    arguments: tuple[str, ...], said: str, complaint: Complaint, tmp_path: Path
) -> None:
    where = ("--run", tmp_path / "run") if arguments[:1] == ("search",) else ()
    assert complaint(*arguments[:1], *where, *arguments[1:]).startswith(said)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["pretrain", "--help"]])
def test_help_is_no_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    assert "Usage: " in capsys.readouterr().out


def test_every_make_variable_is_a_flag() -> None:
    makefile = (ROOT / "Makefile").read_text()
    flags = {o for c in cli.typer.main.get_command(cli.app).commands.values() for p in c.params for o in p.opts}  # type: ignore[attr-defined]
    for name in ("MODEL", "BOARD", "DATASET", "DATA_DIR", "RUN", "TRIALS", "SEED", "MIN_FPS", "MAX_UTIL"):
        assert name in makefile
        assert f"--{name.lower().replace('_', '-')}" in flags


def test_the_installed_command_exits_with_the_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flow.cli", "search", "--trials", "many"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert one_line(done.stderr).startswith("Invalid value for '--trials'")
    assert done.stdout == ""


def test_an_error_of_bitloops_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(pipeline, "search", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["search"])


# --- data and directories ----------------------------------------------------------------------------------------


def write_npz(path: Path, **arrays: Any) -> None:
    good = {
        "x_train": np.zeros((20, 28, 28), np.uint8), "y_train": np.arange(20, dtype=np.uint8) % 10,
        "x_test": np.zeros((10, 28, 28), np.uint8), "y_test": np.arange(10, dtype=np.uint8),
    }  # fmt: skip
    np.savez(path, **{**good, **arrays})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p.write_bytes(b"junk"), "cannot be read as npz (File is not a zip file)"),
        (lambda p: write_npz(p, x_train=np.zeros((20, 28, 28, 2), np.uint8)), "has shape (20, 28, 28, 2)"),
        (lambda p: write_npz(p, x_test=np.zeros((10, 28, 28), np.float32)), "is float32; uint8 is wanted"),
        (write_npz, "mnist has 20 train images; 5100 or more are wanted"),
    ],
)
def test_data_that_is_not_as_it_should_be(
    spoil: Callable[[Path], object], said: str, complaint: Complaint, tmp_path: Path
) -> None:
    spoil(tmp_path / "mnist.npz")
    text = complaint("search", "--model", "tfc", "--dataset", "mnist", "--data-dir", tmp_path, "--run", tmp_path / "run")
    assert said in text
    assert list((tmp_path / "run").iterdir()) == []


def test_a_run_directory_of_another_model(complaint: Complaint, tmp_path: Path) -> None:
    RunDirectory(tmp_path).claim({"MODEL": "cnv", "BOARD": "pynq-z2"})
    assert complaint("search", *QUICK, "--run", tmp_path) == (
        f"{tmp_path} holds a run with MODEL=cnv, this one has MODEL=tfc; name another RUN, or remove {tmp_path} to begin anew"
    )
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_run_directory_that_is_a_file(complaint: Complaint, tmp_path: Path) -> None:
    file = tmp_path / "run"
    file.write_text("")
    assert complaint("search", *QUICK, "--run", file) == f"RUN={file} is not a directory; name another one"


def test_an_out_file_that_is_a_directory(complaint: Complaint, tmp_path: Path) -> None:
    text = complaint("pretrain", "--model", "tfc", "--dataset", "digits", "--threads", "1", "--out", tmp_path)
    assert text == f"OUT={tmp_path} is a directory; name a file in it"


def test_damaged_pretrained_weights(complaint: Complaint, run_dir: Path) -> None:
    (run_dir / "pretrained.pt").write_bytes(b"junk")
    text = complaint("search", *QUICK, "--run", run_dir)
    assert text.startswith(f"{run_dir / 'pretrained.pt'} cannot be read as pretrained weights")


# --- a constraint that cannot be met -----------------------------------------------------------------------------


@pytest.mark.usefixtures("without_finn")
@pytest.mark.parametrize("pretrained", [True, False])
def test_a_constraint_no_policy_meets_is_said_before_any_training(
    pretrained: bool, complaint: Complaint, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not pretrained:
        (run_dir / "pretrained.pt").unlink()
    for training in ("flow.pipeline.pretrain", "flow.evaluator.train"):
        monkeypatch.setattr(training, None)
    assert complaint("search", *QUICK, "--min-fps", "200000", "--run", run_dir) == (
        "no policy reaches 200,000 fps within 85% of a PYNQ-Z2; the most that any reaches is 195,312 fps; "
        "set MIN_FPS to 195312 or less, or raise MAX_UTIL"
    )
    assert not (run_dir / "run.json").exists()  # so that the same directory takes a better constraint


# --- searches ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_finn")
def test_a_search_and_going_on_with_it(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", *QUICK, "--trials", "2", "--run", str(run_dir)]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "trials: 2 of 2, best " in said.out
    assert said.out.splitlines()[-1] == f"read {run_dir / 'summary.md'}"
    first = TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()
    assert cli.main(["search", *QUICK, "--trials", "3", "--final-images", "64", "--run", str(run_dir)]) == 0
    trials = TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()
    assert trials[:2] == first
    assert len(trials) == 3
    document = json.loads((run_dir / "policy.json").read_text())
    assert (document["n_trials"], document["final_images"]) == (3, 64)
    assert leftovers(run_dir) == []
    assert document["made_by"].keys() == {"command", "revision", "data", "python", "machine"}
    assert len(list((run_dir / "tensorboard").iterdir())) == 2


@pytest.mark.usefixtures("without_finn")
def test_a_trial_done_again_gives_the_same_or_says_what_differs(
    run_dir: Path, capsys: pytest.CaptureFixture[str], complaint: Complaint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["search", *QUICK, "--trials", "2", "--run", str(run_dir)]) == 0
    kept = TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()[1]
    before = {p.name: p.read_bytes() for p in run_dir.iterdir() if p.is_file()}
    capsys.readouterr()
    again = ["replay", "--run", str(run_dir), "--threads", "1", "--trial"]
    assert cli.main([*again, "1"]) == 0
    assert f"trial 1 gives the same: {kept.accuracy:.2%}, accelerator included" in capsys.readouterr().out
    assert {p.name: p.read_bytes() for p in run_dir.iterdir() if p.is_file()} == before
    assert complaint(*again, 7) == f"RUN={run_dir} has no trial 7; there is 0 to 1"
    monkeypatch.setattr("flow.evaluator.N_CALIBRATION_IMAGES", 3)
    assert cli.main([*again, "1"]) == 1
    assert f"accuracy on the search split: {kept.accuracy:.4%} then, " in capsys.readouterr().out


@pytest.mark.usefixtures("without_finn")
def test_a_run_that_another_process_is_at_is_refused(complaint: Complaint, run_dir: Path) -> None:
    opened = os.open(run_dir, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        said = f"RUN={run_dir} is in use by process {os.getpid()}; wait for it or end it, or name another RUN"
        assert complaint("search", *QUICK, "--trials", "1", "--run", run_dir) == said
        (run_dir / "run.json").write_text("{}")
        assert complaint("retrain", "--run", run_dir) == said
    finally:
        os.close(opened)


def test_halving_and_workers_do_not_go_together(complaint: Complaint) -> None:
    assert complaint("search", "--halving", "--workers", 2).startswith("HALVING=1 stops a trial by what all before it had")


@pytest.mark.slow
def test_two_workers_find_the_trials_of_one(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With FINN's own costs, as a worker makes its own evaluator; random, as that does not depend on what was told."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'bitloop[distributed]'")
    shutil.copytree(run_dir, tmp_path / "two")
    told = ["search", *QUICK, "--searcher", "random", "--finalists", "1", "--trials", "5", "--run"]
    assert cli.main([*told, str(run_dir)]) == 0
    assert cli.main([*told, str(tmp_path / "two"), "--workers", "2"]) == 0
    assert "2 workers on this machine, 1 threads each" in capsys.readouterr().out
    one, two = (
        sorted(TrialStore(path / "trials.db", "tfc-pynq-z2").trials(), key=lambda t: t.number)
        for path in (run_dir, tmp_path / "two")
    )
    assert [(t.policy, t.accuracy, t.estimate) for t in one] == [(t.policy, t.accuracy, t.estimate) for t in two]


@pytest.mark.usefixtures("without_finn")
def test_a_store_that_is_damaged(complaint: Complaint, run_dir: Path) -> None:
    (run_dir / "trials.db").write_bytes(b"junk" * 5000)
    assert complaint("search", *QUICK, "--run", run_dir).startswith(f"{run_dir} holds trials.db but no run.json")
    (run_dir / "trials.db").unlink()
    assert cli.main(["search", *QUICK, "--trials", "1", "--run", str(run_dir)]) == 0
    (run_dir / "trials.db").write_bytes(b"junk" * 5000)
    text = complaint("search", *QUICK, "--trials", "2", "--run", run_dir)
    assert text.startswith(f"the store of trials {run_dir / 'trials.db'} cannot be used (file is not a database)")


@pytest.mark.usefixtures("without_finn")
def test_a_disk_that_fills_up_during_the_trials(complaint: Complaint, run_dir: Path) -> None:
    assert cli.main(["search", *QUICK, "--trials", "1", "--run", str(run_dir)]) == 0
    first = TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()
    policy = (run_dir / "policy.json").read_text()
    with no_room_beyond((run_dir / "trials.db").stat().st_size):
        text = complaint("search", *QUICK, "--trials", "99", "--run", run_dir)
    assert text.startswith(f"the store of trials {run_dir / 'trials.db'} cannot be used (disk I/O error); free some space")
    trials = TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()
    assert 1 <= len(trials) < 99
    assert trials[:1] == first
    assert json.loads((run_dir / "policy.json").read_text())["format"] == json.loads(policy)["format"]
    assert leftovers(run_dir) == []


@pytest.mark.usefixtures("without_finn")
def test_a_disk_that_is_full_when_the_weights_are_written(complaint: Complaint, run_dir: Path) -> None:
    """PyTorch reports it as an internal error of its own; the user hears what the system said."""
    with no_room_beyond(200_000):  # the trials take 130 kB, the weights 250 kB
        text = complaint("search", *QUICK, "--trials", "1", "--run", run_dir)
    assert text == "File too large; free some space and run the same command again"
    assert len(TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()) == 1
    assert json.loads((run_dir / "policy.json").read_text())["accuracy"]["final_test"] is None
    assert not (run_dir / "weights.pt").exists()
    assert leftovers(run_dir) == []


@pytest.mark.usefixtures("without_finn")
def test_a_file_the_system_refuses_is_named(complaint: Complaint, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        if path.name == "summary.md":
            raise PermissionError(13, "Permission denied", str(path))
        return whole_file(path)

    monkeypatch.setattr("flow.run_directory.whole_file", refuse)
    text = complaint("search", *QUICK, "--trials", "1", "--run", run_dir)
    assert text == f"Permission denied ({run_dir / 'summary.md'}); see to that and try again"


@pytest.mark.usefixtures("without_finn")
@pytest.mark.parametrize("written", ["policy.json", "weights.pt", "model.onnx", "golden.npz", "summary.md"])
def test_ctrl_c_while_a_file_is_written_leaves_the_old_one(
    written: str, complaint: Complaint, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_dir / written).write_text("old")

    def interrupted(path: Path, target: Path) -> Path:
        if Path(target).name == written:
            raise KeyboardInterrupt
        return replaced(path, target)

    replaced = Path.replace
    monkeypatch.setattr(Path, "replace", interrupted)
    text = complaint("search", *QUICK, "--trials", "1", "--run", run_dir, code=130)
    assert text == "interrupted; what was finished is kept, the same command goes on from there"
    assert (run_dir / written).read_text() == "old"
    assert leftovers(run_dir) == []


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def swallow(*_: object) -> Any:
    with contextlib.suppress(BaseException):
        press_ctrl_c()
    return tables_without_finn(*_)  # type: ignore[arg-type]


def misunderstand(*_: object) -> None:
    try:
        press_ctrl_c()
    except BaseException as error:
        raise GraphError("some library's bare except took Ctrl-C for a failure of its own") from error


@pytest.mark.usefixtures("without_finn")
@pytest.mark.parametrize("library", [swallow, misunderstand])
def test_ctrl_c_is_not_lost_in_a_library(
    library: Callable[..., Any], complaint: Complaint, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flow.evaluator.tabulate", library)
    monkeypatch.setattr("flow.evaluator.Evaluator.retrain", None)
    before = signal.getsignal(signal.SIGINT)
    text = complaint("search", *QUICK, "--trials", "5", "--run", run_dir, code=130)
    assert text == "interrupted; what was finished is kept, the same command goes on from there"
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_a_search_with_130_and_keeps_its_trials(run_dir: Path) -> None:
    """A real process and a real signal: no traceback, and the same command goes on."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.flow_fakes", "search", *QUICK, "--run", str(run_dir)]
    process = subprocess.Popen(
        [*command, "--trials", "1000000"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trials: 1 of 1000000"):
            process.send_signal(signal.SIGINT)
            break
    _, err = process.communicate()
    assert process.returncode == 130, err
    assert one_line(err) == "interrupted; what was finished is kept, the same command goes on from there"
    kept = TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()
    assert len(kept) >= 1
    assert leftovers(run_dir) == []
    again = subprocess.run([*command, "--trials", "2"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert again.stderr == ""
    assert TrialStore(run_dir / "trials.db", "tfc-pynq-z2").trials()[: len(kept)] == kept
    assert (run_dir / "summary.md").is_file()
