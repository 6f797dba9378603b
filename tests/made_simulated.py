"""A package for the simulated board, made without FINN: 48 small numbers times a matrix."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

import boards.on_device
from boards.bitfile import simulated_configuration, write_bitfile
from boards.driver_bundle import collect_driver
from boards.measurement import Design
from boards.package import Package, Stream, write_package
from boards.pynq_z2 import PYNQ_Z2
from boards.simulated_board.circuit import read_circuit
from boards.simulated_board.hwh import hwh
from tests.made_packages import N_CLASSES, SHAPE, manifest, settings

INTERVAL_CYCLES, LATENCY_CYCLES = 1000, 3000
INTERPRETER = Path(__file__).parents[1] / ".venv-board" / "bin" / "python"
NO_INTERPRETER = "the simulated board's Python is not there: make simulated-board"


def circuit(seed: int = 0) -> bytes:
    n = int(np.prod(SHAPE))
    weights = np.random.default_rng(seed).integers(-8, 8, (n, N_CLASSES))
    told = {
        "format": 1, "interval_cycles": INTERVAL_CYCLES, "latency_cycles": LATENCY_CYCLES, "instrumented": False,
        "reads": {"shape": [1, *SHAPE], "datatype": "INT8", "folded_shape": [1, 16, 3], "packed_shape": [1, 16, 3]},
        "hands_on": {
            "shape": [1, N_CLASSES], "datatype": "INT32", "folded_shape": [1, N_CLASSES, 1], "packed_shape": [1, N_CLASSES, 4],
        },
        "operations": [{"kind": "matrix", "inputs": ["reads"], "output": "y", "shape": [n], "weights": "w"}],
    }  # fmt: skip
    target = io.BytesIO()
    np.savez(target, circuit=np.frombuffer(json.dumps(told).encode(), np.uint8), w=weights)
    return target.getvalue()


def frames(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-128, 128, (n, *SHAPE)).astype(np.int8)


def answers(given: np.ndarray, seed: int = 0) -> np.ndarray:
    return read_circuit(circuit(seed)).run(given)


def simulated_package(folder: Path, seed: int = 0, wrong: bool = False, **changed: Any) -> Package:
    """A package in `folder/package`; `wrong` is one whose golden set the accelerator does not answer as it says."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ["made.bit", "made.hwh", "settings.json", "golden.npz", "design.json"]
    write_bitfile(folder / "made.bit", "made", PYNQ_Z2.fpga_part, simulated_configuration(circuit(seed)))
    (folder / "made.hwh").write_text(hwh(board=PYNQ_Z2.name, fpga_part=PYNQ_Z2.fpga_part, clock_mhz=100.0))
    told = settings(SHAPE, (N_CLASSES,))
    told["driver_information"]["io_shape_dict"]["odt"] = ["DataType['INT32']"]
    (folder / "settings.json").write_text(json.dumps(told))
    outputs = answers(frames(5), seed)
    if wrong:
        outputs[3, 7] += 2
    np.savez(folder / "golden.npz", inputs=frames(5), outputs=outputs)
    design = Design(model="made", policy=None, folding={"MVAU_0": {"PE": 1}}, estimate=None, cycles={"MVAU_0": INTERVAL_CYCLES})
    (folder / "design.json").write_text(design.model_dump_json())
    files = {name.replace("made.", f"made-{seed:04}."): folder / name for name in names}
    whole = {
        "simulated": True, "bitfile": f"made-{seed:04}.bit", "hwh": f"made-{seed:04}.hwh",
        "hands_on": Stream(shape=(1, N_CLASSES), datatype="INT32"), **changed,
    }  # fmt: skip
    driver = {**collect_driver("1.6.1").files, "on_device.py": Path(boards.on_device.__file__)}
    return write_package(folder / "package", manifest(**whole), {**files, **driver})
