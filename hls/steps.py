"""A dataflow graph as the steps of a network's layers, in the order in which a design is thought of.

That is the order of the layers: where the stream is copied, the branch with more layers comes first, then the other
one, then what adds them up. FINN's own order, which names its nodes, goes through both branches side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, auto
from math import prod
from typing import Any

from hls.errors import GraphError
from hls.finn_operators import HardwareGraph
from models.spec import LayerSpec


class Kind(StrEnum):
    """What a step is made of."""

    UNIT = auto()  # a matrix unit
    FILTER = auto()  # a depthwise window with the unit it feeds
    POOL = auto()  # a depthwise window with the pool it feeds
    READS = auto()  # what hands on to a unit: padding, window, mean
    TAIL = auto()  # a scale or a bias behind the last unit, or the choice of the best classes
    FORK = auto()  # copies the stream
    JOIN = auto()  # adds two streams up, the thresholds of one of them included where it has no layer
    THRESHOLDS = auto()  # behind a sum


KINDS = {
    "MVAU": Kind.UNIT, "FMPadding": Kind.READS, "ConvolutionInputGenerator": Kind.READS, "GlobalAccPool": Kind.READS,
    "LabelSelect": Kind.TAIL, "ElementwiseMul": Kind.TAIL, "ElementwiseAdd": Kind.TAIL, "DuplicateStreams": Kind.FORK,
    "Thresholding": Kind.THRESHOLDS,
}  # fmt: skip
WITH_ITS_WINDOW = {"Pool": Kind.POOL, "VVAU": Kind.FILTER}


@dataclass(frozen=True)
class Step:
    """Nodes that share their folding.

    Attributes:
        kind: what they are.
        nodes: their positions in the graph, in the order of the data.
        turns: whether it is the first step of a branch that is followed second.
    """

    kind: Kind
    nodes: tuple[int, ...]
    turns: bool = False


def kind_of(op: Any) -> str:
    """FINN's class of an operator, without the language it is written in."""
    return str(op.op_type).split("_")[0]


def steps_of_layers(graph: HardwareGraph, specs: Sequence[LayerSpec]) -> list[list[Step]]:
    """For every layer its steps.

    What stands before a unit belongs to its layer; what pools, scales or adds up behind one belongs to that.

    Raises:
        GraphError: a node of a kind that is not known here, or not the units of these layers.
    """
    steps: list[list[Step]] = [[] for _ in specs]
    owned: list[tuple[int, Step]] = []
    layer = 0
    for step in _Walk(graph).steps:
        is_unit = step.kind in (Kind.UNIT, Kind.FILTER)
        owner = layer if is_unit or step.kind in (Kind.READS, Kind.FORK) else layer - 1
        layer += is_unit
        owned.append((owner, step))
    if layer != len(specs):
        names = ", ".join(s.name for s in specs)
        raise GraphError(f"the graph has {layer} matrix units for the {len(specs)} layers {names}")
    for owner, step in owned:
        if not 0 <= owner < len(specs):
            raise GraphError(f"node {graph.ops[step.nodes[0]].name} stands before the first unit or behind the last")
        steps[owner].append(step)
    for spec, of_layer in zip(specs, steps, strict=True):
        _check(graph, spec, of_layer)
    return steps


def summed_pixels(graph: HardwareGraph, steps: Sequence[Step]) -> int:
    """Pixels that a mean among some steps adds up; 1 without one."""
    means = [graph.ops[i] for s in steps for i in s.nodes if kind_of(graph.ops[i]) == "GlobalAccPool"]
    return prod(prod(op.attributes["numInputVectors"]) for op in means)


def held_by(windows: Iterable[Mapping[str, Any]]) -> int:
    """Pixels that windows one behind the other hold back, at most, in pixels of what the first one reads.

    A window hands on its first pixels once its rows are there, and holds all but one of them from then on.

    Args:
        windows: attributes of FINN's ConvolutionInputGenerator, in the order of the data.
    """
    held, stride = 0, 1
    for a in windows:
        rows, columns = a["ConvKernelDim"]
        held += ((rows - 1) * a["IFMDim"][1] + columns) * stride**2
        stride *= a["Stride"][0]
    return int(held)


