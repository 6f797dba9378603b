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
from boards.driver_bundle import collect_driver
from boards.package import Package, Stream, write_package
from boards.simulated_board.hwh import hwh
from tests.made_packages import N_CLASSES, PART, SHAPE, manifest, settings, sources

INTERVAL, LATENCY = 20_000, 50_000  # cycles: 0.2 and 0.5 ms at 100 MHz
STEM = "made-0123"


def answers(frames: NDArray[Any], scale: float = 0.25) -> NDArray[np.float32]:
    """What the accelerator makes of frames."""
    return (scale * (frames.reshape(len(frames), -1).astype(np.int64) @ weights())).astype(np.float32)


def weights() -> NDArray[np.int64]:
    return np.random.default_rng(7).integers(-4, 4, (int(np.prod(SHAPE)), N_CLASSES))


def frames(n: int, seed: int = 0) -> NDArray[np.int8]:
    return np.random.default_rng(seed).integers(-128, 128, (n, *SHAPE), np.int8)


def circuit(instrumented: bool = False) -> bytes:
    n, classes = int(np.prod(SHAPE)), N_CLASSES
    document = {
        "format": 1, "interval_cycles": INTERVAL, "latency_cycles": LATENCY, "instrumented": instrumented,
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


def simulated_package(folder: Path, instrumented: bool = False, part: str = PART, n_golden: int = 5, **changed: Any) -> Package:
    """A package for the simulated board in `folder/package`, with the driver."""
    files = sources(folder / "sources")
    write_bitfile(files["made-0123.bit"], "made", part, simulated_configuration(circuit(instrumented)))
    files["made-0123.hwh"].write_text(hwh(board="pynq-z2", fpga_part=part, clock_mhz=100.0, instrumented=instrumented))
    told = settings(SHAPE, (N_CLASSES,))
    told["driver_information"]["driver_type"] = "FINNDMAInstrumentationOverlay" if instrumented else "FINNDMAOverlay"
    files["settings.json"].write_text(json.dumps(told))
    np.savez(files["golden.npz"], inputs=frames(n_golden), outputs=answers(frames(n_golden)))
    files |= {**collect_driver("1.6.1").files, "on_device.py": Path(boards.on_device.__file__)}
    reads, hands_on = Stream(shape=(1, *SHAPE), datatype="INT8"), Stream(shape=(1, N_CLASSES), datatype="FLOAT32")
    told_of = manifest(simulated=True, n_golden=n_golden, reads=reads, hands_on=hands_on, **changed)
    return write_package(folder / "package", told_of, files)
