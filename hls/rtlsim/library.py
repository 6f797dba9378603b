"""FINN's RTL library as Verilator reads it: copies with what it does not read put otherwise, each change checked to be one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from hls.rtlsim.errors import SimulatorError

OWN = Path(__file__).parent.parent / "rtl"


class OutputQueue(StrEnum):
    """What is done about the output queue of FINN's RTL matrix unit, which overflows where SIMD = MW (`docs/upstream`).

    AVOIDED: a netlist with such a unit is refused. CORRECTED: with the queue as long as it must be. STOCK: as FINN has it.
    """

    AVOIDED = "avoided"
    CORRECTED = "corrected"
    STOCK = "stock"


_FUNCTION = """	typedef int unsigned  leaf_load_t[2*N-1];
	function automatic leaf_load_t init_leaf_loads();
		automatic leaf_load_t  loads;
		for(int i = int'(2*N) - 2; i >= 0; i--) begin
			if(i >= int'(N) - 1)  loads[i] = 1;
			else                  loads[i] = loads[2*i+1] + loads[2*i+2];
		end
		return  loads;
	endfunction
	localparam leaf_load_t  LEAF_LOAD = init_leaf_loads();

"""

# file to (pattern, what stands there instead)
_FOR_VERILATOR: dict[str, tuple[tuple[str, str], ...]] = {
    # a constant function within a generate block
    "add_multi.sv": (
        (r"\t\ttypedef int unsigned  leaf_load_t.*?LEAF_LOAD = init_leaf_loads\(\);\n", ""),
        (r"(?=\tuwire \[SUM_WIDTH-1:0\]  sum0;\n)", _FUNCTION),
    ),
    # a constant of an unpacked structure
    "fifo.sv": ((r"typedef struct \{(?=\s*int unsigned  lo;)", "typedef struct packed {"),),
}
_CORRECTED: dict[str, tuple[tuple[str, str], ...]] = {
    "mvu_vvu_axi.sv": (
        # as many stages as mvu.sv has
        (r"3 \+ \$clog2\(SIMD\+1\) \+ \(SIMD == 1\)", "4 + $clog2(SIMD) + (SIMD == 1)"),
        # and the result that waits already when the unit is told to stop
        (r"MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH;", "MAX_IN_FLIGHT = CORE_PIPELINE_DEPTH + 1;"),
    )
}


def readable_files(files: Sequence[Path], folder: Path, queue: OutputQueue, fast: bool) -> list[Path]:
    """What is compiled in place of FINN's files: packages first, each file once.

    Args:
        files: of a netlist.
        folder: for the copies.
        queue: see there; AVOIDED is as STOCK here.
        fast: take bitloop's own core of the RTL matrix unit.

    Raises:
        SimulatorError: a file is not as it is known.
    """
    changes = dict(_FOR_VERILATOR)
    if queue is OutputQueue.CORRECTED:
        changes |= _CORRECTED
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for file in files:
        path = file
        if file.name in changes:
            path = _changed(file, changes[file.name], folder)
        elif fast and file.name == "mvu.sv":
            path = OWN / "mvu.sv"
        found[str(path)] = path
    return sorted(found.values(), key=lambda path: not path.name.endswith("_pkg.sv"))


def _changed(file: Path, changes: Sequence[tuple[str, str]], folder: Path) -> Path:
    text = file.read_text(encoding="utf-8")
    for pattern, new in changes:
        text, n = re.subn(pattern, lambda _, new=new: new, text, flags=re.DOTALL)  # type: ignore[misc]
        if n != 1:
            raise SimulatorError(
                f"{file} has {n} places of {pattern[:40]!r} where one is known; simulations are made for finn-plus 1.6.1"
            )
    target = folder / file.name
    if not target.exists() or target.read_text(encoding="utf-8") != text:
        target.write_text(text, encoding="utf-8")
    return target
