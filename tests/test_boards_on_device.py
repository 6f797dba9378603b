"""What runs on the board, in a clean interpreter with numpy and a pynq that answers by a table, through the real driver."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
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
    def __init__(self, numpy_alone: Path, table: Path, temporary: Path) -> None:
        self.path = [str(FAKES), str(numpy_alone)]
        self.environment = {"FAKE_ACCELERATOR": str(table), "PATH": os.environ["PATH"], "TMPDIR": str(temporary)}


@pytest.fixture
def board(numpy_alone: Path, table: Path, tmp_path: Path) -> Board:
    (tmp_path / "tmp").mkdir()
    return Board(numpy_alone, table, tmp_path / "tmp")


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
    assert found["golden"] == {"n_images": 5, "n_wrong": 0, "largest_difference": 0.0, "first_wrong": None}
    assert found["clock_mhz"] == 99.99  # of the .hwh, not the 100 of FCLK0 nor the 100 that was asked for
    assert "99.99" in HWH
    assert (found["name"], found["board"], found["pynq"]) == ("made", "pynq-z2", "3.1.2")
    assert found["package"] == package.sha256
    assert [t["batch_size"] for t in found["throughput"]] == [1, 7]
    assert found["latency_ms"] == found["throughput"][0]["median_ms"]
    assert found["driver"] == {"finn-plus-driver": "1.6.1"}
    assert found["driver_report"]["batch_size"] == 7
    assert (found["counters"], found["power"], found["test"]) == (None, None, None)
    assert found["power_note"] == "a PYNQ-Z2 has no power sensor of its own; measure at its supply"
    for t in found["throughput"]:
        assert t["fps"] == pytest.approx(1e3 * t["batch_size"] / t["median_ms"])
        assert 0 < t["fastest_ms"] <= t["median_ms"]


def test_one_wrong_answer_is_found_and_nothing_is_measured(board: Board, package: Package, tmp_path: Path) -> None:
    with np.load(board.environment["FAKE_ACCELERATOR"]) as right:
        inputs, outputs = right["inputs"], right["outputs"].copy()
    outputs[3, 2, 0] ^= 1
    np.savez(tmp_path / "wrong.npz", inputs=inputs, outputs=outputs)
    code, found = on_board(board, package.path, FAKE_ACCELERATOR=str(tmp_path / "wrong.npz"))
    assert code == on_device.WRONG
    assert found["golden"]["n_wrong"] == 1
    first = found["golden"]["first_wrong"]
    with np.load(package.path / "golden.npz") as golden:
        assert (first["image"], first["index"], first["wanted"]) == (3, 2, golden["outputs"][3, 2])
    assert found["golden"]["largest_difference"] == abs(first["got"] - first["wanted"]) > 0
    assert (found["throughput"], found["latency_ms"], found["driver_report"]) == ([], None, {})
    assert "the golden set came out wrong" in found["power_note"]


def test_an_accelerator_that_hangs_is_given_up_and_loaded_again(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, "--timeout", "1", FAKE_HANGS="1")
    assert (code, found["kind"]) == (on_device.REFUSED, "hang")
    assert "did not finish 5 frames within 1.05 s" in found["error"]
    assert found["error"].endswith("the FPGA was loaded again and can be used")
    assert "measured" not in found
    _, found = on_board(board, package.path, "--timeout", "0.2", FAKE_HANGS="1", FAKE_LOADS_ONCE="1")
    assert found["error"].endswith("the FPGA cannot be loaded again (timed out): switch the board off and on")


def test_what_is_measured_is_told_in_between(board: Board, package: Package) -> None:
    process = start(board, package.path, "--batch-sizes", "1,7", "--repeats", "1")
    output, errors = process.communicate(timeout=60)
    told = [
        json.loads(line.removeprefix(on_device.SO_FAR)) for line in errors.splitlines() if line.startswith(on_device.SO_FAR)
    ]
    assert [[t["batch_size"] for t in found["throughput"]] for found in told] == [[1], [1, 7]]
    assert told[-1]["throughput"] == json.loads(output)["throughput"]
    assert told[-1].keys() == json.loads(output).keys()


def test_what_was_measured_before_a_hang_is_not_lost(board: Board, package: Package) -> None:
    arguments = ("--timeout", "0.5", "--batch-sizes", "1,30", "--repeats", "1")
    code, found = on_board(board, package.path, *arguments, FAKE_HANGS="30")
    assert (code, found["kind"]) == (on_device.REFUSED, "hang")
    assert [t["batch_size"] for t in found["measured"]["throughput"]] == [1]
    assert found["measured"]["golden"]["n_wrong"] == 0


def test_a_bitfile_that_does_not_load_is_given_up(package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def load(*_: object, **__: object) -> None:
        time.sleep(30)

    driver = SimpleNamespace(__file__=str(package.path / "driver" / "x" / "y.py"), get_driver_class=lambda _: load)
    monkeypatch.setitem(sys.modules, "finn_plus_driver", driver)
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(PL=SimpleNamespace(reset=lambda: None)))
    monkeypatch.setattr(on_device, "LOAD_S", 0.3)
    with pytest.raises(on_device.HangError, match=r"did not finish loading within 0\.3 s"):
        on_device.load(package.path, package.manifest.model_dump())


def start(board: Board, package: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", START, ":".join(board.path), str(package / "on_device.py"), *arguments],
        env=board.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_ends_it_ends_the_accelerator_too(board: Board, package: Package, tmp_path: Path, number: signal.Signals) -> None:
    """A DMA engine that is left alone goes on to write where memory is somebody else's by then."""
    loaded, hangs = tmp_path / "loaded", tmp_path / "hangs"
    arguments = ("--timeout", "60", "--batch-sizes", "1,30", "--repeats", "1")
    process = start(board, package.path, *arguments, FAKE_HANGS="30", FAKE_HANGS_FILE=str(hangs), FAKE_LOADED=str(loaded))
    until = time.monotonic() + 60
    while not hangs.exists():
        assert time.monotonic() < until
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    assert loaded.read_text() == "loaded\n"
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    found = json.loads(output)
    assert (process.returncode, found["kind"]) == (on_device.REFUSED, "ended"), errors
    assert found["error"] == f"{number.name} ended it; the FPGA was loaded again and can be used"
    assert loaded.read_text() == "loaded\nloaded again\n"
    assert [t["batch_size"] for t in found["measured"]["throughput"]] == [1]


