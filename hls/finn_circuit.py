"""From FINN's graph of hardware nodes to the operations of a circuit (`hls.circuit`).

What a node computes is what FINN's own Python computes for it (execute_node of its class in finn/custom_op/fpgadataflow), but
for one thing: sums are exact however large they are, as in hardware. How a node is folded, and whether it is HLS or RTL, makes
no difference to what it computes; in the order of its stream it would, which between nodes nobody sees.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.circuit import Operation
from hls.errors import GraphError
from hls.pace import pace_of
from hls.types import Estimate, NodeEstimate

READS = "reads"  # what a circuit calls what goes into it
_OUTSIDE: dict[str, set[Any]] = {  # weights and sizes that the host may change or that lie in its memory
    "runtime_writeable_weights": {1},
    "mem_mode": {"external", "external_mem", "dynamic"},
    "dynamic_mode": {1},
}


def operations_of(model: Any) -> list[Operation]:
    """The operations of a prepared graph (`hls.finn_build.prepare`), in an order in which each finds what it reads.

    Args:
        model: QONNX's ModelWrapper; it is left as it is.

    Raises:
        GraphError: there is a node, or something a node is told, that has no operation; the text names it.
    """
    called = {model.graph.input[0].name: READS}
    found: list[Operation] = []
    for node in model.graph.node:
        kind = node.op_type.removesuffix("_hls").removesuffix("_rtl")
        if kind not in _KINDS:
            raise GraphError(f"node {node.name} is a {node.op_type}, which cannot be simulated; known are {', '.join(_KINDS)}")
        reader = _Node(model, node)
        reader.check()
        streams = [name for name in node.input if model.get_initializer(name) is None]
        for name in streams:
            if name not in called:
                raise GraphError(f"node {node.name} reads {name}, which no node before it hands on")
        operation = _KINDS[kind](reader, tuple(called[name] for name in streams))
        called |= {name: called[streams[0]] if operation is None else node.output[0] for name in node.output}
        if operation is not None:
            found.append(operation)
    if not found or model.graph.output[0].name != found[-1].output:
        raise GraphError("the graph does not end in the node that hands on its result; it cannot be simulated")
    return found


def cycles_of(model: Any, clock_mhz: float) -> Estimate:
    """The estimate of the cycles of every node of a prepared graph; nothing of what it takes.

    Raises:
        GraphError: FINN cannot estimate it.
    """
    from finn.analysis.fpgadataflow.exp_cycles_per_layer import exp_cycles_per_layer

    try:
        cycles = model.analysis(exp_cycles_per_layer)
    except Exception as error:
        raise GraphError(f"FINN cannot estimate the cycles of the graph: {type(error).__name__}: {error}") from error
    from qonnx.custom_op.registry import getCustomOp

    made_by = {name: node.name for node in model.graph.node for name in node.output}
    nodes = tuple(
        NodeEstimate(
            node.name, node.op_type, node.name, int(cycles[node.name]), Resources(), {},
            tuple(made_by[name] for name in node.input if name in made_by), pace_of(getCustomOp(node)),
        )
        for node in model.graph.node
    )  # fmt: skip
    return Estimate(nodes, clock_mhz, "the estimate of the graph that is built")


class _Node:
    """A node, and what is asked of it."""

    def __init__(self, model: Any, node: Any) -> None:
        from qonnx.custom_op.registry import getCustomOp

        self.model, self.node, self.op = model, node, getCustomOp(node)

    def get(self, attribute: str) -> Any:
        return self.op.get_nodeattr(attribute)

    def check(self) -> None:
        """Look whether the node is told something that no operation does."""
        for name, refused in _OUTSIDE.items():
            if name in self.op.get_nodeattr_types() and self.get(name) in refused:
                raise GraphError(f"node {self.node.name} has {name} {self.get(name)}, which cannot be simulated")

    def shape(self, stream: int) -> list[int]:
        """Of a frame that it reads."""
        first, *rest = map(int, self.op.get_normal_input_shape(stream))
        if first != 1 or not rest:
            raise GraphError(f"node {self.node.name} reads {first} frames at a time, which cannot be simulated; 1 is wanted")
        return rest

    def constant(self, index: int) -> NDArray[Any]:
        """An input that is fixed: integers, or floats where one is no integer."""
        found = self.model.get_initializer(self.node.input[index])
        if found is None:
            raise GraphError(f"node {self.node.name} has no fixed input {index}, which cannot be simulated")
        values = np.asarray(found)
        whole = np.rint(values.astype(np.float64)).astype(np.int64)
        return whole if np.array_equal(whole, values) else values.astype(np.float32)

    def weights(self) -> NDArray[Any]:
        found = self.constant(1)
        if found.dtype.kind == "f":
            raise GraphError(f"the weights of node {self.node.name} are no integers, which cannot be simulated")
        return found

    def operation(
        self, kind: str, inputs: tuple[str, ...], arrays: dict[str, NDArray[Any]] | None = None, stream: int = 0, **facts: Any
    ) -> Operation:
        return Operation(kind, inputs, self.node.output[0], {"shape": self.shape(stream), **facts}, arrays or {})

    def thresholds(self, index: int, of: str) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
        """Thresholds, in integers where integers are compared with them, and what they step from and by."""
        from qonnx.core.datatype import DataType

        found = self.model.get_initializer(self.node.input[index])
        if found is None:
            raise GraphError(f"node {self.node.name} has no fixed thresholds, which cannot be simulated")
        if DataType[of].is_integer():
            found = np.ceil(found.astype(np.float64)).astype(np.int64)
        bipolar = self.get("outputDataType") == "BIPOLAR"
        return {"thresholds": found}, {"lowest": -1 if bipolar else int(self.get("ActVal")), "step": 2 if bipolar else 1}

    def unit(self, kind: str, inputs: tuple[str, ...], weights: NDArray[Any]) -> Operation:
        """A unit with weights: whether it counts, and thresholds if it has some."""
        one_bit = self.get("inputDataType") == "BIPOLAR" and self.get("weightDataType") == "BIPOLAR"
        counts = {"counts": True} if self.get("binaryXnorMode") or one_bit else {}
        arrays, steps = ({}, {}) if self.get("noActivation") else self.thresholds(2, self.get("accDataType"))
        return self.operation(kind, inputs, {"weights": weights, **arrays}, **counts, **steps)


def _matrix(node: _Node, inputs: tuple[str, ...]) -> Operation:
    return node.unit("matrix", inputs, node.weights())


def _depthwise(node: _Node, inputs: tuple[str, ...]) -> Operation:
    weights = node.weights()  # (channels, 1, rows, columns)
    return node.unit("depthwise", inputs, weights.reshape(len(weights), -1).T)


def _windows(node: _Node, inputs: tuple[str, ...]) -> Operation:
    kernel, stride, dilation = (list(map(int, node.get(name))) for name in ("ConvKernelDim", "Stride", "Dilation"))
    return node.operation("windows", inputs, kernel=kernel, stride=stride, dilation=dilation)


def _pad(node: _Node, inputs: tuple[str, ...]) -> Operation:
    from qonnx.core.datatype import DataType

    if not DataType[node.get("inputDataType")].allowed(0):
        raise GraphError(f"node {node.node.name} pads {node.get('inputDataType')} with zeros, which it does not hold")
    return node.operation("pad", inputs, padding=list(map(int, node.get("Padding"))))


def _thresholds(node: _Node, inputs: tuple[str, ...]) -> Operation:
    arrays, steps = node.thresholds(1, node.get("inputDataType"))
    if node.get("outputDataType") == "BIPOLAR":  # this class adds what it starts from before it makes ±1
        steps["lowest"] = 2 * int(node.get("ActVal")) - 1
    return node.operation("thresholds", inputs, arrays, **steps)


def _pool(node: _Node, inputs: tuple[str, ...]) -> Operation:
    positions, function = prod(map(int, node.get("KernelSize"))), node.get("Function")
    if function == "MaxPool":
        return node.operation("pool", inputs, positions=positions, function="max")
    if function not in ("AccPool", "QuantAvgPool"):
        raise GraphError(f"node {node.node.name} pools with {function}, which cannot be simulated")
    shift = 0
    if function == "QuantAvgPool":
        bits, out_bits = node.op.get_input_datatype().bitwidth(), node.op.get_output_datatype().bitwidth()
        shift = max(0, ((2**bits - 1) * positions).bit_length() - out_bits)
    return node.operation("pool", inputs, positions=positions, function="sum", shift=shift)


def _sum(node: _Node, inputs: tuple[str, ...]) -> Operation:
    return node.operation("sum", inputs)


def _copy(node: _Node, inputs: tuple[str, ...]) -> None:
    """Its outputs are its input: nothing is computed."""


def _elementwise(function: str) -> Callable[[_Node, tuple[str, ...]], Operation]:
    def operation(node: _Node, inputs: tuple[str, ...]) -> Operation:
        facts: dict[str, Any] = {"function": function}
        if not node.op.out_dtype.is_integer():
            facts["float"] = True
        if len(inputs) == 2:
            return node.operation("elementwise", inputs, **facts)
        fixed = 0 if node.model.get_initializer(node.node.input[0]) is not None else 1
        if fixed == 0 and function == "subtract":
            raise GraphError(f"node {node.node.name} subtracts from what is fixed, which cannot be simulated")
        constant = node.constant(fixed)
        if not node.op.get_input_datatype(fixed).is_integer():
            constant = constant.astype(np.float32)
        return node.operation("elementwise", inputs, {"constant": constant}, stream=1 - fixed, **facts)

    return operation


def _choose(node: _Node, inputs: tuple[str, ...]) -> Operation:
    return node.operation("choose", inputs, best=int(node.get("K")))


_KINDS: dict[str, Callable[[_Node, tuple[str, ...]], Operation | None]] = {
    "MVAU": _matrix,
    "VVAU": _depthwise,
    "ConvolutionInputGenerator": _windows,
    "FMPadding": _pad,
    "Thresholding": _thresholds,
    "Pool": _pool,
    "GlobalAccPool": _sum,
    "DuplicateStreams": _copy,
    "ElementwiseAdd": _elementwise("add"),
    "ElementwiseSub": _elementwise("subtract"),
    "ElementwiseMul": _elementwise("multiply"),
    "LabelSelect": _choose,
}
