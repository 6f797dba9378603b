"""The program of the hand-over package, with steps that only leave their files: what counts as finished, what is said."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hls.handover.lock
from hls.build_process import seal
from hls.handover import build as program
from hls.handover import finn_steps
from hls.handover.build import CHECKPOINT, LOG, PLAN
from hls.handover.failure import failure
from hls.handover.progress import WrongPackageError, plan_digest
from hls.handover.tools import ToolError
from tests.stand_in_tools import install

WITHOUT, WITH = ["step_a", "step_b"], ["step_c", "step_synthesize_bitfile", "step_make_driver"]
LEAVES = {name: files for name, files in program._LEAVES.items() if name in WITH}
RESULTS = {name for files in LEAVES.values() for name in files}
ROOT = Path(__file__).parents[1]
VERSION = importlib.metadata.version("finn-plus")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A plan with a checkpoint that nobody reads."""
    there = tmp_path / "build"
    there.mkdir()
    (there / CHECKPOINT).write_bytes(b"a network")
    seal(there)
    write_plan(there, board={"clock_mhz": 100.0})
    return there


def write_plan(directory: Path, **facts: Any) -> None:
    plan = {"versions": {"finn-plus": VERSION}, "steps_without_tools": WITHOUT, "steps_with_tools": WITH, **facts}
    (directory / PLAN).write_text(json.dumps({"format": 1, "digest": plan_digest(plan), "name": "made", **plan}))


class Steps:
    """Plays FINN: every step leaves its model and its files.

    Attributes:
        run: names of the steps that ran since it was last looked at.
        fails: a step that fails.
        leaves_out: a file that none leaves.
    """

    def __init__(self) -> None:
        self.run: list[str] = []
        self.fails = ""
        self.leaves_out = ""

    def __call__(self, name: str, work: Path, source: Path, target: Path) -> None:
        assert source.exists()
        if name == self.fails:
            raise RuntimeError("told to")
        self.run.append(name)
        for file in {*LEAVES.get(name, ())} - {self.leaves_out}:
            (work / file).parent.mkdir(exist_ok=True)
            (work / file).write_text(name)
        target.write_text(name)

    def ran(self) -> list[str]:
        found, self.run = self.run, []
        return found


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Steps:
    played = Steps()
    deps = tmp_path / "deps"
    for name in ("finn-hlslib", "board_files"):
        (deps / name).mkdir(parents=True)
    monkeypatch.setattr(finn_steps, "set_up", lambda: {"FINN_DEPS": deps})
    monkeypatch.setattr(finn_steps, "build_config", lambda plan, work: work)
    monkeypatch.setattr(finn_steps, "run_step", played)
    return played


Builds = Callable[..., tuple[bool, list[dict[str, Any]]]]


@pytest.fixture
def builds(directory: Path, steps: Steps, tmp_path: Path) -> Builds:
    folder = install(tmp_path / "tools")

    def run(version: str = "2022.2", without_tools: bool = False) -> tuple[bool, list[dict[str, Any]]]:
        environment = {"FINN_TOOL_DIR_OVERRIDE": str(folder), "XILINX_VIVADO": f"/x/Vivado/{version}", "PATH": "/usr/bin"}
        said: list[dict[str, Any]] = []
        return program.build(directory, without_tools, environment, said.append, lambda: None), said

    return run


def test_everything_is_done_once(directory: Path, steps: Steps, builds: Builds) -> None:
    assert builds()[0]
    assert steps.ran() == WITHOUT + WITH
    assert builds()[0]
    assert steps.ran() == []
    results = json.loads((directory / "results" / "results.json").read_text())
    assert set(results["files"]) == RESULTS
    assert list(results["seconds"]) == WITHOUT + WITH


def test_other_tools_begin_anew_with_the_first_step_that_needs_them(directory: Path, steps: Steps, builds: Builds) -> None:
    steps.fails = "step_make_driver"
    assert not builds("2022.2")[0]
    steps.fails = ""
    steps.ran()
    done, said = builds("2024.2")
    assert done
    assert steps.ran() == WITH
    assert said[0] == {"event": "again", "text": "step_c and all behind it begin anew: they were done with Vivado 2022.2 of "
                       "stand-in tools"}  # fmt: skip
    assert json.loads((directory / "results" / "results.json").read_text())["tools"]["version"] == "2024.2"


def test_real_tools_begin_anew_behind_stand_ins(steps: Steps, builds: Builds, tmp_path: Path) -> None:
    assert builds()[0]
    steps.ran()
    (tmp_path / "tools" / "STAND_IN").unlink()
    assert builds()[0]
    assert steps.ran() == WITH


def test_steps_behind_a_missing_model_are_done_again(directory: Path, steps: Steps, builds: Builds) -> None:
    builds()
    steps.ran()
    (directory / "work/models/step_b.onnx").unlink()
    done, said = builds()
    assert done
    assert steps.ran() == ["step_b", *WITH]
    assert said[0]["text"].startswith("step_b and all behind it begin anew: ")
    assert said[1]["finished"] == ["step_a"]


