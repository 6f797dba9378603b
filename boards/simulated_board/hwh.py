"""The .hwh file beside a simulated bitfile: what Vivado tells PYNQ of a design made by FINN's Zynq shell.

As far as pynq 3.1 and finn-plus-driver 1.6.1 read it: which blocks there are, where their registers lie, how the processor's
clock is divided for the FPGA and what the clocking wizard makes of it. Names, order and addresses are those of FINN's shell
(finn/transformation/fpgadataflow/make_zynq_proj.py and templates.py, of finn-plus 1.6.1): addresses are given out in the order
of its assign_axi_addr_proc calls, 4 KiB each. Standard library alone; read here and on the simulated board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import quoteattr

FCLK0_MHZ = {"zynq-7000": 100.0, "zynq-ultrascale+": 99.999001}
"""What the processor's PLL makes of the 100 MHz that the shell asks for: of 50 MHz by whole numbers, or of 33.333 MHz."""

DMA = {"CTRL": 0x00, "GIER": 0x04, "IP_IER": 0x08, "IP_ISR": 0x0C, "in0_V_1": 0x10, "in0_V_2": 0x14, "numReps": 0x1C}
"""Registers of FINN's IODMA, by offset; Vitis HLS gives them out."""
GPIO = {"GPIO_DATA": 0x0, "GPIO_TRI": 0x4, "GPIO2_DATA": 0x8, "GPIO2_TRI": 0xC}
"""Registers of AMD's AXI GPIO (PG144)."""
_WRITTEN = ("cfg", "seed", "avg_n", "mux_interval")
_READ = (
    "status", "latency", "interval", "checksum", "min_latency", "lat_sum_lo", "lat_sum_hi", "int_sum_lo", "int_sum_hi",
    "avg_fill", "run_cycles_lo", "run_cycles_hi", "run_frames",
)  # fmt: skip
# Vitis HLS: 8 bytes for a number that goes in, 16 for one that comes out, as its "valid" bit lies behind it
INSTRUMENTATION = {name: 0x10 + 8 * i for i, name in enumerate(_WRITTEN)}
INSTRUMENTATION |= {name: 0x30 + 16 * i for i, name in enumerate(_READ)}
"""Registers of FINN's instrumentation wrapper (finn/custom_hls/instrumentation.template.cpp), by offset."""

_RANGE = 0x1000


@dataclass(frozen=True)
class _Block:
    name: str
    vlnv: str
    interface: str
    registers: Mapping[str, int]


_IDMA = _Block("idma0", "xilinx_finn:finn:idma0:1.0", "s_axi_control_0", DMA)
_ODMA = _Block("odma0", "xilinx_finn:finn:odma0:1.0", "s_axi_control_0", DMA)
_WRAPPER = _Block("instrumentation_wrap_0", "xilinx.com:hls:instrumentation_wrapper:1.0", "s_axi_ctrl", INSTRUMENTATION)
_GPIO = _Block("axi_gpio_0", "xilinx.com:ip:axi_gpio:2.0", "S_AXI", GPIO)


def hwh(*, board: str, fpga_part: str, clock_mhz: float, instrumented: bool = False) -> str:
    """The content of the .hwh file.

    Args:
        board: its name, for people.
        fpga_part: Vivado's name of its part, such as xc7z020clg400-1.
        clock_mhz: that is asked of the clocking wizard; what it makes of it is in the file.
        instrumented: whether the design counts cycles by itself.
    """
    family = family_of(fpga_part)
    blocks = (_WRAPPER, _IDMA, _ODMA, _GPIO) if instrumented else (_IDMA, _ODMA)
    base = 0x4000_0000 if family == "zynq-7000" else 0xA000_0000
    addresses = {block.name: base + _RANGE * i for i, block in enumerate(blocks)}
    modules = [_module(block, addresses[block.name]) for block in blocks]
    modules += [_clocking_wizard(clock_mhz, family), _processor(family, blocks, addresses)]
    device, package, grade = _names(fpga_part)
    system = _tag("SYSTEMINFO", ARCH="zynq" if family == "zynq-7000" else "zynquplus", BOARD=board, DEVICE=device, NAME="top",
                  PACKAGE=package, SPEEDGRADE=grade)  # fmt: skip
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8" standalone="no" ?>',
            '<EDKSYSTEM EDWVERSION="1.2" TIMESTAMP="simulated" VIVADOVERSION="none, simulated">',
            f"  {system}",
            "  <EXTERNALPORTS/>",
            "  <EXTERNALINTERFACES/>",
            "  <MODULES>",
            *modules,
            "  </MODULES>",
            "</EDKSYSTEM>\n",
        ]
    )


