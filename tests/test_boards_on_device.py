"""What runs on the board, in a clean interpreter with numpy and a pynq that answers by a table, through the real driver."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards import on_device
from boards.package import Package, read_package
from tests.made_packages import HWH, SHAPE, made_package

FAKES = Path(__file__).parent / "board_fakes"
# Neither the user's site, nor the environment's, nor site-packages: only what is put on the path here.
START = "import runpy, sys; sys.path[:0] = sys.argv.pop(1).split(':'); runpy.run_path(sys.argv.pop(1), run_name='__main__')"


@pytest.fixture(scope="module")
def numpy_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with numpy and nothing else."""
    folder = tmp_path_factory.mktemp("numpy")
    there = Path(np.__file__).parent
    for path in (there, there.with_name("numpy.libs")):
        if path.exists():
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return made_package(tmp_path_factory.mktemp("package"), with_driver=True)


@pytest.fixture(scope="module")
def table(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the accelerator answers to the golden frames, packed as its streams are."""
    from finn_plus_driver.packing import finnpy_to_packed_bytearray
    from qonnx.core.datatype import DataType

    with np.load(package.path / "golden.npz") as golden:
        frames, answers = golden["inputs"], golden["outputs"]
    path = tmp_path_factory.mktemp("table") / "table.npz"
    packed = [
        finnpy_to_packed_bytearray(a.reshape(5, -1, fold), DataType[kind], reverse_endian=True, reverse_inner=True)
        for a, fold, kind in ((frames, 3, "INT8"), (answers, 1, "FLOAT32"))
    ]
    np.savez(path, inputs=packed[0], outputs=packed[1])
    return path


class Board:
    def __init__(self, numpy_alone: Path, table: Path) -> None:
        self.path = [str(FAKES), str(numpy_alone)]
        self.environment = {"FAKE_ACCELERATOR": str(table), "PATH": os.environ["PATH"]}


@pytest.fixture
def board(numpy_alone: Path, table: Path) -> Board:
    return Board(numpy_alone, table)


def on_board(board: Board, package: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the one object that was printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", START, ":".join(board.path), str(package / "on_device.py"), *arguments],
        env=board.environment | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


def test_the_accelerator_is_checked_and_measured(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, "--batch-sizes", "1,7", "--repeats", "2")
    assert code == on_device.WELL, found
    assert found["golden"] == {"n_images": 5, "n_wrong": 0, "largest_difference": 0.0}
    assert found["clock_mhz"] == 99.99  # of the .hwh, not the 100 of FCLK0 nor the 100 that was asked for
    assert "99.99" in HWH
    assert (found["name"], found["board"], found["pynq"]) == ("made", "pynq-z2", "3.1.2")
    assert found["package"] == package.sha256
    assert [t["batch_size"] for t in found["throughput"]] == [1, 7]
    for t in found["throughput"]:
        assert t["fps"] == pytest.approx(1e3 * t["batch_size"] / t["median_ms"])
        assert 0 < t["fastest_ms"] <= t["median_ms"]


def test_one_wrong_answer_is_found(board: Board, package: Package, tmp_path: Path) -> None:
    with np.load(board.environment["FAKE_ACCELERATOR"]) as right:
        inputs, outputs = right["inputs"], right["outputs"].copy()
    outputs[3, 2, 0] ^= 1
    np.savez(tmp_path / "wrong.npz", inputs=inputs, outputs=outputs)
    code, found = on_board(board, package.path, FAKE_ACCELERATOR=str(tmp_path / "wrong.npz"))
    assert code == on_device.WRONG
    assert found["golden"]["n_wrong"] == 1
    assert found["golden"]["largest_difference"] > 0


def test_an_accelerator_that_hangs_is_given_up(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, "--timeout", "1", FAKE_HANGS="1")
    assert code == on_device.REFUSED
    assert "did not finish 5 frames within 1.05 s" in found["error"]


def test_pynq_4_on_a_zynq_7000_is_refused_with_the_reason(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, FAKE_PYNQ_VERSION="4.0.0")
    assert code == on_device.REFUSED
    assert found["error"].startswith("pynq 4.0.0 has dropped Zynq-7000 boards")
    on_device.check_pynq("4.0.0", "zynq-ultrascale+")


def test_a_board_without_pynq_is_told_what_to_source(board: Board, package: Package) -> None:
    board.path.remove(str(FAKES))
    code, found = on_board(board, package.path)
    assert code == on_device.REFUSED
    assert "source /etc/profile.d/pynq_venv.sh" in found["error"]


def test_a_package_that_changed_on_the_way_is_refused(board: Board, tmp_path: Path) -> None:
    package = made_package(tmp_path, with_driver=True)
    (package.path / "settings.json").write_text("{}")
    code, found = on_board(board, package.path)
    assert code == on_device.REFUSED
    assert found["error"].startswith("settings.json is missing or not what the manifest says")
    (package.path / "manifest.json").write_text("{}")
    assert "holds no package" in on_board(board, package.path)[1]["error"]


def test_a_package_of_another_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"schema_version": 2, "files": {}}')
    with pytest.raises(on_device.RefusalError, match=r"has schema 2, this on_device\.py reads 1"):
        on_device.read_manifest(tmp_path)


@pytest.mark.parametrize(("sizes", "repeats"), [([], 1), ([0], 1), ([1], 0)])
def test_numbers_below_one_are_refused(tmp_path: Path, sizes: list[int], repeats: int) -> None:
    with pytest.raises(on_device.RefusalError, match="1 or more"):
        on_device.measure(tmp_path, sizes, repeats)


def test_answers_of_another_shape_are_refused(tmp_path: Path) -> None:
    class Accelerator:
        def execute(self, frames: np.ndarray) -> np.ndarray:
            return np.zeros((len(frames), 3))

    np.savez(tmp_path / "golden.npz", inputs=np.zeros((2, *SHAPE)), outputs=np.zeros((2, 10)))
    with pytest.raises(on_device.RefusalError, match=r"answers with the shape \(2, 3\)"):
        on_device.check_golden(Accelerator(), tmp_path, "golden.npz")


def test_answers_that_are_no_numbers_are_wrong(tmp_path: Path) -> None:
    class Accelerator:
        def execute(self, frames: np.ndarray) -> np.ndarray:
            return np.full((len(frames), 10), np.nan)

    np.savez(tmp_path / "golden.npz", inputs=np.zeros((2, *SHAPE)), outputs=np.zeros((2, 10)))
    assert on_device.check_golden(Accelerator(), tmp_path, "golden.npz")["n_wrong"] == 2


def test_the_limit_is_for_one_call_and_grows_with_its_frames() -> None:
    slow = SlowAccelerator(seconds=0.04)  # a call; ten of them take longer than the limit of one
    assert on_device.throughput(slow, 1, 10, timeout_s=0.2)["batch_size"] == 1
    slow.seconds = 0.3
    assert on_device.throughput(slow, 400, 1, timeout_s=0.2)["batch_size"] == 400
    with pytest.raises(on_device.RefusalError, match=r"did not finish 1 frames within 0\.202 s"):
        on_device.throughput(slow, 1, 1, timeout_s=0.2)


class SlowAccelerator:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.batch_size = 1

    def execute_on_buffers(self) -> None:
        time.sleep(self.seconds)


def test_without_a_golden_set_it_is_said_that_nothing_was_checked(board: Board, tmp_path: Path) -> None:
    package = made_package(tmp_path, with_driver=True, golden=None, n_golden=0)
    code, found = on_board(board, package.path, "--batch-sizes", "1", "--repeats", "1")
    assert code == on_device.UNCHECKED == 3, found
    assert found["golden"] is None
    assert found["throughput"][0]["fps"] > 0
    assert read_package(package.path).sha256 == package.sha256  # no __pycache__ nor anything else came into it


def test_an_old_python_is_told_which_image_to_take() -> None:
    with pytest.raises(on_device.RefusalError, match=r"Python is 3\.8, .* take the PYNQ image 3\.0 or 3\.1"):
        on_device.check_python((3, 8))
    on_device.check_python((3, 10))
    ast.parse(Path(on_device.__file__).read_text(), feature_version=(3, 8))  # it gets as far as that


def test_batch_sizes_that_are_none_are_refused_in_json(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, "--batch-sizes", "x")
    assert code == on_device.REFUSED
    assert found["error"].startswith("--batch-sizes is 'x'; whole numbers")


def test_what_c_code_prints_stays_off_standard_output(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> dict[str, Any]:
        os.write(1, b"from C")
        print("from Python")
        return {"golden": {"n_wrong": 0}}

    monkeypatch.setattr(on_device, "measure", measure)
    assert on_device.main([]) == on_device.WELL
    assert json.loads(capfd.readouterr().out) == {"golden": {"n_wrong": 0}}
