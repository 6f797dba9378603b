"""hls/rtl/mvu.sv beside the core of FINN's RTL matrix unit: the same sums in the same cycles, whatever goes in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hls.errors import MissingToolError
from hls.finn_operators import finn_steps
from hls.finn_rtl import _rtl_library
from hls.rtlsim import find_toolchain
from hls.rtlsim.build import Options, _compile, _verilate
from hls.rtlsim.library import OWN, OutputQueue, readable_files
from hls.rtlsim.netlist import Netlist, Stream
from hls.rtlsim.simulator import Feed, Simulator

N_CYCLES = 800


@dataclass(frozen=True)
class Shape:
    """Parameters of a core."""

    pe: int
    simd: int
    weight: int
    act: int
    signed: bool = False
    narrow: bool = True

    @property
    def parameters(self) -> str:
        sum_bits = self.weight + self.act + int(np.ceil(np.log2(self.simd))) + 5  # of up to 20 words
        told = {"VERSION": 1, "PE": self.pe, "SIMD": self.simd, "WEIGHT_WIDTH": self.weight, "ACTIVATION_WIDTH": self.act,
                "ACCU_WIDTH": sum_bits, "SIGNED_ACTIVATIONS": int(self.signed), "NARROW_WEIGHTS": int(self.narrow)}  # fmt: skip
        return ", ".join(f".{name}({value})" for name, value in told.items())


SHAPES = [
    Shape(1, 1, 2, 2), Shape(3, 1, 4, 4), Shape(4, 3, 4, 4), Shape(5, 7, 3, 5, signed=True), Shape(2, 9, 8, 8),
    Shape(1, 27, 8, 8, signed=True, narrow=False), Shape(4, 16, 4, 4, narrow=False), Shape(16, 2, 2, 2), Shape(6, 8, 2, 4),
    Shape(9, 5, 6, 6, signed=True), Shape(3, 11, 5, 3), Shape(2, 32, 4, 8, signed=True), Shape(8, 6, 3, 2, narrow=False),
    Shape(1, 33, 4, 4), Shape(7, 4, 7, 8),
]  # fmt: skip


def pair(number: int, shape: Shape) -> str:
    """The two cores, what goes into both, and a count of cycles in which they differ."""
    return f"""
	logic [{shape.pe - 1}:0][{shape.simd - 1}:0][{shape.weight - 1}:0] w{number};
	logic [{shape.simd - 1}:0][{shape.act - 1}:0] a{number};
	logic last{number} = 0, zero{number} = 1;
	int n{number} = 0, wrong{number} = 0;
	wire vld{number}, other{number};
	wire [$bits(mine{number}.p)-1:0] p{number}, q{number};
	mvu #({shape.parameters}) mine{number}(
		ap_clk, !ap_rst_n, 1'b1, last{number}, zero{number}, w{number}, a{number}, vld{number}, p{number}
	);
	finn_mvu #({shape.parameters}) finn{number}(
		ap_clk, !ap_rst_n, 1'b1, last{number}, zero{number}, w{number}, a{number}, other{number}, q{number}
	);
	always_ff @(posedge ap_clk) if(ap_rst_n) begin
		automatic bit ends = $urandom_range(4) == 0 || n{number} % 20 == 19, stops = $urandom_range(3) == 0;
		for(int i = 0; i < {shape.simd}; i++) a{number}[i] <= {shape.act}'($urandom);
		for(int i = 0; i < {shape.pe}; i++) for(int j = 0; j < {shape.simd}; j++) begin
			automatic logic [{shape.weight - 1}:0] drawn = {shape.weight}'($urandom);
			if({int(shape.narrow)} && drawn == {shape.weight}'(1 << {shape.weight - 1})) drawn = 1;
			w{number}[i][j] <= drawn;
		end
		zero{number} <= stops || cycle < 20;
		last{number} <= !(stops || cycle < 20) && ends;
		if(!(stops || cycle < 20)) n{number} <= ends? 0 : n{number} + 1;
		if(vld{number} != other{number} || (vld{number} && p{number} != q{number})) wrong{number} <= wrong{number} + 1;
		if(vld{number} && told{number} < 1000000) told{number} <= told{number} + 1;
	end
	int told{number} = 0;
	final bitloop_word({number}, $sformatf("%0d_%0d", wrong{number}, told{number}));"""


def test_the_fast_core_is_finns_core(tmp_path: Path) -> None:
    try:
        find_toolchain()
    except MissingToolError as error:
        pytest.skip(str(error))
    finn_steps()
    library = Path(_rtl_library()) / "mvu"
    files = readable_files(
        [library / name for name in ("mvu_pkg.sv", "mvu.sv", "add_multi.sv")], tmp_path / "lib", OutputQueue.STOCK, False
    )
    renamed, n = re.subn(r"\bmodule mvu\b", "module finn_mvu", (library / "mvu.sv").read_text())
    assert n == 1
    (tmp_path / "finn_mvu.sv").write_text(re.sub(r"endmodule : mvu\b", "endmodule : finn_mvu", renamed))
    parts = ['import "DPI-C" function void bitloop_word(input int id, input string word);',
             "module bitloop_top(input ap_clk, ap_rst_n, counting, recording, output moving, input [95:0] in_data, "
             "input in_valid, output in_ready, output [95:0] out_data, output out_valid, input out_ready);",
             "\tint cycle = 0;", "\talways_ff @(posedge ap_clk) if(ap_rst_n) cycle <= cycle + 1;",
             f"\tassign moving = 1, in_ready = 1, out_data = 0, out_valid = cycle == {N_CYCLES};",
             *(pair(i, shape) for i, shape in enumerate(SHAPES)), "endmodule"]  # fmt: skip
    (tmp_path / "bitloop_top.sv").write_text("\n".join(parts) + "\n")
    sources = [*(f for f in files if f.name != "mvu.sv"), tmp_path / "finn_mvu.sv", OWN / "mvu.sv", tmp_path / "bitloop_top.sv"]
    tools, options = find_toolchain(), Options(optimization="-O0")
    made, shared = tmp_path / "cpp", tmp_path.parent / "verilator"
    _verilate(tools, options, sources, made)
    _compile(tools, options, made, tmp_path / "simulator", shared, lambda what, total, done: None)
    ends = {"in": Stream("in", 8, 1, 1, "UINT8"), "out": Stream("out", 8, 1, 1, "UINT8")}
    simulator = Simulator(Netlist((), ends, "in", "out", ()), tmp_path / "simulator")
    simulator.run(np.array([[1]]), Feed(refill=False), records=tmp_path / "records", timeout_s=300)
    for number, shape in enumerate(SHAPES):
        wrong, told = map(int, (tmp_path / "records" / str(number)).read_text().strip().split("_"))
        assert wrong == 0, f"{shape}: {wrong} cycles differ"
        assert told > 50
