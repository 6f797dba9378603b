"""What a network answers at every stage of its way to hardware: QONNX, FINN's streamlined graph, FINN's hardware layers.

The graphs are run by QONNX' and FINN's own Python, image by image, as FINN's graphs hold one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Board
from hls.errors import GraphError
from hls.finn_backend import dataflow_steps, naming, quiet, read_model
from hls.finn_implementations import in_order_of_layers
from hls.types import Implementation

QONNX, STREAMLINED, HARDWARE = "QONNX file", "streamlined graph", "hardware layers"
CHOOSING = ("TopK", "LabelSelect", "LabelSelect_hls")
QUANTIZERS = ("Quant", "BipolarQuant")
STAGES = {"step_streamline": STREAMLINED, "step_create_dataflow_partition": HARDWARE}


@dataclass(frozen=True)
class Answers:
    """What one stage answers.

    Attributes:
        stage: its name.
        activations: of every quantizer (`hls.verify.quantizers`), the integers it hands on, (images, …, channels); bipolar
            ones are -1 and 1.
        logits: (images, classes).
        step: what a unit of the last accumulator is worth in logits; None where the stage does not say.
        chosen: the best classes, the best first, (images, top_k); None where the stage hands on the logits.
    """

    stage: str
    activations: tuple[NDArray[np.int64], ...]
    logits: NDArray[np.float64]
    step: float | None = None
    chosen: NDArray[np.int64] | None = None


def answers(
    onnx: Path, board: Board, pixels: NDArray[np.uint8], implementations: Sequence[Implementation] = (), top_k: int = 0
) -> list[Answers]:
    """What every stage answers to some images; about a second an image for CNV.

    Args:
        onnx: a QONNX file as `models.export.write_qonnx` makes it.
        board: gives part and clock.
        pixels: (N, C, H, W).
        implementations: of every layer, in order; merged HLS units without it.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.

    Raises:
        GraphError: FINN cannot convert or run the network.
    """
    integers = pixels.astype(np.float32) - 128
    with tempfile.TemporaryDirectory(prefix="bitloop-verify-") as folder, quiet(), naming(onnx):
        found = [_run(QONNX, read_model(onnx), integers / np.float32(128))]
        step = _step_before_choice(onnx, board, Path(folder)) if top_k else None
        for name, model, _ in dataflow_steps(onnx, board, Path(folder), implementations, top_k):
            if name in STAGES:
                found.append(_run(STAGES[name], model, integers, step))
    return found


def _step_before_choice(onnx: Path, board: Board, folder: Path) -> float | None:
    """What a unit of the last accumulator is worth in logits: where classes are chosen the scale is gone."""
    for name, model, _ in dataflow_steps(onnx, board, folder):
        if name == "step_streamline":
            return _last_step(model)
    return None


def _run(stage: str, model: Any, images: NDArray[np.float32], step: float | None = None) -> Answers:
    """The answers of a graph; `step` is that of an accumulator whose scale is gone."""
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = model.transform(InferShapes())
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    last = model.find_producer(sink)
    chooses = last.op_type in CHOOSING
    scored = last.input[0] if chooses else sink
    shape = model.get_tensor_shape(source)
    wanted = _activations(model)
    rows: list[list[NDArray[np.int64]]] = []
    scores, chosen = [], []
    for image in images:
        given = image.transpose(1, 2, 0) if len(shape) == 4 and shape[-1] == len(image) != shape[1] else image
        try:
            context = execute_onnx(model, {source: given.reshape(shape)}, return_full_exec_context=True)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise GraphError(f"the {stage} cannot be run: {type(error).__name__}: {reason}") from error
        rows.append([_integers(context[name], scale, bits) for name, scale, bits in wanted])
        scores.append(np.asarray(context[scored], np.float64).reshape(-1))
        chosen.append(np.asarray(context[sink], np.int64).reshape(-1) if chooses else np.empty(0, np.int64))
    logits = np.stack(scores)
    if chooses and step is not None and model.get_tensor_datatype(scored).is_integer():
        logits = _values(logits, model, scored) * step
    else:
        step = _last_step(model)
    activations = tuple(np.stack(column) for column in zip(*rows, strict=True))
    return Answers(stage, activations, logits, step, np.stack(chosen) if chooses else None)


def _values(accumulators: NDArray[np.float64], model: Any, tensor: str) -> NDArray[np.float64]:
    """Accumulators as products: those that count matching bits of n are half of the sum and n."""
    from qonnx.custom_op.registry import getCustomOp

    unit = model.find_producer(tensor)
    counts = unit.op_type == "XnorPopcountMatMul" or (
        unit.op_type.startswith("MVAU") and getCustomOp(unit).get_nodeattr("binaryXnorMode")
    )
    return accumulators - model.get_initializer(unit.input[1]).shape[0] / 2 if counts else accumulators


def _activations(model: Any) -> list[tuple[str, float, str]]:
    """Of every quantizer but the image's, in order: its output tensor, the step of its values, its type in FINN's graphs."""
    found = []
    for node in in_order_of_layers(model, _hands_activations_on):
        out = node.output[0]
        if node.op_type in QUANTIZERS:
            scale = model.get_initializer(node.input[1])
            found.append((out, float(np.asarray(scale).reshape(-1)[0]), ""))
        else:
            found.append((out, 1.0, model.get_tensor_datatype(out).name))
    # a QONNX file's first quantizer is the image's
    return found[1:] if found and any(n.op_type == "Quant" for n in model.graph.node) else found


def _hands_activations_on(node: Any) -> bool:
    """Whether a node ends in a quantizer or, of FINN's, in thresholds."""
    has_thresholds = node.op_type.startswith(("MVAU", "VVAU")) and len(node.input) > 2
    return has_thresholds or node.op_type in (*QUANTIZERS, "MultiThreshold") or bool(node.op_type.startswith("Thresholding"))


def _integers(values: NDArray[np.float32], scale: float, kind: str) -> NDArray[np.int64]:
    """The integers of one image's activations, channels last."""
    whole = np.rint(np.asarray(values, np.float64) / scale).astype(np.int64)
    if kind == "BINARY":
        whole = 2 * whole - 1
    return whole[0] if whole.ndim > 1 else whole


def _last_step(model: Any) -> float | None:
    """The factor behind the last accumulator, where it is one number."""
    for node in reversed(model.graph.node):
        if node.op_type in ("Mul", "ElementwiseMul"):
            factor = next((v for v in map(model.get_initializer, node.input) if v is not None), None)
            if factor is not None and np.size(factor) == 1:
                return float(np.asarray(factor).reshape(-1)[0])
    return None
