"""`bitloop build`, with tools that play Vivado and without: what it leaves, how it goes on, and what it refuses."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards import on_device
from boards.measurement import Synthesis
from boards.package import read_package
from flow import cli
from flow.build_check import _kept, without_ties, write_board_golden
from flow.build_directory import BuildDirectory
from flow.build_handover import take_over_results, write_handover
from flow.build_source import BuildSource
from flow.build_sources import copy_sources
from hls.build_plan import STEPS_WITH_TOOLS, STEPS_WITHOUT_TOOLS, BuildPlan
from hls.build_process import carry_out
from hls.errors import BuildError, MissingToolError, ReportError, StepError
from hls.finn_build import Stream, prepare
from hls.handover.build import CHECKPOINT, PLAN, SEAL
from hls.handover.lock import alone_in
from hls.handover.progress import WrongPackageError, sha256
from tests.flow_fakes import no_room_beyond
from tests.made_packages import bitfile, settings
from tests.made_reports import ALONE, ROW, routed
from tests.made_runs import BOARD, N_GOLDEN, made_run, nodes_of
from tests.networks import Network
from tests.stand_in_tools import install

ALL_STEPS = [*STEPS_WITHOUT_TOOLS, *STEPS_WITH_TOOLS]
WITHOUT_TOOLS = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/")}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("runs") / "made")


@pytest.fixture(scope="module", autouse=True)
def no_vivado() -> Iterator[None]:
    """Whatever this machine has, the tests find none of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("XILINX_VIVADO", "XILINX_HLS", "XILINX_VITIS", "FINN_TOOL_DIR_OVERRIDE", "FINN_DEPS"):
            patch.delenv(name, raising=False)
        patch.setenv("PATH", WITHOUT_TOOLS["PATH"])
        yield


@pytest.fixture(autouse=True)
def _measurements_stay_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # where measurements.db is


@dataclass(frozen=True)
class Once:
    """A build without Vivado: where, its exit code, and what it said."""

    out: Path
    code: int
    said: str


