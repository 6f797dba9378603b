"""A dataflow graph as steps, on graphs made by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from hls.errors import GraphError
from hls.finn_operators import HardwareGraph
from hls.steps import held_pixels, steps_of_layers, summed_pixels
from models.spec import LayerSpec

SHAPE: dict[str, dict[str, Any]] = {
    "MVAU": {"MW": 4, "MH": 2},
    "VVAU": {"Channels": 2, "Kernel": [2, 2]},
    "ConvolutionInputGenerator": {"depthwise": 0, "ConvKernelDim": [3, 3], "IFMDim": [10, 10], "Stride": [1, 1]},
    "GlobalAccPool": {"numInputVectors": [1, 5, 5]},
}


def graph_of(*nodes: tuple[str, tuple[int, ...]], **changed: dict[str, Any]) -> HardwareGraph:
    """Nodes by their kinds and what they read; `n3={...}` changes attributes of node 3."""
    ops = []
    for i, (kind, _) in enumerate(nodes):
        attributes = {**SHAPE.get(kind, {}), **changed.get(f"n{i}", {})}
        ops.append(SimpleNamespace(op_type=f"{kind}_hls", name=f"n{i}", attributes=attributes))
    return HardwareGraph(ops, "a part", [read for _, read in nodes])


def layers(*names: str) -> list[LayerSpec]:
    return [
        LayerSpec(n, i, "linear", 4, 2, 1, 1, 1, 1, n_params=8, n_macs=8, weight_std=1.0, has_act=True)
        for i, n in enumerate(names)
    ]


def described(graph: HardwareGraph, *names: str) -> list[list[tuple[str, tuple[int, ...], bool]]]:
    return [[(s.kind.name, s.nodes, s.turns) for s in of_layer] for of_layer in steps_of_layers(graph, layers(*names))]


def test_what_stands_before_a_unit_is_its_layers_and_what_pools_or_scales_behind_it_too() -> None:
    window = "ConvolutionInputGenerator"
    graph = graph_of(
        (window, ()), ("MVAU", (0,)), (window, (1,)), ("Pool", (2,)), ("GlobalAccPool", (3,)), ("MVAU", (4,)),
        ("ElementwiseMul", (5,)), n2={"depthwise": 1},
    )  # fmt: skip
    assert described(graph, "a", "b") == [
        [("READS", (0,), False), ("UNIT", (1,), False), ("POOL", (2, 3), False)],
        [("READS", (4,), False), ("UNIT", (5,), False), ("TAIL", (6,), False)],
    ]
    first, second = steps_of_layers(graph, layers("a", "b"))
    assert (summed_pixels(graph, first), summed_pixels(graph, second)) == (1, 25)


def test_a_filter_is_a_unit_with_its_window() -> None:
    graph = graph_of(("ConvolutionInputGenerator", ()), ("VVAU", (0,)), ("MVAU", (1,)), n0={"depthwise": 1})
    assert described(graph, "a", "b") == [[("FILTER", (0, 1), False)], [("UNIT", (2,), False)]]


SKIP = (
    ("MVAU", ()), ("DuplicateStreams", (0,)), ("Thresholding", (1,)), ("MVAU", (1,)), ("MVAU", (3,)),
    ("ElementwiseAdd", (4, 2)), ("Thresholding", (5,)), ("MVAU", (6,)),
)  # fmt: skip


def test_a_skip_is_added_up_in_the_layer_before_the_sum() -> None:
    assert described(graph_of(*SKIP), "a", "b", "c", "d") == [
        [("UNIT", (0,), False)],
        [("FORK", (1,), False), ("UNIT", (3,), False)],
        [("UNIT", (4,), False), ("JOIN", (2, 5), False), ("THRESHOLDS", (6,), False)],
        [("UNIT", (7,), False)],
    ]


def test_a_shortcut_with_a_layer_comes_behind_those_it_is_past() -> None:
    graph = graph_of(
        ("MVAU", ()), ("DuplicateStreams", (0,)), ("MVAU", (1,)), ("MVAU", (1,)), ("MVAU", (3,)), ("ElementwiseAdd", (4, 2)),
        ("Thresholding", (5,)), ("MVAU", (6,)),
    )  # fmt: skip
    assert described(graph, "a", "b", "c", "shortcut", "d") == [
        [("UNIT", (0,), False)],
        [("FORK", (1,), False), ("UNIT", (3,), False)],
        [("UNIT", (4,), False)],
        [("UNIT", (2,), True), ("JOIN", (5,), False), ("THRESHOLDS", (6,), False)],
        [("UNIT", (7,), False)],
    ]


def test_what_the_windows_of_a_branch_hold_back() -> None:
    """By hand: two rows of ten and three pixels; then, at half the side, two rows of six and three, each worth four."""
    window = "ConvolutionInputGenerator"
    graph = graph_of(
        ("DuplicateStreams", ()), ("Thresholding", (0,)), (window, (0,)), ("MVAU", (2,)), (window, (3,)), ("MVAU", (4,)),
        ("ElementwiseAdd", (5, 1)), ("MVAU", (6,)), n2={"Stride": [2, 2]}, n4={"IFMDim": [6, 6]},
    )  # fmt: skip
    assert held_pixels(graph, 0) == 23 + 4 * 15


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (graph_of(("MVAU", ()), ("Concat", (0,)), ("MVAU", (1,))), "node n1 is of the kind Concat_hls, which cannot be costed"),
        (graph_of(("MVAU", ()),), "the graph has 1 matrix units for the 2 layers a, b"),
        (graph_of(("MVAU", ()), ("MVAU", (0,)), n1={"MW": 5}), "node n1 holds 10 weights where layer b has 8"),
        (graph_of(("ConvolutionInputGenerator", ()), ("MVAU", (0,)), ("MVAU", (1,)), n0={"depthwise": 1}),
         "node n0 is a depthwise window that feeds neither pool nor unit"),
        (graph_of(("MVAU", ()), ("MVAU", (0,)), ("FMPadding", (1,))), "n2 stands before the first unit or behind the last"),
        (graph_of(("MVAU", ()), ("DuplicateStreams", (0,)), ("MVAU", (1,)), ("MVAU", (1,))), "are not added up"),
        (graph_of(("MVAU", ()), ("DuplicateStreams", (0,)), *[("MVAU", (1,))] * 3), "node n1 feeds 3 branches"),
        (graph_of(*SKIP[:2], ("FMPadding", (1,)), *SKIP[3:]), "the skip from node n1 is no threshold unit and has no layer"),
    ],
)  # fmt: skip
def test_what_cannot_be_costed_is_refused_by_name(graph: HardwareGraph, text: str) -> None:
    with pytest.raises(GraphError, match=text.replace("(", r"\(")):
        steps_of_layers(graph, layers("a", "b"))
