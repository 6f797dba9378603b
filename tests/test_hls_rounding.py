"""Values in the middle of two integers: what single precision decides is no difference, and everything else still is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.infer_shapes import InferShapes
from qonnx.util.basic import qonnx_make_model

from hls.finn_execution import QONNX, Answers, answers_of, decide, explain
from hls.rounding import NEAREST_STEP, near_middle, on_boundary, places, tolerance_steps
from hls.verify import Verdict, verdicts

LAYERS = ("fc0", "fc1", "fc2")
STEP = 0.25
# The first image gives fc0's first value 102.5 and 3e-6 more: less than half of what single precision can tell from 102.5,
# in whatever order it adds. The second image is far from any boundary.
IMAGES = np.array([[64, 1], [32, 0]], np.float32).reshape(2, 2, 1, 1) / 128
FC0 = np.array([[205, 100, 40.6], [3e-6 * 128, 0, 0]], np.float32)
FC1 = np.array([[1, -1], [0.32, 1.44], [0, 1]], np.float32)
FC2 = np.array([[1, 2, 0], [0, 1, -1]], np.float32)


def qonnx_file(kind: str = "Quant", rounding: str = "ROUND") -> Any:
    """Three layers, the first two with quantizers of step 1."""
    tensors = {"fc0": FC0, "fc1": FC1, "fc2": FC2, "pixel": np.float32(1 / 128), "one": np.float32(1), "zero": np.float32(0),
               "bits": np.float32(8), "step": np.float32(STEP), "shape": np.array([1, 2])}  # fmt: skip

    def quantizer(source: str, scale: str, out: str, signed: int) -> Any:
        if kind == "BipolarQuant" and scale == "one":
            return helper.make_node(kind, [source, scale], [out], domain="qonnx.custom_op.general")
        return helper.make_node(
            "Quant", [source, scale, "zero", "bits"], [out], domain="qonnx.custom_op.general", signed=signed, narrow=0,
            rounding_mode="ROUND" if scale == "pixel" else rounding,
        )  # fmt: skip

    nodes = [
        quantizer("image", "pixel", "pixels", 1), helper.make_node("Reshape", ["pixels", "shape"], ["row"]),
        helper.make_node("MatMul", ["row", "fc0"], ["sum0"]), quantizer("sum0", "one", "act0", 0),
        helper.make_node("MatMul", ["act0", "fc1"], ["sum1"]), quantizer("sum1", "one", "act1", 1),
        helper.make_node("MatMul", ["act1", "fc2"], ["sum2"]), helper.make_node("Mul", ["sum2", "step"], ["logits"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "small", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 2, 1, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 3])],
    )  # fmt: skip
    model = ModelWrapper(qonnx_make_model(graph))
    for name, value in tensors.items():
        model.set_initializer(name, np.asarray(value))
    return model.transform(InferShapes())


def in_double(act0: NDArray[np.int64] | None = None) -> Answers:
    """What the same layers answer in double precision, as thresholds on integers would; on other values of fc0 if given."""
    if act0 is None:
        act0 = np.rint(IMAGES.reshape(2, 2).astype(np.float64) @ FC0.astype(np.float64)).astype(np.int64)
    act1 = np.clip(np.floor(act0 @ FC1.astype(np.float64) + 0.5), -128, 127).astype(np.int64)
    return Answers("graph", (act0, act1), act1 @ FC2.astype(np.float64) * STEP, STEP)


def held(following: Answers, trained: NDArray[np.float64] | None = None) -> list[Verdict]:
    model = qonnx_file()
    alone = answers_of(QONNX, model, IMAGES)
    file = decide(model, IMAGES, alone, following)
    return verdicts(LAYERS, alone.logits if trained is None else trained, [file, following])


def test_single_precision_rounds_the_value_the_other_way() -> None:
    """Without which this file would test nothing."""
    alone, graph = answers_of(QONNX, qonnx_file(), IMAGES), in_double()
    assert (alone.activations[0][0, 0], graph.activations[0][0, 0]) == (102, 103)
    assert not np.array_equal(alone.logits, graph.logits)
    assert not verdicts(LAYERS, alone.logits, [alone, graph])[1].agrees


@pytest.mark.parametrize("trained_as", ["file", "graph"])
def test_what_it_decides_is_counted_and_no_difference(trained_as: str) -> None:
    """Whichever way the trained network rounds; the layers behind are held against each other on the same values."""
    graph = in_double()
    trained = graph.logits if trained_as == "graph" else None
    file, streamlined = held(graph, trained)
    assert (file.agrees, streamlined.agrees) == (True, True)
    assert (file.n_roundings, streamlined.n_roundings) == (1, 0)
    assert (file.n_followed, streamlined.n_followed) == ((1, 0) if trained_as == "graph" else (0, 1))
    assert file.remark.startswith("1 value lies on a rounding boundary, where single precision decides")
    follows = "1 image with accumulators that differ by what follows from such values alone"
    assert follows in (file.remark if trained_as == "graph" else streamlined.remark)


def test_one_step_away_from_the_boundary_is_a_difference() -> None:
    act0 = in_double().activations[0].copy()
    act0[1, 1] += 1  # 25.0 became 26
    found = held(in_double(act0))[1]
    assert not found.agrees
    assert (found.first_layer, found.wrong_activations, found.largest_step) == ("fc0", 1, 1)


@pytest.mark.parametrize("by", [-2, 1, 2])
def test_more_than_that_step_at_the_boundary_is_a_difference(by: int) -> None:
    """The file says 102, thresholds may say 103."""
    act0 = in_double().activations[0].copy()
    act0[0, 0] += by
    file, graph = held(in_double(act0))
    assert not graph.agrees
    assert (graph.first_layer, graph.wrong_activations, graph.largest_step, file.n_roundings) == ("fc0", 1, abs(by + 1), 0)


def test_a_wrong_layer_behind_the_boundary_is_found() -> None:
    graph = in_double()
    act1 = graph.activations[1].copy()
    act1[0, 0] -= 1
    file, found = held(replace(graph, activations=(graph.activations[0], act1)))
    assert file.n_roundings == 1
    assert (found.agrees, found.first_layer, found.wrong_activations) == (False, "fc1", 1)


def test_wrong_logits_behind_the_boundary_are_found() -> None:
    graph = in_double()
    logits = graph.logits.copy()
    logits[0, 2] += STEP
    found = held(replace(graph, logits=logits))[1]
    assert (found.agrees, found.n_followed, found.wrong_logits > 0) == (False, 0, True)


def test_other_rounding_than_to_the_nearest_has_no_such_boundary() -> None:
    model, graph = qonnx_file(rounding="FLOOR"), in_double()
    file = decide(model, IMAGES, answers_of(QONNX, model, IMAGES), graph)
    assert file.n_roundings is not None
    assert file.n_roundings.sum() == 0


def test_bipolar_values_have_theirs_at_zero() -> None:
    model = qonnx_file("BipolarQuant")
    model.set_initializer("fc0", np.array([[1, 100, 1], [-64 + 1e-5, 0, 0]], np.float32))
    alone = answers_of(QONNX, model, IMAGES)
    assert alone.activations[0].tolist() == [[1, 1, 1], [1, 1, 1]]
    flipped = [alone.activations[0].copy(), alone.activations[1].copy()]
    flipped[0][0, 0] = -1
    file = decide(model, IMAGES, alone, replace(alone, activations=tuple(flipped)))
    assert file.n_roundings is not None
    assert file.n_roundings.tolist() == [1, 0]
    flipped[0][0, 2] = -1  # 0.5 is no boundary
    file = decide(model, IMAGES, alone, replace(alone, activations=tuple(flipped)))
    assert file.n_roundings is not None
    assert file.n_roundings.tolist() == [1, 0]
    assert file.activations[0][0].tolist() == [-1, 1, 1]


# --- a trained network that rounds in a way of its own --------------------------------------------------------------------


def explained(trained: NDArray[np.float64]) -> list[Verdict]:
    """The graph rounds as the file does, and the trained network otherwise."""
    model = qonnx_file()
    alone = answers_of(QONNX, model, IMAGES)
    graph = replace(alone, stage="graph", step=STEP)
    file = explain(model, IMAGES, decide(model, IMAGES, alone, graph), trained, STEP)
    return verdicts(LAYERS, trained, [file, graph])


def test_it_is_explained_by_one_value_on_a_boundary() -> None:
    found = explained(in_double().logits)
    assert [(v.agrees, v.wrong_logits, v.n_roundings, v.n_followed) for v in found] == [(True, 0, 0, 1)] * 2


@pytest.mark.parametrize("image", [0, 1])
def test_nothing_else_explains_it(image: int) -> None:
    """Not an image with a value on a boundary either, if turning that one does not give the very accumulators."""
    trained = in_double().logits
    trained[image, 1] += STEP
    found = explained(trained)
    assert [v.agrees for v in found] == [False, False]
    assert found[0].wrong_logits > 0


@pytest.mark.parametrize(("chosen", "n_wrong"), [(1, 0), (0, 1)])
def test_the_best_classes_are_held_against_the_accumulators_that_follow(chosen: int, n_wrong: int) -> None:
    alone, turned = np.array([[3.0, 2.0]]), np.array([[2.0, 3.0]])
    file = Answers("file", (), alone, decided=turned, n_roundings=np.array([1]))
    found = verdicts((), alone, [file, Answers("graph", (), turned, 1.0, np.array([[chosen]]))])[1]
    assert (found.n_followed, found.wrong_logits, found.wrong_choices, found.agrees) == (1, 0, n_wrong, not n_wrong)


# --- one by one ----------------------------------------------------------------------------------------------------------


def test_the_tolerance_grows_with_the_largest_input_up_to_a_thousandth_of_a_step() -> None:
    assert tolerance_steps(np.array([0.0, -3.0])) == 3 * 2**-18
    assert tolerance_steps(np.array([1e6])) == NEAREST_STEP
    assert tolerance_steps(np.array([])) == 0


def test_only_the_middle_between_both_values_is_a_boundary() -> None:
    inputs = np.array([102.4999, 102.4999, 102.4, 102.4999, 300.0])
    here, there = np.array([102, 102, 102, 103, 255]), np.array([103, 101, 103, 105, 254])
    assert on_boundary(inputs, here, there, 1, 2e-4).tolist() == [True, False, False, False, False]
    assert on_boundary(np.array([1e-5, 0.5]), np.array([1, 1]), np.array([-1, -1]), 2, 1e-4).tolist() == [True, False]


def test_near_values_are_found_nearest_first_but_not_what_is_cut_off() -> None:
    inputs, integers = np.array([0.49995, 1.50001, 0.6, 7.5]), np.array([0, 2, 1, 3])
    assert near_middle(inputs, integers, 1, 1e-4) == [(1, 1), (0, 1)]
    assert near_middle(np.array([-1e-5, 1.0]), np.array([-1, 1]), 2, 1e-4) == [(0, 1)]


def test_places_find_channels_that_come_last() -> None:
    here = np.arange(24).reshape(2, 3, 4)
    there = here.transpose(1, 2, 0)
    where = places(here, there)
    assert where is not None
    assert np.array_equal(here.reshape(-1)[where], there)
    assert places(here, there[:2]) is None
