"""ZCU104 (AMD): a Zynq UltraScale+ ZU7EV with 2 GB DDR4."""

from __future__ import annotations

from boards.board import Board, Resources

ZCU104 = Board(
    name="zcu104",
    title="ZCU104",
    fpga_part="xczu7ev-ffvc1156-2-e",  # AMD UG1267, ZCU104 user guide; the same in finn.util.basic.pynq_part_map
    family="zynq-ultrascale+",
    capacity=Resources(
        lut=230_400,  # AMD DS891, Zynq UltraScale+ overview, EV devices: ZU7EV; Vivado's report_utilization says the same
        ff=460_800,  # the same
        bram18=624,  # the same: 312 blocks of 36 kbit; FINN's ZU7EV_Platform has 610
        dsp=1_728,  # the same
    ),
    clock_mhz=100.0,  # what finn-examples builds bnn-pynq for on this board (build/bnn-pynq/build.py)
    host_port_bits=128,  # finn.util.basic.pynq_native_port_width; S_AXI_HP0_FPD, 32, 64 or 128 bits: AMD UG1085
    finn_name="ZCU104",  # finn.util.basic.pynq_part_map
)
