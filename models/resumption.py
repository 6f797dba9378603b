"""A training that goes on where it was interrupted, step for step as if it had not been."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.data import ImageSet
from models.device import device_of
from models.errors import WeightsError
from models.state_file import read_state, unreadable, write_state
from models.train import Recipe, batches, optimizer_of, run_steps

FORMAT = 1
ANEW = "delete it to begin anew"
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
    state = read_state(path, f"the checkpoint of {what}", ANEW)
    for name, value in identity.items():
        found = state.get(name)
        if type(found) is not type(value) or found != value:
            told = found if isinstance(found, int) or (isinstance(found, str) and found.isprintable()) else type(found).__name__
            raise WeightsError(
                f"{path} is of another training: its {name} is {told}, not {value}; delete the file to begin anew"
            )
    return state


@contextmanager
def restoring(path: Path | None, what: str) -> Iterator[None]:
    """Have whatever goes wrong while a network and its optimizer are restored from a checkpoint name its file.

    Args:
        path: of the file; None for none.
        what: it is the checkpoint of, in a word or two.

    Raises:
        WeightsError: the checkpoint lacks something, or holds what is not the network's or the optimizer's.
    """
    try:
        yield
    except Exception as error:  # torch has errors of its own, and others pass through it
        raise unreadable(path or Path(), error, f"the checkpoint of {what}", ANEW) from error


def restore_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Bring an optimizer to where a checkpoint was, after looking whether it is one of the same parameters.

    Raises:
        ValueError: it is not.
    """
    own = optimizer.state_dict()
    groups, wanted = state["param_groups"], own["param_groups"]
    if [sorted(g) for g in groups] != [sorted(g) for g in wanted] or [g["params"] for g in groups] != [
        g["params"] for g in wanted
    ]:
        raise ValueError("its optimizer has other groups of parameters")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, kept in state["state"].items():
        for name, value in kept.items():
            if isinstance(value, Tensor) and value.shape not in ((), parameters[number].shape):
                raise ValueError(f"its optimizer has a {name} of shape {tuple(value.shape)}")
    optimizer.load_state_dict(dict(state))


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
        with restoring(checkpoint, "a pretraining"):
            network.load_state_dict(state["state"])
            restore_optimizer(optimizer, state["optimizer"])
            done = state["step"]
            if type(done) is not int or not 0 <= done <= recipe.n_steps:
                raise ValueError(f"step {done} of {recipe.n_steps}")
    left = islice(batches(images, recipe, torch.Generator().manual_seed(seed), device_of(network)), done, None)
    while done < recipe.n_steps:
        n = min(EVERY_STEPS, recipe.n_steps - done) if checkpoint is not None else recipe.n_steps - done
        run_steps(network, optimizer, left, range(done, done + n), recipe, progress)
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
