"""The waveform of a simulation: a valid VCD, of which clock, handshakes and words can be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hls.errors import MissingToolError
from hls.rtlsim import build_simulator, find_toolchain
from hls.rtlsim.build import Options
from hls.rtlsim.simulator import Feed
from hls.rtlsim.top import port_words
from hls.rtlsim.words import from_words
from tests.test_hls_circuit import random_frames
from tests.test_hls_rtl_queue import Unit, unit

N_FRAMES = 3


class Waveform:
    """A VCD file, read by its definition (IEEE 1364, 18.2).

    Attributes:
        timescale: as the file says.
        names: path of a signal to its mark and width.
        times: in which something changes.
    """

    def __init__(self, path: Path) -> None:
        text = path.read_text()
        head, body = text.split("$enddefinitions $end")
        self.timescale, self.names, scopes = "", dict[str, tuple[str, int]](), list[str]()
        words = iter(head.split())
        for word in words:
            rest = []
            for part in words:
                if part == "$end":
                    break
                rest.append(part)
            if word == "$scope":
                scopes.append(rest[1])
            elif word == "$upscope":
                scopes.pop()
            elif word == "$timescale":
                self.timescale = "".join(rest)
            elif word == "$var":
                self.names[".".join([*scopes, rest[3]])] = (rest[2], int(rest[1]))
        assert not scopes
        self.times: list[int] = []
        self._changes: dict[str, list[tuple[int, int]]] = {}
        for line in body.split("\n"):
            if line.startswith("#"):
                self.times.append(int(line[1:]))
            elif line.startswith("b"):
                value, mark = line[1:].split()
                self._changes.setdefault(mark, []).append((self.times[-1], int(value, 2)))
            elif line and line[0] != "r":  # a real number's, of a parameter
                assert line[0] in "01"
                self._changes.setdefault(line[1:], []).append((self.times[-1], int(line[0])))

    def changes(self, name: str) -> list[tuple[int, int]]:
        """When a signal becomes what."""
        return self._changes[self.names[name][0]]

    def just_before(self, name: str, times: list[int]) -> list[int]:
        """What a signal is right before some times."""
        when, what = zip(*self.changes(name), strict=True)
        return [what[i - 1] for i in np.searchsorted(when, times)]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Unit, np.ndarray, Waveform, int]:
    """A matrix unit, what it is to answer, the waveform of that, and how many cycles it took."""
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("waveform")
    made = unit(folder / "unit", 27, 9)
    options = Options(waveform=True, optimization="-O0")
    simulator = build_simulator(made.netlist, folder / "simulator", options, shared=folder.parent / "verilator")
    frames = random_frames(0, N_FRAMES, made.circuit.reads.shape[1:], "UINT4")
    feed = Feed(gaps=0.2, back_pressure=0.3, seed=3, refill=False)
    found = simulator.run(frames, feed, vcd=folder / "unit.vcd")
    expected = made.circuit.run(frames).reshape(N_FRAMES, -1)
    np.testing.assert_array_equal(found.answers, expected)
    return made, expected, Waveform(folder / "unit.vcd"), found.cycles


def rising(waveform: Waveform) -> list[int]:
    return [time for time, level in waveform.changes("TOP.bitloop_top.ap_clk") if level]


def test_the_clock_toggles_with_one_period_of_100_mhz(shown: tuple[Unit, np.ndarray, Waveform, int]) -> None:
    _, _, waveform, cycles = shown
    assert waveform.timescale == "1ns"
    assert waveform.times == sorted(set(waveform.times))
    levels = [level for _, level in waveform.changes("TOP.bitloop_top.ap_clk")]
    assert levels == [i % 2 for i in range(len(levels))]
    assert set(np.diff(rising(waveform)).tolist()) == {10}
    assert len(rising(waveform)) >= cycles


def test_every_stream_and_every_node_is_in_it(shown: tuple[Unit, np.ndarray, Waveform, int]) -> None:
    made, _, waveform, _ = shown
    n = len(made.netlist.streams)
    assert waveform.names["TOP.bitloop_top.v"][1] == waveform.names["TOP.bitloop_top.r"][1] == n
    widths = [waveform.names[f"TOP.bitloop_top.d{i}"][1] for i in range(n)]
    assert widths == [stream.width for stream in made.netlist.streams.values()]
    for instance in made.netlist.instances:
        inside = f"TOP.bitloop_top.u_{instance.node.replace('/', '_')}."
        assert sum(name.startswith(inside) for name in waveform.names) > 10


def test_answers_can_be_read_of_it(shown: tuple[Unit, np.ndarray, Waveform, int]) -> None:
    made, expected, waveform, _ = shown
    edges = rising(waveform)
    valid, ready, data = (waveform.just_before(f"TOP.bitloop_top.out_{name}", edges) for name in ("valid", "ready", "data"))
    taken = [word for v, r, word in zip(valid, ready, data, strict=True) if v and r]
    stream = made.netlist.streams[made.netlist.hands_on]
    n_words = port_words(stream.width)
    raw = np.frombuffer(b"".join(word.to_bytes(4 * n_words, "little") for word in taken), "<u4").reshape(-1, n_words)
    np.testing.assert_array_equal(from_words(raw, stream.datatype, stream.lanes).reshape(N_FRAMES, -1), expected)
    assert not all(ready)
