"""Real images with the answers of the trained network: what every later stage is held against."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flow.errors import RunDirectoryError
from models.data import ImageSet
from models.files import whole_file
from models.npz_file import read_arrays
from models.train import scale_images

N_IMAGES = 64
BATCH = 16  # of doubles, which take much memory


@dataclass(frozen=True)
class GoldenSet:
    """Images and answers.

    Attributes:
        pixels: uint8 (N, C, H, W); an accelerator is fed with these less 128.
        labels: what they show, (N,).
        logits: of the trained network, (N, classes).
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    logits: NDArray[np.float64]

    def first(self, n: int) -> GoldenSet:
        """The first `n` images, or all where there are fewer."""
        return GoldenSet(self.pixels[:n], self.labels[:n], self.logits[:n])


def golden_set(network: nn.Module, images: ImageSet, n: int = N_IMAGES) -> GoldenSet:
    """The first `n` images of a split with a network's answers, in double precision on the CPU.

    An accelerator counts in integers. Single precision rounds sums, and now and then takes one that lies close to a
    threshold to its other side: with 4 bits everywhere, CNV answers 4 of 256 images of CIFAR-10 otherwise than its
    accelerator, in double precision none.
    """
    few = images.first(n)
    exact = copy.deepcopy(network).cpu().double().eval()
    with torch.no_grad():
        logits = torch.cat(
            [exact(scale_images(few.x[i : i + BATCH].cpu()).double()) for i in range(0, len(few), BATCH)]
        ).numpy()
    return GoldenSet(few.x.contiguous().numpy(), few.y.numpy(), logits)


def write_golden(golden: GoldenSet, path: Path) -> None:
    """Write a golden set as .npz, whole or not at all."""
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, pixels=golden.pixels, labels=golden.labels, logits=golden.logits)


def read_golden(path: Path) -> GoldenSet:
    """Read what `write_golden` wrote; nothing is unpickled.

    Raises:
        RunDirectoryError: missing, damaged, or not a golden set.
    """
    try:
        arrays = read_arrays(path, ("pixels", "labels", "logits"))
        found = GoldenSet(arrays["pixels"], arrays["labels"], arrays["logits"])
        kinds = (found.pixels.dtype.name, found.labels.dtype.kind, found.logits.dtype.name)
        axes = (found.pixels.ndim, found.labels.ndim, found.logits.ndim)
        if kinds != ("uint8", "i", "float64") or axes != (4, 1, 2) or not np.isfinite(found.logits).all():
            raise ValueError("its arrays are not images, labels and logits")
        if not len(found.pixels) == len(found.labels) == len(found.logits) > 0:
            raise ValueError("its arrays are of different lengths")
    except FileNotFoundError:
        raise RunDirectoryError(f"there is no {path}; make retrain RUN={path.parent} writes it") from None
    except (OSError, ValueError, KeyError) as error:
        raise RunDirectoryError(f"{path} is no golden set ({error}); make retrain RUN={path.parent} writes it anew") from error
    return found
