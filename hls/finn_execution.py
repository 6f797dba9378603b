"""What a network answers at every stage of its way to hardware: QONNX, FINN's streamlined graph, FINN's hardware layers.

The graphs are run by QONNX' and FINN's own Python, image by image, as FINN's graphs hold one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Board
from hls.errors import GraphError
from hls.finn_backend import dataflow_steps, naming, quiet, read_model
from hls.finn_implementations import in_order_of_layers
from hls.rounding import near_middle, on_boundary, places, tolerance_steps
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
        decided: logits of a QONNX file with values on a rounding boundary rounded as the next stage does (`decide`); its
            activations are those of that run, while `logits` are of the file as it is. None elsewhere.
        n_roundings: such values that the file rounds otherwise by itself, by image; None elsewhere.
        explained: logits of a QONNX file with one value on a rounding boundary the other way, of images that the trained
            network answers so and in no other way (`explain`); of the others its own logits. None elsewhere.
    """

    stage: str
    activations: tuple[NDArray[np.int64], ...]
    logits: NDArray[np.float64]
    step: float | None = None
    chosen: NDArray[np.int64] | None = None
    decided: NDArray[np.float64] | None = None
    n_roundings: NDArray[np.int64] | None = None
    explained: NDArray[np.float64] | None = None


def answers(
    onnx: Path,
    board: Board,
    pixels: NDArray[np.uint8],
    implementations: Sequence[Implementation] = (),
    top_k: int = 0,
    trained: NDArray[np.float64] | None = None,
) -> list[Answers]:
    """What every stage answers to some images; about a second an image for CNV.

    Args:
        onnx: a QONNX file as `models.export.write_qonnx` makes it.
        board: gives part and clock.
        pixels: (N, C, H, W).
        implementations: of every layer, in order; merged HLS units without it.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.
        trained: the trained network's logits, where it may round a value on a rounding boundary in a way of its own.

    Raises:
        GraphError: FINN cannot convert or run the network.
    """
    integers = pixels.astype(np.float32) - 128
    with tempfile.TemporaryDirectory(prefix="bitloop-verify-") as folder, quiet(), naming(onnx):
        file, images = read_model(onnx), integers / np.float32(128)
        found = [answers_of(QONNX, file, images)]
        step = _step_before_choice(onnx, board, Path(folder)) if top_k else None
        for name, model, _ in dataflow_steps(onnx, board, Path(folder), implementations, top_k):
            if name in STAGES:
                found.append(answers_of(STAGES[name], model, integers, step))
        found[0] = decide(file, images, found[0], found[1])
        steps = [stage.step for stage in found if stage.step]
        if trained is not None and steps:
            found[0] = explain(file, images, found[0], trained, steps[-1])
    return found


def decide(model: Any, images: NDArray[np.float32], alone: Answers, following: Answers) -> Answers:
    """What a QONNX file answers with values on a rounding boundary (`hls.rounding`) rounded as the next stage does.

    So a step that single precision alone decides is not carried into the layers behind it, and these are held against those
    of the next stage on the same inputs. Whatever else differs stays as it is. Only images that differ are run again.

    Args:
        model: the file's graph.
        images: as it reads them, (N, C, H, W).
        alone: its answers.
        following: those of the next stage.

    Raises:
        GraphError: it cannot be run.
    """
    from qonnx.transformation.infer_shapes import InferShapes

    if len(alone.activations) != len(following.activations):
        return alone
    model = model.transform(InferShapes())
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    quantizers = _quantizers(model)
    activations, decided = [a.copy() for a in alone.activations], alone.logits.copy()
    n_roundings = np.zeros(len(images), np.int64)
    for i, image in enumerate(images):
        if not any(_differ(a[i], b[i]) for a, b in zip(alone.activations, following.activations, strict=True)):
            continue
        context = _execute(model, alone.stage, {source: image.reshape(model.get_tensor_shape(source))})
        for q in sorted(quantizers, key=lambda q: q.place):
            corrected, n = q.decided(context, following.activations[q.number][i])
            if n:
                n_roundings[i] += n
                context = _execute(model, alone.stage, {**context, q.out: corrected}, model.graph.node[q.place + 1])
        for q in quantizers:
            activations[q.number][i] = _integers(context[q.out], q.scale, "")
        decided[i] = np.asarray(context[sink], np.float64).reshape(-1)
    return replace(alone, activations=tuple(activations), decided=decided, n_roundings=n_roundings)


def explain(model: Any, images: NDArray[np.float32], file: Answers, trained: NDArray[np.float64], step: float) -> Answers:
    """What a QONNX file answers where the trained network rounds a value in a way of its own.

    Trained network and file are both run in single precision, but not in the same order of additions. An image that the
    trained network answers as neither run of the file does is explained if turning one single value on a rounding boundary
    gives its accumulators, all of them. The first image that cannot be explained ends the search: it is a difference.

    Args:
        model: the file's graph.
        images: as it reads them, (N, C, H, W).
        file: its answers, in both runs (`decide`).
        trained: the trained network's logits, (images, classes).
        step: what a unit of the last accumulator is worth in logits.

    Raises:
        GraphError: it cannot be run.
    """
    from qonnx.transformation.infer_shapes import InferShapes

    wanted = np.rint(trained / step)
    runs = [file.logits] if file.decided is None else [file.logits, file.decided]
    open_ones = np.all([(np.rint(run / step) != wanted).any(axis=1) for run in runs], axis=0)
    model, explained = model.transform(InferShapes()), file.logits.copy()
    for i in np.flatnonzero(open_ones):
        logits = _one_turned(model, file.stage, images[i], wanted[i], step)
        if logits is None:
            break
        explained[i] = logits
    return replace(file, explained=explained)


