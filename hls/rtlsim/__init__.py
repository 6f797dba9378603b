"""Simulates an accelerator's own RTL, cycle by cycle, with Verilator and a C++ compiler; no Vivado.

`hls.finn_rtl` makes a `Netlist` of FINN's graph; `build_simulator` compiles it; a `Simulator` streams frames through it.
"""

from hls.rtlsim.build import build_simulator
from hls.rtlsim.errors import (
    DeadlockError,
    MismatchError,
    RtlFaultError,
    SimulationError,
    SimulatorError,
    UnsupportedNodeError,
)
from hls.rtlsim.netlist import Fifo, Instance, Netlist, Stream
from hls.rtlsim.results import FifoUse, NodeActivity, Simulated, StreamActivity
from hls.rtlsim.simulator import Simulator
from hls.rtlsim.sizing import SizedFifos, size_fifos
from hls.rtlsim.toolchain import Toolchain, find_toolchain

__all__ = [
    "DeadlockError", "Fifo", "FifoUse", "Instance", "MismatchError", "Netlist", "NodeActivity", "RtlFaultError", "Simulated",
    "SimulationError", "Simulator", "SimulatorError", "SizedFifos", "Stream", "StreamActivity", "Toolchain",
    "UnsupportedNodeError", "build_simulator", "find_toolchain", "size_fifos",
]  # fmt: skip
