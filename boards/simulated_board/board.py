"""What a simulated board is told of itself (`board.json`), and what it remembers from one program to the next (`fpga.json`).

Both lie in the state folder. `board.json` says which board it is, how it differs from what was estimated (`truth`, which
nothing but the simulation reads), and how it misbehaves (`faults`):

    {"board": "pynq-z2", "fpga_part": "xc7z020clg400-1", "family": "zynq-7000", "clock_mhz": 100.0,
     "truth": {"cycles_factor": 1.3, "overhead_us": 40.0}, "faults": {"stuck_dma": true}}
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any


class BoardError(Exception):
    """`board.json` cannot be read; the text is one line."""


@dataclass(frozen=True)
class Truth:
    """How the board differs from what was estimated.

    Attributes:
        cycles_factor: interval and latency of a circuit times this are what they really are.
        overhead_us: that every call of the DMA engines takes besides.
    """

    cycles_factor: float = 1.0
    overhead_us: float = 0.0


@dataclass(frozen=True)
class Faults:
    """How the board misbehaves.

    Attributes:
        stuck_dma: the DMA engines never finish; or, as a number, they get stuck in the frame after so many since the board was
            switched on, once.
        wrong_output: the frame, counted from 1 since the design was loaded, that comes out with its first bit wrong.
        clock_mhz: that the design runs at, whatever is asked for.
        busy: another program holds the FPGA.
        old_pynq, new_pynq: a version that pynq calls itself.
        slowdown: everything takes so many times as long.
        full_card: bytes that the card has room for in all; it is the folder `home` beside `board.json`.
    """

    stuck_dma: bool | int = False
    wrong_output: int | None = None
    clock_mhz: float | None = None
    busy: bool = False
    old_pynq: str | None = None
    new_pynq: str | None = None
    slowdown: float = 1.0
    full_card: int | None = None


@dataclass(frozen=True)
class Board:
    """The simulated board: its name, its FPGA's part and family, the clock it is meant to run at, and what is wrong with it."""

    board: str
    fpga_part: str
    family: str
    clock_mhz: float
    truth: Truth = Truth()
    faults: Faults = Faults()


def read_board(state: Path) -> Board:
    """The board of a state folder.

    Raises:
        BoardError: its `board.json` is none.
    """
    path = state / "board.json"
    try:
        told = dict(json.loads(path.read_text(encoding="utf-8")))
        truth, faults = _known(Truth, told.pop("truth", {})), _known(Faults, told.pop("faults", {}))
        return Board(**_known(Board, told, {"truth": truth, "faults": faults}).__dict__)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise BoardError(f"{path} describes no simulated board: {' '.join(str(error).split())}") from error


def _known(kind: Any, told: Any, more: dict[str, Any] | None = None) -> Any:
    names = [field.name for field in fields(kind)]
    for name in told:
        if name not in names:
            raise ValueError(f"{name!r} is not known; known are {', '.join(names)}")
    return kind(**told, **(more or {}))


@dataclass
class Fpga:
    """What is in the FPGA, and what happened since the board was switched on.

    Attributes:
        bitfile: that is loaded; empty where none is.
        n_frames: that went through this design.
        n_frames_ever: that went through any.
        has_been_stuck: whether the fault `stuck_dma` with a number has happened.
        is_stuck: whether the DMA engines are stuck now; loading a bitfile frees them.
    """

    bitfile: str = ""
    n_frames: int = 0
    n_frames_ever: int = 0
    has_been_stuck: bool = False
    is_stuck: bool = False

    @classmethod
    def read(cls, state: Path) -> Fpga:
        """As it was left; as if switched on just now where nothing was left."""
        try:
            return cls(**json.loads((state / "fpga.json").read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError, RecursionError):  # half of it: the power was lost
            return cls()

    def write(self, state: Path) -> None:
        """Leave it for the next program."""
        part = state / f".fpga.{os.getpid()}.part"
        part.write_text(json.dumps(asdict(self)), encoding="utf-8")
        part.replace(state / "fpga.json")
