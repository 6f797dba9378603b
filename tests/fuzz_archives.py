"""The arrays, images, weights and graphs that bitloop reads, to be damaged: npz, images, checkpoints, QONNX, circuits."""

from __future__ import annotations

import io
import json
import pickle
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image

from boards.bitfile import simulated_configuration
from boards.pynq_runner import _check_test_set
from boards.simulated_board.board import Board
from boards.simulated_board.circuit import circuit_in, read_circuit
from boards.simulated_board.clocks import Clocks
from boards.simulated_board.hwh import hwh
from flow.build_check import write_board_golden
from flow.golden import GoldenSet, read_golden, write_golden
from flow.tabular import PolicyTable
from hls.finn_backend import read_model
from hls.finn_build import Stream, image_of
from models.arrays import check_arrays
from models.convergence import Effort, converge
from models.image_folder import read_folder, read_image, refused_bombs
from models.npz_file import read_npz
from models.preparation import Preparation
from models.registry import get_model
from models.resumption import train_resumably
from models.train import Recipe
from models.weights import Pretrained, read_pretrained, write_pretrained
from tests import made_circuits, test_flow_tabular
from tests.bomb import Bomb
from tests.fuzz_boards import ABOUT
from tests.fuzz_mutations import (
    FUSE,
    WRONG,
    Raw,
    Target,
    mutate_bytes,
    mutate_document,
    mutate_npz,
    mutate_text,
    mutate_zip,
    to_json,
)
from tests.made_data import made_arrays
from tests.tiny import tiny_images, tiny_network

# --- arrays


def _npz(name: str, **arrays: Any) -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        np.savez_compressed(folder / name, **arrays)
        return folder / name

    return prepare


def _read_npz(path: Path) -> None:
    check_arrays(read_npz(path), str(path))


