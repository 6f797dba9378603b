"""The simulated board as pynq sees it: a `Device` with registers, memory and an FPGA to be loaded.

Like pynq's own EmbeddedDevice it lets registers be mapped into memory, so that pynq's MMIO, Overlay, Clocks and buffers run
unchanged on top, and the driver on top of these. Buffers that go through the processor's cache have a copy of their own, which
meets the memory that the FPGA sees only in flush and invalidate: a driver that forgets one gets wrong answers, as on a board.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pynq
import pynq.pl_server.embedded_device as embedded
from numpy.typing import NDArray
from pynq.buffer import PynqBuffer
from pynq.pl_server.device import Device

from .accelerator import Accelerator
from .blocks import Block, Counters, Dma, Gpio, Memory, Window
from .board import Board, Fpga
from .board_time import BoardTime
from .circuit import circuit_in, read_circuit
from .clocks import ARCHITECTURES, Clocks

MEMORY_AT, MEMORY_BYTES = 0x1000_0000, 128 << 20  # what PYNQ's images set aside for buffers (CMA)
_PAGE = 4096


class SimulatedDevice(Device):  # type: ignore[misc]
    """A board whose FPGA is a program.

    Attributes:
        name: begins with "simulated"; no board's does.
        image, board_name: what its card would call itself and the board.
        fpga_part: Vivado's name of its part.
        arch: of its processor.
        board: what it was told of itself.
        log: every access to a register of the FPGA, as (block, "read" or "write", offset, value), where a list is put here.
    """

    def __init__(self, board: Board, state: Path) -> None:
        """Switch it on.

        Args:
            board: which one.
            state: folder that it remembers in.
        """
        super().__init__("simulated")
        self.name, self.board_name = f"simulated {board.board}", board.board
        self.image = f"simulated (pynq {pynq.__version__})"
        self.fpga_part, self.arch = board.fpga_part, ARCHITECTURES[board.family]
        self.capabilities = {"MEMORY_MAPPED": True}
        self.board = board
        self.time = BoardTime()
        self.log: list[tuple[str, str, int, int]] | None = None
        self._state, self._fpga = state, Fpga.read(state)
        self._clocks = Clocks(board)
        self._blocks: dict[int, tuple[str, int, Block]] = {}  # address: name, bytes, what is there
        self._accelerator: Accelerator | None = None
        self._memory = np.zeros(MEMORY_BYTES, np.uint8)
        self._buffers: dict[int, tuple[int, NDArray[np.uint8] | None]] = {}  # address: bytes, the processor's copy

    def leave(self) -> None:
        """Write down what the next program finds."""
        self._fpga.write(self._state)

    # Registers

    def mmap(self, base_addr: int, length: int) -> NDArray[np.uint32]:
        """Map registers.

        Raises:
            RuntimeError: nothing answers at that address; a board would stand still.
        """
        for base, (name, n_bytes, block) in (*self._blocks.items(), *self._clocks.blocks.items()):
            if base <= base_addr and base_addr + length <= base + n_bytes:
                watch = self._watch(name) if base in self._blocks else None
                return Window(block, length // 4, base_addr - base, watch)
        raise RuntimeError(f"nothing answers at the address {base_addr:#x}; load the bitfile that it belongs to")

    def _watch(self, name: str) -> Callable[[str, int, int], None]:
        def watch(what: str, offset: int, value: int) -> None:
            if self.log is not None:
                self.log.append((name, what, offset, value))

        return watch

    # Memory

    def allocate(self, shape: Any, dtype: Any, cacheable: bool = False, **_: Any) -> PynqBuffer:
        """A buffer that the FPGA reaches, holding zeros.

        Raises:
            RuntimeError: there is no room for it.
        """
        n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        address = self._room(max(n_bytes, 1))
        if self._accelerator:
            self._accelerator.forget(address, n_bytes)
        seen = self.peek(address, n_bytes)
        assert seen is not None
        seen[:] = 0
        own = np.zeros(n_bytes, np.uint8) if cacheable else None
        self._buffers[address] = (n_bytes, own)
        buffer = PynqBuffer(
            shape, dtype, buffer=seen if own is None else own, device=self, device_address=address, bo=address,
            coherent=own is None,
        )  # fmt: skip
        weakref.finalize(buffer, self._buffers.pop, address, None)
        return buffer

    def _room(self, n_bytes: int) -> int:
        """An address behind which so many bytes are free."""
        address = MEMORY_AT
        for base in sorted(self._buffers):
            if address + n_bytes <= base:
                break
            address = base + -(-max(self._buffers[base][0], 1) // _PAGE) * _PAGE
        if address + n_bytes > MEMORY_AT + MEMORY_BYTES:
            raise RuntimeError(f"no room for a buffer of {n_bytes:,} bytes: the board has {MEMORY_BYTES:,} for buffers in all")
        return address

    def flush(self, bo: int, offset: int, vaddr: int, nbytes: int) -> None:
        """Have the FPGA see what the processor has written."""
        self._meet(bo, offset, nbytes, to_memory=True)

    def invalidate(self, bo: int, offset: int, vaddr: int, nbytes: int) -> None:
        """Have the processor see what the FPGA has written."""
        self._meet(bo, offset, nbytes, to_memory=False)

    def _meet(self, address: int, offset: int, n_bytes: int, to_memory: bool) -> None:
        if self._accelerator:
            self._accelerator.settle(address + offset, n_bytes)
        own, seen = self._buffers[address][1], self.peek(address + offset, n_bytes)
        if own is not None and seen is not None:
            mine = own[offset : offset + n_bytes]
            (seen if to_memory else mine)[:] = mine if to_memory else seen

    def peek(self, address: int, n_bytes: int) -> NDArray[np.uint8] | None:
        """What the FPGA sees there; None where there is no memory."""
        start = address - MEMORY_AT
        return self._memory[start : start + n_bytes] if start >= 0 and start + n_bytes <= MEMORY_BYTES else None

    def is_seen_directly(self, address: int) -> bool:
        """Whether a buffer there does not go through the cache."""
        return any(a <= address < a + n and own is None for a, (n, own) in self._buffers.items())

    # The FPGA

    def get_bitfile_metadata(self, bitfile_name: str, partial: bool = False) -> Any:
        """What the .hwh file beside a bitfile says, by pynq's own parser."""
        # pynq has a program of XRT describe the memory; without that program there is what describes none but the processor's
        embedded._create_xclbin = lambda mem_dict: embedded.DEFAULT_XCLBIN
        parser = embedded._get_bitstream_handler(bitfile_name).get_parser(partial=partial)
        if parser is None:
            raise RuntimeError(f"{bitfile_name} has no .hwh file beside it; copy the package again, whole")
        return parser

    def download(self, bitstream: Any, parser: Any = None) -> None:
        """Load a bitfile.

        Raises:
            RuntimeError: it is for another part, or for a real board.
        """
        header = embedded.parse_bit_header(Path(bitstream.bitfile_name).read_bytes())
        if not self.fpga_part.removeprefix("xc").startswith(header["part"].removeprefix("xc")):
            raise RuntimeError(f"the bitfile is for a {header['part']}, the simulated board has a {self.fpga_part}")
        try:
            circuit = read_circuit(circuit_in(header["data"]))
        except ValueError as error:
            raise RuntimeError(str(error)) from error
        self._fpga.bitfile, self._fpga.n_frames, self._fpga.is_stuck = str(bitstream.bitfile_name), 0, False
        self.leave()
        self._clocks.load(Path(bitstream.bitfile_name).with_suffix(".hwh"))
        accelerator = Accelerator(circuit, self.board, self._fpga, self, self._clocks.design_mhz, self.time, self.leave)
        accelerator.source, accelerator.sink = source, sink = Dma(accelerator), Dma(accelerator)
        counters = Counters(accelerator)

        def reset() -> None:
            self._fpga.is_stuck = False
            for part in (accelerator, source, sink, counters):
                part.reset()

        known: dict[str, Block] = {
            "idma0": source, "odma0": sink, "instrumentation_wrap_0": counters, "axi_gpio_0": Gpio(reset, accelerator),
        }  # fmt: skip
        self._blocks = {
            facts["phys_addr"]: (name, facts["addr_range"], known.get(name) or Memory())
            for name, facts in (parser.ip_dict if parser else {}).items()
            if "phys_addr" in facts
        }
        self._accelerator = accelerator
        self.post_download(bitstream, parser, self.name)

    def gen_cache(self, bitstream: Any, parser: Any = None) -> None:
        """Nothing: what pynq remembers of bitfiles lies in its own folder, which boards here share."""
