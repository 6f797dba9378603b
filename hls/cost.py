"""What every node of an accelerator costs at any bits and folding, asked of FINN's own operators once.

`CostTables` holds one reference graph of a network. For a layer's bits it re-types the layer's
nodes and asks FINN's operators for cycles and resources at every folding FINN accepts; the answers
are kept, keyed by node, weight bits and activation bits in and out. No formula is copied.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from boards.board import Family, Resources
from hls.assembly import Figures, Names, assembled, figures
from hls.corrections import FIFO_DEPTH, correct_node, correct_system
from hls.errors import FoldingError, GraphError
from hls.finn_operators import HardwareGraph, stream_luts
from hls.legal import DEFAULTS, MAX_STREAM_BITS, NodeFolding, divisors, folded_by, foldings_of
from hls.matrix_unit import MatrixUnits
from hls.options import IntegerWeights, LayerKey, Options, Section, act_type, layer_keys
from hls.types import Correction, Implementation, NodeEstimate
from models.policy import BitPolicy


class CostTables:
    """Costs of one network on one FPGA part, filled as they are asked for.

    Args:
        graph: the network's dataflow graph, exported with one-bit weights behind one-bit activations
            in its last layer, so that it holds the correction FINN appends to such a layer.
        layers: names of the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.
        host_port_bits: width of the memory port that the DMA engines use.
        family: of the part.

    Raises:
        GraphError: the graph is not a chain of the nodes known here, one matrix unit a layer.
    """

    def __init__(
        self, graph: HardwareGraph, layers: Sequence[str], integer_weights: IntegerWeights, host_port_bits: int,
        family: Family,
    ) -> None:  # fmt: skip
        self._host_port_bits = host_port_bits
        self._family = family
        self.layers = tuple(layers)
        self._graph = graph
        self._steps = self._split_into_steps()
        self._options: dict[tuple[Any, ...], Options] = {}
        self._units = MatrixUnits(graph, self.layers, integer_weights, family != "zynq-7000")

    def with_weights(self, integer_weights: IntegerWeights) -> CostTables:
        """The tables of the same network with other weights, empty."""
        return CostTables(self._graph, self.layers, integer_weights, self._host_port_bits, self._family)

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

    def _is_unit(self, step: tuple[int, ...]) -> bool:
        return bool(self._graph.ops[step[0]].op_type.startswith("MVAU"))

    def _node(self, index: int, layer: int, key: LayerKey) -> Any:
        """A node that is no matrix unit, with the types that follow from its layer's bits."""
        op = self._graph.ops[index]
        attributes = dict(op.attributes)
        if op.op_type.startswith("ConvolutionInputGenerator"):
            carried = key.handed_on_type if attributes["depthwise"] else act_type(key.act_in, key.weight)
            attributes |= {"inputDataType": carried, "outputDataType": carried}
        elif op.op_type.startswith("Pool"):
            attributes |= {"InputDataType": key.handed_on_type, "OutputDataType": key.handed_on_type}
        elif op.op_type.startswith("ElementwiseMul"):  # behind the last unit: it reads the accumulator
            (unit,) = (s[0] for s in self._steps[layer] if self._is_unit(s))
            attributes["lhs_dtype"] = self._units.merged(unit, layer, key).attributes["accDataType"]
        return self._graph.with_attributes(index, attributes)

    def _steps_of(self, layer: int, key: LayerKey) -> list[tuple[int, ...]]:
        """The steps of a layer; the addition that follows a last layer counting matching bits is there only then."""
        counting = act_type(key.act_in, key.weight) == "BINARY"
        spare = layer == len(self.layers) - 1 and not counting
        return [s for s in self._steps[layer] if not (spare and self._corrects_counting(s[0]))]

    def _corrects_counting(self, index: int) -> bool:
        """Whether a node adds one number to every output; a bias adds one of its own to each."""
        op = self._graph.ops[index]
        return bool(op.op_type.startswith("ElementwiseAdd") and op.attributes["rhs_shape"][-1] == 1)

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        """The parts of a layer's pipeline in the order of the data, each in the ways it can be built."""
        out: list[Section] = []
        for step in self._steps_of(layer, key):
            if not self._is_unit(step):
                out.append([[self._other(step, layer, key)]])
            elif key.act_out is None:
                out.append([[self._apart_unit(step[0], layer, key)]])
            else:
                merged = self._known((step, key), lambda i=step[0]: self._units.merged_options(i, layer, key))
                out.append([[merged], [self._apart_unit(step[0], layer, key), self._thresholds(step[0], layer, key)]])
        return out

    def has_rtl(self, layer: int, key: LayerKey) -> bool:
        """Whether FINN has an RTL matrix unit for a layer's bits on this part."""
        (index,) = (s[0] for s in self._steps[layer] if self._is_unit(s))
        return self._units.apart(index, layer, key, rtl=True) is not None

    def widths(self, layer: int) -> tuple[int, ...]:
        """Every number of elements a cycle that a layer may hand on, whatever its bits, in order."""
        last = self._graph.ops[self._steps[layer][-1][-1]]
        return divisors(int(last.get_normal_output_shape()[-1]))

    def _known(self, name: tuple[Any, ...], make: Any) -> Options:
        found = self._options.get(name)
        if found is None:
            self._options[name] = found = make()
        return found

    def _apart_unit(self, index: int, layer: int, key: LayerKey) -> Options:
        return self._known((index, key.weight, key.act_in), lambda: self._units.apart_options(index, layer, key))

    def _thresholds(self, index: int, layer: int, key: LayerKey) -> Options:
        unit: Any = self._units.apart(index, layer, key, rtl=False)
        name = (index, "thresholds", unit.attributes["accDataType"], key.act_out)
        return self._known(name, lambda: self._tabulated([self._units.thresholds(unit, key)]))

    def _other(self, step: tuple[int, ...], layer: int, key: LayerKey) -> Options:
        """The options of a step that is no matrix unit."""
        if self._graph.ops[step[0]].op_type.startswith("Elementwise"):
            what: object = (key.weight, key.act_in)
        else:  # a window carries one type, the unit's input or its output
            what = key.act_out if len(step) == 2 else act_type(key.act_in, key.weight)
        return self._known((step, what), lambda: self._tabulated([self._node(i, layer, key) for i in step]))

    def _tabulated(self, ops: Sequence[Any]) -> Options:
        """The options of a step with few foldings, asked one by one."""
        foldings: list[tuple[NodeFolding, ...]] = [(f,) for f in foldings_of(ops[0])]
        if len(ops) == 2:
            foldings = [(f, {"PE": f["SIMD"]}) for (f,) in foldings]
        rows = []
        for folding in foldings:
            nodes = [type(op)(op.name, {**op.attributes, **f}) for op, f in zip(ops, folding, strict=True)]
            used = sum((self._graph.resources_of(op) for op in nodes), Resources())
            used = sum((c.resources for op in nodes for c in correct_node(self._graph, op, "")), used)
            if len(ops) == 2:  # they share their folding: one width, but a FIFO between them
                lanes = int(folding[1]["PE"])
                used += Resources(lut=self.stream(lanes, lanes, nodes[0].get_output_datatype().bitwidth()))
            reads, hands_on = int(nodes[0].get_folded_input_shape()[-1]), int(nodes[-1].get_folded_output_shape()[-1])
            cycles = max(int(op.get_exp_cycles()) for op in nodes)
            rows.append((cycles, used.lut, used.bram18, used.dsp, reads, hands_on))
        order = np.array(sorted(range(len(rows)), key=lambda j: rows[j]))
        table = np.array(rows, float)[order]
        whole = table.astype(np.int64)
        return Options(
            cycles=whole[:, 0],
            lut=table[:, 1],
            bram18=whole[:, 2],
            dsp=whole[:, 3],
            reads=whole[:, 4],
            hands_on=whole[:, 5],
            read_bits=ops[0].get_input_datatype(0).bitwidth(),
            handed_on_bits=ops[-1].get_output_datatype().bitwidth(),
            built=[ops],
            way=np.zeros(len(rows), np.int64),
            foldings=foldings,
            folding=order,
        )

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

    def assemble(self, nodes_of_layers: Sequence[Sequence[Any]]) -> tuple[tuple[NodeEstimate, ...], tuple[Correction, ...]]:
        """The estimate of every node of a design, and what it leaves out.

        Args:
            nodes_of_layers: FINN's operators of every layer at their foldings, in the order of the data.
        """
        nodes, corrections = assembled(self.layers, [[self._figures_of(op) for op in ops] for ops in nodes_of_layers], self)
        return nodes, (*corrections, *correct_system(self._host_port_bits))

    def _figures_of(self, op: Any) -> Figures:
        """The figures of a node, kept with it: options hand out the same nodes again and again."""
        known = vars(op)
        if "figures" not in known:
            known["figures"] = figures(self._graph, op)
        return known["figures"]  # type: ignore[no-any-return]

    @cached_property
    def system_resources(self) -> Resources:
        """What the system around the accelerator takes."""
        return sum((c.resources for c in correct_system(self._host_port_bits)), Resources())

    def nodes_at(
        self, policy: BitPolicy, folding: Mapping[str, NodeFolding], implementations: Sequence[Implementation] = ()
    ) -> list[list[Any]]:
        """The nodes of every layer at a given folding, in the order of the data.

        Weight memory that is left to Vivado ("auto") counts as block RAM, as FINN counts it. Attributes
        that bitloop does not choose are not looked at.

        Args:
            policy: the bits.
            folding: FINN's node name to its attributes.
            implementations: of every layer, in order; merged HLS units without it.

        Raises:
            FoldingError: a node is missing, or has values that FINN does not accept; the text names those it does.
            GraphError: FINN has no such implementation for the bits, or there is not one for every layer.
        """
        keys = layer_keys(policy)
        wanted = list(implementations) or [Implementation.HLS] * len(keys)
        if len(wanted) != len(keys):
            raise GraphError(f"{len(wanted)} implementations for the {len(keys)} layers {', '.join(policy)}")
        unfolded = [list(self._unfolded(layer, key, wanted[layer])) for layer, key in enumerate(keys)]
        names = Names()
        return [[_folded(op, names.next(op), folding) for op in ops] for ops in unfolded]

    def draw_design(
        self, policy: BitPolicy, rng: random.Random, implementations: Sequence[Implementation] = ()
    ) -> tuple[dict[str, NodeFolding], list[Implementation]]:
        """Any legal folding of every node, good or bad, and any implementation of every layer that FINN has.

        Args:
            policy: the bits.
            rng: what to draw from.
            implementations: of every layer, if they are not to be drawn.
        """
        keys = layer_keys(policy)
        built = list(implementations) or [
            rng.choice([b for b in Implementation if self._has(b, i, key)]) for i, key in enumerate(keys)
        ]
        names = Names()
        folding: dict[str, NodeFolding] = {}
        for i, key in enumerate(keys):
            for op in self._unfolded(i, key, built[i]):
                folding[names.next(op)] = rng.choice(foldings_of(op))
        return folding, built

    def _has(self, built: Implementation, layer: int, key: LayerKey) -> bool:
        """Whether a layer can be built so; the last one has no thresholds to take apart."""
        if built is Implementation.RTL:
            return self.has_rtl(layer, key)
        return built is Implementation.HLS or key.act_out is not None

    def _unfolded(self, layer: int, key: LayerKey, implementation: Implementation) -> Iterator[Any]:
        """The nodes of a layer with its types."""
        for step in self._steps_of(layer, key):
            if not self._is_unit(step):
                yield from (self._node(i, layer, key) for i in step)
            elif implementation is Implementation.HLS:
                yield self._units.merged(step[0], layer, key)
            else:
                unit = self._units.apart(step[0], layer, key, implementation is Implementation.RTL)
                if unit is None:
                    raise GraphError(
                        f"layer {self.layers[layer]} has {key.weight}-bit weights and {key.act_in or 8}-bit inputs, of which "
                        "FINN has no RTL unit on this part; RTL wants 2 bits or more of both, and on the 7 series weights "
                        "above their type's least value"
                    )
                yield unit
                if key.act_out is not None:
                    yield self._units.thresholds(unit, key)


