"""What a simulation gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class StreamActivity:
    """Cycles of a stream, of those that were counted.

    Attributes:
        words: in which a word moved.
        stalled: in which one was there and its reader was not ready.
        starved: in which the reader was ready and there was none.
        valid, ready: at the end.
    """

    words: int
    stalled: int
    starved: int
    valid: bool
    ready: bool


@dataclass(frozen=True)
class NodeActivity:
    """Shares of a frame's cycles.

    Attributes:
        node: FINN's name.
        stalled: nothing moved, and a result waited for its reader.
        starved: nothing moved, no result waited, and the node lacked a word.
        busy: the rest: it read, wrote or computed.
        cycles: a frame's, by FINN.
    """

    node: str
    busy: float
    stalled: float
    starved: float
    cycles: int


@dataclass(frozen=True)
class FifoUse:
    """The most words that a FIFO held at once, and how many it could hold."""

    node: str
    behind: str
    most: int
    depth: int


@dataclass(frozen=True)
class Simulated:
    """A simulation.

    Attributes:
        answers: (frames, …) as the accelerator hands them on.
        cycles: from the first word that could go in to the last one that came out.
        interval_cycles: between the last words of the last two frames; None of one frame.
        intervals: the same between all frames, in order.
        latency_cycles: from the first word of the first frame to its last answer.
        streams: by name, counted before the last frame's end since the end of the frame before.
        nodes: in the order of the graph, FIFOs and width converters left out.
        fifos: in order.
        duration_s: of the simulation.
    """

    answers: NDArray[Any]
    cycles: int
    interval_cycles: int | None
    intervals: tuple[int, ...]
    latency_cycles: int
    streams: Mapping[str, StreamActivity]
    nodes: tuple[NodeActivity, ...]
    fifos: tuple[FifoUse, ...]
    duration_s: float

    @property
    def cycles_per_s(self) -> float:
        """How fast the simulation was."""
        return self.cycles / self.duration_s

    @property
    def bottleneck(self) -> NodeActivity:
        """The node that was busy longest; of equal ones the last, behind which all others starve."""
        return max(reversed(self.nodes), key=lambda node: node.busy)
