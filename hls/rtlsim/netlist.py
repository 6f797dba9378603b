"""An accelerator as instances of modules and the streams between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Stream:
    """An AXI stream.

    Attributes:
        name: the tensor's.
        width: bits of a word, in whole bytes.
        words: of a frame.
        lanes: values in a word, the first one in the lowest bits.
        datatype: QONNX's name of a value's type.
        source, reader: the nodes at its ends; empty for the host.
    """

    name: str
    width: int
    words: int
    lanes: int
    datatype: str
    source: str = ""
    reader: str = ""


@dataclass(frozen=True)
class Instance:
    """A module of a netlist.

    Attributes:
        node: FINN's name.
        kind: FINN's class.
        module: what it is an instance of.
        parameters: Verilog expressions.
        reads, writes: prefixes of a port's three signals (`in0_V` …) to the stream there, or to several that share a port,
            the first one in the lowest bits.
        ties: other ports to Verilog expressions; empty for an output that is left open.
        cycles: a frame, by FINN.
    """

    node: str
    kind: str
    module: str
    parameters: Mapping[str, str]
    reads: Mapping[str, str]
    writes: Mapping[str, str | tuple[str, ...]]
    ties: Mapping[str, str] = field(default_factory=dict)
    cycles: int = 0

    @property
    def waits_for_words(self) -> bool:
        """Whether it is ready only where a word is there, as AXI allows: FINN's sliding windows, sums of two streams."""
        return self.kind == "ConvolutionInputGenerator_rtl" or (len(self.reads) > 1 and self.kind.startswith("Elementwise"))

    @property
    def out_streams(self) -> tuple[str, ...]:
        """What it writes."""
        return tuple(name for names in self.writes.values() for name in ((names,) if isinstance(names, str) else names))


@dataclass(frozen=True)
class Fifo:
    """A FIFO.

    Attributes:
        node: FINN's name.
        behind: the node of the graph that fills it; empty for the host.
        into: the node that it fills; empty for the host.
        depth: words, as it would be built.
        bits: of a word.
        words: of a frame.
    """

    node: str
    behind: str
    into: str
    depth: int
    bits: int
    words: int


@dataclass(frozen=True)
class Netlist:
    """A whole accelerator.

    Attributes:
        instances: in the order of the graph.
        streams: by name.
        reads, hands_on: names of the streams at its ends.
        files: what is compiled; packages first.
        fifos: in order; where `adjustable`, a FIFO's place is its number.
        adjustable: whether FIFOs take their depth when a simulation starts.
        plumbing: nodes that are no layer's: FIFOs, width converters.
    """

    instances: tuple[Instance, ...]
    streams: Mapping[str, Stream]
    reads: str
    hands_on: str
    files: tuple[Path, ...]
    fifos: tuple[Fifo, ...] = ()
    adjustable: bool = True
    plumbing: frozenset[str] = frozenset()

    @property
    def nodes(self) -> tuple[Instance, ...]:
        """Those that compute: without plumbing, in the order of the graph."""
        return tuple(instance for instance in self.instances if instance.node not in self.plumbing)

    @property
    def longest_cycles(self) -> int:
        """A frame's cycles of the slowest node, by FINN: the interval that it estimates."""
        return max((i.cycles for i in self.instances), default=1)