@pytest.fixture(scope="module")
def once(run_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Once:
    out = tmp_path_factory.mktemp("build") / "made"
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.main(["build", "--run", str(run_dir), "--out", str(out)])
    return Once(out, code, said.getvalue())


@pytest.fixture
def unfinished(once: Once, tmp_path: Path) -> Path:
    """A copy of a build that came as far as Vivado. What FINN wrote names the place it was copied from."""
    return Path(shutil.copytree(once.out, tmp_path / "build"))


@pytest.fixture
def tools(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """An environment in which something plays the tools."""

    def environment(fails: str = "") -> dict[str, str]:
        for name in ("finn-hlslib", "board_files"):
            (tmp_path / "deps" / name).mkdir(parents=True, exist_ok=True)
        folder = install(tmp_path / f"tools{len(fails)}", fails)
        told = {"FINN_TOOL_DIR_OVERRIDE": str(folder), "XILINX_VIVADO": "/nowhere/Vivado/2022.2"}
        return {**WITHOUT_TOOLS, **told, "FINN_DEPS": str(tmp_path / "deps")}

    return environment


Complaint = Callable[..., str]


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Complaint:
    """Runs `bitloop build`, which must fail, and gives its one line."""

    def run(*arguments: object, code: int = 2) -> str:
        capsys.readouterr()
        assert cli.main(["build", *map(str, arguments)]) == code
        said = capsys.readouterr().err
        assert said.startswith("bitloop: ")
        assert said.count("\n") == 1
        return said.removeprefix("bitloop: ").rstrip("\n")

    return run


def machine_paths(folder: Path) -> list[str]:
    """Files below a folder that name a path of this machine."""
    words = [tempfile.gettempdir(), str(Path(__file__).parents[1]), "site-packages", str(Path.home()) + "/"]
    return [f"{p}: {w}" for p in folder.rglob("*") if p.is_file() for w in words if w.encode() in p.read_bytes()]


def test_without_vivado_everything_up_to_it_is_done(once: Once) -> None:
    out = once.out
    assert once.code == cli.NO_TOOLS == 3
    progress = json.loads((out / "progress.json").read_text())
    assert list(progress["seconds"]) == list(STEPS_WITHOUT_TOOLS)
    verified = json.loads((out / "verified.json").read_text())
    assert (verified["n_images"], verified["stages"]) == (N_GOLDEN, ["QONNX file", "streamlined graph", "hardware layers"])
    table = (out / "layers.md").read_text()
    assert "| fc1 | MVAU_hls_0 |" in table
    assert "(sources/MVAU_hls_0/top_MVAU_hls_0.cpp)" in table
    for name in ("MVAU_hls_0/hls_syn_MVAU_hls_0.tcl", "MVAU_rtl_0/MVAU_rtl_0_wrapper.v", "MVAU_rtl_0/memblock.dat"):
        assert (out / "sources" / name).stat().st_size
    assert not (out / "results").exists()
    assert not (out / "package").exists()


def test_it_says_in_one_line_what_is_missing_and_what_to_do(once: Once) -> None:
    assert once.said.startswith("bitloop: Vivado is not there")
    assert once.said.count("\n") == 1
    for piece in (
        "XILINX_VIVADO (not set)", "PATH (2 folders)", "FINN_TOOL_DIR_OVERRIDE (not set)", "run ./build.sh there",
        f"copy {once.out}/handover to a machine", "run this command again",
    ):  # fmt: skip
        assert piece in once.said


def test_what_is_handed_over_names_no_path_of_this_machine(once: Once) -> None:
    out = once.out
    assert machine_paths(out / "handover") == []
    assert machine_paths(out / "sources") == []
    names = {p.name for p in (out / "handover").iterdir()}
    assert {"README.md", "build.sh", PLAN, CHECKPOINT, SEAL, "handover", "sources", "layers.md", "folding.json"} <= names


def test_a_moved_package_builds_with_one_command_without_bitloop_and_goes_on_after_it_was_killed(
    once: Once, run_dir: Path, tmp_path: Path, tools: Callable[..., dict[str, str]], complaint: Complaint
) -> None:
    moved = Path(shutil.copytree(once.out / "handover", tmp_path / "elsewhere"))
    environment = {**tools(), "PYTHON": sys.executable}
    with subprocess.Popen([moved / "build.sh"], env=environment, cwd="/", stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("7 of 12: step_create_stitched_ip"):
                process.kill()
    assert not (moved / "results").exists()
    done = subprocess.run([moved / "build.sh"], env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("6 of 12 steps were finished before\n7 of 12: step_create_stitched_ip")
    results = json.loads((moved / "results" / "results.json").read_text())
    assert list(results["seconds"]) == ALL_STEPS
    assert results["tools"]["stand_in"] is True
    assert {"bitfile/finn-accel.bit", "bitfile/finn-accel.hwh", "driver/settings.json"} <= set(results["files"])
    told = json.loads((moved / "results/driver/settings.json").read_text())["driver_information"]["io_shape_dict"]
    assert (told["idt"], told["ishape_normal"], told["idma_names"]) == (["DataType['INT8']"], [[1, 784]], ["idma0"])
    _nothing_was_undone(moved)
    # and stand-in results do not become results
    out = Path(shutil.copytree(once.out, tmp_path / "back"))
    shutil.copytree(moved / "results", out / "results")
    assert "was made by stand-in tools" in complaint("--run", run_dir, "--out", out)
    assert not (out / "package").exists()
    assert not (out / "synthesis.jsonl").exists()


def _nothing_was_undone(directory: Path) -> None:
    """Types, foldings and kinds of the checkpoint's nodes are those of the graph that went to Vivado."""
    before, after = nodes_of(directory / CHECKPOINT), nodes_of(directory / "work/models/step_create_stitched_ip.onnx")
    ours = ("inputDataType", "weightDataType", "accDataType", "outputDataType", "PE", "SIMD", "ram_style", "resType")
    for name, op in before.items():
        assert op.onnx_node.op_type == after[name].onnx_node.op_type
        for attribute in set(ours) & set(op.get_nodeattr_types()):
            assert op.get_nodeattr(attribute) == after[name].get_nodeattr(attribute), (name, attribute)
    depths = {op.get_nodeattr("depth") for name, op in after.items() if name.startswith("StreamingFIFO")}
    assert depths == {32}


def test_ctrl_c_ends_the_process_and_all_that_it_started(unfinished: Path, tools: Callable[..., dict[str, str]]) -> None:
    def press(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(unfinished, False, tools(), press)
    with (unfinished / ".lock").open("w") as lock:  # nobody builds there any more
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.slow
def test_a_build_goes_on_where_it_was_interrupted_or_failed(unfinished: Path, tools: Callable[..., dict[str, str]]) -> None:
    seen: list[dict[str, Any]] = []

    def press(event: dict[str, Any]) -> None:
        seen.append(event)
        if event["event"] == "begun" and event["step"] == "step_create_stitched_ip":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(unfinished, False, tools(), press)
    # the directory was copied: what FINN wrote into models names the other place, so it began anew
    assert seen[0] == {"event": "plan", "steps": ALL_STEPS, "finished": []}

    seen.clear()
    with pytest.raises(StepError) as caught:
        carry_out(unfinished, False, tools(fails="create_project finn_zynq_link"), seen.append)
    assert seen[0]["finished"] == ALL_STEPS[:6]
    said = str(caught.value)
    assert said.startswith("step 10 of 12, step_synthesize_bitfile, failed: ")
    assert "| ERROR: [Stand-in 1-23]" in said
    assert str(unfinished / "build.log") in said
    assert "vivado.log" in said
    assert "INFO: vivado begins" not in said
    assert not (unfinished / "results").exists()

    seen.clear()
    carry_out(unfinished, False, tools(), seen.append)
    assert seen[0]["finished"] == ALL_STEPS[:9]
    assert [e["step"] for e in seen if e["event"] == "finished"] == ALL_STEPS[9:]
    assert seen[-1] == {"event": "results", "path": str(unfinished / "results"), "stand_in": True}
    _nothing_was_undone(unfinished)


@pytest.mark.slow
def test_cnv_with_one_bit_goes_through_all_steps(tmp_path: Path, tools: Callable[..., dict[str, str]]) -> None:
    cnv = Network("cnv")
    cnv.export(cnv.uniform(1), tmp_path / "model.onnx")
    source = BuildSource("cnv", tmp_path / "model.onnx", BOARD, (), None, 1000, top_k=1)
    directory = BuildDirectory(tmp_path / "out", source.plan())
    found = directory.checkpoint(lambda target: prepare(directory.plan, BOARD, source.onnx, target))
    counting = [n for n in found.nodes if n.types.get("weightDataType") == "BINARY"]
    assert [n.types["accDataType"] for n in counting][:3] == ["UINT10", "UINT10", "UINT11"]  # of 576, 576 and 1,152 inputs
    carry_out(directory.path, False, tools(), lambda event: None)
    _nothing_was_undone(directory.path)
    told = json.loads((directory / "results/driver/settings.json").read_text())["driver_information"]["io_shape_dict"]
    assert told["ishape_normal"] == [[1, 32, 32, 3]]


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_build_goes_on_later(unfinished: Path) -> None:
    (unfinished / "progress.json").unlink()
    with pytest.raises(StepError, match=r"step 1 of 4, .* failed: File too large .*; free some space and run the same"), \
            no_room_beyond(60_000):  # fmt: skip
        carry_out(unfinished, True, WITHOUT_TOOLS, lambda event: None)
    seen: list[dict[str, Any]] = []
    carry_out(unfinished, True, WITHOUT_TOOLS, seen.append)
    assert len([e for e in seen if e["event"] == "finished"]) == 4


def test_two_do_not_build_in_one_directory(unfinished: Path) -> None:
    with (unfinished / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BuildError, match=f"another process builds in {unfinished}"):
            carry_out(unfinished, True, WITHOUT_TOOLS, lambda event: None)


def test_a_build_holds_its_directory_as_a_whole(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    with directory_of(unfinished) as directory:
        assert directory.lock is not None
        said = complaint("--run", run_dir, "--out", unfinished)
    assert said == f"another process builds in {unfinished} (process {os.getpid()}); wait for it, or end it"
    with directory_of(unfinished):
        pass


def test_a_killed_bitloop_leaves_nothing_that_builds_on(unfinished: Path) -> None:
    text = (
        "import sys, time; from pathlib import Path; from hls.build_process import carry_out;"
        "carry_out(Path(sys.argv[1]), True, {}, lambda e: (print(e, flush=True), time.sleep(60)))"
    )
    root = Path(__file__).parents[1]
    with subprocess.Popen([sys.executable, "-c", text, unfinished], stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert "plan" in process.stdout.readline()
        with pytest.raises(WrongPackageError, match="another process builds in"), alone_in(unfinished):
            pass
        process.kill()
    for _ in range(200):
        with contextlib.suppress(WrongPackageError), alone_in(unfinished):
            return
        time.sleep(0.05)
    raise AssertionError("something still builds there")


def test_a_damaged_checkpoint_is_refused(unfinished: Path) -> None:
    raw = bytearray((unfinished / CHECKPOINT).read_bytes())
    raw[1000] ^= 1
    (unfinished / CHECKPOINT).write_bytes(raw)
    with pytest.raises(BuildError, match=r"checkpoint\.onnx is not what checkpoint\.sha256 says"):
        carry_out(unfinished, True, WITHOUT_TOOLS, lambda event: None)
    (unfinished / CHECKPOINT).unlink()
    with pytest.raises(BuildError, match=r"there is no .*checkpoint\.onnx"):
        carry_out(unfinished, True, WITHOUT_TOOLS, lambda event: None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, r"plan\.json has format 2, not 1"),
        (
            {"versions": {"finn-plus": "1.5.0"}},
            r"finn-plus 1\.6\.1 is installed, the plan is for 1\.5\.0; pip install finn-plus==1\.5",
        ),
    ],
)
def test_a_plan_for_something_else_is_refused(unfinished: Path, change: dict[str, Any], said: str) -> None:
    (unfinished / PLAN).write_text(json.dumps(json.loads((unfinished / PLAN).read_text()) | change))
    with pytest.raises(BuildError, match=said):
        carry_out(unfinished, True, WITHOUT_TOOLS, lambda event: None)


def test_a_path_that_breaks_finns_scripts_is_refused(unfinished: Path, tools: Callable[..., dict[str, str]]) -> None:
    spaced = unfinished.rename(unfinished.with_name("with spaces"))
    with pytest.raises(BuildError, match=r"FINN's scripts break at the path '.*with spaces'"):
        carry_out(spaced, False, tools(), lambda event: None)


@pytest.mark.slow
def test_finns_own_sources_are_asked_for(unfinished: Path, tools: Callable[..., dict[str, str]]) -> None:
    environment = tools()
    shutil.rmtree(Path(environment["FINN_DEPS"]) / "finn-hlslib")
    with pytest.raises(MissingToolError, match=r"no finn-hlslib in FINN_DEPS=.*deps; run `.*finn deps update .*` once"):
        carry_out(unfinished, False, environment, lambda event: None)


def finished(out: Path, slack: str = "0.250", part: str = "7z020clg400", **slacks: str) -> Path:
    """What Vivado would have left in `results/`, made up."""
    results = out / "results"
    (results / "report").mkdir(parents=True)
    (results / "driver").mkdir()
    bitfile(results / "bitfile/finn-accel.bit", part)
    (results / "bitfile/finn-accel.hwh").write_text("<EDKSYSTEM/>")
    (results / "driver/settings.json").write_text(json.dumps(settings((784,), (10,), folds=16)))
    (results / "driver/runtime_weights").mkdir()
    (results / "driver/runtime_weights/0_0.dat").write_text("0")
    (results / "driver/on_device.py").write_text("not bitloop's")
    rows = {"(top)": ROW, "StreamingDataflowPartition_1_MVAU_hls_0": {**ROW, "LUT": 777}}
    (results / "report/post_synth_resources.json").write_text(json.dumps(rows))
    (results / "report/ooc_synth_and_timing.json").write_text(json.dumps(ALONE))
    (results / "report/post_route_timing.rpt").write_text(routed(slack, **slacks))
    (results / "report/post_synth_report.xml").write_text("<r/>")
    files = {p.relative_to(results).as_posix(): sha256(p) for p in results.rglob("*") if p.is_file()}
    plan = json.loads((out / PLAN).read_text())["digest"]
    tools = {"vivado": "/x/vivado", "version": "2022.2", "stand_in": False}
    document = {"format": 1, "plan": plan, "tools": tools, "seconds": {}, "files": files}
    (results / "results.json").write_text(json.dumps(document))
    return results


def test_results_become_a_deployment_package(run_dir: Path, unfinished: Path) -> None:
    finished(unfinished)
    assert cli.main(["build", "--run", str(run_dir), "--out", str(unfinished)]) == 0
    package = read_package(unfinished / "package")
    m = package.manifest
    digest = sha256(unfinished / "results/bitfile/finn-accel.bit")[:12]
    assert (m.bitfile, m.hwh) == (f"made-{digest}.bit", f"made-{digest}.hwh")
    assert (m.n_golden, m.board.name, m.clock_mhz, m.tools) == (N_GOLDEN, "pynq-z2", 100.0, "Vivado 2022.2")
    assert {"on_device.py", "driver/finn_plus_driver/overlays/dma.py", "driver/stand_ins/bitstring.py"} <= set(m.files)
    with np.load(package.path / "golden.npz") as golden, np.load(run_dir / "golden.npz") as of_run:
        assert golden["inputs"].shape == (N_GOLDEN, 784)
        assert golden["inputs"].dtype == np.int8
        assert np.array_equal(golden["inputs"], of_run["pixels"].reshape(N_GOLDEN, -1).astype(int) - 128)
        assert golden["outputs"].dtype == np.float32
        assert np.allclose(golden["outputs"], of_run["logits"], atol=1e-4)
    synthesis = Synthesis.model_validate_json((unfinished / "synthesis.jsonl").read_text())
    assert synthesis.nodes["MVAU_hls_0"].lut == 777
    assert synthesis.design.estimate is not None
    assert synthesis.design.estimate["nodes"][0]["node"] == "MVAU_rtl_0"
    assert "| 777, 7, 4 |" in (unfinished / "layers.md").read_text()
    assert m.files["on_device.py"] == sha256(Path(on_device.__file__))  # not what lay in driver/
    assert m.files["runtime_weights/0_0.dat"] == sha256(unfinished / "results/driver/runtime_weights/0_0.dat")
    assert (synthesis.vivado, synthesis.plan) == ("2022.2", m.plan)
    again = package.sha256
    assert cli.main(["build", "--run", str(run_dir), "--out", str(unfinished)]) == 0
    assert read_package(unfinished / "package").sha256 == again


def test_results_without_a_hardware_description_are_refused(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    results = finished(unfinished)
    (results / "bitfile/finn-accel.hwh").unlink()
    document = json.loads((results / "results.json").read_text())
    del document["files"]["bitfile/finn-accel.hwh"]
    (results / "results.json").write_text(json.dumps(document))
    assert "has no bitfile/finn-accel.hwh, without which" in complaint("--run", run_dir, "--out", unfinished)


def directory_of(out: Path) -> BuildDirectory:
    return BuildDirectory(out, BuildPlan.from_json((out / PLAN).read_text()))


def test_a_new_hand_over_package_keeps_what_was_built_in_the_old_one(unfinished: Path) -> None:
    folder = unfinished / "handover"
    for name in ("work/models/step_hw_ipgen.onnx", "results/results.json", "progress.json", "sources/old/top.cpp", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("theirs")
    write_handover(directory_of(unfinished))
    for name in ("work/models/step_hw_ipgen.onnx", "results/results.json", "progress.json"):
        assert (folder / name).read_text() == "theirs"
    assert not (folder / "sources/old").exists()
    assert "what is left to build" in (folder / "README.md").read_text()
    assert (folder / "handover/__main__.py").is_file()


def test_results_that_were_built_in_place_are_taken_over(
    run_dir: Path, unfinished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(unfinished / "handover")
    assert cli.main(["build", "--run", str(run_dir), "--out", str(unfinished)]) == 0
    assert f"taking the results that {unfinished}/handover has" in capsys.readouterr().out.replace("\n", "")
    assert read_package(unfinished / "package").manifest.tools == "Vivado 2022.2"
    assert (unfinished / "handover/results/results.json").is_file()


def test_results_in_place_that_are_none_of_this_plan_are_not_taken_over(unfinished: Path) -> None:
    directory = directory_of(unfinished)
    assert not take_over_results(directory)
    results = finished(unfinished / "handover")
    document = json.loads((results / "results.json").read_text())
    (results / "results.json").write_text(json.dumps({**document, "plan": "another"}))
    assert not take_over_results(directory)
    (results / "results.json").write_text(json.dumps(document))
    (results / "bitfile/finn-accel.bit").write_text("damaged")
    with pytest.raises(ReportError, match=r"finn-accel\.bit is missing or not what results\.json says"):
        take_over_results(directory)
    assert not (directory / "results").exists()


@pytest.mark.parametrize(("answer", "said"), [("3.8.10", "is Python 3.8.10, FINN+ needs 3.11"), (None, "is not there")])
def test_the_command_wants_python_3_11(once: Once, tmp_path: Path, answer: str | None, said: str) -> None:
    python = tmp_path / "python"
    if answer is not None:
        python.write_text(f'#!/bin/sh\nif [ "$1" = --version ]; then echo Python {answer}; else exit 1; fi\n')
        python.chmod(0o755)
    done = subprocess.run(
        [once.out / "handover/build.sh"],
        env={**WITHOUT_TOOLS, "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr == f"handover: {python} {said}; PYTHON=/path/to/python3.11 ./build.sh\n"


def test_answers_that_were_damaged_are_not_kept(unfinished: Path) -> None:
    directory = directory_of(unfinished)
    assert _kept(directory) is not None
    (unfinished / "answers.npz").write_bytes((unfinished / "answers.npz").read_bytes()[:-1])
    assert _kept(directory) is None


def test_a_golden_set_smaller_than_what_was_asked_for_is_not_verified_anew(unfinished: Path) -> None:
    kept = _kept(directory_of(unfinished))
    assert kept is not None
    assert (kept.n_images, kept.n_wanted) == (N_GOLDEN, 64)


def test_images_with_equally_good_best_classes_are_left_out() -> None:
    logits = np.array([[3, 2, 1, 0], [3, 3, 1, 0], [3, 2, 2, 0], [3, 2, 1, 1], [0, 0, 0, 0]]) * 0.1
    assert without_ties(logits, 0.1, 1).tolist() == [True, False, True, True, False]
    assert without_ties(logits, 0.1, 2).tolist() == [True, False, False, True, False]
    assert without_ties(logits + 1e-9 * np.arange(4), 0.1, 4).tolist() == [True, False, False, False, False]
    assert without_ties(logits, None, 1).tolist() == [True, False, True, True, False]


def test_files_that_were_damaged_are_made_anew(run_dir: Path, unfinished: Path) -> None:
    finished(unfinished)
    whole = sha256(unfinished / CHECKPOINT)
    for name in (CHECKPOINT, "nodes.json", "verified.json", "progress.json"):
        (unfinished / name).write_text("{")
    assert cli.main(["build", "--run", str(run_dir), "--out", str(unfinished)]) == 0
    assert sha256(unfinished / CHECKPOINT) == whole
    assert json.loads((unfinished / "verified.json").read_text())["n_images"] == N_GOLDEN


def test_a_missed_clock_is_refused_unless_forced(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    finished(unfinished, slack="-0.500")
    said = complaint("--run", run_dir, "--out", unfinished)
    assert said.startswith("the design misses its clock of 100 MHz by 0.5 ns, 95.2 MHz would do")
    assert not (unfinished / "package").exists()
    assert cli.main(["build", "--run", str(run_dir), "--out", str(unfinished), "--force"]) == 0


def test_a_violation_of_hold_is_refused_unless_forced(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    finished(unfinished, hold="-0.020")
    assert complaint("--run", run_dir, "--out", unfinished).startswith("the design violates hold by 0.02 ns (WHS)")
    assert not (unfinished / "package").exists()


def test_a_bitfile_for_another_part_is_refused(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    finished(unfinished, part="7z010clg400")
    assert "the bitfile is for a 7z010clg400, the board has a xc7z020clg400-1" in complaint(
        "--run", run_dir, "--out", unfinished
    )
    assert not (unfinished / "package").exists()


def test_settings_of_another_network_are_refused(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    results = finished(unfinished)
    (results / "driver/settings.json").write_text(json.dumps(settings((768,), (10,), folds=16)))
    document = json.loads((results / "results.json").read_text())
    document["files"]["driver/settings.json"] = sha256(results / "driver/settings.json")
    (results / "results.json").write_text(json.dumps(document))
    said = complaint("--run", run_dir, "--out", unfinished)
    assert "is for another network: it says [[1, 768]] where [[1, 784]] was built" in said


def changed_run(run_dir: Path, to: Path, **change: Any) -> Path:
    """A copy of the run with something else in its `policy.json`."""
    shutil.copytree(run_dir, to)
    document = json.loads((to / "policy.json").read_text())
    (to / "policy.json").write_text(json.dumps(document | change))
    return to


def test_a_policy_that_does_not_fit_is_refused_before_anything_runs(
    run_dir: Path, tmp_path: Path, complaint: Complaint
) -> None:
    run = changed_run(run_dir, tmp_path / "made", constraint={"min_fps": 1000.0, "max_utilisation": 0.01})
    said = complaint("--run", run, "--out", tmp_path / "out")
    assert said.startswith("the policy of made does not fit: ")
    assert said.endswith("search again, or build it all the same with FORCE=1")
    assert not (tmp_path / "out").exists()
    run = changed_run(run_dir, tmp_path / "fast", constraint={"min_fps": 1e6, "max_utilisation": 0.85})
    assert "the policy of fast too slow: " in complaint("--policy", run / "policy.json", "--out", tmp_path / "out")


def test_another_estimate_than_what_is_built_is_refused(
    run_dir: Path, unfinished: Path, tmp_path: Path, complaint: Complaint
) -> None:
    document = json.loads((run_dir / "policy.json").read_text())
    document["estimate"]["nodes"][1]["cycles"] += 1
    run = changed_run(run_dir, tmp_path / "made", estimate=document["estimate"])
    said = complaint("--run", run, "--out", unfinished)
    assert "is not what was estimated: Thresholding_rtl_0 cycles:" in said


def test_a_network_that_is_not_the_trained_one_is_not_built(run_dir: Path, tmp_path: Path, complaint: Complaint) -> None:
    run = Path(shutil.copytree(run_dir, tmp_path / "made"))
    with np.load(run / "golden.npz") as golden:
        arrays = dict(golden)
    arrays["logits"][0, 3] += 1
    np.savez(run / "golden.npz", **arrays)
    said = complaint("--run", run, "--out", tmp_path / "out")
    assert "is not the network that was trained: 1 accumulators differ on 4 images" in said
    assert not (tmp_path / "out" / PLAN).exists()
    assert not (tmp_path / "out" / "work").exists()


def test_a_directory_with_another_build_is_left_alone(run_dir: Path, unfinished: Path, complaint: Complaint) -> None:
    before = (unfinished / PLAN).read_bytes()
    said = complaint("--qonnx", run_dir / "model.onnx", "--target-fps", "1000", "--out", unfinished)
    assert f"{unfinished} holds another build (its layers is another)" in said
    assert (unfinished / PLAN).read_bytes() == before
    (unfinished / PLAN).write_text("{}")
    assert "this is no plan of a build" in complaint("--run", run_dir, "--out", unfinished)
    (unfinished / PLAN).write_bytes(b"\xff")
    assert "plan.json cannot be read" in complaint("--run", run_dir, "--out", unfinished)


def test_a_directory_of_the_users_is_left_alone(run_dir: Path, once: Once, tmp_path: Path, complaint: Complaint) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "mine.txt").touch()
    said = complaint("--run", run_dir, "--out", tmp_path)
    assert said.startswith(f"OUT={tmp_path} holds sources and no plan.json")
    assert [p.name for p in tmp_path.iterdir()] == ["sources"]
    assert "is a hand-over package; run ./build.sh in it" in complaint("--run", run_dir, "--out", once.out / "handover")


def test_a_build_that_was_killed_before_its_plan_goes_on(once: Once, tmp_path: Path) -> None:
    plan = BuildPlan.from_json((once.out / PLAN).read_text())
    for name in (".lock", "verified.json", "answers.npz", CHECKPOINT, SEAL, "nodes.json", "folding.json", ".plan.json.x1y2"):
        (tmp_path / name).touch()
    assert BuildDirectory(tmp_path, plan).path == tmp_path


@pytest.mark.slow
def test_a_qonnx_file_from_elsewhere(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(run_dir / "model.onnx", tmp_path / "their net.onnx")
    arguments = ["build", "--qonnx", str(tmp_path / "their net.onnx"), "--target-fps", "20000", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 3
    said = capsys.readouterr().out
    assert "verified on 16 images of noise, as there is no golden set, bit for bit" in said
    assert "building their-net for a PYNQ-Z2" in said
    assert "| – | MVAU_hls_0 |" in (tmp_path / "out/layers.md").read_text()
    ends = json.loads((tmp_path / "out/nodes.json").read_text())
    assert ends["nodes"][-1]["op_type"] == "LabelSelect_hls"  # the best class, as nothing else was asked for
    reads, hands_on = (Stream(tuple(ends[end]["shape"]), ends[end]["datatype"]) for end in ("reads", "hands_on"))
    assert write_board_golden(tmp_path / "out/answers.npz", reads, hands_on, tmp_path / "golden.npz") == 14
    assert "2 images have best classes that are equally good; the board is not held against those" in said
    with np.load(tmp_path / "golden.npz") as golden:
        assert golden["outputs"].shape == (14, *hands_on.shape[1:])
        assert set(golden["outputs"].ravel()) <= set(range(10))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of RUN="),
        (["--run", "a", "--policy", "b"], "give one of RUN="),
        (["--run", "a", "--folding", "b"], "FOLDING=b goes with QONNX"),
        (["--run", "a", "--board", "zcu104", "--top-k", "0"], "BOARD=zcu104, TOP_K=0 goes with QONNX; a policy has"),
        (["--qonnx", "{}/none.onnx", "--target-fps", "5"], "none.onnx is not there"),
        (["--qonnx", "{}/a.onnx"], "give either FOLDING=…/folding.json or TARGET_FPS=…"),
        (["--qonnx", "{}/a.onnx", "--target-fps", "5", "--folding", "x"], "give either FOLDING="),
        (["--qonnx", "{}/a.onnx", "--folding", "{}/none.json"], "is no folding"),
        (["--qonnx", "{}/a.onnx", "--folding", "{}/list.json"], "an object of objects is wanted"),
        (["--qonnx", "{}/a.onnx", "--target-fps", "0"], "TARGET_FPS is 0"),
        (["--qonnx", "{}/a.onnx", "--target-fps", "5", "--board", "pynq-z9"], "did you mean"),
        (["--run", "{}"], "holds no policy"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, complaint: Complaint, arguments: list[str], said: str) -> None:
    (tmp_path / "a.onnx").touch()
    (tmp_path / "list.json").write_text("[1]")
    assert said in complaint(*(a.format(tmp_path) for a in arguments), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_newest_of_two_generated_folders_is_copied(tmp_path: Path) -> None:
    for name, text, when in (("old_____", "old", 1), ("new_____", "new", 2)):
        folder = tmp_path / "finn" / f"code_gen_ipgen_MVAU_hls_0_{name}"
        folder.mkdir(parents=True)
        (folder / "top.cpp").write_text(f'{text} "{folder}/memblock.dat"')
        (folder / "input_1.npy").touch()
        os.utime(folder, (when, when))
    (tmp_path / "finn" / "vivado_stitch_proj_abcdefgh").mkdir()
    assert copy_sources(tmp_path / "finn", tmp_path / "sources") == {"MVAU_hls_0": ["MVAU_hls_0/top.cpp"]}
    assert (tmp_path / "sources/MVAU_hls_0/top.cpp").read_text() == 'new "./memblock.dat"'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_build_that_is_told_to_end_ends_as_after_ctrl_c(
    run_dir: Path, tmp_path: Path, complaint: Complaint, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr("flow.bitstream.build", lambda *_: os.kill(os.getpid(), number))
    said = complaint("--run", run_dir, "--out", tmp_path / "out", code=130)
    assert said.startswith("interrupted; what was finished is kept")
    assert signal.getsignal(number) == before


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("RUN=a", '--run "a"'),
        ("RUN=a POLICY=b", '--policy "b" --run "a"'),
        ("RUN=a FOLDING=f TARGET_FPS=3 TOP_K=1 BOARD=zcu104", '--run "a" --board zcu104 --folding f --target-fps 3 --top-k 1'),
        ("BOARD=zcu104", '--run "runs/cnv-zcu104"'),
        ("QONNX=q TARGET_FPS=5 FORCE=0", '--qonnx "q" --board pynq-z2 --target-fps 5'),
        ("POLICY=p FORCE=1", '--policy "p" --force'),
    ],
)
def test_make_hands_on_what_was_said(given: str, said: str) -> None:
    make = shutil.which("make") or ""
    done = subprocess.run(
        [make, "--no-print-directory", "-n", "bitstream", *given.split()], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[1], env=WITHOUT_TOOLS,
    )  # fmt: skip
    (line,) = [text for text in done.stdout.replace("\\\n", " ").splitlines() if "bitloop build" in text]
    assert " ".join(line.split()).partition("bitloop build ")[2] == said
