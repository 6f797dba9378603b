"""What a policy costs: `Folding`, `Implementation`, `NodeEstimate`, `Estimate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from boards.board import Resources
from hls.pace import Pace, converter_cycles

Folding = Mapping[str, Mapping[str, int | str]]
"""FINN node name to its attributes (PE, SIMD, …): what FINN's `folding_config_file` takes."""


INTERVAL, LATENCY = "interval_cycles", "latency_cycles"
"""Names of what a calibration knows beside the resources: cycles a frame in the steady state, and of the first frame."""


def _is_finite(count: object) -> bool:
    return isinstance(count, int | float) and not isinstance(count, bool) and -math.inf < count < math.inf


def scaled(resources: Resources, factors: Mapping[str, float]) -> Resources:
    """Resources, each times the factor of its name."""
    return Resources(**{name: count * factors.get(name, 1.0) for name, count in asdict(resources).items()})


def before_factors(limits: Resources, factors: Mapping[str, float]) -> Resources:
    """The limits that an estimate must keep to so that it keeps to `limits` with a calibration's factors."""
    return scaled(limits, {name: 1 / factor for name, factor in factors.items()})


def cycles_at(fps: float, clock_mhz: float) -> int:
    """The most cycles a frame at which a frame rate above 0 is reached.

    The frame rate of a number of cycles gives that number back: a rounding error is forgiven.
    """
    return math.floor(clock_mhz * 1e6 / fps * (1 + 1e-9))


class Implementation(StrEnum):
    """What a layer's matrix unit is built as.

    Thresholds apart are a node of their own (FINN's Thresholding_rtl), which searches a memory where a
    merged unit compares with all of them at once. FINN builds RTL units only with thresholds apart.
    """

    HLS = "hls"
    HLS_APART = "hls-thresholds-apart"
    RTL = "rtl"


@dataclass(frozen=True)
class NodeEstimate:
    """One hardware node.

    Attributes:
        node, op_type: FINN's name and class.
        layer: it belongs to.
        cycles: a frame, by FINN.
        resources: by FINN.
        folding: its attributes.
        sources: names of the nodes it reads; none for the host.
        pace: how it reads and hands on a frame; None of a kind of which that is not known, and in files of bitloop 0.1.
    """

    node: str
    op_type: str
    layer: str
    cycles: int
    resources: Resources
    folding: Mapping[str, int | str]
    sources: tuple[str, ...] = ()
    pace: Pace | None = None


@dataclass(frozen=True)
class Correction:
    """What FINN's figures leave out of one thing.

    Attributes:
        subject: a node, a pair of nodes with an arrow between them, or a part of the system.
        layer: the layer it belongs to; empty for the system around the accelerator.
        resources: what it takes.
        reason: what takes it.
    """

    subject: str
    layer: str
    resources: Resources
    reason: str