def test_no_copy_of_a_bitfile_is_left_where_the_kernel_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pynq writes one for every name, 4 MB on a PYNQ-Z2, and leaves it there (embedded_device.py, _preload_binfile)."""
    monkeypatch.setattr(on_device, "FIRMWARE", tmp_path)
    for name in ("made-0123.bin", "base.bin"):
        (tmp_path / name).touch()
    with contextlib.suppress(RuntimeError), on_device._no_copy_of(Path("/package/made-0123.bit")):
        assert (tmp_path / "made-0123.bin").exists()
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["base.bin"]
    with on_device._no_copy_of(Path("/package/made-0123.bit")):
        pass  # there is none


def test_pynq_4_on_a_zynq_7000_is_refused_with_the_reason(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, FAKE_PYNQ_VERSION="4.0.0")
    assert code == on_device.REFUSED
    assert found["error"].startswith("pynq 4.0.0 has dropped Zynq-7000 boards")
    on_device.check_pynq("4.0.0", "zynq-ultrascale+")


def test_an_old_pynq_is_told_which_image_to_take() -> None:
    with pytest.raises(on_device.RefusalError, match=r"pynq is 2\.7\.0, the driver needs 3\.0 or later"):
        on_device.check_pynq("2.7.0", "zynq-7000")


def test_a_pynq_that_finds_no_fpga_says_what_to_do(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, FAKE_NO_DEVICE="1")
    assert (code, found["kind"]) == (on_device.REFUSED, "refused")
    assert "pynq finds no FPGA (No Devices Found); run on the board itself, as root" in found["error"]


def test_without_roots_rights_it_is_said_so(board: Board, package: Package) -> None:
    code, found = on_board(board, package.path, FAKE_NO_ROOT="1")
    assert (code, found["kind"]) == (on_device.REFUSED, "refused")
    assert found["error"] == "the FPGA's registers need root's rights; run it with sudo"


def test_the_clock_is_what_the_registers_say(board: Board, package: Package) -> None:
    _, found = on_board(board, package.path, "--batch-sizes", "1", "--repeats", "1", FAKE_FCLK0_MHZ="50")
    assert found["clock_mhz"] == pytest.approx(99.99 / 2)
    _, found = on_board(board, package.path, "--batch-sizes", "1", "--repeats", "1", FAKE_FCLK0_MHZ="99.999")
    assert found["clock_mhz"] == 99.99  # a crystal that pynq knows as 33.333 MHz


@pytest.mark.parametrize(("rails", "total"), [({"INT": 1.5, "AUX": 0.5}, 2.0), ({"12V": 9.0, "INT": 1.5, "PL": None}, 9.0)])
def test_power_is_read_where_there_are_sensors(
    board: Board, package: Package, rails: dict[str, float | None], total: float
) -> None:
    _, found = on_board(board, package.path, "--batch-sizes", "1", "--repeats", "1", FAKE_RAILS=json.dumps(rails))
    assert found["power"] == {"rails_w": {name: w for name, w in rails.items() if w is not None}, "total_w": total}
    assert found["power_note"] == ""


def test_power_is_read_while_the_accelerator_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = SlowAccelerator(seconds=0.02)
    seen: list[int] = []

    class Sensor:
        @property
        def value(self) -> float:
            seen.append(accelerator.n_calls)
            return 2.0

    told = {"get_rails": lambda: {"INT": SimpleNamespace(power=Sensor())}, "Device": SimpleNamespace(active_device=None)}
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(**told))
    monkeypatch.setattr(on_device, "POWER_S", 0.3)
    assert on_device.power(accelerator, "ZCU104", timeout_s=5) == ({"rails_w": {"INT": 2.0}, "total_w": 2.0}, "")
    assert seen[-1] > seen[0]


def test_sensors_that_break_cost_nothing_but_the_power(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sensor:
        @property
        def value(self) -> float:
            raise OSError("Remote I/O error")

    told = {"get_rails": lambda: {"INT": SimpleNamespace(power=Sensor())}, "Device": SimpleNamespace(active_device=None)}
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(**told))
    monkeypatch.setattr(on_device, "POWER_S", 0.1)
    found, note = on_device.power(SlowAccelerator(seconds=0.01), "ZCU104", timeout_s=5)
    assert (found, note) == (
        None, "the sensors of the ZCU104 cannot be read (OSError: Remote I/O error); measure at its supply",
    )  # fmt: skip


def test_sensors_that_read_nothing_are_none(board: Board, package: Package) -> None:
    _, found = on_board(board, package.path, "--batch-sizes", "1", "--repeats", "1", FAKE_RAILS='{"INT": 0.0}')
    assert (found["power"], found["power_note"]) == (None, "the sensors of the PYNQ-Z2 read 0 W; measure at its supply")


def test_another_user_of_the_fpga_is_named(board: Board, package: Package) -> None:
    path = Path(board.environment["TMPDIR"]) / on_device.LOCK
    with path.open("w") as lock:
        lock.write("process 17 (python other.py)")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        code, found = on_board(board, package.path)
        assert (code, found["kind"]) == (on_device.REFUSED, "busy")
        assert found["error"].startswith("the FPGA is in use by process 17 (python other.py); let it end")
        _, found = on_board(board, package.path, "--check")
        assert found["fpga"] == "in use by process 17 (python other.py)"
    assert on_board(board, package.path, "--check")[1]["fpga"] == "free"


@pytest.mark.parametrize(
    ("mapping", "uses"),
    [
        ("b6d2c000-b6d2d000 rw-s 40000000 00:06 1042       /dev/mem", True),
        ("7f1c2000-7f1c3000 rw-s a0010000 00:06 1042       /dev/mem", True),
        ("7f1c2000-7f1c3000 rw-s 400000000 00:06 1042       /dev/mem", True),
        ("b6d2c000-b6d2d000 rw-s 00000000 00:06 1042       /dev/uio3", True),
        ("b6d2c000-b6d2d000 rw-s f8000000 00:06 1042       /dev/mem", False),  # the processor's clocks, no part of the FPGA
        ("b6d2c000-b6d2d000 r--p 40000000 b3:02 1042       /usr/lib/libc.so.6", False),
        ("b6d2c000-b6d2d000 rw-p 00000000 00:00 0", False),
    ],
)
def test_a_process_that_has_registers_of_the_fpga_mapped_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mapping: str, uses: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for number, lines in ((1, "00010000-00011000 r-xp 00000000 b3:02 7  /sbin/init\n"), (812, f"{mapping}\n")):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "maps").write_text(lines)
        (tmp_path / str(number) / "cmdline").write_bytes(b"python\0notebook.py\0")
    (tmp_path / "813").mkdir()  # has ended in between
    (tmp_path / "meminfo").touch()
    assert on_device.fpga_user(tmp_path) == ("process 812 (python notebook.py)" if uses else None)


def test_the_fpga_is_held_while_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with on_device.held_fpga():
        user = on_device.fpga_user(tmp_path)
        assert user is not None
        assert user.startswith(f"process {os.getpid()} (")
        with pytest.raises(on_device.BusyError, match=f"in use by process {os.getpid()} "), on_device.held_fpga():
            pass
    with on_device.held_fpga():
        pass


def test_images_say_what_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BOARD", raising=False)
    assert (on_device.image_name(root=tmp_path), on_device.board_name(root=tmp_path)) == (None, None)
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    assert on_device.board_name(root=tmp_path) == "Pynq-Z2"
    for name, text in (
        (
            "etc/lsb-release",
            'DISTRIB_ID=PynqLinux\nDISTRIB_RELEASE=3.0\nDISTRIB_DESCRIPTION="PYNQ Linux, based on Ubuntu 22.04"\n',
        ),
        ("home/xilinx/REVISION", "Release 2022_11_23 7faac21\nBoard 2022_11_23 7faac21 https://example.org\n"),
        ("proc/device-tree/chosen/pynq_board", "ZCU104\0"),
    ):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    assert on_device.image_name(root=tmp_path) == "PynqLinux 3.0 (Release 2022_11_23 7faac21)"
    assert on_device.board_name(root=tmp_path) == "ZCU104"
    (tmp_path / "etc/lsb-release").write_text("DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n")
    (tmp_path / "home/xilinx/REVISION").unlink()
    assert on_device.image_name(root=tmp_path) is None


@pytest.mark.parametrize(
    ("board", "simulated", "device", "said"),
    [
        ("Pynq-Z2", False, "edge", None),
        ("Pynq-Z1", False, "edge", None),  # the same part
        ("MyBoard", False, "edge", None),  # whose part nobody knows: its FPGA itself refuses
        (None, False, "edge", None),
        ("ZCU104", False, "edge", "is for a PYNQ-Z2 .xc7z020clg400-1., this is a ZCU104 with a xczu7ev-ffvc1156"),
        ("Pynq-Z2", True, "edge", "is for a simulated board and this is a real one"),
        ("Pynq-Z2", False, "simulated", "is for a real board and this is a simulated one"),
    ],
)
def test_a_package_for_another_board_is_refused(
    monkeypatch: pytest.MonkeyPatch, board: str | None, simulated: bool, device: str, said: str | None
) -> None:
    monkeypatch.setattr(on_device, "board_name", lambda _: board)
    manifest = {"simulated": simulated, "board": {"fpga_part": "xc7z020clg400-1", "title": "PYNQ-Z2"}}
    with pytest.raises(on_device.RefusalError, match=said) if said else contextlib.nullcontext():
        on_device.check_board(manifest, SimpleNamespace(name=device))


def test_a_test_set_is_classified(board: Board, package: Package, tmp_path: Path) -> None:
    with np.load(package.path / "golden.npz") as golden:
        frames, labels = golden["inputs"], golden["outputs"].argmax(axis=1)
    np.savez(tmp_path / "test.npz", inputs=frames, labels=np.where(np.arange(5) == 2, -1, labels))
    arguments = ("--batch-sizes", "1", "--repeats", "1", "--test-set", str(tmp_path / "test.npz"))
    code, found = on_board(board, package.path, *arguments)
    assert code == on_device.WELL, found
    assert found["test"] == {"n_images": 5, "n_right": 4}
    np.savez(tmp_path / "test.npz", inputs=frames, labels=labels[:3])
    code, found = on_board(board, package.path, *arguments)
    assert (code, found["kind"]) == (on_device.REFUSED, "refused")
    assert found["error"] == "test.npz has 5 inputs and 3 labels; as many of both are wanted"


def test_an_answer_of_one_number_is_the_class() -> None:
    class Accelerator:
        def execute(self, frames: np.ndarray) -> np.ndarray:
            return frames[:, :1]

    inputs = np.arange(2500).reshape(-1, 1)  # more than go in at once
    assert on_device.classify(Accelerator(), inputs, np.arange(2500), "UINT16") == {"n_images": 2500, "n_right": 2500}


@pytest.mark.parametrize(("datatype", "right"), [("UINT4", [7, 0]), ("FLOAT32", [0, 2]), ("INT16", [0, 2])])
def test_several_answers_are_classes_or_logits(datatype: str, right: list[int]) -> None:
    """With TOP_K=3 an accelerator hands on the numbers of the three best classes; with TOP_K=0 the logits of all."""

    class Accelerator:
        def execute(self, frames: np.ndarray) -> np.ndarray:
            return np.array([[7, 1, 2], [0, 1, 9]])

    assert on_device.classify(Accelerator(), np.zeros((2, 4)), np.array(right), datatype) == {"n_images": 2, "n_right": 2}


def test_frames_are_run_and_nothing_is_measured(board: Board, package: Package, tmp_path: Path) -> None:
    with np.load(package.path / "golden.npz") as golden:
        np.save(tmp_path / "in.npy", golden["inputs"][1:4])
        wanted = golden["outputs"][1:4]
    code, found = on_board(board, package.path, "--infer", str(tmp_path / "in.npy"), "--out", str(tmp_path / "out"))
    assert code == on_device.WELL, found
    assert (found["n_images"], found["package"], found["clock_mhz"]) == (3, package.sha256, 99.99)
    np.testing.assert_array_equal(np.load(tmp_path / "out"), wanted)
    np.save(tmp_path / "in.npy", np.zeros((3, 4, 4)))
    code, found = on_board(board, package.path, "--infer", str(tmp_path / "in.npy"), "--out", str(tmp_path / "out"))
    assert found["error"] == "in.npy has the shape (3, 4, 4), the accelerator reads frames of (4, 4, 3)"
    (tmp_path / "in.npy").write_bytes(b"no array")
    code, found = on_board(board, package.path, "--infer", str(tmp_path / "in.npy"), "--out", str(tmp_path / "out"))
    assert (code, found["kind"]) == (on_device.REFUSED, "refused")
    assert found["error"].startswith("in.npy does not hold one array (")


def test_frames_want_a_place_for_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        on_device.main(["--infer", "in.npy"])
    assert "--infer and --out go together" in capsys.readouterr().err


def test_the_board_is_looked_at_without_loading_anything(board: Board, package: Package, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    program = shutil.copy(package.path / "on_device.py", tmp_path / "alone")
    code, found = on_board(board, Path(program).parent, "--check", BOARD="Pynq-Z2")
    assert code == on_device.WELL
    assert (found["pynq"], found["numpy"], found["board"], found["problems"]) == ("3.1.2", np.__version__, "Pynq-Z2", [])
    assert found["root"] == (os.geteuid() == 0)
    assert found["card_free_bytes"] > 0
    assert found["memory_free_bytes"] > 0


def test_a_board_that_has_nothing_says_so(board: Board, package: Package) -> None:
    board.path.clear()
    code, found = on_board(board, package.path, "--check")
    assert code == on_device.WELL
    assert (found["pynq"], found["numpy"]) == (None, None)
    assert "pynq cannot be imported" in found["problems"][0]


def test_the_fpga_is_reset(board: Board, package: Package, tmp_path: Path) -> None:
    code, found = on_board(board, package.path, "--reset")
    assert (code, found["loaded"], found["note"]) == (on_device.WELL, "made", "")
    half = shutil.copytree(package.path, tmp_path / "half")
    (half / "settings.json").unlink()
    code, found = on_board(board, half, "--reset")
    assert (code, found["loaded"]) == (on_device.WELL, None)
    assert found["note"].startswith("settings.json is missing")


def test_counters_that_report_an_error_are_none() -> None:
    class Accelerator:
        def __init__(self) -> None:
            self.done: list[object] = []

        def experiment_instrumentation(self, runtime: int, report_dir: str) -> None:
            self.done.append(runtime)
            Path(report_dir, "report_experiment_instrumentation.json").write_text('{"error": true}')

        def stop_accelerator(self) -> None:
            self.done.append("stopped")

        def set_current_mode(self, mode: str) -> None:
            self.done.append(mode)

    accelerator = Accelerator()
    found, note = on_device.counters(accelerator, fps=20.0, timeout_s=1.0)
    assert (found, note) == (None, "the counters report an error, or no frame came through in 5 s")
    assert accelerator.done == [5, "stopped", "dma"]  # long enough for 100 frames


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
    (tmp_path / "manifest.json").write_text('{"schema_version": 1, "files": {}}')
    with pytest.raises(on_device.RefusalError, match=r"has schema 1, this on_device\.py reads 2"):
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
    with pytest.raises(on_device.HangError, match=r"did not finish 1 frames within 0\.202 s"):
        on_device.throughput(slow, 1, 1, timeout_s=0.2)


def test_a_limit_that_somebody_swallows_speaks_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As pynq does, which tries another way to read a .hwh file after whatever goes wrong."""

    class Accelerator:
        batch_size = 1

        def execute_on_buffers(self) -> None:
            with contextlib.suppress(Exception):
                time.sleep(20)
            time.sleep(20)

    monkeypatch.setattr(on_device, "AGAIN_S", 0.2)
    begun = time.monotonic()
    with pytest.raises(on_device.HangError, match="did not finish 1 frames"):
        on_device.throughput(Accelerator(), 1, 1, timeout_s=0.2)
    assert time.monotonic() - begun < 15


