"""From the nodes of a design to its estimate: FINN's figures node by node, and what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from boards.board import Resources
from hls.corrections import correct_node
from hls.finn_operators import HardwareGraph
from hls.legal import folded_by
from hls.types import Correction, NodeEstimate

_STREAM = "FIFOs and width converter"


class Streams(Protocol):
    """What streams take in LUT; `hls.cost.CostTables` knows."""

    def stream(self, hands_on: int, reads: int, element_bits: int) -> float:
        """From a step that hands on so many elements a cycle to one that reads so many."""
        ...

    def from_host(self, bits: int) -> float:
        """From the host to a step that reads so many bits a cycle."""
        ...

    def to_host(self, bits: int) -> float:
        """To the host from a step that hands on so many bits a cycle."""
        ...


class Names:
    """FINN's names of nodes: the class and a number that counts within it."""

    def __init__(self) -> None:
        self._n: dict[str, int] = {}

    def next(self, op: Any) -> str:
        """The name of the next node in the order of the data."""
        self._n[op.op_type] = number = self._n.get(op.op_type, -1) + 1
        return f"{op.op_type}_{number}"


@dataclass(frozen=True)
class Figures:
    """What a node is, whatever its name and its neighbours: FINN's figures, what they leave out, its streams.

    Attributes:
        op: FINN's operator.
        cycles, resources: by FINN.
        corrections: of the node, not yet named.
        reads, hands_on: elements a cycle.
        read_bits, handed_on_bits: of one of them.
    """

    op: Any
    cycles: int
    resources: Resources
    corrections: tuple[Correction, ...]
    reads: int
    hands_on: int
    read_bits: int
    handed_on_bits: int


def figures(graph: HardwareGraph, op: Any) -> Figures:
    """Ask FINN for the figures of a node."""
    return Figures(
        op, int(op.get_exp_cycles()), graph.resources_of(op), correct_node(graph, op, ""),
        int(op.get_folded_input_shape()[-1]), int(op.get_folded_output_shape()[-1]),
        op.get_input_datatype(0).bitwidth(), op.get_output_datatype().bitwidth(),
    )  # fmt: skip


def assembled(
    layers: Sequence[str], nodes_of_layers: Sequence[Sequence[Figures]], streams: Streams
) -> tuple[tuple[NodeEstimate, ...], tuple[Correction, ...]]:
    """See `hls.cost.CostTables.assemble`; what stands around the accelerator is left out."""
    nodes: list[NodeEstimate] = []
    corrections: list[Correction] = []
    names, before = Names(), None
    for layer, of_layer in zip(layers, nodes_of_layers, strict=True):
        for node in of_layer:
            name = names.next(node.op)
            if before is None:
                lut = streams.from_host(node.reads * node.read_bits)
            else:
                lut = streams.stream(before.hands_on, node.reads, node.read_bits)
            source = nodes[-1].node if nodes else "host"
            corrections.append(Correction(f"{source} → {name}", layer, Resources(lut=lut), _STREAM))
            corrections += [replace(c, subject=name, layer=layer) for c in node.corrections]
            folding = {k: node.op.attributes[k] for k in folded_by(node.op)}
            nodes.append(NodeEstimate(name, node.op.op_type, layer, node.cycles, node.resources, folding))
            before = node
    if before is not None:
        lut = streams.to_host(before.hands_on * before.handed_on_bits)
        corrections.append(Correction(f"{nodes[-1].node} → host", layers[-1], Resources(lut=lut), _STREAM))
    return tuple(nodes), tuple(corrections)
