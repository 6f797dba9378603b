"""What is in the simulated FPGA: a circuit between two DMA engines, and how long it takes.

A run of the engines takes the time that the circuit would take at its clock, by the board's own watch. What comes out is
worked out only when somebody reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .board import Board, Fpga
from .board_time import BoardTime
from .circuit import Circuit
from .packing import pack, unpack

_WINDOW = 64  # frames, that FINN's counters take the mean of (instrumentation_avg_n)
_AT_ONCE = 256  # frames, unpacked


class Memory(Protocol):
    """The board's memory, as the FPGA sees it."""

    def peek(self, address: int, n_bytes: int) -> NDArray[np.uint8] | None:
        """What lies there, not a copy; None where there is no memory."""
        ...

    def is_seen_directly(self, address: int) -> bool:
        """Whether a program may read there without telling anybody."""
        ...


class Engine(Protocol):
    """A DMA engine's registers."""

    waits: bool
    done: bool

    @property
    def address(self) -> int:
        """In memory, in bytes."""
        ...

    @property
    def n_frames(self) -> int:
        """To be moved."""
        ...


@dataclass
class _Run:
    """Frames on their way through the accelerator."""

    frames: NDArray[np.uint8]  # (n, bytes), as they were when the run began
    target: NDArray[np.uint8]  # memory, flat
    address: int
    first: int  # how many frames this design had seen before
    end_s: float


