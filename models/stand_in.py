"""Noise in place of a data set: for a network that has none at hand, so that it can be estimated and exported."""

from __future__ import annotations

import torch

from models.data import ImageSet, Splits
from models.preparation import Preparation
from models.registry import ModelInfo

NAME = "noise"
N_IMAGES = 1000  # calibrating looks at no more


def noise_splits(info: ModelInfo, n_images: int = N_IMAGES, seed: int = 0) -> Splits:
    """Images of a network's input shape whose brightness alone tells their class.

    Quantizers can be calibrated on them, and what that gives sizes accumulators; an accuracy on them says nothing.

    Args:
        info: which network.
        n_images: of each split; as many as there are classes, or more, for each class to be there.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def images() -> ImageSet:
        y = torch.arange(n_images) % info.n_classes
        noise = torch.randint(128, (n_images, *info.input_shape), generator=generator)
        return ImageSet((noise + 127 * y[:, None, None, None] // info.n_classes).to(torch.uint8), y)

    return Splits(
        images(), images(), images(), NAME, info.n_classes, tuple(map(str, range(info.n_classes))),
        preparation=Preparation.of(info.input_shape),
    )  # fmt: skip