def family_of(fpga_part: str) -> str:
    """The family of a part, as `boards.board.Board` calls it."""
    return "zynq-7000" if fpga_part.removeprefix("xc").startswith("7z") else "zynq-ultrascale+"


def wizard_mhz(asked_mhz: float, family: str) -> float:
    """What the clocking wizard makes of a clock that is asked for: the nearest one that its PLL can.

    The PLL multiplies by M, divides by D before that and by O behind it, all whole; in between it must run at 800 to 1600 MHz
    (7 series, speed grade -1: AMD DS187) or 750 to 1500 MHz (UltraScale+: DS925), with M up to 64 or 21.
    """
    low, high, most = (800.0, 1600.0, 64) if family == "zynq-7000" else (750.0, 1500.0, 21)
    reference = FCLK0_MHZ[family]
    found = [
        reference * m / d / o
        for d in range(1, 6)  # further down it jitters, and the wizard does not go there
        for m in range(2, most + 1)
        if low <= reference * m / d <= high
        for o in range(1, 129)
    ]
    return min(found, key=lambda made: abs(made - asked_mhz))


def _names(part: str) -> tuple[str, str, str]:
    """Device, package and speed grade, as Vivado writes them."""
    bare = part.removeprefix("xc")
    if family_of(part) == "zynq-7000":
        whole, _, grade = bare.partition("-")
        return whole[:4], whole[4:], f"-{grade}"
    device, package, grade = (*bare.split("-", 2), "", "")[:3]
    return device, package, f"-{grade}"


def _tag(name: str, close: bool = True, **attributes: str) -> str:
    told = "".join(f" {key}={quoteattr(value)}" for key, value in attributes.items())
    return f"<{name}{told}{'/' if close else ''}>"


def _parameters(values: Mapping[str, str]) -> str:
    return "".join(_tag("PARAMETER", NAME=name, VALUE=value) for name, value in values.items())


def _module(block: _Block, address: int) -> str:
    registers = "".join(
        _tag("REGISTER", close=False, NAME=name)
        + "".join(
            _tag("PROPERTY", NAME=key, VALUE=value)
            for key, value in (
                ("DESCRIPTION", name), ("ADDRESS_OFFSET", str(offset)), ("SIZE", "32"), ("ACCESS", "read-write"),
                ("IS_ENABLED", "true"), ("RESET_VALUE", "0"),
            )
        )
        + "<FIELDS/></REGISTER>"
        for name, offset in block.registers.items()
    )  # fmt: skip
    space = {"C_BASEADDR": f"0x{address:08X}", "C_HIGHADDR": f"0x{address + _RANGE - 1:08X}"}
    space |= {"C_IS_DUAL": "1", "C_GPIO_WIDTH": "1", "C_GPIO2_WIDTH": "1"} if block is _GPIO else {}
    block_tag = _tag("ADDRESSBLOCK", close=False, ACCESS="read-write", INTERFACE=block.interface, NAME="Reg",
                     RANGE=str(_RANGE), USAGE="register")  # fmt: skip
    bus = _tag("BUSINTERFACE", close=False, BUSNAME=f"axi_interconnect_0_{block.name}", DATAWIDTH="32", NAME=block.interface,
               TYPE="SLAVE", VLNV="xilinx.com:interface:aximm:1.0")  # fmt: skip
    return (
        f"    {_module_tag(block.name, block.vlnv)}\n"
        f"      <ADDRESSBLOCKS>{block_tag}<REGISTERS>{registers}</REGISTERS></ADDRESSBLOCK></ADDRESSBLOCKS>\n"
        f"      <PARAMETERS>{_parameters(space)}</PARAMETERS>\n"
        f"      <PORTS>{_tag('PORT', DIR='I', NAME='ap_clk', SIGIS='clk', SIGNAME='clk_wiz_0_clk_out1')}</PORTS>\n"
        f"      <BUSINTERFACES>{bus}<PORTMAPS/></BUSINTERFACE></BUSINTERFACES>\n"
        "    </MODULE>"
    )


