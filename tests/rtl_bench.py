"""Many modules side by side in one simulator, each with a source and a sink of its own: one compilation for all of them.

The sources read words from files; gaps in front and back-pressure behind are drawn as the first word of the simulation says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hls.rtlsim.build import Options, _compile, _verilate
from hls.rtlsim.netlist import Instance, Netlist, Stream
from hls.rtlsim.simulator import Feed, Simulator
from hls.rtlsim.toolchain import find_toolchain
from hls.rtlsim.words import bits_of, from_words, to_words

_HEAD = """
import "DPI-C" function void bitloop_word(input int id, input string word);

module source #(int WIDTH, int WORDS, parameter FILE, int SEED)(
	input ap_clk, ap_rst_n, begun, input [7:0] gaps,
	output [WIDTH-1:0] data, output valid, input ready
);
	logic [WIDTH-1:0] words[WORDS];
	initial $readmemh(FILE, words);
	function automatic logic [31:0] next(input logic [31:0] state);  // xorshift
		next = state ^ state << 13;
		next = next ^ next >> 17;
		next = next ^ next << 5;
	endfunction
	int place = 0;
	logic [31:0] state = 32'(SEED) * 32'h9E3779B1 + 1;
	logic held = 0, draw = 1;
	assign data = words[place == WORDS? 0 : place], valid = begun && place != WORDS && (held || draw);
	always_ff @(posedge ap_clk) if(begun) begin
		state <= next(state);
		draw <= state[15:8] >= gaps;
		held <= valid && !ready;
		if(valid && ready) place <= place + 1;
	end
endmodule

module sink #(int WIDTH, int WORDS, int ID, int SEED)(
	input ap_clk, ap_rst_n, begun, input [7:0] pressure, input [31:0] cycle,
	input [WIDTH-1:0] data, input valid, output ready, output done
);
	function automatic logic [31:0] next(input logic [31:0] state);  // xorshift
		next = state ^ state << 13;
		next = next ^ next >> 17;
		next = next ^ next << 5;
	endfunction
	int place = 0;
	logic [31:0] state = 32'(SEED) * 32'h85EBCA6B + 7;
	logic draw = 1;
	assign ready = draw, done = place >= WORDS;
	always_ff @(posedge ap_clk) if(begun) begin
		state <= next(state);
		draw <= state[15:8] >= pressure;
		if(valid && ready) begin
			place <= place + 1;
			bitloop_word(2 * ID, $sformatf("%h", data));
			bitloop_word(2 * ID + 1, $sformatf("%h", cycle));
		end
	end
endmodule
"""


@dataclass(frozen=True)
class Case:
    """A module and what goes through it.

    Attributes:
        instance: of the module; its streams are called `in0`, `in1`, …, `out0`, ….
        reads: stream to the words that go in: (words, lanes), and QONNX's name of their type.
        gives: stream to the words that are to come out, all frames', and their type.
        frames: how many these are.
    """

    instance: Instance
    reads: Mapping[str, tuple[NDArray[Any], str]]
    gives: Mapping[str, tuple[NDArray[Any], str]]
    frames: int


@dataclass(frozen=True)
class Found:
    """What came out of a case's module: stream to words, and the cycles in which they came."""

    words: Mapping[str, NDArray[Any]]
    cycles: Mapping[str, NDArray[Any]]

    def interval(self, frames: int) -> int:
        """Cycles between the ends of the last two frames."""
        cycles = next(iter(self.cycles.values()))
        n = len(cycles) // frames
        return int(cycles[-1] - cycles[-1 - n])


