"""The driver that goes to a board: complete, for the image's Python, and with stand-ins that do what the real ones do."""

from __future__ import annotations

import ast
import importlib.util
import struct
import sys
from pathlib import Path
from types import ModuleType

import bitstring
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import boards.on_device
import boards.stand_ins
from boards.driver_bundle import STAND_INS, collect_driver
from boards.errors import PackageError

PYTHON = (3, 10)  # of PYNQ's images 3.0 and 3.1
ON_THE_IMAGE = {"numpy", "pynq"}
BUNDLE = collect_driver("1.6.1")


def loaded(name: str) -> ModuleType:
    """A stand-in, beside the real module of that name."""
    spec = importlib.util.spec_from_file_location(f"stand_in_{name}", Path(boards.stand_ins.__path__[0]) / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SMALL = loaded("bitstring")


def test_every_file_is_for_the_images_python() -> None:
    modules = [p for name, p in BUNDLE.files.items() if name.endswith(".py")] + [Path(boards.on_device.__file__)]
    assert len(modules) > 12
    for path in modules:
        ast.parse(path.read_text(), feature_version=PYTHON)


def test_no_file_needs_what_is_neither_on_the_image_nor_in_the_bundle() -> None:
    tops = {
        name.removeprefix(f"{STAND_INS}/").removeprefix("driver/").split("/")[0].removesuffix(".py") for name in BUNDLE.files
    }
    allowed = tops | ON_THE_IMAGE | set(sys.stdlib_module_names)
    for name, path in BUNDLE.files.items():
        if not name.endswith(".py"):
            continue
        for node in ast.parse(path.read_text()).body:  # what is imported inside functions is not on the way of a run
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            found += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {f.split(".")[0] for f in found} <= allowed, name


def test_the_driver_is_as_it_was_installed() -> None:
    assert BUNDLE.versions == {"finn-plus-driver": "1.6.1", "qonnx": "1.0.0"}
    assert "driver/finn_plus_driver/overlays/dma.py" in BUNDLE.files
    assert not [n for n in BUNDLE.files if "validate" in n or "cli" in n]
    assert [n for n in BUNDLE.files if "qonnx" in n and "LICENSE" in n]


def test_another_version_of_the_driver_is_refused() -> None:
    with pytest.raises(PackageError, match=r"finn-plus-driver is 1\.6\.1 and finn-plus 1\.7\.0; pip install --no-deps"):
        collect_driver("1.7.0")


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(PackageError, match="finn-plus-driver is not installed"):
        collect_driver("1.6.1")


@st.composite
def numbers(draw: st.DrawFn) -> dict[str, object]:
    kind = draw(st.sampled_from(["int", "uint", "float", "zeros"]))
    length = draw(st.sampled_from([32, 64])) if kind == "float" else draw(st.integers(1, 70))
    if kind == "int":
        return {"length": length, "int": draw(st.integers(-(1 << length - 1), (1 << length - 1) - 1))}
    if kind == "uint":
        return {"length": length, "uint": draw(st.integers(0, (1 << length) - 1))}
    if kind == "float":
        return {"length": length, "float": draw(st.floats(width=32, allow_nan=False))}
    return {"length": length}


@given(st.lists(numbers(), max_size=6), st.integers(0, 3))
def test_the_stand_in_for_bitstring_gives_its_bits(parts: list[dict[str, object]], more: int) -> None:
    real, small = bitstring.BitArray(length=0), SMALL.BitArray(length=0)
    for part in parts:
        real.append(bitstring.BitArray(**part))  # type: ignore[arg-type]
        small.append(SMALL.BitArray(**part))
    for whole, cls in ((real, bitstring.BitArray), (small, SMALL.BitArray)):
        whole.prepend(cls(length=-whole.len % 4 + 4 * more))
    assert small.len == real.len
    assert small.hex == real.hex


@pytest.mark.parametrize("wrong", [{"length": 4, "int": 8}, {"length": 4, "int": -9}, {"length": 4, "uint": 16},
                                   {"length": 4, "uint": -1}, {"length": 16, "float": 1.0}])  # fmt: skip
def test_the_stand_in_refuses_what_does_not_fit(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="bits"):
        SMALL.BitArray(**wrong)


def test_the_stand_in_has_hexadecimal_digits_of_whole_ones_only() -> None:
    with pytest.raises(ValueError, match="no whole hexadecimal"):
        _ = SMALL.BitArray(length=5).hex


def test_the_driver_packs_the_same_through_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from finn_plus_driver import packing
    from qonnx.core.datatype import DataType

    values = {"INT5": np.array([-16, 15, 0]), "UINT3": np.array([7, 0, 5]), "FLOAT32": np.array([1.5, -2.25]),
              "BIPOLAR": np.array([-1, 1, 1])}  # fmt: skip
    packed = {n: packing.array2hexstring(v, DataType[n], 96, reverse=True) for n, v in values.items()}
    monkeypatch.setattr(packing, "BitArray", SMALL.BitArray)
    assert {n: packing.array2hexstring(v, DataType[n], 96, reverse=True) for n, v in values.items()} == packed
    assert packed["FLOAT32"].endswith(struct.pack(">f", 1.5).hex())