def _clocking_wizard(asked_mhz: float, family: str) -> str:
    told = {
        "CLKOUT1_REQUESTED_OUT_FREQ": f"{asked_mhz:.3f}", "CLKOUT1_OUT_FREQ": f"{wizard_mhz(asked_mhz, family):.5f}",
        "PRIM_IN_FREQ": f"{FCLK0_MHZ[family]:.6f}", "PRIMITIVE": "PLL",
    }  # fmt: skip
    return (
        f"    {_module_tag('clk_wiz_0', 'xilinx.com:ip:clk_wiz:6.0')}\n"
        f"      <PARAMETERS>{_parameters(told)}</PARAMETERS>\n      <PORTS/><BUSINTERFACES/>\n    </MODULE>"
    )


def _processor(family: str, blocks: tuple[_Block, ...], addresses: Mapping[str, int]) -> str:
    if family == "zynq-7000":
        master, vlnv = "M_AXI_GP0", "xilinx.com:ip:processing_system7:5.5"
        told = {  # FCLK0 is the IO PLL's 1000 MHz by 5 and by 2, as in PYNQ's base overlay; the others are off
            key: value
            for i in range(4)
            for key, value in (
                (f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0", "5" if i == 0 else "1"),
                (f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1", "2" if i == 0 else "1"),
                (f"PCW_FCLK{i}_PERIPHERAL_CLKSRC", "IO PLL"),
                (f"PCW_FPGA_FCLK{i}_ENABLE", "1" if i == 0 else "0"),
            )
        }
    else:
        master, vlnv = "M_AXI_HPM0_FPD", "xilinx.com:ip:zynq_ultra_ps_e:3.5"
        told = {  # PL0 is the IO PLL's 1499.985 MHz by 15
            key: value
            for i in range(4)
            for key, value in (
                (f"PSU__CRL_APB__PL{i}_REF_CTRL__DIVISOR0", "15" if i == 0 else "1"),
                (f"PSU__CRL_APB__PL{i}_REF_CTRL__DIVISOR1", "1"),
                (f"PSU__CRL_APB__PL{i}_REF_CTRL__SRCSEL", "IOPLL"),
                (f"PSU__FPGA_PL{i}_ENABLE", "1" if i == 0 else "0"),
            )
        }
    ranges = "".join(
        _tag("MEMRANGE", ADDRESSBLOCK="Reg", BASENAME="C_BASEADDR", BASEVALUE=f"0x{addresses[block.name]:08X}",
             HIGHNAME="C_HIGHADDR", HIGHVALUE=f"0x{addresses[block.name] + _RANGE - 1:08X}", INSTANCE=block.name,
             IS_DATA="TRUE", IS_INSTRUCTION="TRUE", MASTERBUSINTERFACE=master, MEMTYPE="REGISTER",
             SLAVEBUSINTERFACE=block.interface)
        for block in blocks
    )  # fmt: skip
    bus = _tag("BUSINTERFACE", close=False, BUSNAME=f"zynq_ps_{master}", DATAWIDTH="32", NAME=master, TYPE="MASTER",
               VLNV="xilinx.com:interface:aximm:1.0")  # fmt: skip
    peripherals = "".join(_tag("PERIPHERAL", INSTANCE=block.name) for block in blocks)
    return (
        f"    {_module_tag('zynq_ps', vlnv, IS_PL='FALSE')}\n"
        f"      <PARAMETERS>{_parameters(told)}</PARAMETERS>\n"
        f"      <PORTS/><BUSINTERFACES>{bus}<PORTMAPS/></BUSINTERFACE></BUSINTERFACES>\n"
        f"      <MEMORYMAP>{ranges}</MEMORYMAP>\n      <PERIPHERALS>{peripherals}</PERIPHERALS>\n    </MODULE>"
    )


def _module_tag(name: str, vlnv: str, **more: str) -> str:
    return _tag("MODULE", close=False, COREREVISION="1", FULLNAME=f"/{name}", HWVERSION=vlnv.rpartition(":")[2], INSTANCE=name,
                IPTYPE="PERIPHERAL", IS_ENABLE="1", MODCLASS="PERIPHERAL", MODTYPE=vlnv.split(":")[2], VLNV=vlnv,
                **more)  # fmt: skip