def _golden(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    write_golden(
        GoldenSet(rng.integers(0, 256, (6, 1, 4, 4), np.uint8), np.arange(6), rng.normal(size=(6, 10))), folder / "golden.npz"
    )
    return folder / "golden.npz"


def _read_golden(path: Path) -> None:
    found = read_golden(path)
    assert found.pixels.dtype == np.uint8
    assert found.labels.dtype.kind in "iu"
    assert found.logits.dtype == np.float64
    assert np.isfinite(found.logits).all()
    assert found.labels.shape == (len(found.first(3).pixels) and len(found.pixels),)


def _board_golden(path: Path) -> None:
    write_board_golden(path, Stream((1, 4, 4, 1), "INT8"), Stream((1, 10), "FLOAT32"), path.with_name("board.npz"))


def _table(folder: Path) -> Path:
    return test_flow_tabular.write(folder / "tiny.npz")


def _read_table(path: Path) -> None:
    found = PolicyTable.read(path)
    best = found.truth.accuracy(np.array([found.best]))
    assert np.isfinite(best).all()
    found.decisions()


_TEST_SET = {"inputs": np.zeros((5, 4, 4, 3), np.int8), "labels": np.arange(5)}


def _read_test_set(path: Path) -> None:
    assert _check_test_set(path, ABOUT, "xilinx@board") > 0


# --- images


def _image(name: str, kind: str, mode: str = "RGB") -> Callable[[Path], Path]:
    def prepare(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / name, kind)
        return folder / name

    return prepare


def _read_image(path: Path) -> None:
    with refused_bombs():
        assert read_image(path).mode in ("L", "RGB")


def _images(folder: Path) -> Path:
    for name in ("ant/1.png", "ant/2.jpg", "bee/1.png"):
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        _image(f"images/{name}", "PNG")(folder)
    return folder / "images" / "ant" / "1.png"


# --- weights and checkpoints


@cache
def _weights() -> Pretrained:
    info = get_model("tfc")
    torch.manual_seed(0)
    return Pretrained("tfc", "digits", 10, 0, 0.9, info.build(None, 10).state_dict())


def _pretrained(folder: Path) -> Path:
    write_pretrained(_weights(), folder / "pretrained.pt")
    return folder / "pretrained.pt"


def _read_pretrained(path: Path) -> None:
    found = read_pretrained(path)
    assert found.network().state_dict().keys() == found.state.keys()


IMAGES = tiny_images(24)
RECIPE = Recipe(n_images=24, batch_size=12)
EFFORT = Effort(2, 2)


def _checkpoint(folder: Path) -> Path:
    train_resumably(tiny_network(None), IMAGES, RECIPE, 0, folder / "pretraining.pt")
    return folder / "pretraining.pt"


def _go_on(path: Path) -> None:
    train_resumably(tiny_network(None), IMAGES, RECIPE, 0, path)


def _retraining(folder: Path) -> Path:
    converge(tiny_network(None), IMAGES, IMAGES, RECIPE, EFFORT, 0, folder / "retraining.pt")
    return folder / "retraining.pt"


def _retrain_on(path: Path) -> None:
    ended = converge(tiny_network(None), IMAGES, IMAGES, RECIPE, EFFORT, 0, path)
    assert 0 <= ended.accuracy <= 1
    assert 0 <= ended.best_epoch <= ended.n_epochs <= EFFORT.max_epochs


_TENSORS = (
    torch.zeros(0), torch.zeros(3), torch.tensor(float("nan")), torch.zeros(2, 2, dtype=torch.int8),
    torch.zeros(1).expand(10**12), torch.zeros(4, dtype=torch.complex64), torch.eye(3).to_sparse(), torch.zeros(3,
    device="meta"),
)  # fmt: skip


def _mutate_state(rng: random.Random, data: bytes) -> bytes:
    """A damaged file of tensors: its bytes, its pickle, or what is in it."""
    if rng.randrange(2):
        bombs = [pickle.dumps(Bomb(Path(FUSE)), protocol) for protocol in (0, 2, 4)]
        return mutate_zip(rng, data, [*bombs, b"", b"\x80\2.", b"\x80\2N.", b"\x80\2]q\0.", b"(" * 100_000, b"3", b"\0" * 64])
    content = torch.load(io.BytesIO(data), weights_only=True)
    keys = list(content)
    for _ in range(rng.choice((1, 1, 2))):
        here: Any = content
        key = rng.choice(keys)
        while isinstance(here.get(key), dict) and here[key] and rng.randrange(3):
            here = here[key]
            key = rng.choice(list(here))
        what = rng.randrange(5)
        if what == 0:
            here.pop(key, None)
        elif what == 1:
            here[rng.choice(("more", 7, ""))] = rng.choice(WRONG[:20])
        elif what == 2:
            here[key] = rng.choice(_TENSORS)
        elif isinstance(here.get(key), torch.Tensor) and what == 3:
            here[key] = rng.choice((here[key] * float("nan"), here[key].double(), here[key][None], here[key].half()))
        else:
            here[key] = rng.choice([value for value in WRONG if not isinstance(value, Raw)] + [10**7, 10**12, 2**62])
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


# --- graphs and circuits


def _onnx(folder: Path) -> Path:
    """A Quant of the image and a product."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    given = [("step", 1 / 128, ()), ("zero", 0.0, ()), ("bits", 8.0, ()), ("w", 0.5, (4, 2))]
    told = [helper.make_tensor(n, kind, shape, [value] * (8 if shape else 1)) for n, value, shape in given]
    nodes = [
        helper.make_node("Quant", ["x", "step", "zero", "bits"], ["q"], domain="qonnx.custom_op.general", signed=1, narrow=0,
                         rounding_mode="ROUND"),
        helper.make_node("MatMul", ["q", "w"], ["y"]),
    ]  # fmt: skip
    ends = [helper.make_tensor_value_info(n, kind, shape) for n, shape in (("x", (1, 1, 2, 4)), ("y", (1, 1, 2, 2)))]
    graph = helper.make_graph(nodes, "made", ends[:1], ends[1:], told)
    onnx.save(helper.make_model(graph), str(folder / "model.onnx"))
    return folder / "model.onnx"


def _circuit(folder: Path) -> Path:
    (folder / "circuit.npz").write_bytes(made_circuits.circuit())
    return folder / "circuit.npz"


def _run_circuit(path: Path) -> None:
    circuit = read_circuit(path.read_bytes())
    frames = np.zeros((2, *circuit.reads.shape[1:]), np.int8)
    assert circuit.run(frames).shape == (2, *circuit.hands_on.shape[1:])


def _mutate_circuit(rng: random.Random, data: bytes) -> bytes:
    """A damaged circuit: the archive, or the document in it."""
    if rng.randrange(3) == 0:
        return mutate_npz(rng, data)
    with np.load(io.BytesIO(data)) as file:
        arrays = dict(file)
    document = json.loads(arrays["circuit"].tobytes())
    arrays["circuit"] = np.frombuffer(to_json(mutate_document(rng, document)).encode("utf-8", "surrogatepass"), np.uint8)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _configuration(folder: Path) -> Path:
    (folder / "configuration").write_bytes(simulated_configuration(b"circuit" * 9))
    return folder / "configuration"


def _hwh(folder: Path) -> Path:
    (folder / "made.hwh").write_text(hwh(board="pynq-z2", fpga_part="xc7z020clg400-1", clock_mhz=100.0))
    return folder / "made.hwh"


def _load_clocks(path: Path) -> None:
    clocks = Clocks(Board("pynq-z2", "xc7z020clg400-1", "zynq-7000", 100.0))
    clocks.load(path)
    assert 0 < clocks.design_mhz() < float("inf")


ARCHIVES = (
    Target("data set", _npz("data.npz", **made_arrays()), _read_npz, mutate_npz, 400),
    Target("data set with groups", _npz("data.npz", **made_arrays(), group_train=np.arange(40), classes=np.array(list("abcd"))),
           _read_npz, mutate_npz, 200),
    Target("golden.npz", _golden, _read_golden, mutate_npz, 320),
    Target("answers.npz", _npz("answers.npz", pixels=np.zeros((5, 1, 4, 4), np.uint8), outputs=np.zeros((5, 10), np.float32),
                               labels=np.arange(5)), _board_golden, mutate_npz, 260),
    Target("test set", _npz("test.npz", **_TEST_SET), _read_test_set, mutate_npz, 260),
    Target("table of policies", _table, _read_table, mutate_npz, 260),
    Target("png", _image("1.png", "PNG"), _read_image, mutate_bytes, 200),
    Target("png with a palette", _image("1.png", "PNG", "P"), _read_image, mutate_bytes, 100),
    Target("jpeg", _image("1.jpg", "JPEG"), _read_image, mutate_bytes, 200),
    Target("gif", _image("1.gif", "GIF", "P"), _read_image, mutate_bytes, 100),
    Target("tiff", _image("1.tif", "TIFF"), _read_image, mutate_bytes, 100),
    Target("webp", _image("1.webp", "WEBP"), _read_image, mutate_bytes, 100),
    Target("bmp", _image("1.bmp", "BMP"), _read_image, mutate_bytes, 100),
    Target("ppm", _image("1.ppm", "PPM"), _read_image, mutate_text, 100),
    Target("folder of images", _images, lambda p: read_folder(p.parents[1], Preparation(3, 8, 8)), mutate_bytes, 100),
    Target("pretrained.pt", _pretrained, _read_pretrained, _mutate_state, 200),
    Target("checkpoint of a pretraining", _checkpoint, _go_on, _mutate_state, 260),
    Target("checkpoint of a retraining", _retraining, _retrain_on, _mutate_state, 200),
    Target("QONNX file", _onnx, read_model, mutate_bytes, 200),
    Target("QONNX file's image", _onnx, image_of, mutate_bytes, 200),
    Target("circuit", _circuit, _run_circuit, _mutate_circuit, 400, (ValueError,), is_named=False),
    Target("configuration", _configuration, lambda p: circuit_in(p.read_bytes()), mutate_bytes, 130, (ValueError,),
           is_named=False),
    Target("hwh", _hwh, _load_clocks, mutate_text, 200, (RuntimeError,)),
)  # fmt: skip
"""A circuit and a .hwh file are read on the simulated board: a ValueError of one line there, and a RuntimeError,
as pynq's own."""
