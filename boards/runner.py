"""What can be done with a board: `Runner`. `boards.pynq_runner` does it with a PYNQ board, real or simulated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from boards.measurement import Measurement
from boards.package import Package

BATCH_SIZES = (1, 10, 100, 1000)


@dataclass(frozen=True)
class Readiness:
    """One thing that a board must have.

    Attributes:
        subject: what was looked at.
        found: what is there.
        remedy: what to do about it; empty where all is well.
    """

    subject: str
    found: str
    remedy: str = ""

    @property
    def is_well(self) -> bool:
        """Whether nothing is to be done."""
        return not self.remedy


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        batch_sizes: frames a call, 1 or more each.
        n_repeats: calls of every batch size, 1 or more; the median counts.
        timeout_s: for one call of the accelerator, and as much again for every 100 frames of it.
    """

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    n_repeats: int = 5
    timeout_s: float = 120.0


class Runner(Protocol):
    """A board that packages run on. A context manager, as its transport is.

    Every method has a time limit, leaves the board usable whatever happens, and raises errors of `boards.errors` alone.
    `tests/test_boards_runner.py` holds every implementation to this.
    """

    @property
    def host(self) -> str:
        """As given to HOST."""
        ...

    @property
    def simulated(self) -> bool:
        """Whether what is measured is a simulation; then every figure says so."""
        ...

    def __enter__(self) -> Runner: ...

    def __exit__(self, *_: object) -> None: ...

    def check(self) -> list[Readiness]:
        """Look whether the board is ready: reach, image, Python, pynq, root's rights, space, FPGA in use, driver's needs."""
        ...

    def deploy(self, package: Package) -> None:
        """Bring a package there, whole or not at all; one that is there already, by its hash, is not copied again."""
        ...

    def infer(self, package: Package, inputs: NDArray[Any]) -> NDArray[Any]:
        """What the accelerator makes of inputs.

        Args:
            package: deployed before, or now.
            inputs: (frames, …) as the accelerator reads them: its manifest's `reads` without the one for the frame.
        """
        ...

    def measure(self, package: Package, effort: Effort, test_set: Path | None = None) -> Measurement:
        """Check a package on its golden set and measure it.

        Args:
            package: deployed before, or now.
            effort: how long.
            test_set: npz of `inputs` (frames, …) as the accelerator reads them and `labels` (frames,); None for no accuracy.

        Raises:
            OutputMismatchError: the golden set comes out wrong; the text has the image, the value, and what it should be.
        """
        ...
