"""From the operations of a user's module to a chain that can be built.

A chain is an image's quantizer and then, layer by layer, weights, a bias or a norm, an activation, a max pool or a mean. What
is in another order is put into this one where that changes nothing, and refused where it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models import quant
from models.errors import NetworkError
from models.geometry import Facts, conv_facts, pool_facts
from models.trace import Operation, refused

MIN_LAYERS = 2


@dataclass(frozen=True)
class Step:
    """One module of a chain.

    Attributes:
        kind: what it is; an image is the image's quantizer, an act a ReLU and its quantizer.
        name: its qualified name, of layers and norms that in the user's module.
        facts: its numbers, by name.
        source: qualified name of the user's module that its values come from; empty where it has none.
        bias_of: of a norm, the layer whose bias it takes over; empty where there is none.
    """

    kind: Literal["image", "conv", "linear", "bias", "norm", "act", "pool", "mean", "flatten"]
    name: str
    facts: Facts = ()
    source: str = ""
    bias_of: str = ""


def plan(operations: Sequence[Operation]) -> tuple[Step, ...]:
    """The chain of a module's operations.

    Raises:
        NetworkError: it cannot be built; the text names the module, the reason and what would do.
    """
    planner = _Planner([o.name for o in operations if o.kind in ("conv", "linear")])
    for operation in operations:
        planner.add(operation)
    return planner.finished()


def _are_in_the_way(name: str, other: str) -> bool:
    """Whether two names are the same, or one is a part of the other's path."""
    return name == other or f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


class _Planner:
    """Adds operation after operation to a chain.

    Args:
        layers: names of all layers.
    """

    def __init__(self, layers: Sequence[str]) -> None:
        for layer in layers:
            if layer + quant.ACT_SUFFIX in layers:
                other = layer + quant.ACT_SUFFIX
                raise NetworkError(
                    f"module {other!r} has the name that the activation behind module {layer!r} gets; rename it", other
                )
        self._steps: list[Step] = []
        self._taken = {name for layer in layers for name in (layer, layer + quant.ACT_SUFFIX)}
        self._layer: Operation | None = None  # the last one
        self._n_layers = 0
        self._biased = self._normed = self._acted = False  # of that layer
        self._waiting: list[tuple[Operation, Step]] = []  # pools and flattening ahead of its activation

    def add(self, o: Operation) -> None:
        if self._layer is None and o.kind not in ("conv", "linear", "flatten"):
            raise refused(
                o, "the image enters the first layer as 8-bit integers, and no unit stands before it",
                "begin with nn.Conv2d or nn.Linear",
            )  # fmt: skip
        getattr(self, f"_add_{o.kind}")(o)

    def _free(self, name: str) -> str:
        """A name that no other module has, that is no part of another's path and no activation's; layers keep theirs."""
        suffixes = (quant.ACT_SUFFIX, quant.ADDEND_SUFFIX)
        while name.endswith(suffixes) or any(_are_in_the_way(name, taken) for taken in self._taken):
            name += "_"
        self._taken.add(name)
        return name

    def _add_layer(self, o: Operation, kind: Literal["conv", "linear"], facts: Facts) -> None:
        if self._layer is None:
            self._steps += [step for _, step in self._waiting]
            self._steps.append(Step("image", self._free("image")))
        elif not self._acted:
            raise refused(
                self._layer, f"no ReLU follows before {o.what}, and units hand on integers that an activation makes",
                "put nn.ReLU() behind it, or leave it out",
            )  # fmt: skip
        self._layer, self._n_layers, self._waiting = o, self._n_layers + 1, []
        self._biased, self._normed, self._acted = getattr(o.module, "bias", None) is not None, False, False
        self._steps.append(Step(kind, o.name, facts, o.name))

    def _add_conv(self, o: Operation) -> None:
        self._add_layer(o, "conv", conv_facts(o))

    def _add_linear(self, o: Operation) -> None:
        m: Any = o.module
        if len(o.reads) != 1:
            raise refused(o, f"it reads {len(o.reads)} dimensions an image", "flatten what it reads with nn.Flatten()")
        self._add_layer(o, "linear", (("in_features", m.in_features), ("out_features", m.out_features)))

    def _add_norm(self, o: Operation) -> None:
        m: Any = o.module
        assert self._layer is not None
        if self._acted or self._normed or self._waiting:
            before = "a ReLU" if self._acted else "a norm" if self._normed else self._waiting[0][0].what
            raise refused(
                o, f"it stands behind {before}, where no thresholds take it up",
                "put it between the layer and its ReLU, ahead of pools and flattening",
            )  # fmt: skip
        if not m.track_running_stats:
            raise refused(o, "it has no running statistics, and thresholds are fixed", "leave track_running_stats at True")
        facts = (
            ("n", m.num_features), ("dimensions", len(o.reads)), ("eps", m.eps), ("affine", m.affine),
            ("momentum", -1.0 if m.momentum is None else m.momentum),
        )  # fmt: skip
        bias_of = self._layer.name if self._biased else ""
        self._steps.append(Step("norm", self._free(o.name), facts, o.name, bias_of))
        self._normed = True

    def _add_relu(self, o: Operation) -> None:
        assert self._layer is not None
        if self._acted:
            return  # what is not negative stays as it is
        self._add_bias()
        self._steps.append(Step("act", self._layer.name + quant.ACT_SUFFIX))
        # The largest of numbers and where they stand are the same whether they are quantized before or after.
        self._steps += [step for _, step in self._waiting]
        self._acted, self._waiting = True, []

    def _add_bias(self) -> None:
        """Add the last layer's bias, unless a norm has taken it over."""
        layer = self._layer
        if layer is not None and self._biased and not self._normed:
            facts = ("n", layer.hands_on[0]), ("dimensions", len(layer.hands_on))
            self._steps.append(Step("bias", self._free(layer.name + "_bias"), facts, layer.name))

    def _add_pool(self, o: Operation) -> None:
        if o.reads == o.hands_on:  # of single pixels
            return
        self._put(o, Step("pool", self._free(o.name), pool_facts(o)))

    def _add_mean(self, o: Operation) -> None:
        if not self._acted:
            raise refused(o, "it stands before a ReLU, and a mean of what is not quantized is no integer", "put it behind")
        if o.reads[1:] != (1, 1):
            self._steps.append(Step("mean", self._free(o.name)))
        if len(o.hands_on) == 1:
            self._steps.append(Step("flatten", self._free(o.name)))

    def _add_flatten(self, o: Operation) -> None:
        self._put(o, Step("flatten", self._free(o.name)))

    def _put(self, o: Operation, step: Step) -> None:
        if self._acted:
            self._steps.append(step)
        else:
            self._waiting.append((o, step))

    def finished(self) -> tuple[Step, ...]:
        last = self._layer
        if last is None or self._n_layers < MIN_LAYERS:
            raise NetworkError(
                f"the network has {self._n_layers} layer{'s' * (self._n_layers != 1)} with weights; {MIN_LAYERS} or more are "
                "wanted, or there is nothing to choose between; add an nn.Conv2d or an nn.Linear"
            )
        if self._acted:
            raise refused(last, "it is the last layer and a ReLU follows, which cuts the logits off", "end with the layer")
        if last.kind != "linear" or self._waiting:
            raise refused(
                last, "the last layer hands on the logits, one number a class, as nn.Linear does, and nothing follows it",
                "end with nn.Linear",
            )  # fmt: skip
        self._add_bias()
        return tuple(self._steps)
