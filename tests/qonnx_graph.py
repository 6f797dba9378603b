"""A QONNX file as a value that can be compared: what it computes, without the names an exporter counts up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper


def graph_of(path: Path) -> list[tuple[Any, ...]]:
    """Every node in order: operator, attributes, and for each input its constant's type, shape and bytes or its source."""
    graph = onnx.load(path).graph
    values: dict[str, tuple[Any, ...]] = {i.name: ("input",) for i in graph.input}

    def constant(tensor: onnx.TensorProto) -> tuple[Any, ...]:
        array = numpy_helper.to_array(tensor)
        return str(array.dtype), array.shape, array.tobytes()

    values |= {i.name: constant(i) for i in graph.initializer}
    nodes: list[tuple[Any, ...]] = []
    for node in graph.node:
        if node.op_type == "Constant":
            values[node.output[0]] = constant(node.attribute[0].t)
            continue
        values |= {name: ("node", len(nodes), i) for i, name in enumerate(node.output)}
        attributes = sorted(a.SerializeToString() for a in node.attribute)
        nodes.append((node.op_type, node.domain, attributes, [values[i] for i in node.input]))
    return nodes
