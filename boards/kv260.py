"""KV260 (AMD): a Kria K26 module, with 4 GB DDR4, on the carrier card of the Vision AI starter kit.

The module's XCK26 is made for it and sold with it only (AMD DS987). Its logic is that of a ZU5EV, count for
count; what differs is the part: its name, its one package, its low-voltage speed grade -2LV.
"""

from __future__ import annotations

from boards.board import Board, Resources

KV260 = Board(
    name="kv260",
    title="Kria KV260",
    fpga_part="xck26-sfvc784-2LV-c",  # AMD DS987, K26 data sheet, and AMD's board file kv260_som/1.3/board.xml
    family="zynq-ultrascale+",
    capacity=Resources(
        lut=117_120,  # AMD kria-apps-docs, kv260, nlp-smartvision, "K26 Resource"; Vivado's report_utilization says the same
        ff=234_240,  # Vivado's report_utilization on an XCK26: two a LUT, as everywhere in the family
        bram18=288,  # AMD kria-apps-docs, as above: 144 blocks of 36 kbit
        dsp=1_248,  # the same
    ),
    clock_mhz=100.0,  # as for the other boards; no example of FINN's says what closes timing here
    host_port_bits=128,  # finn.util.basic.pynq_native_port_width; S_AXI_HP0_FPD, 32, 64 or 128 bits: AMD UG1085
    finn_name="KV260_SOM",  # finn.util.basic.pynq_part_map
)
