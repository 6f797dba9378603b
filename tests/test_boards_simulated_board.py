"""The simulated board: the real pynq and the unmodified driver on it, and its blocks by themselves, to the register."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finn_plus_driver.packing import finnpy_to_packed_bytearray, packed_bytearray_to_finnpy
from qonnx.core.datatype import DataType

from boards import on_device
from boards.board import Board
from boards.package import Package, read_package
from boards.pynq_z2 import PYNQ_Z2
from boards.simulated_board import board as board_module
from boards.simulated_board.accelerator import Accelerator
from boards.simulated_board.blocks import Counters, Dma, Gpio, Memory, Window
from boards.simulated_board.board import BoardError, Faults, Fpga, Truth, read_board
from boards.simulated_board.board_time import BoardTime
from boards.simulated_board.circuit import read_circuit
from boards.simulated_board.clocks import Clocks
from boards.simulated_board.hwh import FCLK0_MHZ, INSTRUMENTATION, hwh, wizard_mhz
from boards.simulated_board.packing import pack, unpack
from boards.zcu104 import ZCU104
from tests.board_python import board_python
from tests.made_circuits import (
    INTERVAL_CYCLES,
    LATENCY_CYCLES,
    answers,
    circuit,
    frames,
    simulated_package,
)
from tests.made_packages import SHAPE

LAUNCHER = Path(board_module.__file__).parent
ONE = ("--batch-sizes", "1", "--repeats", "1")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return simulated_package(tmp_path_factory.mktemp("package"))


def board_json(state: Path, board: Board = PYNQ_Z2, **told: Any) -> Path:
    state.mkdir(parents=True, exist_ok=True)
    facts = {"board": board.name, "fpga_part": board.fpga_part, "family": board.family, "clock_mhz": board.clock_mhz}
    (state / "board.json").write_text(json.dumps({**facts, **told}))
    return state


def run(state: Path, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program on a simulated board."""
    environment = {"PATH": os.defpath, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run(
        [str(board_python()), str(LAUNCHER), str(state), str(program), *arguments],
        env=environment, capture_output=True, text=True, check=False, cwd=state,
    )  # fmt: skip


def on_board(state: Path, package: Package, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit code of a package's `on_device.py`, and the one object that it has printed."""
    done = run(state, package.path / "on_device.py", *arguments)
    assert done.stdout.count("\n") == 1, done.stdout + done.stderr
    return done.returncode, json.loads(done.stdout)


# The program that a board runs


def test_a_package_is_checked_and_measured(package: Package, tmp_path: Path) -> None:
    given = frames(2100, seed=3)
    labels = answers(given).argmax(axis=1)
    labels[[5, 2050]] += 1
    np.savez(tmp_path / "test.npz", inputs=given, labels=labels)
    state = board_json(tmp_path / "state")
    arguments = ("--batch-sizes", "1,10,300", "--repeats", "2", "--test-set", str(tmp_path / "test.npz"))
    code, found = on_board(state, package, *arguments)
    assert code == on_device.WELL, found
    assert found["golden"] == {"n_images": 5, "n_wrong": 0, "largest_difference": 0.0, "first_wrong": None}
    assert found["test"] == {"n_images": 2100, "n_right": 2098}
    assert (found["image"], found["pynq"], found["clock_mhz"]) == ("simulated (pynq 3.1.2)", "3.1.2", 100.0)
    assert found["package"] == package.sha256
    assert (found["counters"], found["power"]) == (None, None)
    assert found["power_note"] == "a simulated board draws no power"
    assert found["driver_report"]["fclk[mhz]"] == 100.0
    at_least_ms = {n: (LATENCY_CYCLES + (n - 1) * INTERVAL_CYCLES) / 100e3 for n in (1, 10, 300)}
    assert {t["batch_size"]: t["fastest_ms"] >= at_least_ms[t["batch_size"]] for t in found["throughput"]} == dict.fromkeys(
        (1, 10, 300), True
    )
    assert read_package(package.path).sha256 == package.sha256  # nothing came into it
    known = Fpga.read(state)
    assert known.bitfile == str(package.path / package.manifest.bitfile)
    assert known.n_frames == known.n_frames_ever == 5 + 3 * (1 + 10 + 300) + 300 + 2100


def test_an_instrumented_design_counts_by_itself(tmp_path: Path) -> None:
    package = simulated_package(tmp_path, instrumented=True)
    state = board_json(tmp_path / "state", truth={"cycles_factor": 1.3, "overhead_us": 5.0}, faults={"slowdown": 2})
    code, found = on_board(state, package, *ONE)
    assert code == on_device.WELL, found
    counted = found["counters"]
    assert counted["raw"]["run_frames"] > 0
    del counted["raw"]
    assert counted == {
        "latency_cycles": 2.6 * LATENCY_CYCLES, "interval_cycles": 2.6 * INTERVAL_CYCLES,
        "avg_interval_cycles": 2.6 * INTERVAL_CYCLES, "min_latency_cycles": 2.6 * LATENCY_CYCLES,
    }  # fmt: skip


def test_frames_are_answered_bit_for_bit(package: Package, tmp_path: Path) -> None:
    given = frames(1203, seed=9)
    given[100:200] = given[7]  # the same again and again
    np.save(tmp_path / "in.npy", given)
    state = board_json(tmp_path / "state")
    code, found = on_board(state, package, "--infer", str(tmp_path / "in.npy"), "--out", str(tmp_path / "out.npy"))
    assert code == on_device.WELL, found
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), answers(given))


