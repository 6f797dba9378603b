"""Ultra96-V2 (Avnet, now Tria): a Zynq UltraScale+ ZU3EG with 2 GB LPDDR4."""

from __future__ import annotations

from boards.board import Board, Resources

ULTRA96_V2 = Board(
    name="ultra96-v2",
    title="Ultra96-V2",
    fpga_part="xczu3eg-sbva484-1-i",  # Avnet's board file (Avnet/bdf, ultra96v2/1.3/board.xml); the first Ultra96 has -1-e
    family="zynq-ultrascale+",
    capacity=Resources(
        lut=70_560,  # AMD DS891, Zynq UltraScale+ overview, EG devices: ZU3EG; Vivado's report_utilization says the same
        ff=141_120,  # the same
        bram18=432,  # the same: 216 blocks of 36 kbit; FINN's ZU3EG_Platform has 412
        dsp=360,  # the same
    ),
    clock_mhz=100.0,  # what finn-examples builds bnn-pynq for on an Ultra96 (build/bnn-pynq/build.py)
    host_port_bits=128,  # finn.util.basic.pynq_native_port_width; S_AXI_HP0_FPD, 32, 64 or 128 bits: AMD UG1085
    finn_name="Ultra96-V2",  # finn.util.basic.pynq_part_map
)
