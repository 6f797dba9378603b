"""What every node of an accelerator costs at any bits and folding, asked of FINN's own operators once.

`CostTables` holds one reference graph of a network. For a layer's bits it re-types the layer's
nodes and asks FINN's operators for cycles and resources at every folding FINN accepts; the answers
are kept, keyed by node and what its types depend on. No formula is copied.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from boards.board import Family, Resources
from hls.assembly import Figures, assembled, figures, named
from hls.corrections import FIFO_DEPTH, correct_node, correct_system
from hls.errors import FoldingError, GraphError
from hls.finn_operators import HardwareGraph, fifo_resources, stream_luts
from hls.legal import DEFAULTS, MAX_STREAM_BITS, NodeFolding, divisors, folded_by, foldings_of, shared_foldings
from hls.matrix_unit import MatrixUnits
from hls.node_types import NodeTypes
from hls.options import IntegerWeights, LayerKey, Options, Place, Section
from hls.steps import Kind, Step, held_pixels, kind_of, steps_of_layers, summed_pixels
from hls.topology import Topology
from hls.types import Correction, Implementation, NodeEstimate
from models.policy import BitPolicy
from models.spec import LayerSpec

_PLACES = {Kind.FORK: Place.FORK, Kind.JOIN: Place.JOIN}
_UNITS = (Kind.UNIT, Kind.FILTER)


class CostTables:
    """Costs of one network on one FPGA part, filled as they are asked for.

    Args:
        graph: the network's dataflow graph, exported with one-bit weights behind one-bit activations
            in its last layer where it can have them, so that it holds the correction FINN appends to such a layer.
        specs: the network's layers, in order.
        integer_weights: what accumulators and weight types are sized for.
        host_port_bits: width of the memory port that the DMA engines use.
        family: of the part.

    Raises:
        GraphError: the graph has nodes that are not known here, or other units than the layers have.
    """

    def __init__(
        self, graph: HardwareGraph, specs: Sequence[LayerSpec], integer_weights: IntegerWeights, host_port_bits: int,
        family: Family,
    ) -> None:  # fmt: skip
        self._host_port_bits = host_port_bits
        self._family = family
        self._specs = tuple(specs)
        self._graph = graph
        self._index = {op.name: i for i, op in enumerate(graph.ops)}
        self._steps = steps_of_layers(graph, specs)
        self.topology = Topology.of(specs, [summed_pixels(graph, steps) for steps in self._steps])
        self.layers = self.topology.layers
        self._options: dict[tuple[Any, ...], Options] = {}
        self._units = MatrixUnits(graph, self.layers, integer_weights, family != "zynq-7000")
        self._types = NodeTypes(graph, self.layers, integer_weights, self._units)

    def with_weights(self, integer_weights: IntegerWeights) -> CostTables:
        """The tables of the same network with other weights, empty."""
        return CostTables(self._graph, self._specs, integer_weights, self._host_port_bits, self._family)

    def _unit(self, layer: int) -> Step:
        (unit,) = (s for s in self._steps[layer] if s.kind in _UNITS)
        return unit

    def _steps_of(self, layer: int, key: LayerKey) -> list[Step]:
        """The steps of a layer; the addition that follows a last layer counting matching bits is there only then."""
        spare = layer == len(self.layers) - 1 and key.read_type != "BINARY"
        return [s for s in self._steps[layer] if not (spare and self._corrects_counting(s))]

    def _corrects_counting(self, step: Step) -> bool:
        """Whether a step adds one number to every output; a bias adds one of its own to each."""
        op = self._graph.ops[step.nodes[0]]
        return step.kind is Kind.TAIL and kind_of(op) == "ElementwiseAdd" and op.attributes["rhs_shape"][-1] == 1

    def _typed(self, step: Step, layer: int, key: LayerKey) -> list[Any]:
        """The nodes of a step that is no matrix unit, with the types that follow from its layer's bits."""
        return self._types.of(step, layer, key, self._unit(layer))

    def sections(self, layer: int, key: LayerKey) -> list[Section]:
        """The parts of a layer's pipeline in the order of its steps, each in the ways it can be built."""
        out: list[Section] = []
        for step in self._steps_of(layer, key):
            place = Place.TURN if step.turns else _PLACES.get(step.kind, Place.ALONG)
            index = step.nodes[0]
            if step.kind is not Kind.UNIT:
                other = self._types.other_bits(step, key) if place is Place.JOIN else 0
                out.append(Section([[self._other(step, layer, key)]], place, other))
            elif key.unit_type is None:
                out.append(Section([[self._apart_unit(index, layer, key)]], place))
            else:
                merged = self._known((index, key), partial(self._units.merged_options, index, layer, key))
                apart = [self._apart_unit(index, layer, key), self._thresholds(index, layer, key)]
                out.append(Section([[merged], apart], place))
        return out

    def has_rtl(self, layer: int, key: LayerKey) -> bool:
        """Whether FINN has an RTL matrix unit for a layer's bits on this part."""
        unit = self._unit(layer)
        return unit.kind is Kind.UNIT and self._units.apart(unit.nodes[0], layer, key, rtl=True) is not None

    def widths(self, layer: int) -> tuple[int, ...]:
        """Every number of elements a cycle that a layer may hand on, whatever its bits, in order."""
        return self._widths_of(self._steps[layer][-1])

    def _widths_of(self, step: Step) -> tuple[int, ...]:
        return divisors(int(self._graph.ops[step.nodes[-1]].get_normal_output_shape()[-1]))

    def carried(self, layer: int) -> tuple[int, ...]:
        """Every width of the other branch's stream that waits behind a layer, in order; empty outside of branches."""
        return self._carried[layer]

    @cached_property
    def _carried(self) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []
        here: tuple[int, ...] = ()
        before: Step | None = None
        for steps in self._steps:
            for step in steps:
                if step.kind is Kind.FORK:
                    here = self._widths_of(step)
                elif step.turns and before is not None:
                    here = self._widths_of(before)
                elif step.kind is Kind.JOIN:
                    here = ()
                before = step
            found.append(here)
        return found

    def _known(self, name: tuple[Any, ...], make: Callable[[], Options]) -> Options:
        found = self._options.get(name)
        if found is None:
            self._options[name] = found = make()
        return found

    def _apart_unit(self, index: int, layer: int, key: LayerKey) -> Options:
        name = (index, key.weight, key.read_type)
        return self._known(name, lambda: self._units.apart_options(index, layer, key))

    def _thresholds(self, index: int, layer: int, key: LayerKey) -> Options:
        unit: Any = self._units.apart(index, layer, key, rtl=False)
        name = (index, "thresholds", unit.attributes["accDataType"], key.unit_type)
        return self._known(name, lambda: self._tabulated([self._units.thresholds(unit, key)]))

    def _other(self, step: Step, layer: int, key: LayerKey) -> Options:
        """The options of a step that is no matrix unit."""
        name = (step, *self._types.depends_on(step, key))
        return self._known(name, lambda: self._tabulated(self._typed(step, layer, key), step.kind))

    def _tabulated(self, ops: Sequence[Any], kind: Kind = Kind.THRESHOLDS) -> Options:
        """The options of a step with few foldings, asked one by one."""
        foldings = shared_foldings(ops)
        rows = []
        for folding in foldings:
            nodes = [type(op)(op.name, {**op.attributes, **f}) for op, f in zip(ops, folding, strict=True)]
            used = sum((self._graph.resources_of(op) for op in nodes), Resources())
            used = sum((c.resources for op in nodes for c in self._left_out(op)), used)
            if len(ops) == 2:  # they share their folding, but there is a stream between them
                out, into = int(nodes[0].get_folded_output_shape()[-1]), int(nodes[1].get_folded_input_shape()[-1])
                used += Resources(lut=self.stream(out, into, nodes[0].get_output_datatype().bitwidth()))
            reads, hands_on = int(nodes[0].get_folded_input_shape()[-1]), int(nodes[-1].get_folded_output_shape()[-1])
            cycles = max(int(op.get_exp_cycles()) for op in nodes)
            rows.append((cycles, used.lut, used.bram18, used.dsp, reads, hands_on))
        order = np.array(sorted(range(len(rows)), key=lambda j: rows[j]))
        table = np.array(rows, float)[order]
        whole = table.astype(np.int64)
        reader = ops[-1] if kind is Kind.JOIN else ops[0]
        return Options(
            cycles=whole[:, 0],
            lut=table[:, 1],
            bram18=whole[:, 2],
            dsp=whole[:, 3],
            reads=whole[:, 4],
            hands_on=whole[:, 5],
            read_bits=reader.get_input_datatype(0).bitwidth(),
            handed_on_bits=ops[-1].get_output_datatype().bitwidth(),
            built=[ops],
            way=np.zeros(len(rows), np.int64),
            foldings=foldings,
            folding=order,
            n_read=prod(map(int, ops[0].get_normal_input_shape(0))),
        )

    def _left_out(self, op: Any) -> tuple[Correction, ...]:
        """What FINN's figures of a node leave out, behind a fork the wait of one stream for the other included."""
        found = correct_node(self._graph, op, "")
        if kind_of(op) != "DuplicateStreams":
            return found
        words = held_pixels(self._graph, self._index[op.name]) * op.attributes["NumChannels"] // op.attributes["PE"]
        bits = op.get_outstream_width(0)
        deep, usual = (fifo_resources(n, bits, self._graph.fpga_part) for n in (max(words, FIFO_DEPTH), FIFO_DEPTH))
        more = Resources(lut=max(0.0, deep.lut - usual.lut), bram18=deep.bram18)
        return (*found, Correction(op.name, "", more, "FIFO in which one branch waits for the windows of the other"))

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
            nodes_of_layers: FINN's operators of every layer at their foldings, in the order of its steps.
        """
        of_layers = [[self._figures_of(op) for op in ops] for ops in nodes_of_layers]
        nodes, corrections = assembled(self.layers, of_layers, self._graph, self)
        return nodes, (*corrections, *correct_system(self._host_port_bits))

    def _figures_of(self, op: Any) -> Figures:
        """The figures of a node, kept with it: options hand out the same nodes again and again."""
        known = vars(op)
        if "figures" not in known:
            known["figures"] = figures(self._graph, op, self._left_out(op))
        return known["figures"]  # type: ignore[no-any-return]

    @cached_property
    def system_resources(self) -> Resources:
        """What the system around the accelerator takes."""
        return sum((c.resources for c in correct_system(self._host_port_bits)), Resources())

    def nodes_at(
        self, policy: BitPolicy, folding: Mapping[str, NodeFolding], implementations: Sequence[Implementation] = ()
    ) -> list[list[Any]]:
        """The nodes of every layer at a given folding, in the order of its steps.

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
        keys = self.topology.keys(policy.values())
        wanted = list(implementations) or [Implementation.HLS] * len(keys)
        if len(wanted) != len(keys):
            raise GraphError(f"{len(wanted)} implementations for the {len(keys)} layers {', '.join(policy)}")
        unfolded = [[op for step in self._unfolded(layer, key, wanted[layer]) for op in step] for layer, key in enumerate(keys)]
        names = named([op for ops in unfolded for op in ops], self._graph)
        return [[_folded(op, names[op.name], folding) for op in ops] for ops in unfolded]

    def draw_design(
        self, policy: BitPolicy, rng: random.Random, implementations: Sequence[Implementation] = ()
    ) -> tuple[dict[str, NodeFolding], list[Implementation]]:
        """Any legal folding of every node, good or bad, and any implementation of every layer that FINN has.

        Args:
            policy: the bits.
            rng: what to draw from.
            implementations: of every layer, if they are not to be drawn.
        """
        keys = self.topology.keys(policy.values())
        built = list(implementations) or [
            rng.choice([b for b in Implementation if self._has(b, i, key)]) for i, key in enumerate(keys)
        ]
        steps = [step for i, key in enumerate(keys) for step in self._unfolded(i, key, built[i])]
        names = named([op for step in steps for op in step], self._graph)
        drawn = [(step, rng.choice(shared_foldings(step))) for step in steps]
        return {names[op.name]: f for step, foldings in drawn for op, f in zip(step, foldings, strict=True)}, built

    def _has(self, built: Implementation, layer: int, key: LayerKey) -> bool:
        """Whether a layer can be built so; the last one and filters have no thresholds to take apart."""
        if built is Implementation.RTL:
            return self.has_rtl(layer, key)
        return built is Implementation.HLS or (key.unit_type is not None and self._unit(layer).kind is Kind.UNIT)

    def _unfolded(self, layer: int, key: LayerKey, implementation: Implementation) -> Iterator[list[Any]]:
        """The nodes of a layer with its types, step by step."""
        if implementation is not Implementation.HLS and self._unit(layer).kind is Kind.FILTER:
            raise GraphError(f"layer {self.layers[layer]} is a depthwise convolution; bitloop builds it with its thresholds")
        for step in self._steps_of(layer, key):
            index = step.nodes[0]
            if step.kind is not Kind.UNIT:
                yield self._typed(step, layer, key)
            elif implementation is Implementation.HLS:
                yield [self._units.merged(index, layer, key)]
            else:
                unit = self._units.apart(index, layer, key, implementation is Implementation.RTL)
                if unit is None:
                    raise GraphError(
                        f"layer {self.layers[layer]} has {key.weight}-bit weights and {key.act_in or 8}-bit inputs, of which "
                        "FINN has no RTL unit on this part; RTL wants 2 bits or more of both, and on the 7 series weights "
                        "above their type's least value"
                    )
                yield [unit]
                if key.unit_type is not None:
                    yield [self._units.thresholds(unit, key)]


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
    return type(op)(op.name, {**op.attributes, **wanted})
