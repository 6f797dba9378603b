"""Deployment packages whose bitfile is a header and nothing behind it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

import boards.on_device
from boards.bitfile import PREAMBLE
from boards.driver_bundle import collect_driver
from boards.measurement import Design
from boards.package import BoardFacts, Manifest, Package, Stream, write_package

PART = "xc7z020clg400-1"
HWH = """<EDKSYSTEM><MODULES><MODULE INSTANCE="clk_wiz_0"><PARAMETERS>
<PARAMETER NAME="CLKOUT1_OUT_FREQ" VALUE="99.99"/></PARAMETERS></MODULE></MODULES></EDKSYSTEM>"""
SHAPE, N_CLASSES = (4, 4, 3), 10


def bitfile(path: Path, part: str = "7z020clg400", payload: bytes = b"configuration") -> Path:
    """A file that says it configures a part."""
    texts = zip(b"abcd", (b"top_wrapper;Version=2022.2", part.encode(), b"2026/01/02", b"03:04:05"), strict=True)
    header = PREAMBLE + b"".join(struct.pack(">BH", letter, len(t) + 1) + t + b"\0" for letter, t in texts)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + struct.pack(">BI", ord("e"), len(payload)) + payload)
    return path


def settings(reads: tuple[int, ...], hands_on: tuple[int, ...], folds: int = 3) -> dict[str, Any]:
    """The driver's settings as FINN writes them, for INT8 frames and float answers."""
    n, n_out = int(np.prod(reads)), int(np.prod(hands_on))
    shapes = {
        "idt": ["DataType['INT8']"], "idma_names": ["idma0"], "ishape_normal": [[1, *reads]],
        "ishape_folded": [[1, n // folds, folds]], "ishape_packed": [[1, n // folds, folds]],
        "odt": ["DataType['FLOAT32']"], "odma_names": ["odma0"], "oshape_normal": [[1, *hands_on]],
        "oshape_folded": [[1, n_out, 1]], "oshape_packed": [[1, n_out, 4]], "num_inputs": 1, "num_outputs": 1,
        "number_of_external_weights": 0, "external_weights_input_shapes": {},
    }  # fmt: skip
    told = {
        "driver_type": "FINNDMAOverlay", "io_shape_dict": shapes, "external_weights": False, "runtime_weights": False,
        "platform": "zynq-iodma", "fclk_mhz": 100.0,
    }  # fmt: skip
    return {"driver_information": told, "experiment_information": {}}


def manifest(**changed: Any) -> Manifest:
    return Manifest(
        **{
            "name": "made",
            "board": BoardFacts(name="pynq-z2", title="PYNQ-Z2", fpga_part=PART, family="zynq-7000"),
            "clock_mhz": 100.0,
            "bitfile": "made-0123.bit",
            "hwh": "made-0123.hwh",
            "settings": "settings.json",
            "design": "design.json",
            "golden": "golden.npz",
            "plan": "0123456789abcdef",
            "policy": None,
            "reads": Stream(shape=(1, *SHAPE), datatype="INT8"),
            "hands_on": Stream(shape=(1, N_CLASSES), datatype="FLOAT32"),
            "n_golden": 5,
            "driver": {"finn-plus-driver": "1.6.1"},
            "tools": "none",
            **changed,
        }
    )


def sources(folder: Path) -> dict[str, Path]:
    """The files of a package, without the driver."""
    folder.mkdir(exist_ok=True)
    bitfile(folder / "made.bit")
    (folder / "made.hwh").write_text(HWH)
    (folder / "settings.json").write_text(json.dumps(settings(SHAPE, (N_CLASSES,))))
    rng = np.random.default_rng(0)
    frames, answers = rng.integers(-128, 128, (5, *SHAPE), np.int8), rng.normal(size=(5, N_CLASSES)).astype(np.float32)
    np.savez(folder / "golden.npz", inputs=frames, outputs=answers)
    design = Design(model=None, policy=None, folding={}, estimate=None, cycles={})
    (folder / "design.json").write_text(design.model_dump_json())
    return {
        "made-0123.bit": folder / "made.bit", "made-0123.hwh": folder / "made.hwh", "settings.json": folder / "settings.json",
        "design.json": folder / "design.json", "golden.npz": folder / "golden.npz",
    }  # fmt: skip


def made_package(folder: Path, with_driver: bool = False, **changed: Any) -> Package:
    """A package in `folder/package`."""
    files = sources(folder / "sources")
    if with_driver:
        files |= {**collect_driver("1.6.1").files, "on_device.py": Path(boards.on_device.__file__)}
    return write_package(folder / "package", manifest(**changed), files)
