"""The networks bitloop knows by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, partial

from torch import nn

from models import cnv, tfc
from models.errors import UnknownModelError
from models.policy import BitPolicy
from models.train import Recipe


@dataclass(frozen=True)
class ModelInfo:
    """A network and what belongs to it.

    Attributes:
        name: as given to MODEL.
        input_shape: of one image, (C, H, W).
        dataset: its own data set, what DATASET=auto asks for first.
        min_fps: the frame rate a search asks for unless told otherwise.
        builder: policy (or None for float) and number of classes to the network; where `has_width`, a keyword
            argument `width`, too.
        pretraining: the float network's recipe on its own data set.
        has_width: whether a name such as `cnv:0.25` makes its layers narrower or wider.
    """

    name: str
    input_shape: tuple[int, int, int]
    dataset: str
    min_fps: float
    builder: Callable[..., nn.Sequential]
    pretraining: Recipe
    has_width: bool = False

    def build(self, policy: BitPolicy | None = None, n_classes: int = 10) -> nn.Sequential:
        """The network with the policy's bits, or in float without one."""
        return self.builder(policy, n_classes)


MODELS = {
    m.name: m
    for m in (
        ModelInfo("cnv", cnv.INPUT_SHAPE, "cifar10", 1000.0, cnv.build,
                  Recipe(n_images=400_000, lr=0.1, warmup=0.2, label_smoothing=0.1), has_width=True),
        ModelInfo("tfc", tfc.INPUT_SHAPE, "mnist", 500_000.0, tfc.build, Recipe(n_images=1_100_000, lr=0.1)),
    )
}  # fmt: skip
MIN_WIDTH, MAX_WIDTH = 0.125, 4.0


@cache
def _with_width(name: str, width: float) -> ModelInfo:
    info = MODELS[name]
    return replace(info, name=f"{name}:{width:g}", builder=partial(info.builder, width=width))


def get_model(name: str) -> ModelInfo:
    """The network of that name; `cnv:0.25` is cnv with a quarter of its channels, in multiples of 8.

    Raises:
        UnknownModelError: no such name (the text holds the nearest), or a width multiplier that is not a
            number from 0.125 to 4 or that the network does not take.
    """
    base, colon, text = name.partition(":")
    if base not in MODELS:
        near = get_close_matches(base, MODELS, 1, 0.0)
        raise UnknownModelError(f"unknown model {name!r}; did you mean {near[0]!r}? There are {', '.join(MODELS)}")
    if not colon:
        return MODELS[base]
    if not MODELS[base].has_width:
        wide = ", ".join(m.name for m in MODELS.values() if m.has_width)
        raise UnknownModelError(f"{base} in {name!r} takes no width multiplier; say {base!r}. Those that do: {wide}")
    try:
        width = float(text)
    except ValueError:
        width = float("nan")
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise UnknownModelError(
            f"model {name!r} has the width multiplier {text!r}; allowed are numbers from {MIN_WIDTH} to {MAX_WIDTH:g}, "
            f"as in '{base}:0.25'"
        )
    return MODELS[base] if width == 1 else _with_width(base, width)
