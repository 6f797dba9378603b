"""The clocks of the simulated board's processor, from which the FPGA's is made.

The registers are those that pynq reads and sets (pynq/ps.py; AMD UG585, SLCR, and UG1087, CRL_APB): the PLLs stand as PYNQ's
boot loader leaves them, and what a program sets is what the design runs at.
"""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from .blocks import Block, Memory
from .board import Board
from .hwh import FCLK0_MHZ

ARCHITECTURES = {"zynq-7000": "armv7l", "zynq-ultrascale+": "aarch64"}
_SLCR, _CRL, _CRF = 0xF800_0000, 0xFF5E_0000, 0xFD1A_0000
_IO_PLL = {"zynq-7000": (0x108, 12), "zynq-ultrascale+": (0x20, 8)}  # register, first bit of the factor, 7 bits
_CRYSTAL_MHZ = {"zynq-7000": 50.0, "zynq-ultrascale+": 33.333}
_FCLK0 = {"zynq-7000": 0x170, "zynq-ultrascale+": 0xC0}
_DIVISORS = {"zynq-7000": (8, 20), "zynq-ultrascale+": (8, 16)}  # first bits, 6 bits each
_RUNS = 1 << 24  # UltraScale+: the clock is on


class Clocks:
    """The processor's clock registers.

    Attributes:
        blocks: address to name, bytes and registers.
    """

    def __init__(self, board: Board) -> None:
        """As the boot loader leaves them, or as the fault `clock_mhz` has them."""
        self._family = family = board.family
        divisors = {"zynq-7000": (5, 2), "zynq-ultrascale+": (15, 1)}[family]
        held: frozenset[int] = frozenset()
        if board.faults.clock_mhz is not None:
            wanted_mhz = FCLK0_MHZ[family] * board.faults.clock_mhz / board.clock_mhz
            pairs = [(a, b) for a in range(1, 64) for b in range(1, 64)]
            pll_mhz = FCLK0_MHZ[family] * divisors[0] * divisors[1]
            divisors = min(pairs, key=lambda pair: abs(pll_mhz / (pair[0] * pair[1]) - wanted_mhz))
            held = frozenset({_FCLK0[family]})  # as if the registers were locked (SLCR_LOCK)
        first, second = _DIVISORS[family]
        fclk0 = divisors[0] << first | divisors[1] << second
        if family == "zynq-7000":  # PLLs of a PYNQ-Z2: 1300, 1050 and 1000 MHz; 0x530: PSS_IDCODE of a Zynq-7020
            words = {0x100: 26 << 12, 0x104: 21 << 12, 0x108: 20 << 12, 0x120: 2 << 8, 0x530: 0x0372_7093}
            words |= {0x180: 5 << 8 | 4 << 20, 0x190: 5 << 8 | 4 << 20, 0x1A0: 5 << 8 | 4 << 20, 0x170: fclk0}
            self._registers = Memory(words, held)
            self.blocks: dict[int, tuple[str, int, Block]] = {_SLCR: ("slcr", 0x1000, self._registers)}
        else:  # PLLs: IO 1500, RPLL 1200; APLL 1200, DPLL 1067, VPLL 1500 MHz
            words = {0x20: 45 << 8, 0x30: 36 << 8, 0xC4: 15 << 8 | 1 << 16, 0xC8: 15 << 8 | 1 << 16, 0xCC: 15 << 8 | 1 << 16}
            self._registers = Memory(words | {0xC0: fclk0 | _RUNS}, held)
            others = Memory({0x20: 36 << 8, 0x2C: 32 << 8, 0x38: 45 << 8, 0x60: 1 << 8})
            self.blocks = {_CRL: ("crl_apb", 0x1000, self._registers), _CRF: ("crf_apb", 0x1000, others)}
        self._ratio = 1.0

    def load(self, hwh: Path) -> None:
        """A design is loaded: its clocking wizard makes its clock of the processor's.

        Raises:
            RuntimeError: the file does not say how.
        """
        self._ratio = 1.0
        try:
            for module in ElementTree.parse(hwh).getroot().iter("MODULE"):
                if module.get("INSTANCE") == "clk_wiz_0":
                    told = {p.get("NAME"): p.get("VALUE") for p in module.iter("PARAMETER")}
                    self._ratio = float(told["CLKOUT1_OUT_FREQ"] or 0) / float(told["PRIM_IN_FREQ"] or 0)
                    break
            if not 0 < self._ratio < math.inf:
                raise ValueError(f"the clocking wizard makes {self._ratio} of its clock")
        except (OSError, ValueError, KeyError, ZeroDivisionError, LookupError, ElementTree.ParseError) as error:
            raise RuntimeError(f"{hwh} does not say what its clock is ({error}); copy the package again, whole") from error

    def design_mhz(self) -> float:
        """The clock that the design runs at now."""
        pll, factor_at = _IO_PLL[self._family]
        pll_mhz = _CRYSTAL_MHZ[self._family] * (self._registers.read(pll) >> factor_at & 0x7F)
        told = self._registers.read(_FCLK0[self._family])
        first, second = (told >> at & 0x3F or 1 for at in _DIVISORS[self._family])
        return self._ratio * pll_mhz / (first * second)