def held_pixels(graph: HardwareGraph, fork: int) -> int:
    """Pixels of what a fork copies that the windows of one branch hold back, and those of the other do not."""
    held = []
    for here in graph.readers(fork):
        windows = []
        while len(graph.sources[here]) == 1:
            if kind_of(graph.ops[here]) == "ConvolutionInputGenerator":
                windows.append(graph.ops[here].attributes)
            (here,) = graph.readers(here)
        held.append(held_by(windows))
    return max(held) - min(held)


def _check(graph: HardwareGraph, spec: LayerSpec, steps: Sequence[Step]) -> None:
    """Look whether a unit has the shape of its layer's weights."""
    (unit,) = (graph.ops[s.nodes[-1]] for s in steps if s.kind in (Kind.UNIT, Kind.FILTER))
    a = unit.attributes
    n = a["MW"] * a["MH"] if "MW" in a else a["Channels"] * prod(a["Kernel"])
    if n != spec.n_params:
        raise GraphError(f"node {unit.name} holds {n:,} weights where layer {spec.name} has {spec.n_params:,}")


class _Walk:
    """The steps of a graph in the order of its layers."""

    def __init__(self, graph: HardwareGraph) -> None:
        self._graph = graph
        self.steps: list[Step] = []
        here = next((i for i, read in enumerate(graph.sources) if not read), None)
        while here is not None:
            run, end = self._run(here)
            self.steps += self._paired(run)
            here = None if end is None else self._past_fork(end)

    def _run(self, first: int) -> tuple[list[int], int | None]:
        """The nodes from one on to where the way forks, joins or ends, and what it forks or joins at."""
        run: list[int] = []
        here = first
        while True:
            readers = self._graph.readers(here)
            if len(readers) > 1:
                return run, here
            run.append(here)
            if not readers:
                return run, None
            (here,) = readers
            if len(self._graph.sources[here]) > 1:
                return run, here

    def _past_fork(self, fork: int) -> int | None:
        """Go through both branches and what joins them, and say what comes behind."""
        op = self._graph.ops[fork]
        branches = [self._run(i) for i in self._graph.readers(fork)]
        if kind_of(op) != "DuplicateStreams" or len(branches) != 2 or branches[0][1] != branches[1][1]:
            raise GraphError(f"node {op.name} feeds {len(branches)} branches; two that meet again can be costed")
        join = branches[0][1]
        if join is None or kind_of(self._graph.ops[join]) != "ElementwiseAdd":
            raise GraphError(f"the branches behind node {op.name} are not added up; nothing else can be costed")
        paired = sorted((self._paired(run) for run, _ in branches), key=_n_units)
        short, long = paired
        self.steps += [Step(Kind.FORK, (fork,)), *long]
        if _n_units(short):
            self.steps += [Step(short[0].kind, short[0].nodes, turns=True), *short[1:], Step(Kind.JOIN, (join,))]
        elif [s.kind for s in short] == [Kind.THRESHOLDS]:
            self.steps.append(Step(Kind.JOIN, (*short[0].nodes, join)))
        else:
            raise GraphError(f"the skip from node {op.name} is no threshold unit and has no layer; it cannot be costed")
        readers = self._graph.readers(join)
        if len(readers) != 1:
            raise GraphError(f"node {self._graph.ops[join].name} feeds {len(readers)} nodes; one can be costed")
        return readers[0]

    def _paired(self, run: Sequence[int]) -> list[Step]:
        """A run of nodes as steps: depthwise windows go with what they feed."""
        steps, rest = [], list(run)
        while rest:
            i = rest.pop(0)
            op = self._graph.ops[i]
            kind = KINDS.get(kind_of(op))
            if kind_of(op) == "ConvolutionInputGenerator" and op.attributes["depthwise"]:
                fed = WITH_ITS_WINDOW.get(kind_of(self._graph.ops[rest[0]])) if rest else None
                if fed is None:
                    raise GraphError(f"node {op.name} is a depthwise window that feeds neither pool nor unit")
                steps.append(Step(fed, (i, rest.pop(0))))
            elif kind is None:
                raise GraphError(f"node {op.name} is of the kind {op.op_type}, which cannot be costed so far")
            else:
                steps.append(Step(kind, (i,)))
        return steps


def _n_units(steps: Sequence[Step]) -> int:
    return sum(s.kind in (Kind.UNIT, Kind.FILTER) for s in steps)
