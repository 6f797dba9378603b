"""The networks bitloop knows by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

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
        builder: policy (or None for float) and number of classes to the network.
        pretraining: the float network's recipe on its own data set.
    """

    name: str
    input_shape: tuple[int, int, int]
    dataset: str
    min_fps: float
    builder: Callable[[BitPolicy | None, int], nn.Sequential]
    pretraining: Recipe

    def build(self, policy: BitPolicy | None = None, n_classes: int = 10) -> nn.Sequential:
        """The network with the policy's bits, or in float without one."""
        return self.builder(policy, n_classes)


MODELS = {
    m.name: m
    for m in (
        ModelInfo("cnv", cnv.INPUT_SHAPE, "cifar10", 1000.0, cnv.build,
                  Recipe(n_images=400_000, lr=0.1, warmup=0.2, label_smoothing=0.1)),
        ModelInfo("tfc", tfc.INPUT_SHAPE, "mnist", 500_000.0, tfc.build, Recipe(n_images=1_100_000, lr=0.1)),
    )
}  # fmt: skip


def get_model(name: str) -> ModelInfo:
    """The network of that name.

    Raises:
        UnknownModelError: no such name; the text holds the nearest.
    """
    if name not in MODELS:
        near = get_close_matches(name, MODELS, 1, 0.0)
        raise UnknownModelError(f"unknown model {name!r}; did you mean {near[0]!r}? There are {', '.join(MODELS)}")
    return MODELS[name]
