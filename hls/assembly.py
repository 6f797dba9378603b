"""From the nodes of a design to its estimate: FINN's figures node by node, and what they leave out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from boards.board import Resources
from hls.finn_operators import HardwareGraph
from hls.legal import folded_by
from hls.pace import Pace, pace_of
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


THRESHOLDS_OF = " thresholds"  # behind a unit's name, its thresholds' where they are a node of their own


@dataclass(frozen=True)
class _Wired:
    """A node and what it reads: positions among the same nodes."""

    name: str
    sources: tuple[int, ...]


def _wired(ops: Sequence[Any], graph: HardwareGraph) -> list[_Wired]:
    """The nodes of a design, in any order, with FINN's names: the class and a number that counts within it.

    FINN numbers its nodes by their distance from the host, and at one distance as they stood before
    (qonnx/transformation/general.py, SortGraph). Nodes of the reference graph that a design does without are passed over.
    """
    at = {op.name: i for i, op in enumerate(ops)}
    index = {op.name: i for i, op in enumerate(graph.ops)}

    def last_of(i: int) -> tuple[int, ...]:
        """What is read of a node of the reference graph: it, its thresholds, or what it would read itself."""
        name = graph.ops[i].name
        found = at.get(name + THRESHOLDS_OF, at.get(name))
        return tuple(k for j in graph.sources[i] for k in last_of(j)) if found is None else (found,)

    sources: list[tuple[int, ...]] = []
    for op in ops:
        unit = op.name.removesuffix(THRESHOLDS_OF)
        sources.append((at[unit],) if unit != op.name else tuple(k for j in graph.sources[index[unit]] for k in last_of(j)))
    distance: dict[int, int] = {}

    def distance_of(i: int) -> int:
        if i not in distance:
            distance[i] = max((1 + distance_of(j) for j in sources[i]), default=0)
        return distance[i]

    place = [(distance_of(i), index[op.name.removesuffix(THRESHOLDS_OF)]) for i, op in enumerate(ops)]
    counted: Counter[str] = Counter()
    names = {}
    for i in sorted(range(len(ops)), key=lambda i: place[i]):
        kind = ops[i].op_type
        names[i] = f"{kind}_{counted[kind]}"
        counted[kind] += 1
    return [_Wired(names[i], read) for i, read in enumerate(sources)]


def named(ops: Sequence[Any], graph: HardwareGraph) -> dict[str, str]:
    """FINN's names of a design's nodes, by those they have in the reference graph."""
    return {op.name: wired.name for op, wired in zip(ops, _wired(ops, graph), strict=True)}


@dataclass(frozen=True)
class Figures:
    """What a node is, whatever its name and its neighbours: FINN's figures, what they leave out, its streams.

    Attributes:
        op: FINN's operator.
        cycles, resources: by FINN.
        corrections: of the node, not yet named.
        reads, hands_on: elements a cycle.
        read_bits, handed_on_bits: of one of them.
        pace: how it reads and hands on a frame.
    """

    op: Any
    cycles: int
    resources: Resources
    corrections: tuple[Correction, ...]
    reads: int
    hands_on: int
    read_bits: int
    handed_on_bits: int
    pace: Pace | None


def figures(graph: HardwareGraph, op: Any, left_out: tuple[Correction, ...]) -> Figures:
    """Ask FINN for the figures of a node; `left_out` are its corrections."""
    return Figures(
        op, int(op.get_exp_cycles()), graph.resources_of(op), left_out,
        int(op.get_folded_input_shape()[-1]), int(op.get_folded_output_shape()[-1]),
        op.get_input_datatype(0).bitwidth(), op.get_output_datatype().bitwidth(), pace_of(op),
    )  # fmt: skip


def assembled(
    layers: Sequence[str], nodes_of_layers: Sequence[Sequence[Figures]], graph: HardwareGraph, streams: Streams
) -> tuple[tuple[NodeEstimate, ...], tuple[Correction, ...]]:
    """See `hls.cost.CostTables.assemble`; what stands around the accelerator is left out."""
    all_figures = [node for of_layer in nodes_of_layers for node in of_layer]
    layer_of = [layer for layer, of_layer in zip(layers, nodes_of_layers, strict=True) for _ in of_layer]
    wired = _wired([node.op for node in all_figures], graph)
    nodes: list[NodeEstimate] = []
    corrections: list[Correction] = []
    for node, layer, w in zip(all_figures, layer_of, wired, strict=True):
        if not w.sources:
            lut = streams.from_host(node.reads * node.read_bits)
            corrections.append(Correction(f"host → {w.name}", layer, Resources(lut=lut), _STREAM))
        for source in w.sources:
            lut = streams.stream(all_figures[source].hands_on, node.reads, node.read_bits)
            corrections.append(Correction(f"{wired[source].name} → {w.name}", layer, Resources(lut=lut), _STREAM))
        corrections += [replace(c, subject=w.name, layer=layer) for c in node.corrections]
        folding = {k: node.op.attributes[k] for k in folded_by(node.op)}
        sources = tuple(wired[source].name for source in w.sources)
        nodes.append(NodeEstimate(w.name, node.op.op_type, layer, node.cycles, node.resources, folding, sources, node.pace))
    read = {source for w in wired for source in w.sources}
    for i, (node, layer) in enumerate(zip(all_figures, layer_of, strict=True)):
        if i not in read:
            lut = streams.to_host(node.hands_on * node.handed_on_bits)
            corrections.append(Correction(f"{wired[i].name} → host", layer, Resources(lut=lut), _STREAM))
    return tuple(nodes), tuple(corrections)
