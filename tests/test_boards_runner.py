"""What holds of every runner, and what `PynqRunner` makes of boards that answer strangely.

Both ways to a board lead to the simulated board here, with real pynq, driver and `on_device.py`: one through its own transport,
one through a real sshd on loopback.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from boards import card, on_device, simulated_board
from boards.errors import (
    BoardBusyError,
    BoardError,
    BoardTimeoutError,
    ConnectionLostError,
    LoginError,
    NoSpaceError,
    OutputMismatchError,
    PackageError,
    RefusedError,
    UnreachableError,
)
from boards.package import BoardFacts, Package, Stream
from boards.pynq_runner import PynqRunner, time_limit_s
from boards.pynq_z2 import PYNQ_Z2
from boards.runner import Effort, Runner
from boards.simulated import SimulatedTransport
from boards.ssh import SshTransport
from boards.transport import Completed
from tests.board_python import board_python
from tests.made_circuits import INTERVAL_CYCLES, LATENCY_CYCLES, answers, frames, simulated_package
from tests.sshd import PATIENCE_S, Sshd

LITTLE = Effort(batch_sizes=(1, 8), n_repeats=2, timeout_s=30)
SUBJECTS = ["connection", "image", "python", "pynq", "numpy", "root", "FPGA", "card space", "memory", "memory for DMA", "board"]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return simulated_package(tmp_path_factory.mktemp("package"))


class Place:
    """A board to be reached.

    Attributes:
        runner: entered.
        home: of the user there.
        copied: what was told of copying since it was last cleared.
        misbehave: has the board do so from now on; nothing to have it do so no more.
        cut: ends the connection.
    """

    def __init__(self, runner: Runner, home: Path, misbehave: Callable[..., None], cut: Callable[[], None]) -> None:
        self.runner, self.home, self.misbehave, self.cut = runner, home, misbehave, cut
        self.copied: list[int] = []

    def reconnect(self) -> None:
        self.runner.__exit__(None, None, None)
        self.runner.__enter__()

    def packages(self) -> list[str]:
        folder = self.home / card.FOLDER
        return sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []


class RunnerContract(ABC):
    """What `boards.runner.Runner` promises. The tests of a class share one board, which is usable after each of them."""

    @staticmethod
    @abstractmethod
    def place(folder: Path) -> Iterator[Place]:
        """A board, reached, until it is asked again."""

    @pytest.fixture(scope="class")
    @classmethod
    def board(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        yield from cls.place(tmp_path_factory.mktemp("board"))

    def test_a_board_that_is_ready_says_so_in_about_ten_lines(self, board: Place) -> None:
        found = board.runner.check()
        assert [line.subject for line in found] == SUBJECTS
        assert all(line.is_well for line in found), found
        told = {line.subject: line.found for line in found}
        assert told["image"] == "simulated (pynq 3.1.2)"
        assert told["board"] == "pynq-z2, simulated: no board"

    def test_a_package_for_another_board_is_refused_before_it_is_copied(self, board: Place, tmp_path: Path) -> None:
        facts = BoardFacts(name="pynq-z1", title="PYNQ-Z1", fpga_part="xc7z020clg400-1", family="zynq-7000")
        with pytest.raises(
            RefusedError, match=r"made is for a PYNQ-Z1 \(xc7z020clg400-1\), and \S+ is a pynq-z2; build it for"
        ):
            board.runner.deploy(simulated_package(tmp_path, board=facts))
        assert board.packages() == []

    def test_a_package_for_the_other_kind_of_board_is_refused(self, board: Place, tmp_path: Path, package: Package) -> None:
        other = dataclasses.replace(package, manifest=package.manifest.model_copy(update={"simulated": False}))
        with pytest.raises(RefusedError, match="made is for a real board, and no simulation runs its bitfile"):
            board.runner.measure(other, LITTLE)
        assert board.packages() == []

    def test_a_package_is_copied_once(self, board: Place, package: Package) -> None:
        board.copied.clear()
        board.runner.deploy(package)
        total = sum(path.stat().st_size for path in package.path.rglob("*") if path.is_file())
        assert board.copied[-1] == total
        assert board.packages() == [package.sha256[:16]]
        board.copied.clear()
        board.runner.deploy(package)
        assert board.copied == []  # nor by another connection; see below

    def test_a_package_that_was_damaged_there_is_copied_again(self, board: Place, package: Package) -> None:
        damaged = board.home / card.FOLDER / package.sha256[:16] / package.manifest.bitfile
        damaged.write_bytes(b"damaged")
        board.copied.clear()
        board.reconnect()
        board.runner.deploy(package)
        assert board.copied
        assert damaged.read_bytes() == (package.path / damaged.name).read_bytes()

    def test_inference_is_exact(self, board: Place, package: Package) -> None:
        given = frames(7, seed=3)
        found = board.runner.infer(package, given)
        np.testing.assert_array_equal(found, answers(given))
        assert board.packages() == [package.sha256[:16]]  # and nothing is left of the exchange

    def test_a_measurement_is_whole(self, board: Place, package: Package, tmp_path: Path) -> None:
        given = frames(20, seed=4)
        labels = answers(given).argmax(axis=1)
        labels[:5] = (labels[:5] + 1) % 10
        np.savez(tmp_path / "test.npz", inputs=given, labels=labels)
        before = datetime.now(UTC)
        found = board.runner.measure(package, LITTLE, tmp_path / "test.npz")
        assert before <= found.at <= datetime.now(UTC)
        assert (found.simulated, found.host, found.board, found.name) == (True, board.runner.host, "pynq-z2", "made")
        assert (found.package, found.plan) == (package.sha256, package.manifest.plan)
        assert (found.clock_mhz, found.clock_readback_mhz) == (100.0, 100.0)
        assert found.golden is not None
        assert (found.golden.n_images, found.golden.n_wrong) == (5, 0)
        assert [t.batch_size for t in found.throughput] == [1, 8]
        for t in found.throughput:  # at 100 MHz
            assert t.fastest_ms >= (LATENCY_CYCLES + (t.batch_size - 1) * INTERVAL_CYCLES) / 1e5
        assert found.latency_ms == found.throughput[0].median_ms
        assert found.test is not None
        assert (found.test.n_images, found.test.n_right) == (20, 15)
        assert found.power is None
        assert found.power_note
        assert found.raw["package"] == package.sha256
        assert found.driver == {"finn-plus-driver": "1.6.1"}
        assert type(found).model_validate_json(found.model_dump_json()) == found

    def test_a_wrong_answer_names_image_and_value(self, board: Place, package: Package) -> None:
        board.misbehave(wrong_output=3)
        with pytest.raises(OutputMismatchError) as wrong:
            board.runner.measure(package, LITTLE)
        board.misbehave()
        right = answers(frames(5))[2, 0]
        got = (right.view(np.int32) ^ 1).view(np.float32)  # its last bit
        assert f"1 of 5 images of the golden set; the first is image 2, value 0: {got:.9g} instead of {right:.9g}" in str(
            wrong.value
        )

    def test_a_hang_ends_and_leaves_the_board_usable(self, board: Place, package: Package) -> None:
        board.misbehave(stuck_dma=True)
        with pytest.raises(BoardTimeoutError, match=r"did not finish 5 frames within .* the FPGA was loaded again"):
            board.runner.measure(package, dataclasses.replace(LITTLE, timeout_s=0.5))
        board.misbehave()
        np.testing.assert_array_equal(board.runner.infer(package, frames(2)), answers(frames(2)))

    def test_somebody_else_has_the_fpga(self, board: Place, package: Package) -> None:
        board.misbehave(busy=True)
        with pytest.raises(BoardBusyError, match="the FPGA is in use by "):
            board.runner.infer(package, frames(1))
        board.misbehave()

    def test_a_connection_that_ends_in_a_measurement_can_be_made_again(self, board: Place, package: Package) -> None:
        board.cut()
        with pytest.raises(ConnectionLostError):
            board.runner.measure(package, Effort(batch_sizes=(1000,), n_repeats=20_000))  # longer than until the cut
        board.copied.clear()
        board.reconnect()
        assert board.runner.infer(package, frames(1)).shape == (1, 10)
        assert board.copied == []  # the package was there

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (frames(2)[:, :3], r"reads frames of the shape \(4, 4, 3\), one or more; these are \(2, 3, 4, 3\)"),
            (frames(0), r"one or more; these are \(0, 4, 4, 3\)"),
            (frames(1).astype(object), "reads numbers; these are object"),
            (frames(1).astype(int) + 1000, "reads INT8, whole numbers from -128 to 127; these go from "),
            (frames(1) + 0.5, "reads INT8, whole numbers"),
            (frames(1) * np.nan, "reads INT8, whole numbers"),
        ],
    )
    def test_frames_that_it_does_not_read_are_refused(self, board: Place, package: Package, given: Any, text: str) -> None:
        with pytest.raises(RefusedError, match=text):
            board.runner.infer(package, given)

    def test_what_is_no_test_set_is_refused(self, board: Place, package: Package, tmp_path: Path) -> None:
        path = tmp_path / "test.npz"
        path.write_bytes(b"nothing")
        with pytest.raises(RefusedError, match="is no test set"):
            board.runner.measure(package, LITTLE, path)
        np.savez(path, inputs=frames(3))
        with pytest.raises(RefusedError, match="is no test set"):
            board.runner.measure(package, LITTLE, path)
        np.savez(path, inputs=frames(3), labels=np.zeros(2, int))
        with pytest.raises(RefusedError, match=r"has \(2,\) labels of int64 for 3 images"):
            board.runner.measure(package, LITTLE, path)

    def test_only_the_packages_used_last_are_kept_and_nothing_of_others_goes(self, board: Place, tmp_path: Path) -> None:
        folder = board.home / card.FOLDER
        (folder / "notes").mkdir(parents=True)
        (folder / ("0" * 16)).mkdir()  # a name like a package's, and none
        made = [simulated_package(tmp_path / str(n), plan=f"{n:016x}") for n in range(6)]
        for n, old in enumerate(made[:5]):
            target = folder / old.sha256[:16]
            shutil.copytree(old.path, target)
            os.utime(target, (time.time() - 1000 + n,) * 2)
        board.runner.deploy(made[5])
        kept = set(board.packages())
        assert {"notes", "0" * 16, made[5].sha256[:16]} <= kept
        assert made[0].sha256[:16] not in kept
        assert {old.sha256[:16] for old in made[2:5]} <= kept


class TestSimulated(RunnerContract):
    """The simulated board by its own transport."""

    @staticmethod
    def place(folder: Path) -> Iterator[Place]:
        transport = Breaking("simulated", folder, PYNQ_Z2, board_python())
        found: Place

        def misbehave(**faults: Any) -> None:
            told = json.loads((folder / "board.json").read_text())
            (folder / "board.json").write_text(json.dumps({**told, "faults": faults}))

        def cut() -> None:
            transport.breaks_soon = True

        with PynqRunner(transport, lambda done, _: found.copied.append(done)) as runner:
            found = Place(runner, folder / "home", misbehave, cut)
            yield found


class Breaking(SimulatedTransport):
    """Loses the connection in the middle of the next measurement, once it is told to."""

    breaks_soon = False

    def run(self, command: Sequence[str], timeout_s: float, *, root: bool = False, python: bool = False) -> Completed:
        if self.breaks_soon and "--repeats" in command:
            self.breaks_soon = False
            self._options.way["drop_connection"] = self._n_done + 1
        return super().run(command, timeout_s, root=root, python=python)


class LoopbackTransport(SshTransport):
    """ssh to what is no board."""

    simulated = True
    cut: Callable[[], None] | None = None

    def run(self, command: Sequence[str], timeout_s: float, *, root: bool = False, python: bool = False) -> Completed:
        if self.cut is not None and "--repeats" in command:
            threading.Timer(1.0, self.cut).start()
            self.cut = None
        return super().run(command, timeout_s, root=root, python=python)


class TestSsh(RunnerContract):
    """The simulated board behind a real sshd."""

    @staticmethod
    def place(folder: Path) -> Iterator[Place]:
        state = folder / "state"
        state.mkdir()
        launcher = Path(simulated_board.__file__).parent
        sshd = Sshd(folder / "sshd", f'exec {board_python().absolute()} {launcher} {state} "$@"')
        found: Place

        def misbehave(**faults: Any) -> None:
            b = PYNQ_Z2
            told = {"board": b.name, "fpga_part": b.fpga_part, "family": b.family, "clock_mhz": b.clock_mhz, "faults": faults}
            (state / "board.json").write_text(json.dumps(told))

        def cut() -> None:
            transport.cut = sshd.cut

        misbehave()
        transport = LoopbackTransport(sshd.host, sshd.known_hosts, keys=[sshd.key], patience_s=PATIENCE_S)
        try:
            with PynqRunner(transport, lambda done, _: found.copied.append(done)) as runner:
                found = Place(runner, sshd.home, misbehave, cut)
                yield found
        finally:
            sshd.stop()


# --- boards that answer strangely


FACTS = {
    "schema_version": 2, "image": "PynqLinux 3.0", "python": "3.10.4", "pynq": "3.0.1", "numpy": "1.21.5", "board": "Pynq-Z2",
    "root": True, "fpga": "free", "card_free_bytes": 5 << 30, "memory_free_bytes": 300 << 20, "cma_free_bytes": 100 << 20,
    "problems": [],
}  # fmt: skip


class ScriptedTransport:
    """Says what it is told to say.

    Attributes:
        facts: what the board says of itself.
        answer: to a measurement; an exception is raised.
        ran: arguments of `on_device.py`, for every run of it.
    """

    address, simulated = "xilinx@192.0.2.1", False

    def __init__(self, answer: Any = None, **facts: Any) -> None:
        self.facts, self.answer = {**FACTS, **facts}, answer
        self.ran: list[list[str]] = []
        self.uploaded: list[str] = []
        self.root = True
        self.whole: list[bool] = [True]
        self.enter: Exception | None = None
        self.full = 0

    def __enter__(self) -> ScriptedTransport:
        if self.enter:
            raise self.enter
        return self

    def __exit__(self, *_: object) -> None: ...

    def run(self, command: Sequence[str], timeout_s: float, *, root: bool = False, python: bool = False) -> Completed:
        if "-c" in command:
            what = command[4]
            whole = self.whole.pop(0) if len(self.whole) > 1 else self.whole[0]
            told = {"look": {"whole": whole, "why": "a.bit is missing or damaged"}, "tidy": {"removed": ["old"]}, "forget": {}}
            return Completed(0, json.dumps(told[what]), "")
        if root and not self.root:
            raise LoginError("sudo wants a password")
        self.ran.append([*command[2:], str(timeout_s)])
        said = self.facts if "--check" in command else {} if "--reset" in command else self.answer
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, Completed) else Completed(0, json.dumps({"schema_version": 2, **said}), "")

    def upload(self, source: Path, target: PurePosixPath, progress: Callable[[int, int], None] | None = None) -> None:
        if self.full:
            self.full -= 1
            raise NoSpaceError("the card is full")
        self.uploaded.append(str(target))

    def download(self, source: PurePosixPath, target: Path) -> None:
        target.write_bytes(b"no numpy file")


@pytest.fixture
def real(package: Package) -> Package:
    """The package as if it were for a real board."""
    return dataclasses.replace(package, manifest=package.manifest.model_copy(update={"simulated": False}))


def good(about: Package, **changed: Any) -> dict[str, Any]:
    return {
        "schema_version": 2, "name": "made", "board": "pynq-z2", "package": about.sha256, "image": None, "pynq": "3.0.1",
        "python": "3.10.4", "driver": {"finn-plus-driver": "1.6.1"}, "clock_mhz": 99.999,
        "golden": {"n_images": 5, "n_wrong": 0, "largest_difference": 0.0, "first_wrong": None},
        "throughput": [{"batch_size": 1, "fps": 900.0, "median_ms": 1.1, "fastest_ms": 1.0}], "latency_ms": 1.1,
        "driver_report": {"fclk[mhz]": 100}, "counters": None, "counters_note": "", "power": None, "power_note": "no sensor",
        "test": None, **changed,
    }  # fmt: skip


def test_a_measurement_of_a_real_board(real: Package) -> None:
    way = ScriptedTransport(good(real))
    with PynqRunner(way) as runner:
        found = runner.measure(real, LITTLE)
    assert (found.simulated, found.host, found.image, found.clock_readback_mhz) == (False, "xilinx@192.0.2.1", None, 99.999)
    assert found.raw == good(real)
    assert found.fps == 900.0
    arguments = way.ran[-1]
    assert arguments[:6] == ["--batch-sizes", "1,8", "--repeats", "2", "--timeout", "30"]
    assert float(arguments[-1]) == time_limit_s(real, LITTLE, 0)


def test_the_time_limit_is_longer_than_all_that_the_board_sets_itself(real: Package) -> None:
    """Loading twice, all calls, the counters, and the sets in as many calls as they take, each one with a limit of its own."""

    def call_s(n: int) -> float:
        return LITTLE.timeout_s * (1 + n / 100)

    own_s = 2 * on_device.LOAD_S + sum(3 * call_s(n) for n in (1, 8)) + call_s(5) + call_s(8)
    own_s += on_device.POWER_S + call_s(8) + LITTLE.timeout_s + on_device.COUNTERS_S
    assert own_s < time_limit_s(real, LITTLE, 0) < own_s + 300
    in_pieces_s = 2 * call_s(1000) + call_s(500)
    assert time_limit_s(real, LITTLE, 2500) - time_limit_s(real, LITTLE, 0) == pytest.approx(in_pieces_s)
    large = real.manifest.model_copy(update={"reads": Stream(shape=(1, 1024, 1024, 2), datatype="INT8")})
    one_by_one_s = time_limit_s(dataclasses.replace(real, manifest=large), LITTLE, 4) - time_limit_s(
        dataclasses.replace(real, manifest=large), LITTLE, 0
    )
    assert one_by_one_s == pytest.approx(4 * call_s(1))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"package": "0" * 64}, "answers for the package 0000000000000000, not for "),
        ({"schema_version": 1}, "answers by schema 1, this bitloop reads 2; make the package again"),
        ({"clock_mhz": "100"}, "says what cannot be: clock_readback_mhz: Input should be a valid number"),
        ({"clock_mhz": 0}, "says what cannot be: clock_readback_mhz: "),
        ({"throughput": [{"batch_size": 1}]}, r"says what cannot be: throughput\.0\.fps: Field required"),
        ({"golden": {"n_images": 5}}, "says what cannot be: n_wrong: Field required"),
        ({"power": {"rails_w": {}, "total_w": float("nan")}}, "says what cannot be: power"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(real: Package, changed: dict[str, Any], text: str) -> None:
    with PynqRunner(ScriptedTransport(good(real, **changed))) as runner, pytest.raises(BoardError, match=text):
        runner.measure(real, LITTLE)


def test_an_answer_with_a_hole_is_refused(real: Package) -> None:
    answer = good(real)
    del answer["power_note"]
    with PynqRunner(ScriptedTransport(answer)) as runner, pytest.raises(BoardError, match="power_note is missing"):
        runner.measure(real, LITTLE)


@pytest.mark.parametrize(
    ("done", "text"),
    [
        (
            Completed(1, "", 'Traceback (most recent call last):\n  File "x"\nMemoryError\n'),
            "ended with code 1 and no answer; its last line: MemoryError$",
        ),
        (Completed(0, "hello\n", ""), "its last line: hello$"),
        (Completed(0, "", ""), "its last line: nothing$"),
        (Completed(0, "[1]", ""), r"its last line: \[1\]$"),
        (Completed(0, '{"a": 1}\n{"b": 2}', ""), "and no answer"),
    ],
)
def test_what_is_no_answer_is_told_by_its_last_line(real: Package, done: Completed, text: str) -> None:
    with PynqRunner(ScriptedTransport(done)) as runner, pytest.raises(BoardError, match=text):
        runner.measure(real, LITTLE)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("refused", RefusedError),
        ("busy", BoardBusyError),
        ("hang", BoardTimeoutError),
        ("error", BoardError),
        (None, BoardError),
    ],
)
def test_errors_of_the_board_have_their_kind(real: Package, kind: str | None, error: type[BoardError]) -> None:
    way = ScriptedTransport({"error": "said\n so", "kind": kind, "measured": good(real)})
    with PynqRunner(way) as runner, pytest.raises(BoardError) as raised:
        runner.measure(real, LITTLE)
    assert type(raised.value) is error
    assert str(raised.value) == "xilinx@192.0.2.1: said so"
    assert raised.value.measured is not None  # nothing is lost
    assert raised.value.measured.fps == 900.0
    assert not any("--reset" in arguments for arguments in way.ran)  # it has seen to that itself


def test_what_was_killed_is_said_to_lack_memory(real: Package) -> None:
    said = r"was killed, as the kernel does where memory runs out; .* smaller batch sizes"
    for errors, fps in (("reading\n", None), (so_far(real), 900.0)):
        with (
            PynqRunner(ScriptedTransport(Completed(137, "", errors))) as runner,
            pytest.raises(BoardError, match=said) as raised,
        ):
            runner.measure(real, LITTLE)
        assert (raised.value.measured and raised.value.measured.fps) == fps


def so_far(real: Package) -> str:
    """What a board writes to standard error while it measures; of the last line half of it arrived."""
    line = on_device.SO_FAR + json.dumps({"schema_version": 2, **good(real)})
    return f"reading\n{on_device.SO_FAR}{{}}\n{line}\npynq says something\n{line[:100]}"


def test_what_was_measured_before_the_time_limit_here_is_not_lost(real: Package) -> None:
    for errors, fps in ((so_far(real), 900.0), ("", None)):
        late = BoardTimeoutError("too late", errors)
        with (
            PynqRunner(ScriptedTransport(late)) as runner,
            pytest.raises(BoardTimeoutError, match="too late; the FPGA was reset") as raised,
        ):
            runner.measure(real, LITTLE)
        assert (raised.value.measured and raised.value.measured.fps) == fps


def test_what_was_measured_before_the_connection_ended_is_not_lost(real: Package) -> None:
    way = ScriptedTransport(ConnectionLostError("gone", so_far(real)))
    with PynqRunner(way) as runner, pytest.raises(ConnectionLostError, match=r"^gone$") as raised:
        runner.measure(real, LITTLE)
    assert raised.value.measured is not None
    assert raised.value.measured.fps == 900.0


@pytest.mark.parametrize("measured", [None, 1, [], {}, {"throughput": []}])
def test_a_hang_before_anything_was_measured(real: Package, measured: Any) -> None:
    way = ScriptedTransport({"error": "hung", "kind": "hang", "measured": measured})
    with PynqRunner(way) as runner, pytest.raises(BoardTimeoutError) as raised:
        runner.measure(real, LITTLE)
    assert raised.value.measured is None


def test_what_had_to_be_ended_from_here_is_followed_by_a_reset(real: Package) -> None:
    way = ScriptedTransport(BoardTimeoutError("on_device.py did not end"))
    with PynqRunner(way) as runner:
        with pytest.raises(BoardTimeoutError, match=r"^on_device\.py did not end; the FPGA was reset and can be used$"):
            runner.measure(real, LITTLE)
        assert way.ran[-1][0] == "--reset"
        way.facts = {}

        def lost(*_: Any, **__: Any) -> Completed:
            raise ConnectionLostError("gone") if "--reset" in _[0] else BoardTimeoutError("late")

        way.run = lost  # type: ignore[method-assign]
        with pytest.raises(BoardTimeoutError, match=r"^late; the FPGA could not be reset: restart the board$"):
            runner.measure(real, LITTLE)


def test_a_real_board_refuses_simulated_packages(package: Package) -> None:
    way = ScriptedTransport()
    with PynqRunner(way) as runner, pytest.raises(RefusedError, match="made is a package for the simulated board, and xilinx@"):
        runner.deploy(package)
    assert way.uploaded == way.ran == []


@pytest.mark.parametrize(
    ("says", "name", "part", "fits"),
    [
        ("Pynq-Z2", "pynq-z2", "xc7z020clg400-1", True),
        ("Pynq-Z1", "pynq-z2", "xc7z020clg400-1", False),  # the same part, another board
        ("Pynq-Z2", "mine", "xc7z020clg400-1", True),  # of a board file
        ("Pynq-Z2", "mine", "xc7z045ffg900-2", False),
        ("ZCU104", "pynq-z2", "xc7z020clg400-1", False),
        ("Something", "mine", "xc7z045ffg900-2", True),  # only the FPGA itself can tell
        (None, "pynq-z2", "xc7z020clg400-1", True),
    ],
)
def test_packages_and_boards_that_fit(real: Package, says: str | None, name: str, part: str, fits: bool) -> None:
    facts = real.manifest.board.model_copy(update={"name": name, "fpga_part": part})
    package = dataclasses.replace(real, manifest=real.manifest.model_copy(update={"board": facts}))
    with PynqRunner(ScriptedTransport(board=says)) as runner:
        if fits:
            runner.deploy(package)
        else:
            with pytest.raises(RefusedError, match=f"and xilinx@192.0.2.1 is a {says}; build it for that board"):
                runner.deploy(package)


def test_a_full_card_is_tidied_once(real: Package) -> None:
    way = ScriptedTransport()
    with PynqRunner(way) as runner:
        runner.deploy(real)  # which looks at the board before
        way.whole = [False, True]
        runner._deployed.clear()
        way.full = 1
        runner.deploy(real)
        way.full, way.whole = 2, [False]
        runner._deployed.clear()
        with pytest.raises(NoSpaceError):
            runner.deploy(real)


def test_a_card_that_garbles_what_arrives_is_told(real: Package) -> None:
    way = ScriptedTransport()
    way.whole = [False]
    with (
        PynqRunner(way) as runner,
        pytest.raises(BoardError, match=r"did not arrive whole on .*: a\.bit is missing or damaged; "),
    ):
        runner.deploy(real)


def test_answers_that_are_no_numbers(real: Package) -> None:
    with PynqRunner(ScriptedTransport({})) as runner, pytest.raises(BoardError, match="a file that holds no numbers"):
        runner.infer(real, frames(1))


def test_a_design_that_cannot_be_read(real: Package, tmp_path: Path) -> None:
    shutil.copytree(real.path, tmp_path / "package")
    (tmp_path / "package" / real.manifest.design).write_text("{}")
    broken = dataclasses.replace(real, path=tmp_path / "package")
    with PynqRunner(ScriptedTransport(good(real))) as runner, pytest.raises(PackageError, match="does not describe a design"):
        runner.measure(broken, LITTLE)


@pytest.mark.parametrize(
    ("facts", "subject", "found", "remedy"),
    [
        ({"python": "3.8.2"}, "python", "3.8.2", "3.10 or later: take PYNQ's image"),
        ({"pynq": None}, "pynq", "none", "take PYNQ's image"),
        ({"pynq": "4.0.0"}, "pynq", "4.0.0", "pynq 4 has dropped Zynq-7000"),
        ({"pynq": "2.7.0"}, "pynq", "2.7.0", "3.0 or later"),
        ({"numpy": None}, "numpy", "none", "the driver needs it"),
        ({"root": False}, "root", "no", "registers need it"),
        ({"fpga": "in use by process 7 (jupyter)"}, "FPGA", "in use by process 7 (jupyter)", "takes it from nobody"),
        ({"card_free_bytes": 10 << 20}, "card space", "10 MB free", "67 MB are wanted: remove"),
        ({"memory_free_bytes": 10 << 20}, "memory", "10 MB free", "shut notebooks down"),
        ({"cma_free_bytes": 1 << 20}, "memory for DMA", "1 MB free", "shut notebooks down"),
        ({"problems": ["pynq finds no FPGA; run it as root"]}, "pynq", "3.0.1", "pynq finds no FPGA; run it as root"),
        ({"problems": ["the moon is full; wait"]}, "to do", "as it says itself", "the moon is full; wait"),
    ],
)
def test_what_is_to_be_done_with_a_board(facts: dict[str, Any], subject: str, found: str, remedy: str) -> None:
    lines = PynqRunner(ScriptedTransport(**facts)).check()
    wrong = [line for line in lines if not line.is_well]
    assert [(line.subject, line.found) for line in wrong] == [(subject, found)]
    assert remedy in wrong[0].remedy


def test_pynq_4_is_well_where_it_still_has_the_board() -> None:
    assert all(line.is_well for line in PynqRunner(ScriptedTransport(board="ZCU104", pynq="4.0.0")).check())


def test_a_board_that_cannot_be_looked_at_says_why_in_a_line() -> None:
    way = ScriptedTransport()
    way.enter = UnreachableError("nobody listens; wait")
    assert [(line.subject, line.remedy) for line in PynqRunner(way).check()] == [("connection", "nobody listens; wait")]
    way.enter = None
    way.root = False
    way.facts = {**FACTS, "root": False, "problems": ["these are not root's rights, which the FPGA's registers need"]}
    wrong = [line for line in PynqRunner(way).check() if not line.is_well]
    assert [(line.subject, line.remedy) for line in wrong] == [("root", "sudo wants a password")]
    way.full = 1
    assert PynqRunner(way).check()[-1].remedy == "the card is full"
    way.root, way.facts = True, {"python": 3}
    assert "does not say what it is asked" in PynqRunner(way).check()[-1].remedy
    way.facts = ConnectionLostError("gone")  # type: ignore[assignment]
    assert [(line.subject, line.remedy) for line in PynqRunner(way).check()] == [("connection", "gone")]
