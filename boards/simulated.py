"""The simulated board's shell and card: `SimulatedTransport`. Nothing but a folder and processes of this machine.

What runs there is what runs on a board, the same `on_device.py` with the real pynq, in an interpreter of its own; the FPGA is
`boards/simulated_board`. So everything above this file behaves as with a board, faults included (`boards.simulated_options`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from boards import simulated_board, supervisor
from boards.board import Board, Family
from boards.errors import BoardError, BoardTimeoutError, ConnectionLostError, UnreachableError
from boards.load import Load, check_target, load_of, old_of, part_of, plain_file
from boards.simulated_options import parse_options
from boards.transport import Completed, title_of

LAUNCHER = Path(simulated_board.__file__).parent
BOARD, HOME = "board.json", "home"
MAX_OUTPUT = 64 << 20  # bytes of each of the two
GRACE_S = 5.0  # between asking a program to end and ending it
MIDDLE_S = 0.3  # after which a run is in its middle


@dataclass(frozen=True)
class Played:
    """What there is to know of a board to play it, as a package says it of its own; see `boards.board.Board`."""

    name: str
    fpga_part: str
    family: Family
    clock_mhz: float


class SimulatedTransport:
    """The way to the simulated board; see `boards.transport.Transport`.

    Commands and relative paths begin in the folder `home`, which is the card and stays; the FPGA's state beside it is lost when
    the board restarts. It has Python and no other program, and every user has root's rights.

    Args:
        host: as given to HOST; `simulated`, or with options behind a colon.
        state: the folder; made if it is not there.
        board: that is played.
        interpreter: the simulated board's Python, with pynq.
    """

    simulated = True

    def __init__(self, host: str, state: Path, board: Board | Played, interpreter: Path) -> None:
        self._host, self._options = host, parse_options(host)
        # absolute and no more: a virtual environment's Python is a link, and what it links to is another one
        self._state, self._board, self._interpreter = state.absolute(), board, interpreter.absolute()
        self._is_open = False
        self._n_done = 0

    def __repr__(self) -> str:
        return f"SimulatedTransport({self._host!r})"

    @property
    def address(self) -> str:
        """As given to HOST."""
        return self._host

    @property
    def _home(self) -> Path:
        return self._state / HOME

    def __enter__(self) -> SimulatedTransport:
        if "unreachable" in self._options.way:
            raise UnreachableError(f"nobody answers at {self._host}: it was told to be unreachable; leave that out of HOST")
        if not self._interpreter.is_file():
            raise UnreachableError(
                f"the simulated board has no Python at {self._interpreter}; make it by: make simulated-board"
            )
        b = self._board
        told = {"board": b.name, "fpga_part": b.fpga_part, "family": b.family, "clock_mhz": b.clock_mhz}
        text = json.dumps({**told, "truth": self._options.truth, "faults": self._options.faults}, indent=2) + "\n"
        path = self._state / BOARD
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text(encoding="utf-8") != text:  # another board, whose FPGA is empty
                self._switch_off()
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UnreachableError(f"the simulated board cannot be kept in {self._state} ({error.strerror})") from error
        self._is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self._is_open = False

    def run(self, command: Sequence[str], timeout_s: float, *, root: bool = False, python: bool = False) -> Completed:
        """Run a Python program to its end; see `boards.transport.Transport`.

        Raises:
            BoardTimeoutError, ConnectionLostError: as there.
            BoardError: the command is another program, or it writes more than 64 MiB.
        """
        if command[0] not in ("python", "python3"):
            raise BoardError(f"{self._host} has no program {command[0]}; the simulated board has python3 alone")
        title = title_of(command)
        strikes = self._begin(title)
        interpreter = str(self._interpreter)
        words = [interpreter, *command[1:]]
        if python and command[1:] and command[1].endswith(".py"):
            words = [interpreter, str(LAUNCHER), str(self._state), *command[1:]]
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            supervised = [interpreter, "-I", supervisor.__file__, f"{timeout_s:g}", f"{GRACE_S:g}", "0", *words]
            with self._works(title):
                process = subprocess.Popen(
                    supervised, cwd=self._home, env=self._environment(python), stdin=subprocess.PIPE, stdout=output,
                    stderr=errors,
                )  # fmt: skip
            assert process.stdin is not None
            try:
                if strikes:
                    self._strike(process)
                process.wait()
            finally:
                process.stdin.close()  # the supervisor sees it, and ends what still runs
                process.wait()
            texts = []
            for file in (output, errors):
                if file.seek(0, os.SEEK_END) > MAX_OUTPUT:
                    raise BoardError(f"{title} wrote more than {MAX_OUTPUT >> 20} MiB on {self._host}; that is no answer")
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        if strikes:
            raise self._lost(title, texts[1])
        if supervisor.was_late(process.returncode, texts[1]):
            raise BoardTimeoutError(f"{title} did not end on {self._host} within {timeout_s:g} s, and was ended", texts[1])
        return Completed(process.returncode, *texts)

    def upload(self, source: Path, target: PurePosixPath, progress: Callable[[int, int], None] | None = None) -> None:
        """Copy a file or a folder there; see `boards.transport.Transport`.

        Raises:
            NoSpaceError, ConnectionLostError: as there.
            BoardError: something in the source is no plain file.
        """
        load = load_of(source)
        title = f"copying {target}"
        strikes = self._begin(title)
        goal = self._on_card(target)
        part = self._on_card(part_of(target))
        with self._works(title):
            _remove(part)
            load.check_space(self._n_free(), self._host)
            goal.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._copy(load, part, progress, title if strikes else "")
            except ConnectionLostError:
                raise  # and what has arrived stays, as on a board
            except BaseException:
                _remove(part)
                raise
            old = self._on_card(old_of(target))
            _remove(old)
            if goal.exists():
                goal.replace(old)
            part.replace(goal)
            _remove(old)

    def download(self, source: PurePosixPath, target: Path) -> None:
        """Copy a file here; see `boards.transport.Transport`."""
        if self._begin(f"copying {source}"):
            raise self._lost(f"copying {source}")
        path = self._on_card(source)
        if not path.is_file():
            raise BoardError(f"{self._host} has no file {source}")
        part = target.with_name(f".{target.name}.part")
        with self._works(f"copying {source}"):
            try:
                shutil.copyfile(path, part)
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _works(self, title: str) -> Iterator[None]:
        """What this machine has to say comes as what a board would have to say.

        Raises:
            BoardError: something on this machine does not work.
        """
        try:
            yield
        except OSError as error:
            raise BoardError(
                f"{title} failed with {self._host}: {error}; look after {self._state}, and whether another bitloop uses it"
            ) from error

    def _begin(self, title: str) -> bool:
        """Count what is begun; whether the connection ends in its middle."""
        if not self._is_open:
            raise ConnectionLostError(f"there is no connection to {self._host} any more; begin {title} again")
        self._n_done += 1
        return self._n_done in (self._options.way.get("drop_connection"), self._options.way.get("reboot"))

    def _strike(self, process: subprocess.Popen[bytes]) -> None:
        """End the connection in the middle of a run, and the run with it."""
        try:
            process.wait(MIDDLE_S)
        except subprocess.TimeoutExpired:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    def _lost(self, title: str, errors: str = "") -> ConnectionLostError:
        """What to raise of a connection that is gone; whoever wants another one enters again."""
        self._is_open = False
        if self._n_done == self._options.way.get("reboot"):
            self._switch_off()
        return ConnectionLostError(f"the connection to {self._host} ended in the middle of {title}; try again", errors)

    def _switch_off(self) -> None:
        """Lose what only the FPGA and the memory hold."""
        for path in (self._state / "fpga.json", self._state / "tmp", *self._state.glob(".fpga.*.part")):
            _remove(path)

    def _environment(self, python: bool) -> dict[str, str]:
        """Nothing of this machine's own, so that it is the same everywhere; one thread a process, as others work here, too."""
        told = {"PATH": os.defpath, "HOME": str(self._home), "LANG": "C.UTF-8"}
        told |= {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        return told | ({"XILINX_XRT": "/usr"} if python else {})

    def _on_card(self, path: PurePosixPath) -> Path:
        check_target(path)
        if path.is_absolute():
            raise BoardError(f"{path} is no path on the simulated board's card; one that begins in its home is wanted")
        return self._home / path

    def _n_free(self) -> int:
        room = self._options.way.get("full_card")
        if room is None:
            return shutil.disk_usage(self._home).free
        return int(max(0, room - sum(path.stat().st_size for path in self._home.rglob("*") if path.is_file())))

    def _copy(self, load: Load, part: Path, progress: Callable[[int, int], None] | None, ends_in: str) -> None:
        done, total = 0, load.n_bytes
        for folder in load.folders:
            (part / folder).mkdir()
        for name, source, size in load.files:
            if ends_in and 2 * done >= total - size:
                raise self._lost(ends_in)
            with plain_file(source) as file, (part / name).open("wb") as copy:
                shutil.copyfileobj(file, copy)
            done += size
            if progress:
                progress(done, total)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