def _folded(op: Any, name: str, folding: Mapping[str, NodeFolding]) -> Any:
    """A node with its folding, which must be one that FINN accepts."""
    legal = foldings_of(op)
    given = {**DEFAULTS, **folding.get(name, {})}
    if given["ram_style"] == "auto":
        given["ram_style"] = "block"
    if op.op_type == "MVAU_rtl":
        given["resType"] = "dsp"
    if op.op_type.startswith("Thresholding"):  # they may be any number
        triggers = {k: given[k] for k in ("depth_trigger_bram", "depth_trigger_uram")}
        legal = [{**f, **triggers} for f in legal]
    missing = [k for k in folded_by(op) if k not in given]
    if missing:
        raise FoldingError(f"the folding lacks {missing[0]} of node {name}")
    wanted = {k: given[k] for k in folded_by(op)}
    if wanted not in legal:
        for k, v in wanted.items():
            allowed = sorted({f[k] for f in legal}, key=lambda x: (isinstance(x, str), x))
            if v not in allowed:
                raise FoldingError(f"node {name} has {k}={v}; allowed are {', '.join(map(str, allowed))}")
        raise FoldingError(f"node {name} cannot have {wanted}: a stream would be wider than {MAX_STREAM_BITS} bits")
    return type(op)(name, {**op.attributes, **wanted})
