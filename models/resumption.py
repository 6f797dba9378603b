"""A training that goes on where it was interrupted, step for step as if it had not been."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.data import ImageSet
from models.errors import WeightsError
from models.state_file import read_state, write_state
from models.train import Recipe, batches, optimizer_of, run_steps

FORMAT = 1
IMAGES_LOOKED_AT = 97  # every so many of them tell one data set from another, and all labels
EVERY_STEPS = 250  # between two checkpoints: about a minute of CNV on a CPU


def read_checkpoint(path: Path | None, what: str, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a checkpoint holds; None where there is none yet.

    Args:
        path: of the file; None for none.
        what: it is the checkpoint of, in a word or two.
        identity: of the training; the file's must be the same.

    Raises:
        WeightsError: it cannot be read, or is of another training.
    """
    if path is None or not path.exists():
        return None
    state = read_state(path, f"the checkpoint of {what}", "delete it to begin anew")
    for name, value in identity.items():
        if state.get(name) != value:
            raise WeightsError(
                f"{path} is of another training: its {name} is {state.get(name)}, not {value}; delete the file to begin anew"
            )
    return state


def train_resumably(
    network: nn.Module, images: ImageSet, recipe: Recipe, seed: int, checkpoint: Path | None,
    progress: Callable[[int, int, float], None] | None = None, belongs_to: str = "",
) -> None:  # fmt: skip
    """Train a network as `models.train.train` does, from its present weights or from a checkpoint.

    The images of the steps already done are drawn once more and left out, so that those behind are the same.

    Args:
        network: see `models.train.train`; so are the other arguments.
        images: the same.
        recipe: the same; without distillation.
        seed: the same.
        checkpoint: written every so many steps; None for none.
        progress: the same.
        belongs_to: whatever else tells one training from another, such as the network's name.

    Raises:
        WeightsError: see `read_checkpoint`.
        TrainingError: see `models.train.train`.
    """
    shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in network.state_dict().items())
    identity = {
        "format": FORMAT, "network": belongs_to, "recipe": repr(asdict(recipe)), "seed": seed,
        "layers": _digest(shapes.encode()),
        "images": _digest(images.x[::IMAGES_LOOKED_AT].numpy().tobytes(), images.y.numpy().tobytes()),
    }  # fmt: skip
    optimizer = optimizer_of(network, recipe)
    state = read_checkpoint(checkpoint, "a pretraining", identity)
    done = 0
    if state is not None:
        network.load_state_dict(state["state"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    left = islice(batches(images, recipe, torch.Generator().manual_seed(seed)), done, None)
    while done < recipe.n_steps:
        n = min(EVERY_STEPS, recipe.n_steps - done) if checkpoint is not None else recipe.n_steps - done
        run_steps(network, optimizer, islice(left, n), done, recipe, progress)
        done += n
        if checkpoint is not None:
            whole = {**identity, "step": done, "state": network.state_dict(), "optimizer": optimizer.state_dict()}
            write_state(whole, checkpoint)
    network.eval()


def _digest(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]