def _one_turned(
    model: Any, stage: str, image: NDArray[np.float32], wanted: NDArray[np.float64], step: float
) -> NDArray[np.float64] | None:
    """Logits of the wanted accumulators with one value on a rounding boundary the other way; None where none gives them."""
    source, sink = model.graph.input[0].name, model.graph.output[0].name
    context = _execute(model, stage, {source: image.reshape(model.get_tensor_shape(source))})
    for q in _quantizers(model):
        for values in q.flipped(context):
            turned = _execute(model, stage, {**context, q.out: values}, model.graph.node[q.place + 1])
            logits = np.asarray(turned[sink], np.float64).reshape(-1)
            if np.array_equal(np.rint(logits / step), wanted):
                return logits
    return None


def _differ(here: NDArray[np.int64], there: NDArray[np.int64]) -> bool:
    where = places(here, there)
    return where is None or not np.array_equal(here.reshape(-1)[where], there)


@dataclass(frozen=True)
class _Quantizer:
    """A quantizer of a QONNX file.

    Attributes:
        number: which of `Answers.activations` is its.
        place: among the graph's nodes.
        source, out: tensors before and behind it.
        scale: its step.
        unit: between two integers that follow on each other; 0 where it does not round to the nearest.
    """

    number: int
    place: int
    source: str
    out: str
    scale: float
    unit: int

    def inputs(self, context: dict[str, Any]) -> NDArray[np.float64]:
        """In steps, as many-dimensional as its integers."""
        values = np.asarray(context[self.source], np.float64) / self.scale
        return values[0] if values.ndim > 1 else values

    def flipped(self, context: dict[str, Any]) -> Iterator[NDArray[np.float32]]:
        """Its values with one on a rounding boundary the other way, the nearest first."""
        if not self.unit:
            return
        inputs, here = self.inputs(context), _integers(context[self.out], self.scale, "")
        for place, other in near_middle(inputs, here, self.unit, tolerance_steps(inputs)):
            values = context[self.out].copy()
            values.reshape(-1)[place] = other * self.scale
            yield values

    def decided(self, context: dict[str, Any], there: NDArray[np.int64]) -> tuple[NDArray[np.float32], int]:
        """Its values with those on a rounding boundary as another stage has them, and how many changed."""
        values, inputs = context[self.out].copy(), self.inputs(context)
        here = _integers(values, self.scale, "")
        where = places(here, there)
        if where is None or not self.unit:
            return values, 0
        near = on_boundary(inputs.reshape(-1)[where], here.reshape(-1)[where], there, self.unit, tolerance_steps(inputs))
        values.reshape(-1)[where[near]] = there[near] * self.scale
        return values, int(near.sum())


def _quantizers(model: Any) -> list[_Quantizer]:
    """Those of a QONNX file but the image's, in the order of the layers."""
    from qonnx.custom_op.registry import getCustomOp

    found = []
    for number, (out, scale, _) in enumerate(_activations(model)):
        node = model.find_producer(out)
        unit = 2
        if node.op_type == "Quant":
            unit = 1 if getCustomOp(node).get_nodeattr("rounding_mode").upper() == "ROUND" else 0
        found.append(_Quantizer(number, model.get_node_index(node), node.input[0], out, scale, unit))
    return found


def _execute(model: Any, stage: str, tensors: dict[str, Any], start: Any = None) -> dict[str, Any]:
    """All tensors of a graph that is run from a node on; `tensors` are those that it and later ones read."""
    from qonnx.core.onnx_exec import execute_onnx

    given = {name: values for name, values in tensors.items() if values is not None}  # of an absent input there is none
    try:
        found: dict[str, Any] = execute_onnx(model, given, return_full_exec_context=True, start_node=start)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise GraphError(f"the {stage} cannot be run: {type(error).__name__}: {reason}") from error
    return found


def _step_before_choice(onnx: Path, board: Board, folder: Path) -> float | None:
    """What a unit of the last accumulator is worth in logits: where classes are chosen the scale is gone."""
    for name, model, _ in dataflow_steps(onnx, board, folder):
        if name == "step_streamline":
            return _last_step(model)
    return None


def answers_of(stage: str, model: Any, images: NDArray[np.float32], step: float | None = None) -> Answers:
    """The answers of one stage's graph.

    Args:
        stage: its name.
        model: the graph.
        images: as it reads them, (N, C, H, W).
        step: of an accumulator whose scale is gone.

    Raises:
        GraphError: it cannot be run.
    """
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
        context = _execute(model, stage, {source: given.reshape(shape)})
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
