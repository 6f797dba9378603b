"""The networks bitloop knows by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache, partial

from torch import nn

from models import cnv, lenet5, mlp, mobilenet, resnet
from models.errors import DataError, UnknownModelError
from models.own_network import is_own, own_network
from models.policy import BitPolicy
from models.train import Recipe


@dataclass(frozen=True)
class ModelInfo:
    """A network and what belongs to it.

    Attributes:
        name: as given to MODEL.
        input_shape: of one image, (C, H, W).
        dataset: its own data set, what DATASET=auto asks for first; empty where bitloop has none for it.
        min_fps: the frame rate a search asks for unless told otherwise.
        builder: policy (or None for float) and number of classes to the network; where `has_width`, a keyword
            argument `width`, too.
        pretraining: the float network's recipe on its own data set.
        has_width: whether a name such as `cnv:0.25` makes its layers narrower or wider.
        n_classes: of its own data set.
        digest: of a user's own network, what its architecture comes to; empty for those of bitloop.
    """

    name: str
    input_shape: tuple[int, int, int]
    dataset: str
    min_fps: float
    builder: Callable[..., nn.Sequential]
    pretraining: Recipe
    has_width: bool = False
    n_classes: int = 10
    digest: str = ""

    def build(self, policy: BitPolicy | None = None, n_classes: int | None = None) -> nn.Sequential:
        """The network with the policy's bits, or in float without one; with its own number of classes without another."""
        return self.builder(policy, self.n_classes if n_classes is None else n_classes)

    @property
    def ends_in_layer(self) -> bool:
        """Whether its last layer gives plain products: behind a bias or a norm a class's is not told by its accumulator."""
        *_, last = self.build().children()
        return isinstance(last, nn.Linear)

    def check_dataset(self, requested: str) -> None:
        """Look whether there is something to train on.

        Args:
            requested: what DATASET says.

        Raises:
            DataError: it is "auto", and the network has no data set of its own.
        """
        if requested == "auto" and not self.dataset:
            channels, height_px, width_px = self.input_shape
            raise DataError(
                f"DATASET is auto, but there is no data set for {self.name} that bitloop could get; name your own, "
                f"DATASET=<file>.npz with images of {height_px}x{width_px} ({channels} channel{'s' * (channels > 1)}), or an "
                "image folder; without data it can be estimated"
            )


def _mlp(name: str, features: tuple[int, ...], min_fps: float, pretraining: Recipe) -> ModelInfo:
    builder = partial(mlp.build, input_shape=mlp.GREY_28, features=features)
    return ModelInfo(name, mlp.GREY_28, "mnist", min_fps, builder, pretraining)


MODELS = {
    m.name: m
    for m in (
        ModelInfo("cnv", cnv.INPUT_SHAPE, "cifar10", 1000.0, cnv.build,
                  Recipe(n_images=400_000, lr=0.1, warmup=0.2, label_smoothing=0.1), has_width=True),
        _mlp("tfc", mlp.TFC_FEATURES, 500_000.0, Recipe(n_images=1_100_000, lr=0.1)),
        _mlp("sfc", mlp.SFC_FEATURES, 200_000.0, Recipe(n_images=1_100_000, lr=0.1)),
        _mlp("lfc", mlp.LFC_FEATURES, 10_000.0, Recipe(n_images=1_100_000, lr=0.1)),
        ModelInfo("kws", mlp.KEYWORD_SHAPE, "", 300_000.0,
                  partial(mlp.build, input_shape=mlp.KEYWORD_SHAPE, features=mlp.KEYWORD_FEATURES),
                  Recipe(n_images=1_100_000, lr=0.1), n_classes=mlp.N_KEYWORDS),
        ModelInfo("lenet5", lenet5.INPUT_SHAPE, "mnist", 100_000.0, lenet5.build,
                  Recipe(n_images=550_000, lr=0.1), has_width=True),
        ModelInfo("resnet8", resnet.INPUT_SHAPE, "cifar10", 1000.0, partial(resnet.build, blocks_a_stage=1),
                  Recipe(n_images=1_000_000, lr=0.1, warmup=0.2, label_smoothing=0.1), has_width=True),
        ModelInfo("resnet20", resnet.INPUT_SHAPE, "cifar10", 300.0, partial(resnet.build, blocks_a_stage=3),
                  Recipe(n_images=1_000_000, lr=0.1, warmup=0.2, label_smoothing=0.1), has_width=True),
        ModelInfo("mobilenet", mobilenet.INPUT_SHAPE, "cifar10", 1000.0, mobilenet.build,
                  Recipe(n_images=1_000_000, lr=0.1, warmup=0.2, label_smoothing=0.1), has_width=True),
    )
}  # fmt: skip
MIN_WIDTH, MAX_WIDTH = 0.125, 4.0
OWN_MIN_FPS = 1000.0  # of a user's own network


@cache
def _with_width(name: str, width: float) -> ModelInfo:
    info = MODELS[name]
    return replace(info, name=f"{name}:{width:g}", builder=partial(info.builder, width=width))


def _own(name: str) -> ModelInfo:
    network = own_network(name)
    # Without norms the layers' scales drift apart at the rates that norms allow.
    recipe = Recipe(n_images=400_000, lr=0.05 if network.has_norms else 0.01, warmup=0.2)
    dataset = "mnist" if network.input_shape[0] == 1 else "cifar10"
    return ModelInfo(
        name, network.input_shape, dataset, OWN_MIN_FPS, network.build, recipe,
        n_classes=network.n_classes, digest=network.digest,
    )  # fmt: skip


def get_model(name: str) -> ModelInfo:
    """The network of that name; `cnv:0.25` is cnv with a quarter of its channels, in multiples of 8.

    `path/to/file.py:function` is a user's own (`models.own_network`); the file is executed.

    Raises:
        NetworkError: a user's own network cannot be loaded or built.
        UnknownModelError: no such name (the text holds the nearest), or a width multiplier that is not a
            number from 0.125 to 4 or that the network does not take.
    """
    if is_own(name):
        return _own(name)
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
