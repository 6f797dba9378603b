"""Circuits by themselves: exact sums, batches, and what is said of circuits that are none."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boards.bitfile import check_part, read_bit_header, simulated_configuration, write_bitfile
from boards.errors import BitfileError
from boards.registry import BOARDS
from boards.simulated_board import circuit as module
from boards.simulated_board import operations
from boards.simulated_board.circuit import Circuit, circuit_in, read_circuit

WEIGHTS = np.array([[3, -1], [2, 5], [-4, 7]])
Change = Callable[[dict[str, Any]], None]


def stream(shape: tuple[int, ...], datatype: str) -> dict[str, Any]:
    return {"shape": [1, *shape], "datatype": datatype, "folded_shape": [1, *shape, 1], "packed_shape": [1, *shape, 1]}


def document(**changed: Any) -> dict[str, Any]:
    """Three INT8, times `WEIGHTS`."""
    product = {"kind": "matrix", "inputs": ["reads"], "output": "y", "shape": [3], "weights": "w"}
    return {
        "format": 1, "reads": stream((3,), "INT8"), "hands_on": stream((2,), "INT16"), "interval_cycles": 7,
        "latency_cycles": 9, "instrumented": False, "operations": [product], **changed,
    }  # fmt: skip


def packed(described: dict[str, Any], **arrays: np.ndarray) -> bytes:
    target = io.BytesIO()
    np.savez(target, circuit=np.frombuffer(json.dumps(described).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    return target.getvalue()


def made(described: dict[str, Any] | None = None, **arrays: np.ndarray) -> Circuit:
    return read_circuit(packed(described or document(), **(arrays or {"w": WEIGHTS})))


def frames(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(-128, 128, (n, 3))


@pytest.mark.parametrize("n", [0, 1, 5])
def test_frames_are_answered(n: int) -> None:
    circuit = made()
    assert (circuit.interval_cycles, circuit.latency_cycles, circuit.instrumented) == (7, 9, False)
    assert (circuit.reads.shape, circuit.hands_on.datatype) == ((1, 3), "INT16")
    answers = circuit.run(frames(n).astype(np.int8))
    assert answers.dtype == np.int64
    np.testing.assert_array_equal(answers, frames(n) @ WEIGHTS)


def test_a_batch_is_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ELEMENTS_AT_ONCE", 12)
    np.testing.assert_array_equal(made().run(frames(11)), frames(11) @ WEIGHTS)


@pytest.mark.parametrize("bits", [8, 17, 21, 30])
def test_sums_are_exact_however_large(bits: int) -> None:
    """Beyond 2**24 a float32 would round."""
    rng = np.random.default_rng(bits)
    weights = rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (300, 4))
    described = document(reads=stream((300,), "INT8"), hands_on=stream((4,), "INT48"))
    described["operations"][0]["shape"] = [300]
    x = rng.integers(-128, 128, (9, 300))
    np.testing.assert_array_equal(made(described, w=weights).run(x), x @ weights)


def test_what_is_read_may_be_wider_than_a_float() -> None:
    largest = {"kind": "pool", "inputs": ["reads"], "output": "y", "shape": [4], "positions": 2, "function": "max"}
    described = document(reads=stream((4,), "INT40"), hands_on=stream((2,), "INT40"), operations=[largest])
    x = 2**39 - np.arange(1, 5)[None]
    np.testing.assert_array_equal(made(described).run(x), x[:, :2])


def test_a_sum_over_a_large_map_is_exact() -> None:
    whole = {"kind": "sum", "inputs": ["reads"], "output": "y", "shape": [40, 40, 2]}
    described = document(reads=stream((40, 40, 2), "UINT16"), hands_on=stream((2,), "UINT32"), operations=[whole])
    x = np.random.default_rng(0).integers(2**15, 2**16, (3, 40, 40, 2))
    np.testing.assert_array_equal(made(described).run(x), x.sum(axis=(1, 2)))


@pytest.mark.parametrize("n_steps", [3, 16, 17, 300])
def test_values_on_and_beside_every_threshold(n_steps: int) -> None:
    """Also those that no value reaches, those that every one does, and channels beside each other."""
    table = np.random.default_rng(n_steps).integers(-200, 201, (3, n_steps))
    steps = {
        "kind": "thresholds", "inputs": ["reads"], "output": "y", "shape": [3], "thresholds": "t", "lowest": -5, "step": 2,
    }  # fmt: skip
    described = document(hands_on=stream((3,), "INT16"), operations=[steps])
    x = np.repeat(np.arange(-128, 128)[:, None], 3, axis=1)
    np.testing.assert_array_equal(made(described, t=table).run(x), 2 * (x[..., None] >= table).sum(axis=-1) - 5)


def test_what_is_read_twice_is_kept_until_then() -> None:
    def add(first: str, second: str, output: str) -> dict[str, Any]:
        return {"kind": "elementwise", "function": "add", "inputs": [first, second], "output": output, "shape": [3]}

    adds = [add("reads", "reads", "a"), add("a", "reads", "b"), add("b", "a", "c")]
    circuit = made(document(hands_on=stream((3,), "INT16"), operations=adds))
    np.testing.assert_array_equal(circuit.run(frames(4)), 5 * frames(4))


def test_frames_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^the frames have shape \(4,\), the accelerator reads \(3,\)$"):
        made().run(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"^the frames hold -1 to 128, INT8 is \(-128, 127\)$"):
        made().run(np.array([[0, -1, 128]]))


def operation(**changed: Any) -> Change:
    return lambda described: described["operations"][0].update(changed)


def change(**changed: Any) -> Change:
    return lambda described: described.update(changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (change(format=2), "the circuit has format 2, 1 is read; make the package again"),
        (change(reads=None), "the circuit does not say what it reads"),
        (change(hands_on=stream((2,), "INT9")), r"ends in integers \(-1663, 1652\) of shape \(2,\), which INT9 does not hold"),
        (change(hands_on=stream((3,), "INT16")), "ends in integers .* of shape .2,. where it hands on .* of shape .3,."),
        (change(hands_on=stream((2,), "FLOAT32")), "where it hands on floats of shape"),
        (change(reads=stream((3,), "FIXED<8,4>")), "has the type 'FIXED<8,4>'; integers of up to 53 bits"),
        (change(interval_cycles=0), "the circuit has interval_cycles 0; a whole number of 1 or more is wanted"),
        (change(latency_cycles="9"), "the circuit has latency_cycles '9'"),
        (change(operations={}), "the circuit has no list of operations"),
        (change(operations=[7]), "operation 0 of the circuit is 7; known are pad, windows, matrix"),
        (operation(kind="softmax"), "operation 0 of the circuit is 'softmax'; known are"),
        (operation(inputs="reads"), "operation 0 of the circuit, matrix, has inputs 'reads' and output 'y'"),
        (operation(inputs=["x"]), "operation 0 of the circuit, matrix, reads 'x', which nothing hands on before it"),
        (operation(output="reads"), "hands on 'reads', which is there before"),
        (operation(inputs=["reads", "reads"]), "reads 2 tensors; 1 are wanted"),
        (operation(shape=[4]), r"reads frames of shape \(4,\) where \(3,\) is handed on"),
        (operation(shape=[3.0]), r"has shape \[3.0\]; whole numbers of 1 or more are wanted"),
        (operation(weights="v"), "has weights 'v'; arrays are f, t, v3, w"),
        (operation(weights="f"), r"has weights of type float64 and shape \(3, 2\)"),
        (operation(weights="v3"), r"has weights of type int64 and shape \(3,\)"),
        (operation(counts=True), r"counts what is alike of inputs \(-128, 127\) and weights \(-4, 7\)"),
        (operation(thresholds="w", lowest=0, step=1), "has thresholds for 3 channels of 2"),
        (operation(thresholds="t", lowest=0), "has step None; a whole number of 1 or more is wanted"),
        (operation(kind="pad", padding=[1, 1, 1, 1]), r"has shape \[3\]; 3 whole numbers"),
        (operation(kind="windows", shape=[1, 1, 3], kernel=[2, 1], stride=[1, 1], dilation=[1, 1]),
         r"has windows of \(2, 1\) in frames of 1x1"),
        (operation(kind="depthwise"), r"reads windows of 3 where its weights are \(3, 2\)"),
        (operation(kind="pool", positions=2, function="max"), "reads 3 values a window, which are no 2 times as many"),
        (operation(kind="pool", positions=3, function="mean"), "has function 'mean'; known are max and sum"),
        (operation(kind="elementwise", function="divide"), "has function 'divide'; known are add, subtract, multiply"),
        (operation(kind="elementwise", function="add", constant="w"), r"takes \(3, 2\) to frames of shape \(3,\)"),
        (operation(kind="choose", best=4), "chooses 4 of 3 classes"),
    ],
)  # fmt: skip
def test_a_circuit_that_is_none_is_refused_in_one_line(changed: Change, said: str) -> None:
    described = document()
    changed(described)
    with pytest.raises(ValueError, match=said) as caught:
        made(described, w=WEIGHTS, f=WEIGHTS / 2, v3=WEIGHTS[:, 0], t=WEIGHTS.T)
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused_and_nothing_is_unpickled() -> None:
    good = packed(document(), w=WEIGHTS)
    objects = io.BytesIO()
    np.savez(objects, circuit=np.array([print], object))
    for raw in (b"", b"no archive", good[:-30], good[: len(good) // 2], packed([]), objects.getvalue(), packed(document())):  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"make the package again|arrays are none") as caught:
            read_circuit(raw)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("board", BOARDS.values(), ids=lambda board: board.name)
def test_a_bitfile_carries_a_circuit(board: Any, tmp_path: Path) -> None:
    raw = packed(document(), w=WEIGHTS)
    write_bitfile(tmp_path / "a.bit", "made", board.fpga_part, simulated_configuration(raw))
    header = read_bit_header(tmp_path / "a.bit")
    check_part(header, board.fpga_part)
    assert (header.design, header.n_bytes % 4) == ("made", 0)
    configuration = (tmp_path / "a.bit").read_bytes()[-header.n_bytes :]
    assert circuit_in(configuration) == raw
    with pytest.raises(ValueError, match=r"the bitfile says its circuit has .* bytes, .* are there"):
        circuit_in(configuration[:-8])
    with pytest.raises(ValueError, match="holds no circuit that could be simulated; it is for a real board"):
        circuit_in(b"configuration")
    for other in BOARDS.values():
        if other.fpga_part != board.fpga_part:
            with pytest.raises(BitfileError, match="build for that board"):
                check_part(header, other.fpga_part)


def test_a_bitfile_has_a_name_that_fits_into_its_header(tmp_path: Path) -> None:
    with pytest.raises(BitfileError, match="a bitfile cannot be named 'ü'; up to 1,000 ASCII characters are allowed"):
        write_bitfile(tmp_path / "a.bit", "ü", "xc7z020clg400-1", b"")
    assert not (tmp_path / "a.bit").exists()


def test_circuits_need_numpy_alone() -> None:
    """The simulated board's interpreter has nothing of bitloop."""
    for file in (module.__file__, operations.__file__):
        tree = ast.parse(Path(str(file)).read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level}
        assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"numpy"}
