"""Packages on a PYNQ board, real or simulated: `PynqRunner`."""

from __future__ import annotations

import contextlib
import json
import math
import re
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards import card, on_device
from boards.answers import Facts, answer_of, facts_of, measured_before, measurement_of
from boards.errors import (
    BoardError,
    BoardTimeoutError,
    ConnectionLostError,
    LoginError,
    NoSpaceError,
    RefusedError,
    UnreachableError,
)
from boards.measurement import Measurement
from boards.package import Package, Stream
from boards.readiness import board_named, readiness
from boards.registry import BOARDS
from boards.runner import Effort, Readiness
from boards.transport import Completed, Transport

FOLDER = PurePosixPath(card.FOLDER)
CARD, ON_DEVICE = Path(card.__file__), Path(on_device.__file__)
MAX_TEST_SET_BYTES = 4 << 30  # unpacked; more than a board has memory
N_KEPT = 4  # packages on a card, besides the one in use
CARD_S, CHECK_S = 120.0, 120.0
START_S = 120.0  # to import pynq and look at every file, on a slow processor
RESET_S = START_S + on_device.LOAD_S


class PynqRunner:
    """Runs packages on a PYNQ board by its `on_device.py`; see `boards.runner.Runner`.

    Packages lie in the folder `bitloop` of the user's home, each named by its hash; those not used lately are removed.

    Args:
        transport: the way to the board.
        progress: is told of bytes copied and in all while a package is copied.
    """

    def __init__(self, transport: Transport, progress: Callable[[int, int], None] | None = None) -> None:
        self._transport, self._progress = transport, progress
        self._is_open = False
        self._facts: Facts | None = None
        self._deployed: set[str] = set()

    @property
    def host(self) -> str:
        """As given to HOST."""
        return self._transport.address

    @property
    def simulated(self) -> bool:
        """Whether what is measured is a simulation."""
        return self._transport.simulated

    def __enter__(self) -> PynqRunner:
        self._transport.__enter__()
        self._is_open = True
        return self

    def __exit__(self, *error: object) -> None:
        self._is_open, self._facts = False, None
        self._deployed.clear()
        self._transport.__exit__(*error)

    def check(self) -> list[Readiness]:
        """Look whether the board is ready; connects by itself where the runner is not entered, and says so if it cannot."""
        with contextlib.ExitStack() as stack:
            if not self._is_open:
                try:
                    stack.enter_context(self)
                except (UnreachableError, LoginError) as error:
                    return [Readiness("connection", "none", str(error))]
            lines = [Readiness("connection", f"{self.host} answers")]
            try:
                try:
                    self._facts = facts = self._look_at_board(root=True)
                except LoginError as error:
                    facts = self._look_at_board(root=False)
                    return [*lines, *(_without_root(line, error) for line in readiness(facts, self.simulated))]
            except NoSpaceError as error:
                return [*lines, Readiness("card space", "none", str(error))]
            except (ConnectionLostError, BoardTimeoutError) as error:
                return [Readiness("connection", "breaks off", str(error))]
            except BoardError as error:
                return [*lines, Readiness("python", "does not run what bitloop brings", str(error))]
            return [*lines, *readiness(facts, self.simulated)]

    def deploy(self, package: Package) -> None:
        """Bring a package there, whole or not at all; see `boards.runner.Runner`.

        Raises:
            RefusedError: it is for another board, or a simulated one for a real board, or the other way round.
            NoSpaceError: the card is full, also without older packages.
        """
        self._check_kind(package)
        if package.sha256 in self._deployed:
            return
        if self._facts is None:
            self._facts = self._look_at_board(root=True)
        self._check_board(package, self._facts)
        name = _name(package)
        if not self._on_card("look", name, package.sha256)["whole"]:
            try:
                self._transport.upload(package.path, FOLDER / name, self._progress)
            except NoSpaceError:
                if not self._on_card("tidy", "0", name)["removed"]:
                    raise
                self._transport.upload(package.path, FOLDER / name, self._progress)
            found = self._on_card("look", name, package.sha256)
            if not found["whole"]:
                raise BoardError(
                    f"{package.path} did not arrive whole on {self.host}: {found['why']}; its card may be worn out"
                )
        self._on_card("tidy", str(N_KEPT), name)
        self._deployed.add(package.sha256)

    def infer(self, package: Package, inputs: NDArray[Any]) -> NDArray[Any]:
        """What the accelerator makes of inputs; see `boards.runner.Runner`.

        Raises:
            RefusedError: the inputs are not what the accelerator reads.
            BoardTimeoutError, BoardBusyError, BoardError: as the board says.
        """
        manifest = package.manifest
        _check_frames(inputs, manifest.reads, f"{manifest.name} on {self.host}")
        self.deploy(package)
        limit_s = START_S + 2 * on_device.LOAD_S + _pieces_s(Effort().timeout_s, len(inputs), inputs[0].nbytes)
        with self._exchange() as (folder, here):
            np.save(here / "in.npy", inputs, allow_pickle=False)
            self._transport.upload(here / "in.npy", folder / "in.npy")
            there = ["--infer", str(folder / "in.npy"), "--out", str(folder / "out.npy")]
            answer_of(self._on_device(package, there, limit_s), self.host)
            self._transport.download(folder / "out.npy", here / "out.npy")
            try:
                outputs: NDArray[Any] = np.load(here / "out.npy", allow_pickle=False)
            except Exception as error:  # numpy's header parser has errors of its own; MemoryError, too
                raise BoardError(f"{self.host} answers with a file that holds no numbers ({error}); try again") from error
        wanted = (len(inputs), *manifest.hands_on.shape[1:])
        if outputs.shape != wanted:
            raise BoardError(f"{manifest.name} on {self.host} answers with the shape {outputs.shape}; {wanted} is wanted")
        return outputs

    def measure(self, package: Package, effort: Effort, test_set: Path | None = None) -> Measurement:
        """Check a package on its golden set and measure it; see `boards.runner.Runner`.

        Raises:
            OutputMismatchError: the golden set comes out wrong.
            RefusedError: the test set is not what the accelerator reads.
            BoardTimeoutError, BoardBusyError, BoardError: as the board says.
        """
        n_test = 0 if test_set is None else _check_test_set(test_set, package, self.host)
        self.deploy(package)
        sizes = ",".join(map(str, effort.batch_sizes))
        arguments = ["--batch-sizes", sizes, "--repeats", str(effort.n_repeats), "--timeout", f"{effort.timeout_s:g}"]
        done = None
        try:
            with self._exchange() as (folder, _):
                if test_set is not None:
                    self._transport.upload(test_set, folder / "test.npz")
                    arguments += ["--test-set", str(folder / "test.npz")]
                done = self._on_device(package, arguments, time_limit_s(package, effort, n_test))
            answer = answer_of(done, self.host)
        except BoardError as error:
            done = done or Completed(0, "", error.errors if isinstance(error, BoardTimeoutError | ConnectionLostError) else "")
            error.measured = measured_before(done, package, self.host, self.simulated)
            raise
        return measurement_of(answer, package, self.host, self.simulated)

    def _on_device(self, package: Package, arguments: Sequence[str], limit_s: float) -> Completed:
        """Run a package's program.

        It has limits of its own, and brings the FPGA back where one is passed. Where it had to be ended from here, something
        has gone wrong that it does not see, and the FPGA is brought back from here.

        Raises:
            BoardTimeoutError: it was ended from here.
        """
        program = ["python3", str(FOLDER / _name(package) / ON_DEVICE.name)]
        try:
            return self._transport.run([*program, *arguments], limit_s, root=True, python=True)
        except BoardTimeoutError as error:
            raise BoardTimeoutError(f"{error}; {self._reset(program)}", error.errors) from error

    def _reset(self, program: Sequence[str]) -> str:
        """Bring the FPGA back; says how that went."""
        try:
            answer_of(self._transport.run([*program, "--reset"], RESET_S, root=True, python=True), self.host)
        except BoardError:
            return "the FPGA could not be reset: restart the board"
        return "the FPGA was reset and can be used"

    def _look_at_board(self, root: bool) -> Facts:
        target = FOLDER / ON_DEVICE.name
        self._transport.upload(ON_DEVICE, target)
        done = self._transport.run(["python3", str(target), "--check"], CHECK_S, root=root, python=True)
        return facts_of(done, self.host)

    def _on_card(self, *arguments: str) -> dict[str, Any]:
        """What `boards.card` says."""
        program = CARD.read_text(encoding="utf-8")
        # -I: no module of the user's home, where it runs
        done = self._transport.run(["python3", "-I", "-c", program, *arguments], CARD_S)
        try:
            return dict(json.loads(done.output))
        except (ValueError, TypeError, RecursionError):
            said = (done.errors.strip() or done.output.strip() or "nothing").splitlines()[-1]
            raise BoardError(f"{self.host} does not say what is on its card; it says: {said[:300]}") from None

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[tuple[PurePosixPath, Path]]:
        """A folder there and one here, for files of one run; both are removed."""
        name = f"exchange-{secrets.token_hex(8)}"
        with tempfile.TemporaryDirectory(prefix="bitloop-exchange-") as here:
            try:
                yield FOLDER / name, Path(here)
            finally:
                with contextlib.suppress(BoardError):  # where the connection is gone, it is removed when it is old
                    self._on_card("forget", name)

    def _check_kind(self, package: Package) -> None:
        name = package.manifest.name
        if package.manifest.simulated and not self.simulated:
            raise RefusedError(
                f"{name} is a package for the simulated board, and {self.host} is a real one; build it by: make bitstream"
            )
        if self.simulated and not package.manifest.simulated:
            raise RefusedError(
                f"{name} is for a real board, and no simulation runs its bitfile; make measure RUN=… HOST=simulated makes one "
                "that can be simulated"
            )

    def _check_board(self, package: Package, facts: Facts) -> None:
        wanted, known = package.manifest.board, board_named(facts.board)
        if self.simulated:
            fits = facts.board == wanted.name
        else:
            # of a board that bitloop has no facts of, the bitfile's part decides: the FPGA takes no other
            fits = known is None or known.fpga_part == wanted.fpga_part
            if known is not None and wanted.name in BOARDS:  # and no board file of a user's own
                fits = known.name == wanted.name
        if not fits:
            raise RefusedError(
                f"{package.manifest.name} is for a {wanted.title} ({wanted.fpga_part}), and {self.host} is a {facts.board}; "
                "build it for that board, or give another HOST"
            )


