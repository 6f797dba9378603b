"""A build, from the run to the simulated board and back into `measurements.db`; real pynq, driver and `on_device.py`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from boards.measurement import Measurement
from boards.measurements import Measurements
from boards.package import Package, read_package
from flow import cli
from flow.bitstream import build_simulated
from flow.build_source import source_of_policy
from flow.run_directory import write_json
from hls.types import Estimate
from tests.board_python import board_python
from tests.made_runs import N_GOLDEN, made_run
from tests.test_flow_pipeline import RecordingListener

FEW = ["--batch-sizes", "1,100", "--repeats", "1"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as a search leaves it, with its identity."""
    folder = made_run(tmp_path_factory.mktemp("run") / "made")
    identity = {
        "MODEL": "tfc", "BOARD": "pynq-z2", "DATASET": "digits", "SEED": 0, "MIN_FPS": 1000.0, "MAX_UTIL": 0.85,
        "SEARCHER": "random", "RETRAIN_IMAGES": 64, "TOP_K": 0,
    }  # fmt: skip
    write_json(folder / "run.json", identity)
    return folder


@pytest.fixture(scope="module")
def built(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build of the run, with its package for the simulated board."""
    out = tmp_path_factory.mktemp("build") / "made"
    build_simulated(source_of_policy(run / "policy.json"), out, N_GOLDEN, RecordingListener(), instrumented=False)
    return out


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    return


def measure(*arguments: object) -> int:
    return cli.main(["measure", *map(str, arguments), "--board-python", str(board_python()), *FEW])


def only(path: Path = Path("measurements.db")) -> Measurement:
    (kept,) = Measurements(path).records()
    assert isinstance(kept.record, Measurement)
    return kept.record


def test_a_simulated_package_says_what_it_is(built: Path, run: Path) -> None:
    package = read_package(built / "simulated-package")
    m = package.manifest
    assert m.simulated
    assert (m.n_golden, m.clock_mhz, m.board.name) == (N_GOLDEN, 100.0, "pynq-z2")
    assert "no Vivado" in m.tools
    assert not (built / "package").exists()
    design = json.loads((package.path / m.design).read_text())
    policy = json.loads((run / "policy.json").read_text())
    assert design["policy"] == {n: {"weight": b["weight"], "act": b["act"]} for n, b in policy["policy"].items()}
    assert design["estimate"]["nodes"] == policy["estimate"]["nodes"]


def test_a_package_that_is_there_is_taken(built: Path, run: Path) -> None:
    before = (built / "simulated-package" / "manifest.json").stat().st_mtime_ns
    again = build_simulated(source_of_policy(run / "policy.json"), built, N_GOLDEN, RecordingListener(), instrumented=False)
    assert isinstance(again, Package)
    assert (built / "simulated-package" / "manifest.json").stat().st_mtime_ns == before


def test_make_measure_runs_the_network_and_keeps_what_came_out(
    built: Path, run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert measure("--run", run, "--out", built, "--test-images", 30, "--data-dir", tmp_path) == 0
    said = capsys.readouterr().out
    assert "the simulated pynq-z2, which is no board" in said
    assert f"{N_GOLDEN} images of the golden set, bit for bit right" in said
    assert "no power" in said
    found = only()
    assert found.simulated
    assert found.golden is not None
    assert (found.golden.n_images, found.golden.n_wrong) == (N_GOLDEN, 0)
    assert found.pynq.startswith("3.1")
    assert [t.batch_size for t in found.throughput] == [1, 100]
    assert found.design.estimate is not None
    estimate = Estimate.from_dict(found.design.estimate)
    for t in found.throughput:  # by the board's own watch: the same on every machine
        cycles = estimate.latency_cycles + (t.batch_size - 1) * estimate.bottleneck_cycles
        assert t.fps == pytest.approx(t.batch_size * estimate.clock_mhz * 1e6 / cycles, rel=0.01)
    assert found.test is not None
    assert found.test.n_images == 30
    assert found.clock_readback_mhz == 100.0


def test_a_package_alone_is_measured_too(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--package", built / "simulated-package") == 0
    assert only().test is None
    assert "kept in measurements.db" in capsys.readouterr().out


def test_a_slower_board_gives_a_calibration_that_a_search_takes_only_when_told(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = "simulated:cycles_factor=3"
    assert measure("--package", built / "simulated-package", "--host", host) == 0
    assert cli.main(["calibrate", "--host", host]) == 0
    said = capsys.readouterr().out
    assert "simulated board" in said
    assert "one design: unknown" in said
    raw = json.loads(Path("calibration/pynq-z2-simulated.json").read_text())
    ratio = raw["factors"]["interval_cycles"]["ratio"]
    assert ratio >= 3  # a batch of 100 fills the pipeline first
    assert measure("--package", built / "simulated-package", "--host", host) == 0
    assert cli.main(["calibrate", "--host", host]) == 0
    capsys.readouterr()
    again = json.loads(Path("calibration/pynq-z2-simulated.json").read_text())
    assert again["factors"]["interval_cycles"]["ratio"] == pytest.approx(ratio, rel=1e-9)
    assert cli.main(["calibrate"]) == 2
    assert "nothing was measured on a pynq-z2" in capsys.readouterr().err
    assert not Path("calibration/pynq-z2.json").exists()


def test_measurements_are_listed_exported_and_taken_in(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--package", built / "simulated-package") == 0
    assert cli.main(["measurements", "list"]) == 0
    assert "simulated board" in capsys.readouterr().out
    assert cli.main(["measurements", "list", "--real"]) == 0
    assert "simulated" not in capsys.readouterr().out
    assert cli.main(["measurements", "export", "m.jsonl"]) == 0
    assert cli.main(["measurements", "import", "m.jsonl", "--measurements", "other.db"]) == 0
    assert "1 of 1 records were new" in capsys.readouterr().out
    assert only(Path("other.db")) == only()


def test_wrong_answers_are_not_kept_and_the_board_can_be_used_again(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure("--package", built / "simulated-package", "--host", "simulated:wrong_output=2") == 2
    said = capsys.readouterr().err
    assert said.startswith("bitloop: ")
    assert said.count("\n") == 1
    assert Measurements(Path("measurements.db")).records() == []
    assert measure("--package", built / "simulated-package") == 0


def test_what_was_measured_before_a_hang_is_kept(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = ["--host", f"simulated:stuck_dma={N_GOLDEN + 5}", "--timeout", "1"]
    assert measure("--package", built / "simulated-package", *host) == 2
    said = capsys.readouterr()
    assert said.err.startswith("bitloop: ")
    assert "batches of 1 had been measured by then, and are kept" in said.out.replace("\n", " ")
    assert [t.batch_size for t in only().throughput] == [1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give one of RUN"),
        (["--package", "nowhere"], "nowhere is no deployment package"),
        (["--package", "PACKAGE", "--host", ""], "HOST is empty"),
        (["--package", "PACKAGE", "--host", "simulated:colour=red"], "colour"),
        (["--package", "PACKAGE", "--batch-sizes", "1,zero"], "BATCH_SIZES is '1,zero'"),
        (["--package", "PACKAGE", "--timeout", "0"], "TIMEOUT is 0"),
        (["--package", "PACKAGE", "--host", "nobody@127.0.0.1:1"], "127.0.0.1"),
        (["--run", "RUN", "--out", "BUILT", "--host", "nobody@127.0.0.1:1"], "has no package/"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    built: Path, run: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"PACKAGE": str(built / "simulated-package"), "RUN": str(run), "BUILT": str(built)}
    told = [places.get(a, a) for a in arguments]
    assert cli.main(["measure", *told, "--board-python", str(board_python())]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("bitloop: ")
    assert complaint.count("\n") == 1
    assert said in complaint


def test_a_damaged_package_is_refused_before_a_board_is_asked(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = Path(shutil.copytree(built / "simulated-package", tmp_path / "package"))
    (package / "settings.json").write_text("{}")
    assert measure("--package", package) == 2
    assert "is not what the manifest says" in capsys.readouterr().err
    assert not Path(".simulated-board").exists()


def test_board_check_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["board", "check", "--board-python", str(board_python())]) == 0
    said = capsys.readouterr().out
    assert "simulated is ready" in said
    assert "pynq" in said


def test_without_the_boards_python_it_is_said_how_to_get_it(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["measure", "--package", str(built / "simulated-package"), "--board-python", "/nowhere/python"])
    assert code == 2
    assert "make simulated-board" in capsys.readouterr().err
