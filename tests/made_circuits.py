"""Packages for the simulated board, of an accelerator that is worked out by hand: 48 numbers times a matrix."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import boards.on_device
from boards.bitfile import simulated_configuration, write_bitfile
from boards.board import Board
from boards.driver_bundle import collect_driver
from boards.package import BoardFacts, Package, write_package
from boards.pynq_z2 import PYNQ_Z2
from boards.simulated_board.hwh import hwh
from tests.made_packages import N_CLASSES, SHAPE, manifest, settings, sources

INTERVAL_CYCLES, LATENCY_CYCLES = 1000, 3000


def answers(given: NDArray[Any]) -> NDArray[np.float32]:
    """What the accelerator makes of frames."""
    return (0.25 * (given.reshape(len(given), -1).astype(np.int64) @ weights())).astype(np.float32)


def weights() -> NDArray[np.int64]:
    return np.random.default_rng(7).integers(-4, 4, (int(np.prod(SHAPE)), N_CLASSES))


def frames(n: int, seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, (n, *SHAPE), np.int8)


def circuit(instrumented: bool = False) -> bytes:
    n, classes = int(np.prod(SHAPE)), N_CLASSES
    document = {
        "format": 1, "interval_cycles": INTERVAL_CYCLES, "latency_cycles": LATENCY_CYCLES, "instrumented": instrumented,
        "reads": {"shape": [1, *SHAPE], "datatype": "INT8", "folded_shape": [1, n // 3, 3], "packed_shape": [1, n // 3, 3]},
        "hands_on": {
            "shape": [1, classes], "datatype": "FLOAT32", "folded_shape": [1, classes, 1], "packed_shape": [1, classes, 4]
        },
        "operations": [
            {"kind": "matrix", "inputs": ["reads"], "output": "sums", "shape": [n], "weights": "w"},
            {"kind": "elementwise", "inputs": ["sums"], "output": "out", "shape": [classes], "function": "multiply",
             "constant": "scale"},
        ],
    }  # fmt: skip
    target = io.BytesIO()
    told = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(target, circuit=told, w=weights(), scale=np.array([0.25], np.float32))
    return target.getvalue()


def simulated_package(
    folder: Path, instrumented: bool = False, board: Board = PYNQ_Z2, n_golden: int = 5, wrong: bool = False, **changed: Any
) -> Package:
    """A package for the simulated board in `folder/package`, with the driver; `wrong` is one whose golden set is not right."""
    folder.mkdir(parents=True, exist_ok=True)
    files = sources(folder / "sources")
    write_bitfile(files["made-0123.bit"], "made", board.fpga_part, simulated_configuration(circuit(instrumented)))
    described = hwh(board=board.name, fpga_part=board.fpga_part, clock_mhz=100.0, instrumented=instrumented)
    files["made-0123.hwh"].write_text(described)
    told = settings(SHAPE, (N_CLASSES,))
    told["driver_information"]["driver_type"] = "FINNDMAInstrumentationOverlay" if instrumented else "FINNDMAOverlay"
    files["settings.json"].write_text(json.dumps(told))
    outputs = answers(frames(n_golden))
    outputs[3 % n_golden, 7] += 2 * wrong
    np.savez(files["golden.npz"], inputs=frames(n_golden), outputs=outputs)
    files |= {**collect_driver("1.6.1").files, "on_device.py": Path(boards.on_device.__file__)}
    facts = BoardFacts(name=board.name, title=board.title, fpga_part=board.fpga_part, family=board.family)
    told_of = manifest(**{"simulated": True, "n_golden": n_golden, "board": facts, **changed})
    return write_package(folder / "package", told_of, files)
