"""Blocks behind registers, as a processor sees them: FINN's DMA engines, AMD's GPIO, FINN's counters, plain memory.

A `Window` is what pynq's MMIO maps: an array of 32-bit words, every access of which reaches the block behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from .accelerator import Accelerator
from .hwh import DMA, GPIO, INSTRUMENTATION

Watch = Callable[[str, int, int], None]
"""Is told of every access: "read" or "write", offset in bytes, value."""


class Block(Protocol):
    """Registers by their offset in bytes."""

    def read(self, offset: int) -> int:
        """The word there; what is behind it may change by that."""
        ...

    def write(self, offset: int, value: int) -> None:
        """Set the word there, and do what it asks for."""
        ...


class Memory:
    """Words that keep what is written to them.

    Args:
        words: offset to value, of those that are not 0 after a reset.
        held: offsets that keep their value whatever is written, as the processor's clock registers do while locked.
    """

    def __init__(self, words: dict[int, int] | None = None, held: frozenset[int] = frozenset()) -> None:
        self._words = dict(words or {})
        self._held = held

    def read(self, offset: int) -> int:
        """See `Block`."""
        return self._words.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """See `Block`."""
        if offset not in self._held:
            self._words[offset] = value


class Dma:
    """One of FINN's DMA engines: 0x00 control (bit 0 start, 1 done, 2 idle), 0x10 and 0x14 address, 0x1C frames.

    Attributes:
        waits: whether it was started, and the other engine was not yet.
        done: whether it has finished; reading the control register clears that.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self.reset()

    def reset(self) -> None:
        """As after loading the bitfile."""
        self._registers: dict[int, int] = {}
        self.waits = self.done = False

    @property
    def address(self) -> int:
        """In memory, in bytes."""
        return self._registers.get(DMA["in0_V_1"], 0) | self._registers.get(DMA["in0_V_2"], 0) << 32

    @property
    def n_frames(self) -> int:
        """To be moved."""
        return self._registers.get(DMA["numReps"], 0)

    def read(self, offset: int) -> int:
        """See `Block`."""
        if offset != DMA["CTRL"]:
            return self._registers.get(offset, 0)
        runs = self._accelerator.busy() or self.waits
        told = (1 if runs else 4) | (2 if self.done else 0)
        self.done = False
        if runs:
            self._accelerator.wait()  # who is told to wait asks again and again; once is enough
        return told

    def write(self, offset: int, value: int) -> None:
        """See `Block`."""
        if offset != DMA["CTRL"]:
            self._registers[offset] = value
        elif value & 1 and not self._accelerator.busy():
            self.waits, self.done = True, False
            self._accelerator.started()


class Gpio:
    """AMD's AXI GPIO as FINN's shell wires it: a 0 on channel 1 resets the design and this block with it, which ends the reset;
    channel 2 chooses who feeds the accelerator, 0 the DMA engine, 1 the counters' generator.
    """  # noqa: D205

    def __init__(self, reset: Callable[[], None], accelerator: Accelerator) -> None:
        self._reset = reset
        self._accelerator = accelerator

    def read(self, offset: int) -> int:
        """See `Block`."""
        return {GPIO["GPIO_DATA"]: 1, GPIO["GPIO2_DATA"]: int(self._accelerator.is_fed_by_generator)}.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """See `Block`."""
        if offset == GPIO["GPIO_DATA"] and not value & 1:
            self._reset()
        elif offset == GPIO["GPIO2_DATA"]:
            self._accelerator.is_fed_by_generator = bool(value & 1)


class Counters:
    """FINN's instrumentation wrapper: feeds the accelerator by itself while bit 0 of `cfg` is set, and counts cycles."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._names = {offset: name for name, offset in INSTRUMENTATION.items()}
        self.reset()

    def reset(self) -> None:
        """As after loading the bitfile."""
        self._written: dict[str, int] = {}

    def read(self, offset: int) -> int:
        """See `Block`."""
        name = self._names.get(offset, "")
        return self._written.get(name, 0) or self._accelerator.counters(self._written.get("avg_n", 0)).get(name, 0)

    def write(self, offset: int, value: int) -> None:
        """See `Block`."""
        name = self._names.get(offset, "")
        if name not in ("cfg", "seed", "avg_n", "mux_interval"):
            return
        was, self._written[name] = self._written.get("cfg", 0), value
        if name == "cfg" and value & 1 and not was & 1:
            self._accelerator.generate(value >> 1)
        elif name == "cfg" and not value & 1:
            self._accelerator.stop_generating()


if TYPE_CHECKING:
    _Words = np.ndarray[Any, np.dtype[np.uint32]]
else:
    _Words = np.ndarray  # numpy 1.21 has no types at run time


class Window(_Words):
    """A stretch of a block's registers as an array of 32-bit words; views of it are stretches of the same registers."""

    block: Block | None
    watch: Watch | None
    first: int

    def __new__(cls, block: Block, n_words: int, first: int = 0, watch: Watch | None = None) -> Window:
        """Map a block.

        Args:
            block: behind it.
            n_words: how many.
            first: offset of the first one in the block, in bytes.
            watch: is told of every access.
        """
        self = np.zeros(n_words, np.uint32).view(cls)
        self.block, self.first, self.watch = block, first, watch
        return self

    def __array_finalize__(self, source: object) -> None:
        self.block = getattr(source, "block", None)
        self.watch = getattr(source, "watch", None)
        self.first = getattr(source, "first", 0)
        if isinstance(source, Window) and self.size:  # a slice begins further on
            self.first += self.__array_interface__["data"][0] - source.__array_interface__["data"][0]

    def __getitem__(self, index: Any) -> Any:
        if self.block is None:
            return super().__getitem__(index)
        if isinstance(index, (int, np.integer)):
            return np.uint32(self._read(range(len(self))[index]))
        if isinstance(self.block, Memory):  # numpy copies a view without asking; of other blocks reading changes something
            for i in np.arange(self.size)[index].reshape(-1).tolist():
                super().__setitem__(i, self._read(i))
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        if self.block is None:
            super().__setitem__(index, value)
        elif isinstance(index, (int, np.integer)):
            self._write(range(len(self))[index], int(value))
        else:
            for i, word in np.broadcast(np.arange(self.size)[index], np.asarray(value, np.uint32)):
                self._write(int(i), int(word))

    def _write(self, i: int, word: int) -> None:
        assert self.block is not None
        offset = self.first + 4 * i
        self.block.write(offset, word)
        if self.watch:
            self.watch("write", offset, word)

    def _read(self, i: int) -> int:
        assert self.block is not None
        offset = self.first + 4 * i
        value = self.block.read(offset) & 0xFFFF_FFFF
        if self.watch:
            self.watch("read", offset, value)
        return value
