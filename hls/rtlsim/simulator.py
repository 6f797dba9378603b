"""Streams frames through a compiled netlist."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hls.rtlsim.errors import DeadlockError, SimulatorError
from hls.rtlsim.netlist import Netlist
from hls.rtlsim.results import FifoUse, NodeActivity, Simulated, StreamActivity
from hls.rtlsim.top import port_words
from hls.rtlsim.words import from_words, to_words

_LEAST_IDLE = 2_000


@dataclass(frozen=True)
class Feed:
    """How frames go in and answers come out.

    Attributes:
        gaps: share of the cycles in which nothing is offered, drawn.
        back_pressure: share of the cycles in which no answer is taken, drawn.
        seed: of what is drawn.
        pace_cycles: a frame's, which the words of a frame are spread over; 0 for as fast as they are taken.
        refill: after the last frame come the first ones again until the last answer is there, so that its interval is one of
            a full pipeline; without it nothing comes, and nothing more may come out.
    """

    gaps: float = 0.0
    back_pressure: float = 0.0
    seed: int = 0
    pace_cycles: int = 0
    refill: bool = True


class Simulator:
    """A compiled netlist.

    Attributes:
        netlist: what it simulates.
        program: the executable file.
    """

    def __init__(self, netlist: Netlist, program: Path) -> None:
        self.netlist, self.program = netlist, program

    def run(
        self,
        frames: NDArray[Any],
        feed: Feed | None = None,
        depths: Mapping[str, int] | None = None,
        idle_limit: int | None = None,
        timeout_s: float | None = None,
        records: Path | None = None,
        vcd: Path | None = None,
    ) -> Simulated:
        """Simulate.

        Args:
            frames: (n, …) numbers in the range of what the netlist reads.
            feed: how they go in; at once without it.
            depths: words of FIFOs by their names, of an adjustable netlist; others are as deep as the netlist says.
            idle_limit: cycles without a word on any stream after which it is a deadlock; twice the slowest node's without it.
            timeout_s: the most that it may take.
            records: a folder for every word of every stream: `words_of` reads them; `feed` then does not refill.
            vcd: file of the waveform, of a simulator that was compiled for it.

        Raises:
            DeadlockError: nothing moves any more and answers are missing; the text names the nodes that wait.
            SimulatorError: an assertion of the RTL does not hold, or the simulator crashed or took too long.
        """
        net, feed = self.netlist, feed or Feed()
        reads, hands_on = net.streams[net.reads], net.streams[net.hands_on]
        words = to_words(frames, reads.datatype, reads.lanes, port_words(reads.width))
        if not len(frames) or len(words) != len(frames) * reads.words:
            raise ValueError(f"{len(words)} words are not {reads.words} of each of {len(frames)} frames, or there are none")
        limit = idle_limit or max(_LEAST_IDLE, 2 * net.longest_cycles)
        with tempfile.TemporaryDirectory(prefix="bitloop-sim-") as scratch:
            folder = Path(scratch)
            words.tofile(folder / "in")
            options: dict[str, Any] = {
                "in": folder / "in", "out": folder / "out", "report": folder / "report", "frames": len(frames),
                "in_words": reads.words, "out_words": hands_on.words, "gaps": feed.gaps, "back_pressure": feed.back_pressure,
                "seed": feed.seed, "pace": feed.pace_cycles, "idle_limit": limit, "most_cycles": 0,
                "refill": int(feed.refill and not records),
            }  # fmt: skip
            if records:
                records.mkdir(parents=True, exist_ok=True)
                options["records"] = records.resolve()
            if vcd:
                options["vcd"] = vcd.resolve()
            lines = [f"{name} {value}" for name, value in options.items()]
            given = depths or {}
            held = {fifo.node: given.get(fifo.node, fifo.depth) for fifo in net.fifos}
            lines += [f"depth {i}={held[fifo.node]}" for i, fifo in enumerate(net.fifos)]
            (folder / "options").write_text("\n".join(lines) + "\n")
            begun = time.perf_counter()
            self._start(folder / "options", timeout_s)
            duration_s = time.perf_counter() - begun
            report = json.loads((folder / "report").read_text())
            raw = np.fromfile(folder / "out", "<u4").reshape(-1, port_words(hands_on.width))
        return self._read(report, raw, len(frames), held, duration_s)

    def words_of(self, stream: str, records: Path) -> NDArray[Any]:
        """What was recorded of a stream: (words, lanes)."""
        found = self.netlist.streams[stream]
        number = list(self.netlist.streams).index(stream)
        path = records / str(number)
        lines = path.read_text().split() if path.exists() else []
        n_bytes = port_words(found.width) * 4
        raw = b"".join(int(line, 16).to_bytes(n_bytes, "little") for line in lines)
        return from_words(np.frombuffer(raw, "<u4").reshape(-1, n_bytes // 4), found.datatype, found.lanes)

    def _start(self, options: Path, timeout_s: float | None) -> None:
        try:
            ran = subprocess.run(
                [str(self.program), str(options)], capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise SimulatorError(f"the simulation was not done after {timeout_s:g} s; simulate fewer frames") from None
        except OSError as error:
            raise SimulatorError(f"{self.program} cannot be started ({error}); build the simulator anew") from error
        said = [line.strip() for line in (ran.stdout + ran.stderr).splitlines() if line.strip()]
        broken = next((line for line in said if "%Error" in line or "%Fatal" in line), "")
        if broken:
            raise SimulatorError(f"what FINN's RTL asserts does not hold: {broken}")
        if ran.returncode == -signal.SIGKILL:
            raise SimulatorError("the simulator was killed, as Linux does where memory is short; simulate a smaller network")
        if ran.returncode:
            how = f"signal {-ran.returncode}" if ran.returncode < 0 else f"exit status {ran.returncode}"
            raise SimulatorError(f"the simulator ended with {how}: {said[-1] if said else 'it says nothing'}")

    def _read(
        self, report: dict[str, Any], raw: NDArray[np.uint32], n_frames: int, held: Mapping[str, int], duration_s: float
    ) -> Simulated:
        net = self.netlist
        names = list(net.streams)
        streams = {names[i]: StreamActivity(n, s, t, bool(v), bool(r)) for i, n, s, t, v, r in report["streams"]}
        if report["end"] == "deadlock":
            self._tell_deadlock(report, streams, n_frames)
        if report["end"] != "done":
            raise SimulatorError(f"the RTL ended the simulation in cycle {report['cycles']:,}")
        if report["surplus"]:
            raise SimulatorError(f"{report['surplus']} words came out behind the last answer; the RTL hands on too much")
        hands_on = net.streams[net.hands_on]
        answers = from_words(raw, hands_on.datatype, hands_on.lanes).reshape(n_frames, -1)
        ends = report["out_last"]
        intervals = tuple(b - a for a, b in pairwise(ends))
        filled = dict(map(tuple, report["filled"]))
        nodes = {i: (stalled, starved) for i, stalled, starved in report["nodes"]}
        fifos = tuple(
            FifoUse(f.node, f.behind, filled[i], held[f.node]) for i, f in enumerate(net.fifos) if i in filled
        )  # fmt: skip
        return Simulated(
            answers, ends[-1] + 1, intervals[-1] if intervals else None, intervals, ends[0] - report["in_first"][0] + 1,
            streams, self._activity(nodes, max(1, report["counted"])), fifos, duration_s,
        )  # fmt: skip

    def _activity(self, raw: Mapping[int, tuple[int, int]], counted: int) -> tuple[NodeActivity, ...]:
        found = []
        for i, node in enumerate(self.netlist.nodes):
            stalled, starved = (cycles / counted for cycles in raw[i])
            found.append(NodeActivity(node.node, 1 - stalled - starved, stalled, starved, node.cycles))
        return tuple(found)

    def _tell_deadlock(self, report: dict[str, Any], streams: Mapping[str, StreamActivity], n_frames: int) -> None:
        waiting: dict[str, str] = {}
        for instance in self.netlist.instances:
            full = [self._end(name, "reader") for name in instance.out_streams if streams[name].valid]
            empty = [self._end(name, "source") for name in instance.reads.values() if not streams[name].valid]
            if full:
                waiting[instance.node] = f"{' and '.join(full)} to read"
            elif empty and len(instance.reads) > 1:
                waiting[instance.node] = f"a word of {' and '.join(empty)}"
        told = "; ".join(f"{node} waits for {what}" for node, what in waiting.items()) or "every node waits for a word"
        done = report["told"] // self.netlist.streams[self.netlist.hands_on].words
        raise DeadlockError(
            f"nothing moves any more after cycle {report['cycles']:,}, {done} of {n_frames} frames are done: {told}",
            report["cycles"],
            waiting,
        )

    def _end(self, stream: str, which: str) -> str:
        return str(getattr(self.netlist.streams[stream], which)) or "the host"
