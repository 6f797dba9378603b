"""What every node of an accelerator costs at any bits and folding, asked of FINN's own operators once.

`CostTables` holds one reference graph of a network. For a layer's bits it re-types the layer's
nodes and asks FINN's operators for cycles and resources at every folding FINN accepts; the answers
are kept, keyed by node, weight bits and activation bits in and out. No formula is copied.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.errors import GraphError
from hls.finn_backend import HardwareGraph
from hls.types import NodeEstimate
from models.policy import BitPolicy

# Xilinx' ap_int ends at 8191 bits (finn.transformation.fpgadataflow.set_folding, MAX_ALLOWED_AP_INT_W).
MAX_STREAM_BITS = 8191
# The HLS library unrolls at most this many folds of the weight matrix's width; SetFolding does not check it.
MAX_HLS_FOLDS = 1024

IntegerWeights = Callable[[str, int], NDArray[np.float64]]
"""Layer name and weight bits to its integer weights, shaped (fan-in, outputs)."""


@dataclass(frozen=True)
class LayerKey:
    """All that a layer's hardware depends on.

    Attributes:
        weight: bits of a weight.
        act_in: bits of the activations it reads; None for the image, signed 8-bit integers.
        act_out: bits of the activations it hands on; None for the accumulator.
    """

    weight: int
    act_in: int | None
    act_out: int | None


def layer_keys(policy: BitPolicy) -> list[LayerKey]:
    """The key of every layer of a policy, in order."""
    bits = list(policy.values())
    before = [None, *(b.act for b in bits[:-1])]
    return [LayerKey(b.weight, a, b.act) for b, a in zip(bits, before, strict=True)]


@dataclass(frozen=True)
class Options:
    """The foldings one step of the pipeline may take, in order of cycles; arrays of one length.

    A step is a node, or a depthwise window with the pool it feeds, which share their folding;
    `nodes` are its positions in the graph.
    """

    nodes: tuple[int, ...]
    cycles: NDArray[np.int64]
    lut: NDArray[np.float64]
    bram18: NDArray[np.int64]
    foldings: tuple[tuple[Mapping[str, int | str], ...], ...]


@cache
def divisors(n: int) -> tuple[int, ...]:
    """The divisors of n, in order."""
    return tuple(d for d in range(1, n + 1) if n % d == 0)


def act_type(bits: int | None, weight_bits: int) -> str:
    """QONNX type of the activations a layer with weights of `weight_bits` reads."""
    if bits is None:
        return "INT8"
    if bits == 1:  # against one-bit weights FINN counts matching bits instead of multiplying
        return "BINARY" if weight_bits == 1 else "BIPOLAR"
    return f"UINT{bits}"


class CostTables:
    """Costs of one network on one FPGA part, filled as they are asked for.

    Args:
        graph: the network's dataflow graph, exported with one-bit weights behind one-bit activations
            in its last layer, so that it holds the correction FINN appends to such a layer.
        layers: names of the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.

    Raises:
        GraphError: the graph is not a chain of the nodes known here, one matrix unit a layer.
    """

    def __init__(self, graph: HardwareGraph, layers: Sequence[str], integer_weights: IntegerWeights) -> None:
        self.layers = tuple(layers)
        self._graph = graph
        self._integer_weights = integer_weights
        self._steps = self._split_into_steps()
        self._options: dict[tuple[Any, ...], Options] = {}
        self._typed: dict[tuple[Any, ...], dict[str, Any]] = {}

    def with_weights(self, integer_weights: IntegerWeights) -> CostTables:
        """The tables of the same network with other weights, empty."""
        return CostTables(self._graph, self.layers, integer_weights)

    def _split_into_steps(self) -> list[list[tuple[int, ...]]]:
        """For every layer, the node indices of each of its steps."""
        ops = self._graph.ops
        kinds = [op.op_type.split("_")[0] for op in ops]
        steps: list[list[tuple[int, ...]]] = [[] for _ in self.layers]
        layer, i = 0, 0
        while i < len(ops):
            step: tuple[int, ...] = (i,)
            if kinds[i] == "MVAU":
                layer += 1
            elif kinds[i] == "ConvolutionInputGenerator" and ops[i].attributes["depthwise"]:
                if i + 1 == len(ops) or kinds[i + 1] != "Pool":
                    raise GraphError(f"node {ops[i].name} is a depthwise window without a pool; it cannot be costed so far")
                step = (i, i + 1)
            elif kinds[i] not in ("ConvolutionInputGenerator", "Thresholding", "ElementwiseMul", "ElementwiseAdd"):
                raise GraphError(f"node {ops[i].name} is of the kind {ops[i].op_type}, which cannot be costed so far")
            # what stands before the first and between two matrix units belongs to the one whose data type it carries
            owner = layer - 1 if kinds[i] == "MVAU" or len(step) == 2 or kinds[i].startswith("Elementwise") else layer
            if not 0 <= owner < len(steps):
                break
            steps[owner].append(step)
            i += len(step)
        if layer != len(self.layers) or i < len(ops):
            n_units = kinds.count("MVAU")
            raise GraphError(f"the graph has {n_units} matrix units for the {len(self.layers)} layers {', '.join(self.layers)}")
        return steps

    def _attributes(self, index: int, layer: int, key: LayerKey) -> dict[str, Any]:
        """Attributes of a node with the types that follow from its layer's bits."""
        op = self._graph.ops[index]
        read = act_type(key.act_in, key.weight)
        handed_on = "BIPOLAR" if key.act_out == 1 else f"UINT{key.act_out}"
        if op.op_type.startswith("MVAU"):
            return self._matrix_unit(index, layer, key, read, handed_on)
        attributes = dict(op.attributes)
        if op.op_type.startswith("ConvolutionInputGenerator"):
            carried = handed_on if attributes["depthwise"] else read
            attributes |= {"inputDataType": carried, "outputDataType": carried}
        elif op.op_type.startswith("Pool"):
            attributes |= {"InputDataType": handed_on, "OutputDataType": handed_on}
        return attributes

    def _matrix_unit(self, index: int, layer: int, key: LayerKey, read: str, handed_on: str) -> dict[str, Any]:
        typed = self._typed.get((layer, key.weight, read))
        if typed is None:
            weights = self._integer_weights(self.layers[layer], key.weight)
            counting = read == "BINARY"
            op = self._graph.with_attributes(
                index,
                {
                    **self._graph.ops[index].attributes,
                    "inputDataType": read,
                    "weightDataType": "BINARY" if counting else f"INT{key.weight}",
                    "binaryXnorMode": int(counting),
                },
            )
            if counting:
                weights = (weights + 1) / 2
            model = SimpleNamespace(get_initializer=lambda _: weights, find_direct_successors=lambda _: [None])
            op.input = (None, None)
            if not counting:
                op.minimize_weight_bit_width(model)
            op.minimize_accumulator_width(model)
            if key.weight == 1 and not counting:
                op.attributes["weightDataType"] = "BIPOLAR"  # see finn_backend: FINN would widen it
            typed = self._typed[layer, key.weight, read] = op.attributes
        out = typed["accDataType"] if key.act_out is None else handed_on
        return {**typed, "outputDataType": out}

    def _foldings(self, step: tuple[int, ...], attributes: Sequence[dict[str, Any]]) -> list[tuple[dict[str, int | str], ...]]:
        """Every folding FINN accepts of a step, stream widths not yet looked at."""
        op, a = self._graph.ops[step[0]], attributes[0]
        kind = op.op_type.split("_")[0]
        if kind == "MVAU":
            return [
                ({"PE": pe, "SIMD": simd, "ram_style": style},)
                for simd in divisors(a["MW"])
                if simd * MAX_HLS_FOLDS >= a["MW"]
                for pe in divisors(a["MH"])
                for style in ("block", "distributed")
            ]
        if len(step) == 2:
            return [({"SIMD": n, "parallel_window": 0}, {"PE": n}) for n in divisors(a["IFMChannels"])]
        if kind == "ConvolutionInputGenerator":
            channels = a["IFMChannels"]
            serial: list[tuple[dict[str, int | str], ...]] = [({"SIMD": n, "parallel_window": 0},) for n in divisors(channels)]
            return [*serial, ({"SIMD": channels, "parallel_window": 1},)]
        n_channels = a["NumChannels"] if kind == "Thresholding" else op.get_normal_output_shape()[-1]
        return [({"PE": n},) for n in divisors(int(n_channels))]

    def options(self, layer: int, key: LayerKey) -> list[Options]:
        """The foldings of every step of a layer with their costs, in the order of the data."""
        last = layer == len(self.layers) - 1
        counting = act_type(key.act_in, key.weight) == "BINARY"
        return [
            self._step_options(step, layer, key)
            for step in self._steps[layer]
            if not (last and not counting and self._is_correction(step))
        ]

    def _is_correction(self, step: tuple[int, ...]) -> bool:
        """Whether this is the addition that follows a last layer which counts matching bits."""
        return bool(self._graph.ops[step[0]].op_type.startswith("ElementwiseAdd"))

    def _step_options(self, step: tuple[int, ...], layer: int, key: LayerKey) -> Options:
        is_unit = self._graph.ops[step[0]].op_type.startswith("MVAU")
        # a unit's output type costs nothing in FINN's count; a window carries one type, the unit's input or its output
        what = (key.weight, key.act_in) if is_unit else (key.act_out if len(step) == 2 else key.act_in)
        found = self._options.get((step, what))
        if found is None:
            found = self._options[step, what] = self._ask(step, layer, key)
        return found

    def _ask(self, step: tuple[int, ...], layer: int, key: LayerKey) -> Options:
        attributes = [self._attributes(i, layer, key) for i in step]
        ops = [self._graph.with_attributes(i, a) for i, a in zip(step, attributes, strict=True)]
        rows, foldings = [], []
        for folding in self._foldings(step, attributes):
            for op, f in zip(ops, folding, strict=True):
                op.attributes.update(f)
            if self._too_wide(ops):
                continue
            used = sum((self._graph.resources_of(op) for op in ops), Resources())
            if used.dsp:
                raise GraphError(f"node {ops[0].name} takes DSP slices with {folding}; these are not budgeted so far")
            rows.append((max(int(op.get_exp_cycles()) for op in ops), used.lut, used.bram18))
            foldings.append(folding)
        order = sorted(range(len(rows)), key=lambda j: rows[j])
        cycles, lut, bram18 = (np.array([rows[j][c] for j in order]) for c in range(3))
        return Options(
            step, cycles.astype(np.int64), lut.astype(float), bram18.astype(np.int64), tuple(foldings[j] for j in order)
        )  # fmt: skip

    @staticmethod
    def _too_wide(ops: Sequence[Any]) -> bool:
        """Whether an input or weight stream of an HLS unit is wider than Xilinx' integers."""
        units = [op for op in ops if op.op_type == "MVAU_hls"]
        return any(op.get_instream_width(i) > MAX_STREAM_BITS for op in units for i in (0, 1))

    def nodes(self, policy: BitPolicy, choice: Sequence[Sequence[int]]) -> tuple[NodeEstimate, ...]:
        """The estimate of every node for a policy.

        Args:
            policy: the bits.
            choice: for every layer and each of its steps, which of the step's `Options` is taken.
        """
        out = []
        for layer, key in enumerate(layer_keys(policy)):
            for options, taken in zip(self.options(layer, key), choice[layer], strict=True):
                for index, folding in zip(options.nodes, options.foldings[taken], strict=True):
                    op = self._graph.with_attributes(index, {**self._attributes(index, layer, key), **folding})
                    used, cycles = self._graph.resources_of(op), int(op.get_exp_cycles())
                    out.append(NodeEstimate(op.name, op.op_type, self.layers[layer], cycles, used, folding))
        return tuple(out)