def test_an_ultrascale_board_has_its_own_clocks(tmp_path: Path) -> None:
    package = simulated_package(tmp_path, board=ZCU104)
    code, found = on_board(board_json(tmp_path / "state", ZCU104, faults={"clock_mhz": 50}), package, *ONE)
    assert (code, found["golden"]["n_wrong"], found["board"]) == (on_device.WELL, 0, "zcu104")
    assert found["clock_mhz"] == pytest.approx(49.9995)  # and not what was set


def test_a_wrong_answer_is_named(package: Package, tmp_path: Path) -> None:
    state = board_json(tmp_path / "state", faults={"wrong_output": 4})
    code, found = on_board(state, package)
    right = answers(frames(5))[3, :1]
    wrong = (right.view(np.uint32) ^ 1).view(np.float32)
    assert code == on_device.WRONG
    assert found["golden"] == {
        "n_images": 5, "n_wrong": 1, "largest_difference": abs(float(right[0]) - float(wrong[0])),
        "first_wrong": {"image": 3, "index": 0, "got": float(wrong[0]), "wanted": float(right[0])},
    }  # fmt: skip


def test_a_stuck_dma_engine_is_given_up_and_the_board_can_be_used_afterwards(package: Package, tmp_path: Path) -> None:
    state = board_json(tmp_path / "state", faults={"stuck_dma": 8})  # in the golden set's second frame of the second run
    arguments = ("--batch-sizes", "2,4", "--repeats", "1", "--timeout", "0.5")
    code, found = on_board(state, package, *arguments)
    assert (code, found["kind"]) == (on_device.REFUSED, "hang")
    assert "did not finish 2 frames within 0.51 s" in found["error"]
    assert found["error"].endswith("the FPGA was loaded again and can be used")
    known = Fpga.read(state)
    assert (known.has_been_stuck, known.is_stuck) == (True, False)
    assert on_board(state, package, *arguments)[0] == on_device.WELL


def test_a_stuck_board_is_reset(package: Package, tmp_path: Path) -> None:
    state = board_json(tmp_path / "state")
    (state / "fpga.json").write_text(json.dumps(asdict(Fpga("another.bit", 1, 9, True, is_stuck=True))))
    code, found = on_board(state, package, "--reset")
    assert (code, found["loaded"]) == (on_device.WELL, "made")
    known = Fpga.read(state)
    assert (known.bitfile, known.is_stuck) == (str(package.path / package.manifest.bitfile), False)
    assert (known.n_frames, known.n_frames_ever) == (0, 9)


def test_an_fpga_in_use_is_left_alone(package: Package, tmp_path: Path) -> None:
    state = board_json(tmp_path / "state", faults={"busy": True})
    code, found = on_board(state, package)
    assert (code, found["kind"]) == (on_device.REFUSED, "busy")
    assert found["error"] == "the FPGA is in use by another program; let it end, or end it, and try again"
    assert Fpga.read(state).bitfile == ""


