"""The decisions of one episode: what an agent sees before a layer, and what its action means.

The Gymnasium environment and every agent share this one process, so that a policy can be proposed
in one place, evaluated in another, and learned from in a third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from flow.errors import ConstraintError, SearcherError
from hls.reach import Leeway
from models.policy import MAX_BITS, BitPolicy, LayerBits
from models.spec import LayerSpec

T = TypeVar("T")

MOST_REMEMBERED = 50_000  # prefixes; of each some dozen references

FEATURES = (
    "index",
    "is_linear",
    "in_channels",
    "out_channels",
    "kernel_size",
    "in_size",
    "n_params",
    "n_macs",
    "weight_std",
    "previous_weight_bits",
    "read_act_bits",
    "lut_left",
    "bram18_left",
    "dsp_left",
)
"""Names of an observation's values, in order; `Decisions.observe` explains them."""


class Chained(Protocol):
    """How layers hang together, as `hls.topology.Topology` knows it."""

    @property
    def source(self) -> tuple[int | None, ...]:
        """The layer whose activation each reads; None where that is the image."""
        ...

    def choices(self, layer: int) -> list[LayerBits]:
        """All bits that a layer may have: all pairs of some weight and some activation bits."""
        ...


class Tabulated(Protocol):
    """What knows the topology, as `hls.cost.CostTables` does."""

    @property
    def topology(self) -> Chained:
        """How the layers hang together."""
        ...


class Bounds(Protocol):
    """Which bits can still meet a constraint: `hls.reach.Reach`, or budgets that need no hardware model."""

    @property
    def tables(self) -> Tabulated:
        """What knows the topology."""
        ...

    def feasible_bits(self, prefix: Sequence[LayerBits] = ()) -> tuple[LayerBits, ...]:
        """The bits that the next layer may take, in order."""
        ...

    def leeway(self, prefix: Sequence[LayerBits] = ()) -> Leeway:
        """What is left of the limits behind the layers already decided."""
        ...


@dataclass(frozen=True)
class Decision:
    """One layer's decision, as a replay buffer keeps it: seen (n_features,), action (2,), what it led to (n_features,)."""

    observation: NDArray[np.float32]
    action: NDArray[np.float32]
    next_observation: NDArray[np.float32]