def time_limit_s(package: Package, effort: Effort, n_test: int) -> float:
    """After which a measurement is ended from here, in s: more than all the limits that `on_device.py` sets itself, together.

    It ends before that, or hangs where its own limits do not reach.

    Args:
        package: that is measured.
        effort: how long.
        n_test: images of the test set; 0 for none.
    """
    largest = max(effort.batch_sizes)
    calls = [n for n in effort.batch_sizes for _ in range(effort.n_repeats + 1)]
    calls += [largest, largest]  # of the driver's own test, and the last one while power is read
    frame_bytes = 8 * math.prod(package.manifest.reads.shape)  # at most: no number has more than 8
    pieces_s = sum(_pieces_s(effort.timeout_s, n, frame_bytes) for n in (package.manifest.n_golden, n_test))
    counters_s = effort.timeout_s + on_device.COUNTERS_S
    # loaded twice: after a hang it is loaded again
    own_s = 2 * on_device.LOAD_S + on_device.POWER_S + counters_s + pieces_s + sum(_call_s(effort.timeout_s, n) for n in calls)
    return START_S + own_s


def _call_s(timeout_s: float, n_frames: int) -> float:
    """The limit of one call; see `boards.runner.Effort`."""
    return timeout_s * (1 + n_frames / 100)