def test_the_board_says_what_it_is(package: Package, tmp_path: Path) -> None:
    shutil.copy(package.path / "on_device.py", tmp_path)
    done = run(board_json(tmp_path / "state", faults={"old_pynq": "2.7.0", "busy": True}), tmp_path / "on_device.py", "--check")
    found = json.loads(done.stdout)
    assert (found["image"], found["pynq"], found["board"]) == ("simulated (pynq 2.7.0)", "2.7.0", "pynq-z2")
    assert (found["root"], found["fpga"], found["problems"]) == (True, "in use by another program", [])


@pytest.mark.parametrize(
    ("board", "faults", "said"),
    [
        (ZCU104, {}, "the package is for a PYNQ-Z2 (xc7z020clg400-1), this is a zcu104 with a xczu7ev-ffvc1156-2-e"),
        (PYNQ_Z2, {"new_pynq": "4.0.0"}, "pynq 4.0.0 has dropped Zynq-7000 boards"),
    ],
)
def test_what_cannot_run_is_refused(package: Package, tmp_path: Path, board: Board, faults: dict[str, Any], said: str) -> None:
    code, found = on_board(board_json(tmp_path / "state", board, faults=faults), package)
    assert (code, found["kind"]) == (on_device.REFUSED, "refused")
    assert found["error"].startswith(said)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("{", "describes no simulated board: Expecting property name"),
        ('{"board": "x"}', "describes no simulated board: "),
        (
            '{"faults": {"on_fire": true}}',
            "describes no simulated board: 'on_fire' is not known; known are stuck_dma, wrong_output",
        ),
    ],
)
def test_a_board_that_is_described_wrongly_is_refused(tmp_path: Path, told: str, said: str) -> None:
    (tmp_path / "board.json").write_text(told)
    with pytest.raises(BoardError, match=said):
        read_board(tmp_path)
    (tmp_path / "board.json").unlink()
    with pytest.raises(BoardError, match="No such file"):
        read_board(tmp_path)


def test_the_launcher_says_what_it_wants(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "missing.py")
    assert (done.returncode, "describes no simulated board" in done.stderr) == (1, True)


# The driver, to the register

PROLOGUE = """
import json, pathlib, sys
import numpy as np
from pynq import Device, MMIO, Overlay, PL, allocate
package = pathlib.Path(sys.argv[1])
sys.path[:0] = [str(package / "driver")]
sys.path.append(str(package / "driver" / "stand_ins"))
sys.setrecursionlimit(10000)
device = Device.active_device
said = {}

def refused(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def driver(**more):
    import finn_plus_driver
    told = json.loads((package / "settings.json").read_text())["driver_information"]
    bitfile = json.loads((package / "manifest.json").read_text())["bitfile"]
    return finn_plus_driver.get_driver_class(told["driver_type"])(str(package / bitfile), **{**told, **more})
"""


