"""A bitfile for the simulated board, made without Vivado: the accelerator as data in the place of a configuration.

What is beside it is real: settings.json is FINN's own for this accelerator, and the hardware description is read by PYNQ as
Vivado's is. No real board would take the bitfile for one: behind its header is no configuration.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.bitfile import simulated_configuration, write_bitfile
from boards.board import Board
from boards.simulated_board.circuit import Stream
from boards.simulated_board.hwh import hwh
from hls.circuit import circuit_bytes
from hls.finn_backend import quiet, read_model
from hls.finn_circuit import cycles_of, operations_of
from hls.finn_driver import driver_settings

SETTINGS = "settings.json"


@dataclass(frozen=True)
class SimulatedBitfile:
    """The files of a simulated bitfile: it, its hardware description, and the settings of FINN's driver."""

    bit: Path
    hwh: Path
    settings: Path


def simulate_bitfile(checkpoint: Path, board: Board, name: str, folder: Path, instrumented: bool = False) -> SimulatedBitfile:
    """Make the bitfile of a prepared build for the simulated board. A second or two; the same files for the same checkpoint.

    Args:
        checkpoint: of a build (`hls.finn_build.prepare`).
        board: of the build.
        name: of the bitfile, without a suffix; PYNQ looks for its hardware description under the same name.
        folder: where to, made if it is not there.
        instrumented: whether the accelerator has FINN's counters of cycles.

    Raises:
        GraphError: there is a node that cannot be simulated, or FINN cannot prepare the graph for the board.
        BuildError: FINN cannot build for the board.
    """
    model = read_model(checkpoint)
    settings = driver_settings(model, board, instrumented)
    shapes = settings["driver_information"]["io_shape_dict"]
    with quiet():
        estimate = cycles_of(model, board.clock_mhz)
    circuit = circuit_bytes(_stream(shapes, "i"), _stream(shapes, "o"), operations_of(model), estimate, instrumented)
    folder.mkdir(parents=True, exist_ok=True)
    found = SimulatedBitfile(folder / f"{name}.bit", folder / f"{name}.hwh", folder / SETTINGS)
    write_bitfile(found.bit, f"{name};simulated by bitloop", board.fpga_part, simulated_configuration(circuit))
    found.hwh.write_text(
        hwh(board=board.name, fpga_part=board.fpga_part, clock_mhz=board.clock_mhz, instrumented=instrumented), encoding="utf-8"
    )
    found.settings.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return found


def _stream(shapes: Mapping[str, Any], end: str) -> Stream:
    """What FINN tells its driver of what goes in ("i") or comes out ("o")."""
    datatype = str(shapes[f"{end}dt"][0]).removeprefix("DataType['").removesuffix("']")
    normal, folded, packed = (tuple(map(int, shapes[f"{end}shape_{kind}"][0])) for kind in ("normal", "folded", "packed"))
    return Stream(normal, datatype, folded, packed)
