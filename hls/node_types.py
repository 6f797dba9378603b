"""The types of the nodes that are no matrix unit: what a layer's bits make of windows, filters, sums and their like."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from hls.finn_operators import HardwareGraph
from hls.matrix_unit import MatrixUnits, compared
from hls.options import IntegerWeights, LayerKey, handed_on_type
from hls.steps import Kind, Step, kind_of


class NodeTypes:
    """Re-types the nodes of one network.

    Args:
        graph: the network's dataflow graph.
        layers: names of the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.
        units: the matrix units of the same graph.
    """

    def __init__(
        self, graph: HardwareGraph, layers: Sequence[str], integer_weights: IntegerWeights, units: MatrixUnits
    ) -> None:
        self._graph = graph
        self._layers = layers
        self._integer_weights = integer_weights
        self._units = units

    def of(self, step: Step, layer: int, key: LayerKey, unit: Step) -> list[Any]:
        """The nodes of a step with the types that a layer's bits give them.

        Args:
            step: no matrix unit.
            layer: it belongs to.
            key: of the layer.
            unit: the step of the layer that holds its weights.
        """
        return [self._node(index, step, layer, key, unit) for index in step.nodes]

    def depends_on(self, step: Step, key: LayerKey) -> tuple[object, ...]:
        """What the types of a step follow from."""
        if step.kind is Kind.READS:
            return (key.act_in, key.read_type)
        if step.kind is Kind.FORK:
            return (key.act_in,)
        if step.kind in (Kind.POOL, Kind.THRESHOLDS, Kind.JOIN):
            return (key.act_out, key.addend, key.past)
        return (key.weight, key.act_in, key.act_out)  # an accumulator

    def other_bits(self, step: Step, key: LayerKey) -> int:
        """Bits of an element of the second stream into a join."""
        bits = key.addend if len(step.nodes) == 1 else key.past
        assert bits is not None
        return bits

    def _node(self, index: int, step: Step, layer: int, key: LayerKey, unit: Step) -> Any:
        op = self._graph.ops[index]
        kind = kind_of(op)
        if kind == "VVAU":
            return self._filter(index, layer, key)
        changed: dict[str, Any] = {}
        if kind == "ConvolutionInputGenerator":
            carried = self._handed_on(key) if step.kind is Kind.POOL else key.read_type
            changed = {"inputDataType": carried, "outputDataType": carried}
        elif kind == "Pool":
            changed = {"InputDataType": self._handed_on(key), "OutputDataType": self._handed_on(key)}
        elif kind == "FMPadding":
            changed = {"inputDataType": key.read_type}
        elif kind in ("GlobalAccPool", "DuplicateStreams"):
            assert key.act_in is not None
            changed = {"inputDataType": handed_on_type(key.act_in)}
        elif kind in ("ElementwiseMul", "LabelSelect"):  # behind the last unit: it reads the accumulator
            reads = "lhs_dtype" if kind == "ElementwiseMul" else "inputDataType"
            changed = {reads: self._units.merged(unit.nodes[-1], layer, key).attributes["accDataType"]}
        elif step.kind is Kind.JOIN:
            assert key.addend is not None
            if kind == "Thresholding":
                assert key.past is not None
                changed = compared(handed_on_type(key.past), f"INT{key.addend}")
            else:
                changed = dict.fromkeys(("lhs_dtype", "rhs_dtype"), f"INT{key.addend}") | {"out_dtype": f"INT{key.addend + 1}"}
        elif step.kind is Kind.THRESHOLDS:
            assert key.addend is not None
            changed = compared(f"INT{key.addend + 1}", self._handed_on(key))
        return self._graph.with_attributes(index, {**op.attributes, **changed})

    def _handed_on(self, key: LayerKey) -> str:
        assert key.act_out is not None
        return handed_on_type(key.act_out)

    def _filter(self, index: int, layer: int, key: LayerKey) -> Any:
        """A depthwise unit, as FINN's transformations type it for a layer's weights."""
        changed = {"inputDataType": key.read_type, "weightDataType": f"INT{key.weight}", "outputDataType": key.unit_type}
        op = self._graph.with_attributes(index, {**self._graph.ops[index].attributes, **changed})
        weights = self._integer_weights(self._layers[layer], key.weight).T  # a row a channel
        model = SimpleNamespace(get_initializer=lambda _: weights, find_direct_successors=lambda _: [None])
        op.input = (None, None)
        op.minimize_weight_bit_width(model)
        op.minimize_accumulator_width(model)
        return self._graph.with_attributes(index, op.attributes)
