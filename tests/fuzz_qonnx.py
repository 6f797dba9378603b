"""Damaged QONNX files through all of a build that needs no Vivado: reading, verifying every stage, folding, the checkpoint.

    python -m tests.fuzz_qonnx FOLDER FIRST LAST

takes the damaged files with these numbers, each in a process of its own, and prints a line of JSON for each: what became of
it. Which damage a file has follows from its number.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from tests.fuzz_mutations import mutate_bytes

LIMIT_S = 60.0  # of processor time; the whole file takes 2
MEMORY_BYTES = 3 << 30  # more than a process has that has done nothing yet
NUMBERS = (0, 1, -1, 2, 3, 7, 33, 64, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**63 - 1, -(2**63))
SIZES = (0, 1, -1, 2, 3, 5, 1000, 2**20, 2**31, 2**40)
FLOATS = (0.0, -1.0, 0.5, 1.5, 33.0, 1e30, 1e-30, -1e300, float("nan"), float("inf"), 2.0**40)
OPERATORS = (
    "Quant", "BipolarQuant", "MatMul", "Conv", "MaxPool", "Mul", "Add", "Div", "Relu", "Reshape", "Flatten", "Transpose", "If",
    "Loop", "Softmax", "MVAU_hls", "MultiThreshold", "GRU", "Identity", "Constant", "Gather", "", "Quant\0", "../x",
)  # fmt: skip
Model = onnx.ModelProto


def small_network(folder: Path) -> Path:
    """A convolution, a pool, two linear layers, of every kind of quantizer, as bitloop exports them."""
    from models.export import write_qonnx
    from models.policy import BitPolicy, LayerBits
    from models.train import calibrate
    from tests.tiny import INPUT_SHAPE, tiny_images, tiny_network

    policy = BitPolicy({"conv0": LayerBits(3, 2), "fc0": LayerBits(1, 1), "fc1": LayerBits(2, None)})
    network = tiny_network(policy)
    calibrate(network, tiny_images())
    write_qonnx(network, INPUT_SHAPE, folder / "model.onnx")
    return folder / "model.onnx"


# --- damage --------------------------------------------------------------------------------------------------------------


def _initializer(rng: random.Random, model: Model) -> None:
    """A constant is missing, is empty, is of another shape or type, or has other values."""
    constants = model.graph.initializer
    at = rng.randrange(len(constants))
    name, array = constants[at].name, np.array(numpy_helper.to_array(constants[at]))
    what = rng.randrange(9)
    if what == 0:
        del constants[at]
        return
    if what == 1:
        constants.append(constants[at])
        return
    if what == 2:
        constants[at].name = rng.choice(("", "renamed", constants[rng.randrange(len(constants))].name))
        return
    if what == 3:
        constants[at].dims.append(rng.choice(SIZES))
        return
    if what == 4:
        constants[at].data_type = rng.choice((0, 1, 2, 6, 7, 8, 10, 11, 16, 99))
        return
    if what == 5:  # tensors may lie in another file
        constants[at].data_location = onnx.TensorProto.EXTERNAL
        told = constants[at].external_data.add()
        told.key, told.value = "location", rng.choice(("/etc/passwd", "../../../etc/passwd", "missing.bin", ""))
        return
    if what == 6:
        array = np.full_like(array, rng.choice(FLOATS))
    elif what == 7 and array.size:
        array = array.copy()
        array.flat[rng.randrange(array.size)] = rng.choice(FLOATS)
    else:
        shape = rng.choice(((0,), (1,), (2, 3), (*array.shape, 1), array.shape[::-1], array.shape[1:]))
        array = np.resize(array, shape)
    with np.errstate(all="ignore"):
        constants[at].CopyFrom(numpy_helper.from_array(array.astype(np.float32), name))


def _node(rng: random.Random, model: Model) -> None:
    """A node is missing, comes twice, is another one, or is joined otherwise."""
    nodes = model.graph.node
    at = rng.randrange(len(nodes))
    node, names = nodes[at], [n for x in nodes for n in (*x.input, *x.output)]
    what = rng.randrange(9)
    if what == 0:
        del nodes[at]
    elif what == 1:
        nodes.add().CopyFrom(node)
    elif what == 2:
        node.op_type = rng.choice(OPERATORS)
    elif what == 3:
        node.domain = rng.choice(("", "finn.custom_op.fpgadataflow", "qonnx.custom_op.general", "nobody.knows", "os"))
    elif what == 4 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(("", "nowhere", rng.choice(names)))
    elif what == 5 and node.output:
        node.output[rng.randrange(len(node.output))] = rng.choice(("", "nowhere", rng.choice(names)))
    elif what == 6 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif what == 7:
        node.input.append(rng.choice(names))
    else:
        other = nodes[rng.randrange(len(nodes))]
        node.input[:], other.input[:] = list(other.input), list(node.input)


def _attribute(rng: random.Random, model: Model) -> None:
    """An attribute is missing, is of another type, or has another value."""
    having = [n for n in model.graph.node if n.attribute]
    node = rng.choice(having)
    at = rng.randrange(len(node.attribute))
    attribute = node.attribute[at]
    what = rng.randrange(6)
    if what == 0:
        del node.attribute[at]
    elif what == 1:
        attribute.name = rng.choice(("", "renamed", "__class__"))
    elif what == 2:
        attribute.type = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 8))
    elif what == 3 and attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(NUMBERS)
    elif what == 4 and attribute.ints:
        attribute.ints.append(rng.choice(NUMBERS))
    else:
        attribute.i = rng.choice(NUMBERS)
        attribute.f = rng.choice(FLOATS[:4])
        attribute.s = rng.choice((b"", b"ROUND", b"FLOOR", b"\xff\xfe", b"x" * 10_000))


def _ends(rng: random.Random, model: Model) -> None:
    """What the graph says of its inputs, outputs and what is between."""
    told = [
        infos for infos in (model.graph.input, model.graph.output, model.graph.value_info) if len(infos)
    ]  # fmt: skip
    infos = rng.choice(told)
    info = infos[rng.randrange(len(infos))]
    kind, what = info.type.tensor_type, rng.randrange(7)
    if what == 0:
        infos.remove(info)
    elif what == 1:
        info.name = rng.choice(("", "renamed"))
    elif what == 2:
        kind.elem_type = rng.choice((0, 2, 6, 7, 8, 9, 11, 99))
    elif what == 3:
        kind.ClearField("shape")
    elif what == 4:
        kind.shape.dim.add().dim_value = rng.choice(SIZES)
    elif what == 5 and kind.shape.dim:
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_param = "N"
    elif kind.shape.dim:
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_value = rng.choice(SIZES)


def _whole(rng: random.Random, model: Model) -> None:
    """What the file says of itself."""
    what = rng.randrange(6)
    if what == 0:
        model.ClearField("opset_import")
    elif what == 1:
        model.opset_import[0].version = rng.choice((0, 1, 7, 99, 2**31))
    elif what == 2:
        model.ir_version = rng.choice((0, 1, 3, 99, 2**31))
    elif what == 3:
        model.ClearField("graph")
    elif what == 4:
        del model.graph.node[:]
    else:
        model.graph.quantization_annotation.add().tensor_name = rng.choice(("nowhere", model.graph.input[0].name))


FIELDS: tuple[Callable[[random.Random, Model], None], ...] = (
    _initializer, _initializer, _initializer, _node, _node, _attribute, _attribute, _ends, _ends, _whole,
)  # fmt: skip


def damaged(number: int, valid: bytes) -> bytes:
    """A damaged file: one in four by its bytes, the others by one field or two."""
    rng = random.Random(f"QONNX through the flow {number}")
    if number % 4 == 0:
        return mutate_bytes(rng, valid)
    model = onnx.load_model_from_string(valid)
    for _ in range(rng.choice((1, 1, 1, 2))):
        try:
            rng.choice(FIELDS)(rng, model)
        except (IndexError, ValueError, OverflowError):  # an earlier one took what this one is for, or protobuf refuses it
            continue
    return model.SerializeToString()


# --- what becomes of it --------------------------------------------------------------------------------------------------


def through_the_flow(onnx_file: Path, out: Path) -> str:
    """All of `bitloop build` that comes before Vivado; in a word what it came to."""
    from flow.bitstream import _prepared
    from flow.build_directory import BuildDirectory
    from flow.build_source import source_of_qonnx
    from flow.progress import SilentListener

    source = source_of_qonnx(onnx_file, "pynq-z2", None, 1000)
    with BuildDirectory(out, source.plan()) as directory:
        _prepared(source, directory, 4, False, SilentListener())
        verified = json.loads((directory / "verified.json").read_text())
    return "built, not verified" if verified["why_not"] else "built and verified"


def _child(file: Path, out: Path, write: int) -> None:
    from flow.errors import BITLOOP_ERRORS

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    soft = int(LIMIT_S)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, soft + 5))
    try:
        told: dict[str, Any] = {"became": through_the_flow(file, out), "wrong": ""}
    except BITLOOP_ERRORS as error:
        text = " ".join(str(error).split())  # as the command line prints it: FINN's own words may have several lines
        wrong = "" if file.stem in text else "does not name the file"
        told = {"became": type(error).__name__, "wrong": wrong, "said": text[:600]}
    except BaseException as error:
        told = {"became": type(error).__name__, "wrong": "is no error of bitloop's", "said": str(error)[:600]}
    told["grown_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) >> 10
    told["cpu_s"] = round(time.process_time(), 1)
    if told["grown_mib"] << 20 > MEMORY_BYTES and not told["wrong"]:
        told["wrong"] = "took too much memory"
    os.write(write, json.dumps(told).encode())


def one(number: int, valid: bytes, folder: Path) -> dict[str, Any]:
    """What became of one damaged file, in a process of its own."""
    file = folder / f"damaged{number}.onnx"
    file.write_bytes(damaged(number, valid))
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            _child(file, folder / f"build{number}", write)
        finally:
            os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], 20 * LIMIT_S)
    said = b"".join(iter(lambda: os.read(read, 65536), b"")) if ready else b""
    os.close(read)
    if not ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if said:
        return {"number": number, **json.loads(said)}
    how = "hangs" if not ready or os.WTERMSIG(status) == signal.SIGXCPU else f"ended by signal {os.WTERMSIG(status)}"
    return {"number": number, "became": how, "wrong": how}


def main() -> None:
    """See the module."""
    from flow import bitstream  # noqa: F401
    from hls.finn_operators import finn_steps

    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    file = small_network(folder)
    finn_steps()
    begun = time.process_time()
    assert through_the_flow(file, folder / "build") == "built and verified"
    print(json.dumps({"whole_s": round(time.process_time() - begun, 1)}), flush=True)
    valid = file.read_bytes()
    for number in range(first, last):
        print(json.dumps(one(number, valid, folder)), flush=True)


if __name__ == "__main__":
    main()
