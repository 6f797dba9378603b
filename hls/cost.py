"""What every node of an accelerator costs at any bits and folding, asked of FINN's own operators once.

`CostTables` holds one reference graph of a network. For a layer's bits it re-types the layer's
nodes and asks FINN's operators for cycles and resources at every folding FINN accepts; the answers
are kept, keyed by node, weight bits and activation bits in and out. No formula is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from boards.board import Resources
from hls.corrections import FIFO_DEPTH, correct_node, correct_system
from hls.errors import FoldingError, GraphError
from hls.finn_backend import HardwareGraph, stream_luts
from hls.matrix_unit import MAX_STREAM_BITS, MatrixUnits
from hls.options import Folding, IntegerWeights, LayerKey, Options, act_type, divisors, layer_keys
from hls.types import Correction, NodeEstimate
from models.policy import BitPolicy


class CostTables:
    """Costs of one network on one FPGA part, filled as they are asked for.

    Args:
        graph: the network's dataflow graph, exported with one-bit weights behind one-bit activations
            in its last layer, so that it holds the correction FINN appends to such a layer.
        layers: names of the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.
        host_port_bits: width of the memory port that the DMA engines use.

    Raises:
        GraphError: the graph is not a chain of the nodes known here, one matrix unit a layer.
    """

    def __init__(
        self, graph: HardwareGraph, layers: Sequence[str], integer_weights: IntegerWeights, host_port_bits: int
    ) -> None:
        self._host_port_bits = host_port_bits
        self.layers = tuple(layers)
        self._graph = graph
        self._steps = self._split_into_steps()
        self._options: dict[tuple[Any, ...], Options] = {}
        self._units = MatrixUnits(graph, self.layers, integer_weights)

    def with_weights(self, integer_weights: IntegerWeights) -> CostTables:
        """The tables of the same network with other weights, empty."""
        return CostTables(self._graph, self.layers, integer_weights, self._host_port_bits)

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
            elif kinds[i] not in ("ConvolutionInputGenerator", "ElementwiseMul", "ElementwiseAdd"):
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
        if op.op_type.startswith("MVAU"):
            return self._units.attributes(index, layer, key)
        attributes = dict(op.attributes)
        if op.op_type.startswith("ConvolutionInputGenerator"):
            carried = key.handed_on_type if attributes["depthwise"] else act_type(key.act_in, key.weight)
            attributes |= {"inputDataType": carried, "outputDataType": carried}
        elif op.op_type.startswith("Pool"):
            attributes |= {"InputDataType": key.handed_on_type, "OutputDataType": key.handed_on_type}
        elif op.op_type.startswith("ElementwiseMul"):  # behind the last unit: it reads the accumulator
            unit = next(s[0] for s in self._steps[layer] if self._graph.ops[s[0]].op_type.startswith("MVAU"))
            attributes["lhs_dtype"] = self._units.attributes(unit, layer, key)["accDataType"]
        return attributes

    def _foldings(self, step: tuple[int, ...], attributes: dict[str, Any]) -> list[tuple[dict[str, int | str], ...]]:
        """Every folding FINN accepts of a step that is no matrix unit."""
        op = self._graph.ops[step[0]]
        if len(step) == 2:
            return [({"SIMD": n, "parallel_window": 0}, {"PE": n}) for n in divisors(attributes["IFMChannels"])]
        if op.op_type.startswith("ConvolutionInputGenerator"):
            channels = attributes["IFMChannels"]
            serial: list[tuple[dict[str, int | str], ...]] = [({"SIMD": n, "parallel_window": 0},) for n in divisors(channels)]
            return [*serial, ({"SIMD": channels, "parallel_window": 1},)]
        return [({"PE": n},) for n in divisors(int(op.get_normal_output_shape()[-1]))]

    def _other_options(self, step: tuple[int, ...], layer: int, key: LayerKey) -> Options:
        attributes = [self._attributes(i, layer, key) for i in step]
        ops = [self._graph.with_attributes(i, a) for i, a in zip(step, attributes, strict=True)]
        rows, foldings = [], self._foldings(step, attributes[0])
        for folding in foldings:
            for op, f in zip(ops, folding, strict=True):
                op.attributes.update(f)
            used = sum((self._graph.resources_of(op) for op in ops), Resources())
            used = sum((c.resources for op in ops for c in correct_node(self._graph, op, "")), used)
            if len(ops) == 2:  # they share their folding: one width, but a FIFO between them
                lanes = int(folding[1]["PE"])
                used += Resources(lut=self.stream(lanes, lanes, ops[0].get_output_datatype().bitwidth()))
            reads, hands_on = int(ops[0].get_folded_input_shape()[-1]), int(ops[-1].get_folded_output_shape()[-1])
            cycles = max(int(op.get_exp_cycles()) for op in ops)
            rows.append((cycles, used.lut, int(used.bram18), int(used.dsp), reads, hands_on))
        order = sorted(range(len(rows)), key=lambda j: rows[j])
        a = np.array([rows[j] for j in order])
        whole = a.astype(np.int64)
        return Options(
            nodes=step,
            cycles=whole[:, 0],
            lut=a[:, 1],
            bram18=whole[:, 2],
            dsp=whole[:, 3],
            reads=whole[:, 4],
            hands_on=whole[:, 5],
            read_bits=ops[0].get_input_datatype(0).bitwidth(),
            handed_on_bits=ops[-1].get_output_datatype(0).bitwidth(),
            foldings=tuple(foldings[j] for j in order),
        )

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
        kind = self._graph.ops[step[0]].op_type
        is_unit = kind.startswith("MVAU")
        if is_unit or kind.startswith("Elementwise"):
            what: object = (key.weight, key.act_in, key.act_out)
        else:  # a window carries one type, the unit's input or its output
            what = key.act_out if len(step) == 2 else key.act_in
        found = self._options.get((step, what))
        if found is None:
            found = self._units.options(step[0], layer, key) if is_unit else self._other_options(step, layer, key)
            self._options[step, what] = found
        return found

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        """LUT of the stream between two steps: FIFOs, and a width converter where they differ.

        Args:
            hands_on: elements a cycle of the step before.
            reads: elements a cycle of the step behind.
            element_bits: bits of an element.
        """
        return stream_luts(hands_on * element_bits, reads * element_bits, FIFO_DEPTH, self._graph.fpga_part)

    def from_host(self, bits: int) -> float:
        """LUT of the stream from the DMA engine into a node that reads `bits` a cycle."""
        return stream_luts(self._host_port_bits, bits, FIFO_DEPTH, self._graph.fpga_part)

    def to_host(self, bits: int) -> float:
        """LUT of the stream to the DMA engine from a node that hands on `bits` a cycle."""
        return stream_luts(bits, self._host_port_bits, FIFO_DEPTH, self._graph.fpga_part)

    @cached_property
    def system_resources(self) -> Resources:
        """What the system around the accelerator takes."""
        return sum((c.resources for c in correct_system()), Resources())

    def choice_of(self, policy: BitPolicy, folding: Mapping[str, Folding]) -> list[list[int]]:
        """The choice, as `assemble` takes it, that a folding of every node stands for.

        Weight memory that is left to Vivado ("auto") counts as block RAM, as FINN counts it. Attributes
        that bitloop does not choose are not looked at.

        Raises:
            FoldingError: a node is missing, or has values that no option has; the text names those there are.
        """
        choice = []
        for layer, key in enumerate(layer_keys(policy)):
            choice.append([self._option_of(options, folding) for options in self.options(layer, key)])
        return choice

    def _option_of(self, options: Options, folding: Mapping[str, Folding]) -> int:
        names = [self._graph.ops[i].name for i in options.nodes]
        wanted = []
        for name, chosen in zip(names, options.foldings[0], strict=True):
            given = {"parallel_window": 0, "ram_style": "block", **folding.get(name, {})}
            if given["ram_style"] == "auto":
                given["ram_style"] = "block"
            missing = [k for k in chosen if k not in given]
            if missing:
                raise FoldingError(f"the folding lacks {missing[0]} of node {name}")
            wanted.append({k: given[k] for k in chosen})
        if tuple(wanted) in options.foldings:
            return options.foldings.index(tuple(wanted))
        for name, values, column in zip(names, wanted, zip(*options.foldings, strict=True), strict=True):
            for k, v in values.items():
                allowed = sorted({f[k] for f in column}, key=lambda x: (isinstance(x, str), x))
                if v not in allowed:
                    raise FoldingError(f"node {name} has {k}={v}; allowed are {', '.join(map(str, allowed))}")
        raise FoldingError(f"node {names[0]} cannot have {wanted[0]}: a stream would be wider than {MAX_STREAM_BITS} bits")

    def assemble(
        self, policy: BitPolicy, choice: Sequence[Sequence[int]]
    ) -> tuple[tuple[NodeEstimate, ...], tuple[Correction, ...]]:
        """The estimate of every node for a policy, and what it leaves out.

        Args:
            policy: the bits.
            choice: for every layer and each of its steps, which of the step's `Options` is taken.
        """
        nodes: list[NodeEstimate] = []
        corrections: list[Correction] = []
        stream, hands_on = "FIFOs and width converter", 0
        for layer, key in enumerate(layer_keys(policy)):
            for options, taken in zip(self.options(layer, key), choice[layer], strict=True):
                for index, folding in zip(options.nodes, options.foldings[taken], strict=True):
                    op = self._graph.with_attributes(index, {**self._attributes(index, layer, key), **folding})
                    name = self.layers[layer]
                    reads, bits = int(op.get_folded_input_shape()[-1]), op.get_input_datatype(0).bitwidth()
                    lut = self.stream(hands_on, reads, bits) if nodes else self.from_host(reads * bits)
                    source = nodes[-1].node if nodes else "host"
                    corrections.append(Correction(f"{source} → {op.name}", name, Resources(lut=lut), stream))
                    corrections += correct_node(self._graph, op, name)
                    used, cycles = self._graph.resources_of(op), int(op.get_exp_cycles())
                    nodes.append(NodeEstimate(op.name, op.op_type, name, cycles, used, folding))
                    hands_on = int(op.get_folded_output_shape()[-1])
        lut = self.to_host(op.get_outstream_width(0))
        corrections.append(Correction(f"{nodes[-1].node} → host", self.layers[-1], Resources(lut=lut), stream))
        return tuple(nodes), (*corrections, *correct_system())