@pytest.mark.parametrize("gone", ["work", "work/finn"])
def test_without_what_finn_made_all_begins_anew(directory: Path, steps: Steps, builds: Builds, gone: str) -> None:
    builds()
    steps.ran()
    (directory / gone).rename(directory / "aside")
    assert builds()[0]
    assert steps.ran() == WITHOUT + WITH


@pytest.mark.parametrize("name", sorted(RESULTS))
def test_a_missing_result_is_made_again(directory: Path, steps: Steps, builds: Builds, name: str) -> None:
    builds()
    steps.ran()
    (directory / "work" / name).unlink()
    assert builds()[0]
    assert steps.ran()[0] in ("step_synthesize_bitfile", "step_make_driver")
    assert (directory / "results" / name).is_file()


def test_steps_that_leave_no_hardware_description_have_failed(directory: Path, steps: Steps, builds: Builds) -> None:
    steps.leaves_out = "bitfile/finn-accel.hwh"
    done, said = builds()
    assert not done
    assert said[-1]["event"] == "failed"
    assert said[-1]["text"].startswith("every step is done and bitfile/finn-accel.hwh is not in ")
    assert not (directory / "results").exists()
    steps.leaves_out = ""
    steps.ran()
    assert builds()[0]
    assert steps.ran() == WITH[1:]


def test_a_changed_plan_is_refused(directory: Path, builds: Builds) -> None:
    plan = json.loads((directory / PLAN).read_text())
    plan["board"]["clock_mhz"] = 50.0
    (directory / PLAN).write_text(json.dumps(plan))
    with pytest.raises(WrongPackageError, match=r"plan\.json says it is .* and is .*: it was changed"):
        builds(without_tools=True)


def test_a_plan_that_is_not_utf_8_is_refused(directory: Path, builds: Builds) -> None:
    (directory / PLAN).write_bytes(b"\xff{}")
    with pytest.raises(WrongPackageError, match=r"plan\.json cannot be read"):
        builds(without_tools=True)


def test_a_machine_without_finn_plus_is_told_what_to_install(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(program.importlib.metadata, "version", version)
    with pytest.raises(ToolError, match=rf"finn-plus is not installed in .*pip install finn-plus=={VERSION} psutil"):
        builds(without_tools=True)


def test_a_machine_without_psutil_is_told_what_to_install(builds: Builds, monkeypatch: pytest.MonkeyPatch) -> None:
    def set_up() -> dict[str, Path]:
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    monkeypatch.setattr(finn_steps, "set_up", set_up)
    with pytest.raises(ToolError, match=r"psutil cannot be imported in .*pip install finn-plus==.* psutil"):
        builds(without_tools=True)


def test_the_command_for_finns_own_sources_names_where_they_are_looked_for(
    builds: Builds, steps: Steps, tmp_path: Path
) -> None:
    (tmp_path / "deps" / "finn-hlslib").rmdir()
    with pytest.raises(ToolError, match=rf"run `.*/finn deps update --accept-defaults -d {tmp_path}/deps` once"):
        builds()


def test_what_nobody_thought_of_is_one_line_and_the_rest_is_in_the_log(directory: Path) -> None:
    text = (
        "import sys, hls.handover.__main__ as m; m.build = lambda *_: {}['a\\nb'];"
        f"sys.exit(m.main(['--directory', {str(directory)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 4
    assert done.stdout == f"handover: KeyError: 'a\\nb'; where it came from is in {directory / LOG}\n"
    assert "Traceback" in (directory / LOG).read_text()


def test_another_process_in_the_directory_is_named(directory: Path) -> None:
    with hls.handover.lock.alone_in(directory):
        for _ in range(2):  # the one that is refused does not wipe what the first one wrote
            with (
                pytest.raises(WrongPackageError, match=rf"another process builds in .* \(process {os.getpid()}\); wait"),
                hls.handover.lock.alone_in(directory),
            ):
                pass


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(WrongPackageError, match=r"none cannot be built in \(No such file or directory\)"),
        hls.handover.lock.alone_in(tmp_path / "none"),
    ):
        pass


def test_a_process_ends_with_all_that_it_started_once_standard_input_does(tmp_path: Path) -> None:
    text = (
        "import subprocess, sys; from hls.handover.lock import end_with_standard_input as end; end();"
        "p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); assert sys.stdin.read() == ''; p.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, text=True,
        cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        started = int(process.stdout.readline())
        process.stdin.close()
        assert process.wait(10) == -signal.SIGTERM
    for _ in range(100):
        if not running(started):
            return
        time.sleep(0.05)
    raise AssertionError("what it started runs on")


def running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_logs_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "vivado.log").write_text("ERROR: [X 1-2] no\n")
    (tmp_path / "gone.log").symlink_to(tmp_path / "nowhere")
    (tmp_path / "folder.log").mkdir()
    found = failure(RuntimeError("x"), tmp_path, 0.0)
    assert found["lines"] == ["ERROR: [X 1-2] no"]
    assert found["logs"] == [str(tmp_path / "vivado.log")]


def test_it_needs_the_standard_library_finn_and_qonnx_and_nothing_else() -> None:
    allowed = {*sys.stdlib_module_names, "finn", "qonnx"}
    for path in Path(hls.handover.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {alias.name.split(".")[0] for alias in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] in allowed, path
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 1, path
