"""How the layers of a network hang together: whose activations each reads, and what is added to what.

Along a chain a layer depends on its own bits and those of the activations before it. Where a block adds its input to
its output, what comes behind the sum depends on activations further back: those stay *open* until nothing reads them
any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from hls.options import LayerKey
from models.policy import MAX_BITS, MIN_BITS, LayerBits, addend_bits
from models.spec import LayerSpec

State = tuple[int, ...]
"""Bits of the open activations before a layer, in the order of their layers."""


@dataclass(frozen=True)
class Topology:
    """The layers of a network; all tuples have an entry a layer, and layers are told by their positions.

    Attributes:
        layers: names, in order; a shortcut comes behind the layers it is a shortcut past.
        source: the layer whose activation it reads; None where that is the image.
        adds: whether its output is an addend.
        past: the layer whose activation is added to its output past a skip without a layer; None without one.
        shortcut_of: of a layer in a shortcut, the layer to whose output its own is added; None for others.
        min_act_bits: fewest bits its activation may have; None where it has none of its own.
        summed: pixels that a mean adds up before the layer reads them; 1 without a mean.
    """

    layers: tuple[str, ...]
    source: tuple[int | None, ...]
    adds: tuple[bool, ...]
    past: tuple[int | None, ...]
    shortcut_of: tuple[int | None, ...]
    min_act_bits: tuple[int | None, ...]
    summed: tuple[int, ...]

    @classmethod
    def chain(cls, layers: Sequence[str]) -> Topology:
        """Layers of which each reads the one before and any activation may have one bit."""
        n = len(layers)
        none = (None,) * n
        acts = (*(MIN_BITS for _ in range(n - 1)), None)
        return cls(tuple(layers), (None, *range(n - 1)), (False,) * n, none, none, acts, (1,) * n)

    @classmethod
    def of(cls, specs: Sequence[LayerSpec], summed: Sequence[int]) -> Topology:
        """The layers of a network as `models.probe` found them.

        Args:
            specs: the layers, in order.
            summed: see the class.
        """
        at = {s.name: i for i, s in enumerate(specs)}

        def position(name: str | None) -> int | None:
            return None if name is None else at[name]

        return cls(
            tuple(at),
            tuple(position(s.source) for s in specs),
            tuple(s.adds_to is not None for s in specs),
            tuple(position(s.past) for s in specs),
            tuple(None if s.adds_to in (None, s.name) else position(s.adds_to) for s in specs),
            tuple(s.min_act_bits if s.has_act else None for s in specs),
            tuple(summed),
        )

    @cached_property
    def _open(self) -> list[tuple[int, ...]]:
        """For every layer, and behind the last, the layers before it whose activations are still read."""
        found: list[tuple[int, ...]] = [()]
        needed: set[int] = set()
        for i in reversed(range(len(self.layers))):
            read = (self.source[i], self.past[i], self.shortcut_of[i])
            needed = {j for j in needed | {j for j in read if j is not None} if j < i}
            found.insert(0, tuple(sorted(needed)))
        return found

    def choices(self, layer: int) -> list[LayerBits]:
        """All bits that a layer may have, in order."""
        fewest = self.min_act_bits[layer]
        acts: Sequence[int | None] = [None] if fewest is None else range(fewest, MAX_BITS + 1)
        return [LayerBits(w, a) for w in range(MIN_BITS, MAX_BITS + 1) for a in acts]

    def states(self, layer: int) -> Iterator[State]:
        """All states there can be before a layer."""
        fewest = [self.min_act_bits[j] or MIN_BITS for j in self._open[layer]]
        return product(*(range(n, MAX_BITS + 1) for n in fewest))

    def after(self, layer: int, state: State, bits: LayerBits) -> State:
        """The state behind a layer with given bits."""
        acts = self._acts(layer, state, bits)
        return tuple(acts[j] for j in self._open[layer + 1])

    def _acts(self, layer: int, state: State, bits: LayerBits) -> dict[int, int]:
        acts = dict(zip(self._open[layer], state, strict=True))
        return acts if bits.act is None else acts | {layer: bits.act}

    def key(self, layer: int, state: State, bits: LayerBits) -> LayerKey:
        """All that a layer's hardware depends on.

        Args:
            layer: its position.
            state: before it.
            bits: its own.
        """
        acts: Mapping[int, int] = self._acts(layer, state, bits)
        source, past, shortcut_of = self.source[layer], self.past[layer], self.shortcut_of[layer]
        act_out = bits.act if shortcut_of is None else acts[shortcut_of]
        return LayerKey(
            bits.weight,
            None if source is None else acts[source],
            None if layer in self.shortcut_of else act_out,  # the sum is the shortcut's
            addend=addend_bits(act_out) if self.adds[layer] and act_out is not None else None,
            past=None if past is None else acts[past],
            summed=self.summed[layer],
        )

    def keys(self, bits: Iterable[LayerBits]) -> list[LayerKey]:
        """The key of every layer, in order."""
        found: list[LayerKey] = []
        state: State = ()
        for layer, b in enumerate(bits):
            found.append(self.key(layer, state, b))
            state = self.after(layer, state, b)
        return found

    def state(self, prefix: Sequence[LayerBits]) -> State:
        """The state behind the first layers."""
        state: State = ()
        for layer, bits in enumerate(prefix):
            state = self.after(layer, state, bits)
        return state