@dataclass(frozen=True)
class Estimate:
    """What an accelerator is estimated to take and give.

    Attributes:
        nodes: one entry a hardware node, layer by layer, every one behind those it reads; with FINN's figures.
        corrections: what those leave out.
        clock_mhz: the clock the rates hold for.
        method: where the numbers come from.
        factors: of a calibration (`hls.calibrate`), quantity to what it is multiplied by; what is not named is taken as it is.
    """

    nodes: tuple[NodeEstimate, ...]
    clock_mhz: float
    method: str
    corrections: tuple[Correction, ...] = ()
    factors: Mapping[str, float] = field(default_factory=dict)

    @property
    def uncalibrated(self) -> Estimate:
        """The same without what measurements had to say."""
        return replace(self, factors={})

    @property
    def finn_resources(self) -> Resources:
        """What FINN says: the sum over the nodes."""
        return sum((n.resources for n in self.nodes), Resources())

    @property
    def resources(self) -> Resources:
        """What bitloop believes: FINN's figures and the corrections, calibrated."""
        found = sum((c.resources for c in self.corrections), self.finn_resources)
        return scaled(found, self.factors) if self.factors else found

    @property
    def finn_bottleneck_cycles(self) -> int:
        """What FINN says of the cycles a frame in the steady state: those of the slowest node."""
        return max(n.cycles for n in self.nodes)

    @cached_property
    def bottleneck_cycles(self) -> int:
        """Cycles a frame in the steady state: those of the slowest node or width converter, as they are estimated."""
        return max(self.finn_bottleneck_cycles, *self.converters.values(), 0)

    @cached_property
    def converters(self) -> dict[tuple[str, str], int]:
        """Cycles a frame of every width converter, by the nodes before and behind it; FINN counts none."""
        pace_of = {n.node: n.pace for n in self.nodes}
        found = {}
        for n in self.nodes:
            for source in n.sources:
                before, behind = pace_of[source], n.pace
                if before is not None and behind is not None and before.hands_on != behind.reads:
                    found[source, n.node] = converter_cycles(before.n_handed_on, before.hands_on, behind.reads)
        return found

    @property
    def finn_latency_cycles(self) -> int:
        """What FINN says of the cycles of the first frame: its critical path, the largest sum over nodes that read each other.

        It is far too much where nodes overlap, as those of convolutions do.
        """
        ends: dict[str, int] = {}
        for n in self.nodes:
            ends[n.node] = n.cycles + max((ends[s] for s in n.sources), default=0)
        return max(ends.values())

    @cached_property
    def latency_cycles(self) -> int:
        """Cycles of the first frame, by the paces of the nodes (`hls.first_frame`); FINN's where one is not known."""
        return self.finn_latency_cycles if self._first_frame is None else self._first_frame

    @property
    def has_paces(self) -> bool:
        """Whether the first frame is estimated by the paces of the nodes, and not by FINN's sum."""
        return self._first_frame is not None

    @cached_property
    def _first_frame(self) -> int | None:
        if any(n.pace is None for n in self.nodes):
            return None
        from hls.first_frame import first_frame  # numba is slow to import, and nothing else here wants it

        at = {n.node: i for i, n in enumerate(self.nodes)}
        return first_frame([n.pace for n in self.nodes], [[at[s] for s in n.sources] for n in self.nodes])

    @property
    def fps(self) -> float:
        """Frames a second in the steady state, calibrated."""
        return self.clock_mhz * 1e6 / (self.bottleneck_cycles * self.factors.get(INTERVAL, 1.0))

    @property
    def latency_ms(self) -> float:
        """Milliseconds of the first frame, calibrated."""
        return self.latency_cycles * self.factors.get(LATENCY, 1.0) / (self.clock_mhz * 1e3)

    @property
    def folding(self) -> dict[str, dict[str, int | str]]:
        """The folding of every node, as FINN's `folding_config_file` takes it."""
        return {n.node: dict(n.folding) for n in self.nodes if n.folding}

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """What every layer's matrix unit is built as, in order."""
        apart = {n.sources for n in self.nodes if n.op_type.startswith("Thresholding")}
        built = []
        for n in self.nodes:
            if n.op_type == "MVAU_rtl":
                built.append(Implementation.RTL)
            elif n.op_type.startswith(("MVAU", "VVAU")):
                built.append(Implementation.HLS_APART if (n.node,) in apart else Implementation.HLS)
        return tuple(built)

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Estimate:
        """Read what `to_dict` gave.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is something else.
        """
        names = [n["node"] for n in raw["nodes"]]
        chain = [(), *((name,) for name in names)]  # what files of bitloop 0.1 do not say
        nodes = tuple(
            NodeEstimate(
                **{
                    **n,
                    "resources": Resources(**n["resources"]),
                    "sources": tuple(n.get("sources", before)),
                    "pace": Pace.from_dict(n["pace"]) if n.get("pace") else None,
                }
            )
            for n, before in zip(raw["nodes"], chain, strict=False)
        )
        corrections = tuple(Correction(**{**c, "resources": Resources(**c["resources"])}) for c in raw["corrections"])
        factors = {str(name): float(factor) for name, factor in raw.get("factors", {}).items()}
        found = cls(nodes, float(raw["clock_mhz"]), str(raw["method"]), corrections, factors)
        found._check()
        return found

    def _check(self) -> None:
        """Look whether it can be computed with.

        Raises:
            ValueError: a figure that cannot be, or a node that reads one that does not come before it.
        """
        used = [*(n.resources for n in self.nodes), *(c.resources for c in self.corrections)]
        counts = [count for resources in used for count in asdict(resources).values()]
        rates = [self.clock_mhz, *self.factors.values()]
        if not all(_is_finite(count) for count in counts) or not all(0 < rate < math.inf for rate in rates):
            raise ValueError("it has resources, a clock or factors that cannot be")
        seen: set[str] = set()
        for n in self.nodes:
            if type(n.cycles) is not int or n.cycles < 0 or not seen.issuperset(n.sources) or n.node in seen:
                raise ValueError(f"it has node {n.node!r} with {n.cycles!r} cycles behind {', '.join(map(str, n.sources))}")
            seen.add(n.node)
        if not any(n.cycles for n in self.nodes):
            raise ValueError("it has no node that takes a cycle")

    def cycles_per_layer(self) -> dict[str, int]:
        """Cycles a frame of each layer: those of its slowest node, or of a slower width converter in front of one."""
        out: dict[str, int] = {}
        for n in self.nodes:
            into = (self.converters.get((source, n.node), 0) for source in n.sources)
            out[n.layer] = max(out.get(n.layer, 0), n.cycles, *into)
        return out

    def resources_per_layer(self) -> dict[str, Resources]:
        """Resources of each layer: its nodes with their corrections, and the streams into them."""
        out = {n.layer: Resources() for n in self.nodes}
        items = [(n.layer, n.resources) for n in self.nodes] + [(c.layer, c.resources) for c in self.corrections]
        for layer, used in items:
            if layer in out:
                out[layer] += used
        return out