class Accelerator:
    """A design in the FPGA.

    Attributes:
        source, sink: its DMA engines.
        is_fed_by_generator: whether the counters' generator feeds it, and not `source`.
    """

    source: Engine
    sink: Engine

    def __init__(
        self,
        circuit: Circuit,
        board: Board,
        fpga: Fpga,
        memory: Memory,
        clock_mhz: Callable[[], float],
        time: BoardTime,
        leave: Callable[[], None],
    ) -> None:
        """A design.

        Args:
            circuit: what it computes.
            board: how the board differs and misbehaves.
            fpga: what is remembered; counted up here.
            memory: of the board.
            clock_mhz: that the design runs at now.
            time: of the board.
            leave: writes down what is remembered.
        """
        self._circuit, self._board, self._fpga, self._memory = circuit, board, fpga, memory
        self._clock_mhz, self._time, self._leave = clock_mhz, time, leave
        factor = board.truth.cycles_factor * board.faults.slowdown
        self._interval = max(1, round(circuit.interval_cycles * factor))
        self._latency = max(1, round(circuit.latency_cycles * factor))
        self._n_in, self._n_out = _n_bytes(circuit.reads.packed_shape), _n_bytes(circuit.hands_on.packed_shape)
        self.reset()

    def reset(self) -> None:
        """As after loading the bitfile."""
        self.is_fed_by_generator = False
        self._running: _Run | None = None
        self._unread: list[_Run] = []
        self._generator: tuple[float, float | None, int] | None = None  # since when, until when, least cycles between frames

    def busy(self) -> bool:
        """Whether the engines move frames; those that are done by now are told so."""
        if self._running and not self._fpga.is_stuck and self._time.now() >= self._running.end_s:
            self._unread.append(self._running)
            self._running = None
            self.source.done = self.sink.done = True
            if self._memory.is_seen_directly(self._unread[-1].address):
                self.settle(self._unread[-1].address, self._unread[-1].target.size)
        return self._running is not None

    def wait(self) -> None:
        """Let the time pass that the engines still need; who asks again finds them done."""
        if self._running and not self._fpga.is_stuck:
            self._time.wait_until(self._running.end_s)

    def started(self) -> None:
        """Begin a run, once both engines have been started."""
        if not (self.source.waits and self.sink.waits):
            return
        self.source.waits = self.sink.waits = False
        n = self.sink.n_frames
        frames = self._memory.peek(self.source.address, n * self._n_in)
        target = self._memory.peek(self.sink.address, n * self._n_out)
        stuck = self._board.faults.stuck_dma
        happens = stuck is True or (
            stuck is not False and not self._fpga.has_been_stuck and self._fpga.n_frames_ever + n > stuck
        )
        if frames is None or target is None or self.source.n_frames < n or self.is_fed_by_generator or happens:
            self._fpga.is_stuck = True  # nobody answers there, too few frames come, or none at all
            self._fpga.has_been_stuck |= happens
            frames, target = np.zeros((0, self._n_in), np.uint8), np.zeros(0, np.uint8)
            self._leave()
        else:
            self.settle(self.source.address, frames.size)
            self.forget(self.sink.address, target.size)
        cycles = self._latency + (n - 1) * self._interval
        takes_s = cycles / (self._clock_mhz() * 1e6) + 1e-6 * self._board.truth.overhead_us
        began_s = self._time.now()
        self._running = _Run(
            frames.copy().reshape(-1, self._n_in), target, self.sink.address, self._fpga.n_frames, began_s + takes_s
        )
        self._fpga.n_frames += n
        self._fpga.n_frames_ever += n

    def settle(self, address: int, n_bytes: int) -> None:
        """Have memory hold what the accelerator has written there."""
        self.busy()
        for run in [run for run in self._unread if _overlap(run, address, n_bytes)]:
            self._unread.remove(run)
            run.target[:] = self._answers(run).reshape(-1)

    def forget(self, address: int, n_bytes: int) -> None:
        """Somebody else writes there: what is overwritten need not be worked out."""
        self._unread = [
            run for run in self._unread if run.address < address or address + n_bytes < run.address + run.target.size
        ]
        self.settle(address, n_bytes)

    def _answers(self, run: _Run) -> NDArray[np.uint8]:
        """What comes out: (n, bytes)."""
        one = np.dtype((np.void, self._n_in))
        _, where, which = np.unique(run.frames.view(one).reshape(-1), return_index=True, return_inverse=True)
        answers = np.empty((len(where), self._n_out), np.uint8)
        for start in range(0, len(where), _AT_ONCE):
            some = where[start : start + _AT_ONCE]
            answers[start : start + len(some)] = self._compute(run.frames[some])
        found: NDArray[np.uint8] = answers[which.reshape(-1)]
        wrong = self._board.faults.wrong_output
        if wrong is not None and run.first < wrong <= run.first + len(found):
            found[wrong - 1 - run.first, 0] ^= 1
        return found

    def _compute(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        reads, hands_on = self._circuit.reads, self._circuit.hands_on
        n = len(frames)
        given = unpack(frames.reshape(n, *reads.packed_shape[1:]), reads.datatype, reads.folded_shape[-1])
        answers = self._circuit.run(given.reshape(n, *reads.shape[1:]))
        rows = np.asarray(answers).reshape(n, *hands_on.folded_shape[1:])
        return pack(rows, hands_on.datatype, hands_on.packed_shape[-1]).reshape(n, -1)

    def generate(self, least_interval: int) -> None:
        """Have the generator feed frames from now on, with at least so many cycles between them."""
        self._generator = (self._time.now(), None, least_interval)

    def stop_generating(self) -> None:
        """Feed no more."""
        if self._generator and self._generator[1] is None:
            self._generator = (self._generator[0], self._time.now(), self._generator[2])

    def counters(self, window: int) -> Mapping[str, int]:
        """What FINN's counters say, but for the checksum: of that the number of frames alone.

        Args:
            window: frames to take the mean of; the largest one where it is 0.
        """
        if self._generator is None:
            return {"min_latency": 0xFFFF_FFFF}
        since, until, least = self._generator
        per_s = self._clock_mhz() * 1e6
        cycles = round((self._time.now() - since) * per_s)
        fed = cycles if until is None else round((until - since) * per_s)
        interval = max(self._interval, least)
        n = (fed - self._latency) // interval + 1 if self.is_fed_by_generator and fed >= self._latency else 0
        fill = min(n, window if 1 <= window <= _WINDOW else _WINDOW)
        told = {
            "latency": self._latency if n else 0, "interval": interval if n else 0, "avg_fill": fill, "run_frames": n,
            "min_latency": self._latency if n else 0xFFFF_FFFF, "checksum": (n - 1) % 256 << 24 if n else 0,
        }  # fmt: skip
        for name, value in (("lat_sum", fill * self._latency), ("int_sum", fill * interval), ("run_cycles", cycles)):
            told |= {f"{name}_lo": value & 0xFFFF_FFFF, f"{name}_hi": value >> 32}
        return told


def _n_bytes(packed_shape: tuple[int, ...]) -> int:
    return int(np.prod(packed_shape[1:], dtype=np.int64))


def _overlap(run: _Run, address: int, n_bytes: int) -> bool:
    return run.address < address + n_bytes and address < run.address + run.target.size