class Bench:
    """The compiled modules of many cases."""

    def __init__(self, cases: Sequence[Case], files: Sequence[Path], folder: Path, assertions: bool = True) -> None:
        self._cases, self._ids = cases, iter(range(1 << 30))
        self._sinks: list[tuple[int, str, int]] = []  # case, stream, number
        folder.mkdir(parents=True, exist_ok=True)
        parts, done = [_HEAD, self._ports()], list[str]()
        for number, case in enumerate(cases):
            parts.append(self._wired(number, case, folder, done))
        parts += ["\talways_ff @(posedge ap_clk) begin", "\t\tif(in_valid && in_ready) begin",
                  "\t\t\tbegun <= 1;", "\t\t\t{pressure, gaps} <= in_data[15:0];", "\t\tend",
                  "\t\tif(begun) cycle <= cycle + 1;", f"\t\tif({' && '.join(done)}) after <= after == 250? 250 : after + 1;",
                  "\tend", "endmodule"]  # fmt: skip
        top = folder / "bitloop_top.sv"
        top.write_text("\n".join(parts) + "\n")
        options, tools, made = Options(assertions=assertions, optimization="-O0"), find_toolchain(), folder / "cpp"
        _verilate(tools, options, [*files, top], made)
        _compile(tools, options, made, folder / "simulator", folder.parents[1] / "verilator", lambda what, total, done: None)
        end = {"in": Stream("in", 16, 1, 1, "UINT16"), "out": Stream("out", 8, 1, 1, "UINT8")}
        self._simulator = Simulator(Netlist((), end, "in", "out", ()), folder / "simulator")

    @staticmethod
    def _ports() -> str:
        return (
            "module bitloop_top(\n\tinput ap_clk, ap_rst_n, counting, recording, output moving,\n\tinput [95:0] in_data, "
            "input in_valid, output in_ready,\n\toutput [95:0] out_data, output out_valid, input out_ready\n);\n"
            "\tlogic begun = 0;\n\tlogic [7:0] gaps = 0, pressure = 0, after = 0;\n\tint cycle = 0;\n"
            "\tassign in_ready = !begun, moving = 1, out_data = 0, out_valid = after == 200;"
        )

    def _wired(self, number: int, case: Case, folder: Path, done: list[str]) -> str:
        instance, lines, ports = case.instance, [], [".ap_clk(ap_clk), .ap_rst_n(ap_rst_n)"]
        for prefix, name in instance.reads.items():
            values, datatype = case.reads[name]
            width, wire = _width(values, datatype), f"i{number}_{prefix}"
            path = folder / f"{wire}.hex"
            words = to_words(values, datatype, values.shape[1], -(-width // 32))
            digits = [row[::-1].astype(">u4").tobytes().hex()[-width // 4 :] for row in words]
            path.write_text("\n".join(digits) + "\n")
            lines += [f"\twire [{width - 1}:0] {wire}; wire {wire}_v, {wire}_r;",
                      f'\tsource #({width}, {len(values)}, "{path}", {next(self._ids)}) s_{wire}(ap_clk, ap_rst_n, begun, '
                      f"gaps, {wire}, {wire}_v, {wire}_r);"]  # fmt: skip
            ports.append(_port(prefix, wire, wire + "_v", wire + "_r"))
        for prefix, names in instance.writes.items():
            several = (names,) if isinstance(names, str) else names
            for name in several:
                values, datatype = case.gives[name]
                width, wire, sink = _width(values, datatype), f"o{number}_{name}", len(self._sinks)
                self._sinks.append((number, name, sink))
                done.append(f"{wire}_d")
                lines += [f"\twire [{width - 1}:0] {wire}; wire {wire}_v, {wire}_r, {wire}_d;",
                          f"\tsink #({width}, {len(values)}, {sink}, {next(self._ids)}) s_{wire}(ap_clk, ap_rst_n, begun, "
                          f"pressure, cycle, {wire}, {wire}_v, {wire}_r, {wire}_d);"]  # fmt: skip
            wires = [f"o{number}_{name}" for name in reversed(several)]
            joined = [",".join(wire + end for wire in wires) for end in ("", "_v", "_r")]
            ports.append(_port(prefix, *(f"{{{one}}}" for one in joined)))
        ports += [f".{port}({value})" for port, value in instance.ties.items()]
        told = ", ".join(f".{name}({value})" for name, value in instance.parameters.items())
        lines.append(f"\t{instance.module} #({told}) c{number}({', '.join(ports)});")
        return "\n".join(lines)

    def run(self, folder: Path, gaps: float = 0.0, back_pressure: float = 0.0) -> list[Found]:
        """Simulate; what came of every case."""
        word = np.array([[round(255 * gaps) | round(255 * back_pressure) << 8]])
        self._simulator.run(word, Feed(refill=False), records=folder, idle_limit=1 << 30, timeout_s=300)
        found: list[tuple[dict[str, Any], dict[str, Any]]] = [({}, {}) for _ in self._cases]
        for number, name, sink in self._sinks:
            values, datatype = self._cases[number].gives[name]
            n = -(-_width(values, datatype) // 32)
            lines = (folder / str(2 * sink)).read_text().split()
            raw = np.array([[int(line, 16) >> 32 * i & 0xFFFFFFFF for i in range(n)] for line in lines], np.uint32)
            found[number][0][name] = from_words(raw, datatype, values.shape[1])
            cycles = (folder / str(2 * sink + 1)).read_text().split()
            found[number][1][name] = np.array([int(line, 16) for line in cycles])
        return [Found(*one) for one in found]


def _width(values: NDArray[Any], datatype: str) -> int:
    return -(-bits_of(datatype) * int(values.shape[1]) // 8) * 8


def _port(prefix: str, data: str, valid: str, ready: str) -> str:
    names = ("TDATA", "TVALID", "TREADY") if prefix.endswith("_V") else ("tdata", "tvalid", "tready")
    return ", ".join(f".{prefix}_{name}({wire})" for name, wire in zip(names, (data, valid, ready), strict=True))