def _pieces_s(timeout_s: float, n_frames: int, frame_bytes: int) -> float:
    """The limits of the calls that take a set of frames, together."""
    n_calls = -(-n_frames // on_device.frames_at_once(frame_bytes))
    return timeout_s * (n_calls + n_frames / 100)


def _name(package: Package) -> str:
    return package.sha256[: card.N_DIGITS]


def _check_frames(frames: NDArray[Any], reads: Stream, whose: str) -> None:
    """Look whether frames are what an accelerator reads.

    Raises:
        RefusedError: they are not.
    """
    wanted = reads.shape[1:]
    if frames.ndim != len(reads.shape) or frames.shape[1:] != wanted or not len(frames):
        raise RefusedError(f"{whose} reads frames of the shape {wanted}, one or more; these are {frames.shape}")
    if frames.dtype.kind not in "biuf":
        raise RefusedError(f"{whose} reads numbers; these are {frames.dtype}")
    limits = _limits(reads.datatype)
    if limits is None:
        return
    low, high = float(frames.min()), float(frames.max())
    if not (limits[0] <= low and high <= limits[1]) or (frames.dtype.kind == "f" and (frames != np.rint(frames)).any()):
        raise RefusedError(
            f"{whose} reads {reads.datatype}, whole numbers from {limits[0]} to {limits[1]}; these go from {low:g} to {high:g}"
        )


def _check_test_set(path: Path, package: Package, host: str) -> int:
    """Look whether a file is a test set of a package; its number of images.

    Raises:
        RefusedError: it is not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > MAX_TEST_SET_BYTES:
            raise ValueError(f"unpacked it has {n_bytes:,} bytes, {MAX_TEST_SET_BYTES:,} are the most")
        with np.load(path, allow_pickle=False) as file:
            inputs, labels = np.asarray(file["inputs"]), np.asarray(file["labels"])
    except Exception as error:  # zipfile, zlib, tokenize and numpy each have errors of their own; MemoryError, too
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RefusedError(f"{path} is no test set ({reason}); an npz file of inputs and labels is wanted") from error
    try:
        _check_frames(inputs, package.manifest.reads, f"{package.manifest.name} on {host}")
    except RefusedError as error:
        raise RefusedError(f"{path} is no test set for it: {error}") from error
    if labels.shape != inputs.shape[:1] or labels.dtype.kind not in "iu":
        raise RefusedError(
            f"{path} has {labels.shape} labels of {labels.dtype} for {len(inputs)} images; a whole number each is wanted"
        )
    return len(inputs)


def _limits(datatype: str) -> tuple[int, int] | None:
    """The least and the greatest number of one of QONNX's types; None where it is no type of whole numbers."""
    named = {"BIPOLAR": (-1, 1), "BINARY": (0, 1), "TERNARY": (-1, 1)}
    if datatype in named:
        return named[datatype]
    found = re.fullmatch(r"(U?)INT(\d+)", datatype)
    if not found:
        return None
    n_bits = int(found[2])
    return (0, 2**n_bits - 1) if found[1] else (-(2 ** (n_bits - 1)), 2 ** (n_bits - 1) - 1)


def _without_root(line: Readiness, error: LoginError) -> Readiness:
    return Readiness("root", "no", str(error)) if line.subject == "root" else line
