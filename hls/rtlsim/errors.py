"""What can go wrong with a simulation of RTL.

SimulationError (a hls.errors.HlsError)
├── UnsupportedNodeError
├── RtlFaultError
├── MismatchError
├── DeadlockError
└── SimulatorError

A tool that is not there is a hls.errors.MissingToolError.
"""

from __future__ import annotations

from hls.errors import HlsError


class SimulationError(HlsError):
    """An accelerator cannot be simulated, or does not do what it is meant to."""


class UnsupportedNodeError(SimulationError):
    """A node for which there is no RTL and no model."""


class RtlFaultError(SimulationError):
    """A node is built so that a known fault of FINN's RTL loses data."""


class MismatchError(SimulationError):
    """The RTL answers something else than the hardware layers it is made of.

    Attributes:
        frame: number of the first frame that is wrong.
        word: number of its first wrong word.
        node: the first node whose output is wrong; empty where it was not looked for.
    """

    def __init__(self, text: str, frame: int = 0, word: int = 0, node: str = "") -> None:
        super().__init__(text)
        self.frame, self.word, self.node = frame, word, node


class DeadlockError(SimulationError):
    """Nothing moves any more and frames are missing.

    Attributes:
        cycle: at which that was seen.
        waiting: node to what it waits for.
    """

    def __init__(self, text: str, cycle: int = 0, waiting: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.cycle, self.waiting = cycle, waiting or {}


class SimulatorError(SimulationError):
    """The simulator cannot be compiled, or ended before its time: an assertion of the RTL, a crash, no memory."""