class Decisions:
    """A pass over the layers of a network, each of which takes bits that can still meet the constraint.

    Args:
        specs: the layers, in order.
        reach: knows which bits are still possible; of the same layers.
    """

    def __init__(self, specs: Sequence[LayerSpec], reach: Bounds) -> None:
        self.specs = tuple(specs)
        self.reach = reach
        self._feasible: dict[tuple[LayerBits, ...], tuple[LayerBits, ...]] = {}
        self._left: dict[tuple[LayerBits, ...], Leeway] = {}
        self._more = np.zeros((len(self.specs), 0))
        self._fixed = np.stack(
            [
                _to_unit([s.index for s in specs]),
                np.array([float(s.kind == "linear") for s in specs]),
                _to_unit(np.log([s.in_channels for s in specs])),
                _to_unit(np.log([s.out_channels for s in specs])),
                _to_unit([s.kernel_size for s in specs]),
                _to_unit([s.in_size for s in specs]),
                _to_unit(np.log([s.n_params for s in specs])),
                _to_unit(np.log([s.n_macs for s in specs])),
                _to_unit([s.weight_std for s in specs]),
            ],
            axis=1,
        )

    @property
    def n_layers(self) -> int:
        """Decisions of an episode."""
        return len(self.specs)

    def feasible(self, prefix: Sequence[LayerBits]) -> tuple[LayerBits, ...]:
        """The bits that the next layer may take, in order; what was asked before is remembered, as asking is slow."""
        return _remembered(self._feasible, tuple(prefix), self.reach.feasible_bits)

    def blind_to(self, feature: str) -> Decisions:
        """The same pass as an agent sees it that lacks one of the first nine features: it is a half everywhere."""
        fixed = self._fixed.copy()
        fixed[:, FEATURES.index(feature)] = 0.5
        return self._as_seen(fixed, self._more)

    def also_seeing(self, features: NDArray[np.float64]) -> Decisions:
        """The same pass as an agent sees it that knows more of every layer: (n_layers, k) in 0..1, behind all others."""
        return self._as_seen(self._fixed, np.concatenate([self._more, features], axis=1))

    def _as_seen(self, fixed: NDArray[np.float64], more: NDArray[np.float64]) -> Decisions:
        seen = copy(self)  # what was asked of the simulated accelerator is remembered for all
        seen._fixed, seen._more = fixed, more
        return seen

    @property
    def n_features(self) -> int:
        """Values of an observation."""
        return len(FEATURES) + self._more.shape[1]

    def observe(self, prefix: Sequence[LayerBits]) -> NDArray[np.float32]:
        """What is seen when the layers of `prefix` are decided, (n_features,) values in 0..1, as a rule 14.

        The first nine describe the next layer and are scaled to 0..1 over the network: its index,
        whether it is linear, channels in and out (log), kernel and input size, parameters and
        multiply-accumulates (log), and the standard deviation of its float weights. Then come the
        previous layer's weight bits and those of the activations that the layer reads, over 8 (before the
        first layer and of the image 8), and the shares of the LUT, block RAM and DSP limits that are left if the remaining
        layers take the cheapest bits. Behind the last layer the first nine are its own.
        """
        layer = min(len(prefix), self.n_layers - 1)
        weight, act = (prefix[-1].weight if prefix else MAX_BITS), self._read_bits(prefix)
        left = _remembered(self._left, tuple(prefix), self.reach.leeway)
        decided = (weight / MAX_BITS, act / MAX_BITS, left.lut, left.bram18, left.dsp)
        return np.array([*self._fixed[layer], *decided, *self._more[layer]], np.float32)

    def _read_bits(self, prefix: Sequence[LayerBits]) -> int:
        """Bits of the activations that the next layer reads; behind the last layer of those it hands on, none."""
        if len(prefix) == self.n_layers:
            return prefix[-1].act or 0
        source = self.reach.tables.topology.source[len(prefix)]
        return MAX_BITS if source is None else prefix[source].act or 0

    def choose(self, prefix: Sequence[LayerBits], action: NDArray[np.floating]) -> LayerBits:
        """The bits that an action (2,) in -1..1 stands for: weights first, then activations.

        Each value picks from the widths still possible, -1 the fewest bits, 1 the most, in equal shares.

        Raises:
            SearcherError: a value is no number.
        """
        feasible = self.feasible(prefix)
        weight = _pick(sorted({b.weight for b in feasible}), float(action[0]))
        of_weight = [b for b in feasible if b.weight == weight]
        return _pick(of_weight, float(action[1]))

    def action_for(self, prefix: Sequence[LayerBits], bits: LayerBits) -> NDArray[np.float32]:
        """An action (2,) that `choose` answers with `bits`: the middle of its share.

        Raises:
            ConstraintError: no such action, as these bits cannot meet the constraint.
        """
        feasible = self.feasible(prefix)
        if bits not in feasible:
            name = self.specs[len(prefix)].name
            raise ConstraintError(
                f"a policy with {bits} in layer {name} cannot meet the constraint; "
                f"if it is from a run of other versions of bitloop or FINN, name another RUN"
            )
        weights = sorted({b.weight for b in feasible})
        acts = [b for b in feasible if b.weight == bits.weight]
        return np.array([_middle(weights, bits.weight), _middle(acts, bits)], np.float32)

    def policy(self, prefix: Sequence[LayerBits]) -> BitPolicy:
        """The policy of a finished pass."""
        return BitPolicy(zip((s.name for s in self.specs), prefix, strict=True))

    def replay(self, policy: BitPolicy) -> list[Decision]:
        """The decisions that lead to a policy, one a layer.

        Raises:
            PolicyError: it is not one of this network.
            ConstraintError: it cannot meet the constraint.
        """
        policy.check_against(self.specs)
        prefix: list[LayerBits] = []
        decisions, seen = [], self.observe(prefix)
        for bits in policy.values():
            action = self.action_for(prefix, bits)
            prefix.append(bits)
            after = self.observe(prefix)
            decisions.append(Decision(seen, action, after))
            seen = after
        return decisions


def _remembered(
    known: dict[tuple[LayerBits, ...], T], prefix: tuple[LayerBits, ...], ask: Callable[[tuple[LayerBits, ...]], T]
) -> T:
    if prefix not in known:
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        known[prefix] = ask(prefix)
    return known[prefix]


def _to_unit(values: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    v = np.asarray(values, float)
    span = v.max() - v.min()
    return (v - v.min()) / span if span else np.full_like(v, 0.5)


def _pick(choices: Sequence[T], value: float) -> T:
    if math.isnan(value):
        raise SearcherError("an action is nan, where -1 to 1 is wanted: the agent has diverged; name another SEARCHER")
    share = (min(max(value, -1.0), 1.0) + 1) / 2
    return choices[min(int(share * len(choices)), len(choices) - 1)]


def _middle(choices: Sequence[T], chosen: T) -> float:
    return (choices.index(chosen) + 0.5) / len(choices) * 2 - 1