def program(state: Path, package: Package, body: str, *arguments: str) -> dict[str, Any]:
    """What a program says that has the driver at hand."""
    path = state / "program.py"
    path.write_text(PROLOGUE + textwrap.dedent(body) + "\nprint(json.dumps(said))\n")
    done = run(state, path, str(package.path), *arguments)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_the_driver_starts_the_engines_by_their_registers(package: Package, tmp_path: Path) -> None:
    body = """
    with np.load(package / "golden.npz") as golden:
        given, wanted = golden["inputs"], golden["outputs"]
    accelerator = driver(batch_size=5)
    device.log = []
    said["right"] = bool((accelerator.execute(given) == wanted).all())
    said["log"] = [access for access in device.log if access[:2] != ("odma0", "read")]
    said["polls"] = [value for name, what, offset, value in device.log if (name, what) == ("odma0", "read")]
    device.log = None
    said["addresses"] = [accelerator.ibuf_packed_device[0].device_address, accelerator.obuf_packed_device[0].device_address]

    # without its flush, the FPGA sees what was there before; without its invalidate, the processor does
    buffer = accelerator.ibuf_packed_device[0]
    other = accelerator.pack_input(accelerator.fold_input(given[::-1]))
    np.copyto(buffer, other)
    accelerator.execute_on_buffers()
    out = accelerator.obuf_packed_device[0]
    before = np.array(out)
    out.invalidate()
    said["without_flush"] = bool((np.array(out) == before).all())
    buffer.flush()
    accelerator.execute_on_buffers()
    said["without_invalidate"] = bool((np.array(out) == before).all())
    out.invalidate()
    said["with_both"] = bool((accelerator.unfold_output(accelerator.unpack_output(np.array(out))) == wanted[::-1]).all())

    # a buffer that the processor does not keep in its cache needs neither
    direct = [allocate(b.shape, np.uint8, cacheable=0) for b in (buffer, out)]
    direct[0][:] = other
    for engine, where in ((accelerator.odma[0], direct[1]), (accelerator.idma[0], direct[0])):
        engine.write(0x10, where.device_address)
        engine.write(0x1C, 5)
        engine.write(0x00, 1)
    accelerator.wait_until_finished()
    said["direct"] = bool((np.array(direct[1]) == np.array(out)).all())

    # views of a window are the same registers
    window = accelerator.idma[0].mmio.array
    window[4:6][1] = 7
    said["view"] = [int(window[5]), int(window[4:][1:][0])]
    window[4:6] = 3
    said["slice"] = [accelerator.idma[0].read(0x10), accelerator.idma[0].read(0x14)]

    said["nowhere"] = refused(lambda: MMIO(0x43C00000, 16))
    said["too_much"] = refused(lambda: allocate((200 << 20,), np.uint8))
    del direct
    before = len(device._buffers)
    for _ in range(300):  # of 1 MiB each: they are given back
        allocate((1 << 20,), np.uint8, cacheable=1)
    said["given_back"] = len(device._buffers) <= before + 1
    accelerator.batch_size = 9
    more = [np.concatenate([array, array[:4]]) for array in (given, wanted)]
    said["after"] = bool((accelerator.execute(more[0]) == more[1]).all())
    """
    found = program(board_json(tmp_path / "state"), package, body)
    assert found["right"] is True
    source, sink = found["addresses"]
    assert found["log"] == [
        ["odma0", "write", 0x10, sink], ["odma0", "write", 0x14, 0], ["odma0", "write", 0x1C, 5], ["odma0", "write", 0x00, 1],
        ["idma0", "write", 0x10, source], ["idma0", "write", 0x14, 0], ["idma0", "write", 0x1C, 5],
        ["idma0", "write", 0x00, 1],
    ]  # fmt: skip
    assert found["polls"][0] == 4  # idle, before it is started
    assert set(found["polls"][1:-1]) <= {1}
    assert found["polls"][-1] == 6
    assert (found["without_flush"], found["without_invalidate"], found["with_both"]) == (True, True, True)
    assert found["direct"] is True
    assert (found["view"], found["slice"]) == ([7, 7], [3, 3])
    assert found["nowhere"].startswith("RuntimeError: nothing answers at the address 0x43c00000; load the bitfile")
    assert found["too_much"].startswith("RuntimeError: no room for a buffer of 209,715,200 bytes")
    assert (found["given_back"], found["after"]) == (True, True)


