"""What a board is: `Board`, and what it has to give: `Resources`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Family = Literal["zynq-7000", "zynq-ultrascale+"]


@dataclass(frozen=True)
class Resources:
    """Counts of what an FPGA is made of; `<=` holds where every count fits.

    Attributes:
        lut: look-up tables.
        ff: flip-flops; 0 in estimates, as FINN does not estimate them.
        bram18: block RAMs of 18 kbit; a 36-kbit block counts as two.
        dsp: DSP slices.
    """

    lut: float = 0
    ff: float = 0
    bram18: float = 0
    dsp: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __le__(self, other: Resources) -> bool:
        return all(getattr(self, f.name) <= getattr(other, f.name) for f in fields(self))

    def share_of(self, capacity: Resources) -> dict[str, float]:
        """Used share of each resource; infinite where something is used that the capacity has none of."""
        shares = {}
        for f in fields(self):
            used, there = getattr(self, f.name), getattr(capacity, f.name)
            shares[f.name] = used / there if there else (float("inf") if used else 0.0)
        return shares

    def scarcest(self, capacity: Resources) -> tuple[str, float]:
        """Name and used share of the resource that is closest to its limit."""
        return max(self.share_of(capacity).items(), key=lambda item: item[1])


def difference(one: Resources, other: Resources) -> Resources:
    """What one has more than the other, count by count; below 0 where it has less."""
    return Resources(*(getattr(one, f.name) - getattr(other, f.name) for f in fields(one)))


@dataclass(frozen=True)
class Board:
    """An FPGA board: a file of facts.

    Attributes:
        name: as given to BOARD.
        title: as a person writes it.
        fpga_part: the part, package and speed grade, as Vivado names them.
        family: what the part belongs to; the processing system comes with it.
        capacity: all that the FPGA has, UltraRAM left out; `max_utilisation` of a search is a share of it.
        clock_mhz: the clock an accelerator is estimated and built for.
        host_port_bits: width of the processing system's memory port that FINN's DMA engines sit on. An engine
            is as wide as the greatest common divisor of this and the bits of one transfer
            (finn/transformation/fpgadataflow/insert_iodma.py).
        finn_name: FINN's name of the board; None where FINN has none, and then it can be estimated, not built.
    """

    name: str
    title: str
    fpga_part: str
    family: Family
    capacity: Resources
    clock_mhz: float
    host_port_bits: int
    finn_name: str | None = None
