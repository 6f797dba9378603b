"""Retraining to convergence: epoch by epoch, the best weights kept, to be gone on with where it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.data import ImageSet
from models.resumption import read_checkpoint, restore_optimizer, restoring
from models.state_file import write_state
from models.train import Recipe, accuracy, batches, optimizer_of, run_steps

FORMAT = 1


@dataclass(frozen=True)
class Converged:
    """How a retraining ended.

    Attributes:
        accuracy: of the best epoch on the split that epochs are chosen by, 0..1.
        best_epoch: its number; 0 for the weights it began with.
        n_epochs: epochs done.
    """

    accuracy: float
    best_epoch: int
    n_epochs: int


@dataclass(frozen=True)
class Effort:
    """How long a retraining may go on.

    Attributes:
        max_epochs: passes over the train split at most, 1 or more; the learning rate falls to 0 over them.
        patience_epochs: passes without a better epoch after which it ends, 1 or more.
    """

    max_epochs: int
    patience_epochs: int


def converge(
    network: nn.Module, train_split: ImageSet, chosen_by: ImageSet, recipe: Recipe, effort: Effort, seed: int,
    checkpoint: Path | None = None, progress: Callable[[int, int, str], None] | None = None, teacher: nn.Module | None = None,
) -> Converged:  # fmt: skip
    """Retrain a network until it no longer gets better, and leave it with its best weights, in eval mode.

    An interrupted retraining goes on from the last epoch finished and ends with the same weights on the same
    machine. Each epoch's order and augmentation follow from the seed and its number.

    Args:
        network: from its present weights, on the device it is on.
        train_split: what it is trained on.
        chosen_by: what decides which epoch is best; never test images.
        recipe: how; its number of images is not looked at.
        effort: how long.
        seed: 0 or more.
        checkpoint: a file written after every epoch and begun from if it is there; None for none.
        progress: called after every epoch with epochs done, epochs at most, and a sentence.
        teacher: see `models.train.train`.

    Raises:
        WeightsError: the checkpoint cannot be read, or is of another retraining.
        TrainingError: see `models.train.train`.
    """
    one = replace(recipe, n_images=len(train_split))
    recipe = replace(recipe, n_images=effort.max_epochs * one.n_steps * one.batch_size)
    identity = {"format": FORMAT, "recipe": repr(asdict(recipe)), "effort": repr(effort), "seed": seed}
    optimizer = optimizer_of(network, recipe)
    state = read_checkpoint(checkpoint, "a retraining", identity)
    if state is None:
        state = {"epoch": 0, "best_epoch": 0, "accuracy": accuracy(network, chosen_by), "best": _copy(network)}
    else:
        with restoring(checkpoint, "a retraining"):
            _restore(state, network, optimizer, effort)
    while state["epoch"] < effort.max_epochs and state["epoch"] - state["best_epoch"] < effort.patience_epochs:
        epoch = state["epoch"]
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        steps = range(epoch * one.n_steps, (epoch + 1) * one.n_steps)
        run_steps(network, optimizer, batches(train_split, one, generator), steps, recipe, None, teacher)
        state["epoch"] = epoch + 1
        found = accuracy(network, chosen_by)
        if found > state["accuracy"]:
            state |= {"accuracy": found, "best_epoch": epoch + 1, "best": _copy(network)}
        if checkpoint is not None:
            whole = {**identity, **state, "network": network.state_dict(), "optimizer": optimizer.state_dict()}
            write_state(whole, checkpoint)
        if progress is not None:
            best = f"epoch {epoch + 1}: {found:.2%}, best {state['accuracy']:.2%} at epoch {state['best_epoch']}"
            progress(epoch + 1, effort.max_epochs, best)
    network.load_state_dict(state["best"])
    network.eval()
    return Converged(state["accuracy"], state["best_epoch"], state["epoch"])


def _restore(state: dict[str, Any], network: nn.Module, optimizer: Optimizer, effort: Effort) -> None:
    """Bring network and optimizer to where a checkpoint was, after looking whether it says where that is.

    Raises:
        ValueError, KeyError, and torch's own: it holds something else.
    """
    epoch, best, found = state["epoch"], state["best_epoch"], state["accuracy"]
    if type(epoch) is not int or type(best) is not int or not 0 <= best <= epoch <= effort.max_epochs:
        raise ValueError(f"epoch {epoch}, the best {best}, of {effort.max_epochs}")
    if type(found) is not float or not 0 <= found <= 1:
        raise ValueError(f"an accuracy of {found}")
    network.load_state_dict(state["best"])  # first, to see that it fits
    network.load_state_dict(state["network"])
    restore_optimizer(optimizer, state["optimizer"])


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