def test_bitfiles_for_something_else_are_not_loaded(package: Package, tmp_path: Path) -> None:
    """And a .hwh file that Vivado has written is read, with its blocks of many registers and its engines' views of memory."""
    other = simulated_package(tmp_path / "other", board=ZCU104)
    body = """
    other, real, foreign = map(pathlib.Path, sys.argv[2:])
    said["part"] = refused(lambda: Overlay(str(other)))
    said["real"] = refused(lambda: Overlay(str(real)))
    import pynqmetadata
    hwh = pathlib.Path(pynqmetadata.__file__).parent / "tests" / "hwhs" / "resizer.hwh"  # of an overlay for the PYNQ-Z1
    foreign.with_suffix(".hwh").write_bytes(hwh.read_bytes())
    PL.reset()
    overlay = Overlay(str(foreign))
    block = overlay.resize_accel_0
    block.write(0x10, 640)
    block.register_map.dst_rows = 5
    facts = overlay.ip_dict["resize_accel_0"]["registers"]
    said["foreign"] = [sorted(overlay.ip_dict), block.read(0x10), block.read(facts["dst_rows"]["address_offset"])]
    PL.reset()
    said["driver"] = bool(driver(batch_size=1))
    """
    part = tmp_path / "other" / "package" / other.manifest.bitfile
    real = tmp_path / "real.bit"
    whole = (package.path / package.manifest.bitfile).read_bytes()
    real.write_bytes(whole.replace(b"bitloop-simulated-circuit", b"\xff" * 25))
    shutil.copy(package.path / package.manifest.hwh, tmp_path / "real.hwh")
    (tmp_path / "foreign.bit").write_bytes(whole)
    found = program(board_json(tmp_path / "state"), package, body, str(part), str(real), str(tmp_path / "foreign.bit"))
    assert "RuntimeError: the bitfile is for a xczu7ev" in found["part"]
    assert "the simulated board has a xc7z020clg400-1" in found["part"]
    assert found["real"] == "RuntimeError: the bitfile holds no circuit that could be simulated; it is for a real board"
    assert found["foreign"] == [["axi_dma_0", "processing_system7_0", "resize_accel_0"], 640, 5]
    assert found["driver"] is True


# The blocks by themselves, with a clock that stands still


class Ram:
    """A few bytes of memory at address 0."""

    def __init__(self, direct: bool = False) -> None:
        self.bytes = np.zeros(4096, np.uint8)
        self.direct = direct

    def peek(self, address: int, n_bytes: int) -> np.ndarray | None:
        return self.bytes[address : address + n_bytes] if address + n_bytes <= len(self.bytes) else None

    def is_seen_directly(self, address: int) -> bool:
        return self.direct


