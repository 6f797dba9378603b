"""How many bits each layer gets: `LayerBits` for one layer, `BitPolicy` for a network."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, final

from models.errors import PolicyError

if TYPE_CHECKING:
    from models.spec import LayerSpec

MIN_BITS = 1
MAX_BITS = 8


def check_bits(bits: object, what: str) -> int:
    """Return `bits` as an int within 1..8, or raise `PolicyError` that names `what`."""
    if isinstance(bits, bool) or not isinstance(bits, int) or not MIN_BITS <= bits <= MAX_BITS:
        raise PolicyError(f"{what} has {bits!r} bits; allowed are the whole numbers {MIN_BITS} to {MAX_BITS}")
    return bits


def addend_bits(act_bits: int) -> int:
    """Bits of an addend, 2..8, for those of the activation behind the sum, 1..8.

    The sign takes one bit more, so that a shortcut from an activation of the same bits can keep all its values.
    """
    return min(MAX_BITS, act_bits + 1)


@final  # so that a type checker knows it is never falsy
@dataclass(frozen=True, order=True)
class LayerBits:
    """Bits of one layer.

    Attributes:
        weight: bits of a weight, 1..8; 1 means bipolar (-1, +1).
        act: bits of the activation the layer hands on, 1..8; 1 means bipolar. None where the
            layer hands on its plain accumulator, as the last one does with the logits.

    Raises:
        PolicyError: bits outside 1..8.
    """

    weight: int
    act: int | None

    def __post_init__(self) -> None:
        check_bits(self.weight, "a weight")
        if self.act is not None:
            check_bits(self.act, "an activation")

    def __str__(self) -> str:
        return f"W{self.weight}" if self.act is None else f"W{self.weight}A{self.act}"


class BitPolicy(Mapping[str, LayerBits]):
    """The bits of every layer of a network: an immutable, ordered mapping from name to `LayerBits`."""

    def __init__(self, layers: Mapping[str, LayerBits] | Iterable[tuple[str, LayerBits]]) -> None:
        self._layers: Mapping[str, LayerBits] = MappingProxyType(dict(layers))
        if not self._layers:
            raise PolicyError("a policy needs at least one layer; this one is empty")
        for name, bits in self._layers.items():
            if not isinstance(bits, LayerBits):
                raise PolicyError(f"layer {name!r} has {bits!r}; a LayerBits is wanted")

    @classmethod
    def uniform(cls, specs: Iterable[LayerSpec], weight: int, act: int) -> BitPolicy:
        """The policy that gives every layer of `specs` the same bits, or the fewest above that its activation can have."""
        return cls((s.name, LayerBits(weight, max(act, s.min_act_bits) if s.has_act else None)) for s in specs)

    @classmethod
    def draw(
        cls, specs: Iterable[LayerSpec], rng: random.Random, min_bits: int = MIN_BITS,
        max_weight: int = MAX_BITS, max_act: int = MAX_BITS,
    ) -> BitPolicy:  # fmt: skip
        """A random policy: every width from `min_bits`, or the fewest there can be, to `max_weight` or `max_act` alike."""

        def draw_act(spec: LayerSpec) -> int | None:
            fewest = max(min_bits, spec.min_act_bits)
            return rng.randint(fewest, max(fewest, max_act)) if spec.has_act else None

        return cls((s.name, LayerBits(rng.randint(min_bits, max_weight), draw_act(s))) for s in specs)

    def __getitem__(self, name: str) -> LayerBits:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __hash__(self) -> int:
        return hash(tuple(self._layers.items()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BitPolicy):
            return NotImplemented
        return tuple(self._layers.items()) == tuple(other._layers.items())

    def __repr__(self) -> str:
        return "BitPolicy(" + ", ".join(f"{n}={b}" for n, b in self._layers.items()) + ")"

    def replace(self, **layers: LayerBits) -> BitPolicy:
        """A copy with other bits in the named layers.

        Raises:
            PolicyError: a name the policy does not have.
        """
        for name in layers:
            if name not in self._layers:
                raise PolicyError(f"no layer {name!r} in the policy; it has {', '.join(self._layers)}")
        return BitPolicy({**self._layers, **layers})

    def check_against(self, specs: Iterable[LayerSpec]) -> None:
        """Raise `PolicyError` unless the policy fits the layers of a network, name for name."""
        specs = list(specs)
        names = [s.name for s in specs]
        missing = [n for n in names if n not in self._layers]
        unknown = [n for n in self._layers if n not in names]
        if missing or unknown:
            wrong = "; ".join(
                f"{what} {', '.join(which)}"
                for what, which in (("it lacks", missing), ("it has no such layer as", unknown))
                if which
            )
            raise PolicyError(f"the policy does not fit the network: {wrong}; the layers are {', '.join(names)}")
        if list(self._layers) != names:
            raise PolicyError(f"the policy's layers are out of order; the order is {', '.join(names)}")
        for spec in specs:
            act = self[spec.name].act
            if (act is not None) != spec.has_act:
                need = f"{spec.min_act_bits} to {MAX_BITS} bits" if spec.has_act else "no activation bits (null)"
                raise PolicyError(f"layer {spec.name!r} takes {need}, the policy gives {act!r}")
            if act is not None and act < spec.min_act_bits:
                raise PolicyError(
                    f"layer {spec.name!r} has a {act}-bit activation, which FINN cannot build there: {spec.why_min_act_bits}; "
                    f"allowed are {spec.min_act_bits} to {MAX_BITS}"
                )

    def to_json(self) -> str:
        """One line of JSON: `{"conv0": {"weight": 4, "act": 2}, …}`; equal policies give equal text."""
        return json.dumps({n: {"weight": b.weight, "act": b.act} for n, b in self._layers.items()})

    @classmethod
    def from_json(cls, text: str) -> BitPolicy:
        """Read what `to_json` wrote.

        Raises:
            PolicyError: not such a text, or bits outside 1..8.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PolicyError(f"a policy must be JSON: {error}") from error
        return cls.from_dict(raw)

    @classmethod
    def from_dict(cls, raw: object) -> BitPolicy:
        """Read a mapping of name to `{"weight": …, "act": …}`, as JSON gives it."""
        if not isinstance(raw, dict):
            raise PolicyError('a policy must be an object of layers such as {"conv0": {"weight": 4, "act": 2}}')
        layers = {}
        for name, bits in raw.items():
            if not isinstance(bits, dict) or set(bits) != {"weight", "act"}:
                raise PolicyError(f'layer {name!r} must be {{"weight": bits, "act": bits or null}}, not {bits!r}')
            weight = check_bits(bits["weight"], f"the weight of layer {name!r}")
            act = None if bits["act"] is None else check_bits(bits["act"], f"the activation of layer {name!r}")
            layers[str(name)] = LayerBits(weight, act)
        return cls(layers)

    @property
    def digest(self) -> str:
        """A short name of the policy: the first 12 hex digits of the SHA-256 of its JSON."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]
