"""What FINN is told of how every layer is built (`hls.types.Implementation`); without a word thresholds merge into HLS units.

Implementations come in the order of the layers, which is not that of FINN's graph: there a short branch may be first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hls.errors import GraphError
from hls.finn_operators import threshold_type
from hls.types import Implementation

_NOT_YET = "MultiThresholdOfItsUnit"  # a name that FINN's conversion of thresholds does not look for


def keep_bipolar(model: Any, implementations: Sequence[Implementation]) -> None:
    """Undo FINN's widening of one-bit weights behind wide inputs to INT2, which doubles their memory.

    RTL units know no one-bit weights: theirs stay INT2.
    """
    import numpy as np
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp

    for node, implementation in _units(model, implementations):
        op, weights = getCustomOp(node), model.get_initializer(node.input[1])
        if (
            node.op_type.startswith("MVAU")
            and implementation is not Implementation.RTL
            and not op.get_nodeattr("binaryXnorMode")
            and set(np.unique(weights)) <= {-1.0, 1.0}
        ):
            op.set_nodeattr("weightDataType", "BIPOLAR")
            model.set_tensor_datatype(node.input[1], DataType["BIPOLAR"])


def _units(model: Any, implementations: Sequence[Implementation]) -> list[tuple[Any, Implementation]]:
    """The units of a graph in the order of the layers, each with what it is built as; merged HLS where nothing is said."""
    units = in_order_of_layers(model, lambda node: node.op_type.startswith(("MVAU", "VVAU")))
    if implementations and len(implementations) != len(units):
        raise GraphError(f"{len(implementations)} implementations for the {len(units)} matrix units of the network")
    return list(zip(units, implementations or [Implementation.HLS] * len(units), strict=True))


def in_order_of_layers(model: Any, is_layer: Callable[[Any], bool]) -> list[Any]:
    """Some nodes of a graph, such as those with a layer's weights, in the order of the layers.

    Where the way forks the branch with more of them comes first.
    """
    readers: dict[str, list[Any]] = {}
    fixed: set[str] = set()  # what does not hang on the image: the weights of a QONNX file pass a quantizer
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
        if all(name in fixed or model.get_initializer(name) is not None for name in node.input):
            fixed.update(node.output)

    def joins(node: Any) -> bool:
        return sum(name not in fixed and model.get_initializer(name) is None for name in node.input) > 1

    def branch(node: Any) -> tuple[list[Any], Any]:
        """The layers from a node on to where branches meet, and the node that they meet at."""
        found = []
        while node is not None and not joins(node):
            if is_layer(node):
                found.append(node)
            behind = [reader for name in node.output for reader in readers.get(name, [])]
            if len(behind) > 1:
                branches = sorted((branch(reader) for reader in behind), key=lambda b: -len(b[0]))
                found += [layer for layers, _ in branches for layer in layers]
                meet = branches[0][1]
                behind = [] if meet is None else [reader for name in meet.output for reader in readers.get(name, [])]
            node = behind[0] if behind else None
        return found, node

    (first,) = readers[model.graph.input[0].name]
    return branch(first)[0]


def take_thresholds_apart(model: Any, implementations: Sequence[Implementation]) -> None:
    """Convert to nodes of their own the thresholds of the layers that are to have them apart.

    FINN's own switch is for all layers or none. A one-bit activation's thresholds are scaled to ±1, which
    FINN converts only as a part of a unit; apart, its operators read the bit as ±1 by the type alone.
    """
    from finn.transformation.fpgadataflow.convert_to_hw.thresholding import InferThresholdingLayer
    from qonnx.custom_op.registry import getCustomOp

    products = in_order_of_layers(model, lambda node: node.op_type in ("MatMul", "XnorPopcountMatMul"))
    built_as = {node.name: implementation for node, implementation in zip(products, implementations, strict=False)}
    for node in products:
        if model.get_tensor_sparsity(node.input[1]) is not None:  # depthwise: bitloop builds it with its thresholds
            built_as[node.name] = Implementation.HLS
    for node in model.graph.node:
        if node.op_type != "MultiThreshold":
            continue
        product = model.find_producer(node.input[0])
        implementation = built_as.get(product.name) if product is not None else None  # none: FINN takes it apart itself
        if implementation is Implementation.HLS:
            node.op_type = _NOT_YET
        elif model.get_tensor_datatype(node.output[0]).name == "BIPOLAR":
            op = getCustomOp(node)
            op.set_nodeattr("out_scale", 1.0)
            op.set_nodeattr("out_bias", 0.0)
    modified = True
    while modified:
        _, modified = InferThresholdingLayer().apply(model)
    for node in model.graph.node:
        if node.op_type == _NOT_YET:
            node.op_type = "MultiThreshold"


def choose_styles(model: Any, implementations: Sequence[Implementation]) -> None:
    """Tell FINN which units are RTL; left alone it decides by bits."""
    from qonnx.custom_op.registry import getCustomOp

    for node, implementation in _units(model, implementations):
        getCustomOp(node).set_nodeattr("preferred_impl_style", "rtl" if implementation is Implementation.RTL else "hls")


def widen_thresholds(model: Any) -> None:
    """Store thresholds apart one bit wider than what they are compared with, whatever their values.

    FINN rounds and clips them to that range (RoundAndClipThresholds) and then takes the fewest bits the
    values leave: with this a design does not depend on the last of a training's digits.
    """
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        if node.op_type.startswith("Thresholding"):
            op = getCustomOp(node)
            name = threshold_type(op.get_nodeattr("inputDataType"))
            op.set_nodeattr("weightDataType", name)
            model.set_tensor_datatype(node.input[1], DataType[name])