class SlowAccelerator:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.batch_size = 1
        self.n_calls = 0

    def execute_on_buffers(self) -> None:
        self.n_calls += 1
        time.sleep(self.seconds)


def test_the_median_call_counts_and_the_first_one_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is the slowest, of the others one is, too: neither is what a call takes."""
    took = iter([9.0, 0.5, 0.75, 4.0, 0.75, 0.25])
    now = [0.0]

    class Accelerator:
        batch_size = 1

        def execute_on_buffers(self) -> None:
            now[0] += next(took)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    found = on_device.throughput(Accelerator(), 3, 5)
    assert found == {"batch_size": 3, "fps": 4.0, "median_ms": 750.0, "fastest_ms": 250.0}
    took = iter([9.0, 0.5])
    assert on_device.throughput(Accelerator(), 1, 1)["median_ms"] == 500.0


class SmallMemory:
    """An accelerator with memory for so many frames."""

    def __init__(self, room: int) -> None:
        self._room, self.asked = room, list[int]()

    @property
    def batch_size(self) -> int:
        return self.asked[-1]

    @batch_size.setter
    def batch_size(self, n: int) -> None:
        self.asked.append(n)
        if n > self._room:
            raise RuntimeError("BO allocation failed")

    def execute(self, frames: np.ndarray) -> np.ndarray:
        return frames[:, :1]

    def execute_on_buffers(self) -> None:
        pass


def test_frames_that_memory_has_no_room_for_are_said_to_be_too_many() -> None:
    for do in (on_device.throughput, on_device.driver_report):
        with pytest.raises(
            on_device.RefusalError, match=r"no memory for buffers of 1,000 frames \(BO allocation failed.*--batch"
        ):
            do(SmallMemory(100), 1000, 1)


def test_large_frames_go_in_by_fewer_at_once() -> None:
    accelerator = SmallMemory(16)
    frames = np.zeros((40, 1 << 20), np.uint8)
    assert len(on_device._execute(accelerator, frames, 10.0)) == 40
    assert accelerator.asked == [16, 16, 8]
    assert on_device.frames_at_once(1 << 30) == 1
    assert on_device.frames_at_once(48) == 1000


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


def test_what_c_code_keeps_to_print_at_the_end_stays_off_standard_output(board: Board, package: Package) -> None:
    """The C library's own buffer is written when the process ends; a line of it behind the answer would spoil that."""
    code, found = on_board(board, package.path, "--batch-sizes", "1", "--repeats", "1", FAKE_PRINTS="1")
    assert code == on_device.WELL, found


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