class Bench:
    """An accelerator, its engines and counters, and a time that is set."""

    def __init__(self, truth: Truth | None = None, faults: Faults | None = None, direct: bool = False) -> None:
        self.ram, self.fpga, self.written, self.time = Ram(direct), Fpga(), 0, BoardTime()
        told = board_module.Board("pynq-z2", PYNQ_Z2.fpga_part, "zynq-7000", 100.0, truth or Truth(), faults or Faults())
        self.accelerator = Accelerator(read_circuit(circuit()), told, self.fpga, self.ram, lambda: 100.0, self.time, self.leave)
        self.source, self.sink = Dma(self.accelerator), Dma(self.accelerator)
        self.accelerator.source, self.accelerator.sink = self.source, self.sink
        self.counters = Counters(self.accelerator)
        self.gpio = Gpio(self.reset, self.accelerator)

    def leave(self) -> None:
        self.written += 1

    def reset(self) -> None:
        self.fpga.is_stuck = False
        for part in (self.accelerator, self.source, self.sink, self.counters):
            part.reset()

    def start(self, n_in: int = 3, n_out: int = 3, source: int = 0, sink: int = 2048) -> None:
        given = frames(3)
        self.ram.bytes[: given.size] = given.reshape(-1).view(np.uint8)
        for engine, address, n in ((self.sink, sink, n_out), (self.source, source, n_in)):
            engine.write(0x10, address)
            engine.write(0x1C, n)
            engine.write(0x00, 1)

    @property
    def answered(self) -> np.ndarray:
        return self.ram.bytes[2048 : 2048 + 120].view("<f4").reshape(3, 10)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time, which nobody else does then."""
    seconds = [0.0]
    monkeypatch.setattr(BoardTime, "now", lambda _: seconds[0])
    return lambda to: seconds.__setitem__(0, to)


def test_who_is_told_to_wait_finds_it_done_the_next_time_and_no_time_passes_otherwise() -> None:
    bench = Bench()
    bench.start()
    assert bench.time.now() == 0
    assert bench.sink.read(0x00) == 1
    assert bench.time.now() == pytest.approx(50e-6)
    assert bench.sink.read(0x00) == 6
    assert bench.time.now() == pytest.approx(50e-6)


def test_the_boards_time_is_what_programs_on_it_see(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("perf_counter", "time", "sleep"):
        monkeypatch.setattr(time, name, getattr(time, name))  # put back afterwards
    watch = BoardTime()
    watch.rule()
    began, began_at = time.perf_counter(), time.time()
    time.sleep(3600)
    time.sleep(-1)
    watch.wait_until(1.0)  # long ago
    assert time.perf_counter() - began == pytest.approx(3600)
    assert time.time() - began_at == pytest.approx(3600)


@pytest.mark.parametrize(
    ("truth", "faults", "takes_s"),
    [
        (Truth(), Faults(), 50e-6),  # 3000 cycles, and 1000 for every other frame
        (Truth(cycles_factor=1.5), Faults(), 75e-6),
        (Truth(cycles_factor=1.5, overhead_us=25.0), Faults(), 100e-6),
        (Truth(), Faults(slowdown=3), 150e-6),
    ],
)
def test_a_run_takes_its_cycles(now: Callable[[float], None], truth: Truth, faults: Faults, takes_s: float) -> None:
    bench = Bench(truth, faults)
    assert bench.sink.read(0x00) == 4
    bench.start()
    now(0.99 * takes_s)
    assert (bench.source.read(0x00), bench.sink.read(0x00)) == (1, 1)
    bench.accelerator.settle(2048, 120)
    assert not bench.answered.any()  # nothing has arrived yet
    now(1.01 * takes_s)
    assert (bench.source.read(0x00), bench.sink.read(0x00)) == (6, 6)
    assert (bench.source.read(0x00), bench.sink.read(0x00)) == (4, 4)  # done is told once
    bench.accelerator.settle(2048, 120)
    np.testing.assert_array_equal(bench.answered, answers(frames(3)))


def test_the_engine_that_is_started_first_waits_for_the_other(now: Callable[[float], None]) -> None:
    bench = Bench()
    bench.source.write(0x1C, 3)
    bench.source.write(0x00, 1)
    now(1.0)
    assert (bench.source.read(0x00), bench.sink.read(0x00)) == (1, 4)
    bench.sink.write(0x10, 2048)
    bench.sink.write(0x1C, 3)
    bench.sink.write(0x00, 1)
    now(2.0)
    assert (bench.source.read(0x00), bench.sink.read(0x00)) == (6, 6)


def test_answers_that_nobody_reads_are_not_worked_out(now: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bench, worked_out = Bench(), []
    whole = bench.accelerator._compute
    monkeypatch.setattr(bench.accelerator, "_compute", lambda given: worked_out.append(len(given)) or whole(given))
    for i in range(10):
        bench.start()
        now(i + 1.0)
        assert bench.sink.read(0x00) & 2
    assert worked_out == []
    bench.accelerator.settle(2048, 120)
    bench.accelerator.settle(2048, 120)
    assert worked_out == [3]
    np.testing.assert_array_equal(bench.answered, answers(frames(3)))


def test_answers_that_are_read_without_telling_are_there_at_once(now: Callable[[float], None]) -> None:
    bench = Bench(direct=True)
    bench.start()
    now(1.0)
    bench.sink.read(0x00)
    np.testing.assert_array_equal(bench.answered, answers(frames(3)))


def test_answers_can_be_frames_of_the_next_run(now: Callable[[float], None]) -> None:
    bench = Bench()
    bench.start()
    now(1.0)
    bench.sink.read(0x00)
    bench.sink.write(0x10, 512)
    for engine in (bench.sink, bench.source):
        engine.write(0x1C, 2)
        engine.write(0x00, 1) if engine is bench.sink else None
    bench.source.write(0x10, 2048)
    bench.source.write(0x00, 1)
    now(2.0)
    bench.accelerator.settle(512, 80)
    given = answers(frames(3)).view(np.int8).reshape(-1)[:96].reshape(2, *SHAPE)
    np.testing.assert_array_equal(bench.ram.bytes[512:592].view("<f4").reshape(2, 10), answers(given))


@pytest.mark.parametrize(
    "wrong",
    [{"n_out": 4}, {"source": 4090}, {"sink": 1 << 20}],
    ids=["fewer frames come in", "no memory to read", "nor to write"],
)
def test_what_would_hang_hangs(now: Callable[[float], None], wrong: dict[str, int]) -> None:
    bench = Bench()
    bench.start(**wrong)
    now(1e6)
    assert (bench.sink.read(0x00), bench.fpga.is_stuck, bench.written) == (1, True, 1)
    bench.gpio.write(0x0, 0)
    assert (bench.sink.read(0x00), bench.fpga.is_stuck) == (4, False)


def test_it_gets_stuck_once_after_so_many_frames(now: Callable[[float], None]) -> None:
    bench = Bench(faults=Faults(stuck_dma=4))
    bench.start()
    now(1.0)
    assert bench.sink.read(0x00) == 6
    bench.start()
    now(2.0)
    assert (bench.sink.read(0x00), bench.fpga.has_been_stuck) == (1, True)
    bench.reset()
    bench.start()
    now(3.0)
    assert bench.sink.read(0x00) == 6


def test_one_frame_comes_out_wrong(now: Callable[[float], None]) -> None:
    bench = Bench(faults=Faults(wrong_output=5))
    for seconds in (1.0, 2.0, 3.0):
        bench.start()
        now(seconds)
        bench.accelerator.settle(2048, 120)
        wanted = answers(frames(3))
        if seconds == 2.0:
            wanted.view(np.uint32)[1, 0] ^= 1
        np.testing.assert_array_equal(bench.answered, wanted)


def read(bench: Bench, *names: str) -> list[int]:
    return [bench.counters.read(INSTRUMENTATION[name]) for name in names]


def test_counters_count_while_the_generator_feeds(now: Callable[[float], None]) -> None:
    bench = Bench()
    names = (
        "run_frames",
        "latency",
        "interval",
        "avg_fill",
        "lat_sum_lo",
        "int_sum_lo",
        "run_cycles_lo",
        "run_cycles_hi",
        "status",
    )
    assert read(bench, "run_frames", "min_latency") == [0, 0xFFFF_FFFF]
    bench.gpio.write(0x8, 1)
    assert bench.gpio.read(0x8) == 1
    bench.counters.write(INSTRUMENTATION["avg_n"], 4)
    bench.counters.write(INSTRUMENTATION["status"], 5)  # is read only
    bench.counters.write(INSTRUMENTATION["cfg"], 1)
    assert read(bench, "cfg", "avg_n") == [1, 4]
    now(29e-6)  # 2900 cycles
    assert read(bench, *names) == [0, 0, 0, 0, 0, 0, 2900, 0, 0]
    now(100e-6)
    assert read(bench, *names) == [8, 3000, 1000, 4, 12000, 4000, 10000, 0, 0]
    now(50.0)
    assert read(bench, "run_cycles_lo", "run_cycles_hi") == [5_000_000_000 & 0xFFFF_FFFF, 1]
    bench.counters.write(INSTRUMENTATION["cfg"], 0)
    n = read(bench, "run_frames")
    now(60.0)
    assert read(bench, "run_frames") == n
    bench.counters.write(INSTRUMENTATION["cfg"], 1 | 5000 << 1)  # no more than a frame every 5000 cycles
    now(60.0 + 130e-6)
    assert read(bench, "run_frames", "interval") == [3, 5000]


def test_who_feeds_the_accelerator_is_chosen(now: Callable[[float], None]) -> None:
    bench = Bench()
    bench.counters.write(INSTRUMENTATION["cfg"], 1)
    now(1.0)
    assert read(bench, "run_frames") == [0]  # the engine feeds it
    bench.gpio.write(0x8, 1)
    bench.start()
    now(2.0)
    assert bench.sink.read(0x00) == 1  # the generator feeds it, and the engine waits for ever
    bench.gpio.write(0x0, 0)  # resets everything, this choice, too
    assert (bench.gpio.read(0x8), bench.gpio.read(0x0), bench.sink.read(0x00)) == (0, 1, 4)


def test_plain_registers_keep_what_is_written_and_held_ones_do_not() -> None:
    seen: list[tuple[str, int, int]] = []
    memory = Memory({8: 5}, held=frozenset({12}))
    window = Window(memory, 4, 4, lambda *access: seen.append(access))
    window[0] = 7
    window[2] = 9
    assert [int(window[i]) for i in range(3)] == [7, 5, 0]
    assert np.copy(window[:2]).tolist() == [7, 5]
    assert seen[:2] == [("write", 4, 7), ("write", 12, 9)]
    with pytest.raises(IndexError):
        window[4]


# Packing, clocks, description


@pytest.mark.parametrize(
    "datatype", ["INT8", "UINT8", "UINT1", "BINARY", "BIPOLAR", "TERNARY", "INT3", "UINT4", "INT13", "INT32"]
)
@pytest.mark.parametrize("per_row", [1, 3])
def test_frames_are_packed_as_the_driver_packs_them(datatype: str, per_row: int) -> None:
    kind = DataType[datatype]
    rng = np.random.default_rng(0)
    low, high = max(int(kind.min()), -(1 << 23)), min(int(kind.max()), 1 << 23)  # beyond that the driver's float32 is inexact
    values = rng.choice([-1, 1], (2, 4, per_row)) if datatype == "BIPOLAR" else rng.integers(low, high + 1, (2, 4, per_row))
    packed = finnpy_to_packed_bytearray(values.astype(np.float32), kind, reverse_endian=True, reverse_inner=True)
    np.testing.assert_array_equal(unpack(packed, datatype, per_row), values)
    mine = pack(values, datatype, packed.shape[-1] + 1)  # a row may have bytes that nobody uses
    theirs = packed_bytearray_to_finnpy(
        np.ascontiguousarray(mine[..., :-1]), kind, values.shape, reverse_endian=True, reverse_inner=True
    )
    np.testing.assert_array_equal(theirs, values)
    assert not mine[..., -1].any()


def test_floats_are_packed_as_the_driver_packs_them() -> None:
    values = np.array([[[1.5], [-0.0], [np.inf], [1e-40]]], np.float32)
    packed = finnpy_to_packed_bytearray(values, DataType["FLOAT32"], reverse_endian=True, reverse_inner=True)
    np.testing.assert_array_equal(pack(values, "FLOAT32", 4), packed)
    np.testing.assert_array_equal(unpack(packed, "FLOAT32", 1), values)


def test_types_that_cannot_be_packed_are_named() -> None:
    with pytest.raises(ValueError, match="FLOAT16 cannot be packed; INT and UINT of 1 to 63 bits"):
        pack(np.zeros((1, 1)), "FLOAT16", 2)


def test_a_clock_that_nobody_can_set_stays_as_it_is() -> None:
    told = board_module.Board("pynq-z2", PYNQ_Z2.fpga_part, "zynq-7000", 100.0)
    assert Clocks(told).design_mhz() == 100.0
    held = Clocks(replace(told, faults=Faults(clock_mhz=50.0)))
    slcr = held.blocks[0xF8000000][2]
    slcr.write(0x170, 5 << 8 | 2 << 20)
    assert held.design_mhz() == 50.0


@pytest.mark.parametrize(("asked", "made"), [(100.0, 100.0), (143.0, 1000 / 7), (187.5, 187.5)])
def test_the_clocking_wizard_makes_the_nearest_clock_that_it_can(asked: float, made: float) -> None:
    assert wizard_mhz(asked, "zynq-7000") == pytest.approx(made)
    assert wizard_mhz(asked, "zynq-ultrascale+") == pytest.approx(made * FCLK0_MHZ["zynq-ultrascale+"] / 100)


def test_the_description_is_the_same_for_the_same_design() -> None:
    told = {"board": "pynq-z2", "fpga_part": PYNQ_Z2.fpga_part, "clock_mhz": 100.0}
    assert hwh(**told) == hwh(**told)
    assert hwh(**told, instrumented=True).count("<MODULE ") == hwh(**told).count("<MODULE ") + 2


def test_what_is_remembered_comes_back(tmp_path: Path) -> None:
    fpga = Fpga("a.bit", 3, 7, True, False)
    fpga.write(tmp_path)
    assert asdict(Fpga.read(tmp_path)) == asdict(fpga)
    (tmp_path / "fpga.json").write_text("{")  # the power was lost
    assert Fpga.read(tmp_path) == Fpga()
