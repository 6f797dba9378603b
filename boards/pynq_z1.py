"""PYNQ-Z1 (Digilent): a Zynq-7020 with 512 MB DDR3."""

from __future__ import annotations

from boards.board import Board, Resources

PYNQ_Z1 = Board(
    name="pynq-z1",
    title="PYNQ-Z1",
    fpga_part="xc7z020clg400-1",  # Digilent PYNQ-Z1 reference manual, "Features"; the same in finn.util.basic.pynq_part_map
    family="zynq-7000",
    capacity=Resources(
        lut=53_200,  # AMD DS190, Zynq-7000 overview, table 1: XC7Z020
        ff=106_400,  # the same
        bram18=280,  # the same: 140 blocks of 36 kbit
        dsp=220,  # the same
    ),
    clock_mhz=100.0,  # what finn-examples builds bnn-pynq for on this board (build/bnn-pynq/build.py)
    host_port_bits=64,  # finn.util.basic.pynq_native_port_width; S_AXI_HP0, 32 or 64 bits: AMD UG585, chapter 5
    finn_name="Pynq-Z1",  # finn.util.basic.pynq_part_map
)
