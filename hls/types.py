"""What a policy costs: `Folding`, `NodeEstimate`, `Estimate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from boards.board import Resources

Folding = Mapping[str, Mapping[str, int | str]]
"""FINN node name to its attributes (PE, SIMD, …): what FINN's `folding_config_file` takes."""


@dataclass(frozen=True)
class NodeEstimate:
    """One hardware node: FINN's name and class, the layer it belongs to, its cycles a frame and resources."""

    node: str
    op_type: str
    layer: str
    cycles: int
    resources: Resources
    folding: Mapping[str, int | str]


@dataclass(frozen=True)
class Estimate:
    """What an accelerator is estimated to take and give.

    Attributes:
        nodes: one entry a hardware node, in the order of the data.
        clock_mhz: the clock the rates hold for.
        method: where the numbers come from.
    """

    nodes: tuple[NodeEstimate, ...]
    clock_mhz: float
    method: str

    @property
    def resources(self) -> Resources:
        """Sum over the nodes. Width converters, FIFOs, DMA and the Zynq shell are not in FINN's estimate."""
        return sum((n.resources for n in self.nodes), Resources())

    @property
    def bottleneck_cycles(self) -> int:
        """Cycles a frame in the steady state: those of the slowest node."""
        return max(n.cycles for n in self.nodes)

    @property
    def latency_cycles(self) -> int:
        """Cycles of the first frame: FINN's critical path, the sum over a chain of nodes."""
        return sum(n.cycles for n in self.nodes)

    @property
    def fps(self) -> float:
        """Frames a second in the steady state."""
        return self.clock_mhz * 1e6 / self.bottleneck_cycles

    @property
    def latency_ms(self) -> float:
        """Milliseconds of the first frame."""
        return self.latency_cycles / (self.clock_mhz * 1e3)

    @property
    def folding(self) -> dict[str, dict[str, int | str]]:
        """The folding of every node, as FINN's `folding_config_file` takes it."""
        return {n.node: dict(n.folding) for n in self.nodes if n.folding}

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Estimate:
        """Read what `to_dict` gave."""
        nodes = tuple(NodeEstimate(**{**n, "resources": Resources(**n["resources"])}) for n in raw["nodes"])
        return cls(nodes, float(raw["clock_mhz"]), str(raw["method"]))

    def cycles_per_layer(self) -> dict[str, int]:
        """Cycles a frame of each layer: those of its slowest node."""
        out: dict[str, int] = {}
        for n in self.nodes:
            out[n.layer] = max(out.get(n.layer, 0), n.cycles)
        return out

    def resources_per_layer(self) -> dict[str, Resources]:
        """Resources of each layer: the sum of its nodes."""
        out: dict[str, Resources] = {}
        for n in self.nodes:
            out[n.layer] = out.get(n.layer, Resources()) + n.resources
        return out
