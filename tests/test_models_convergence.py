"""Retraining to convergence: the best weights are kept, and an interruption changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.augmentation import Augmentation
from models.convergence import Converged, Effort, converge
from models.data import ImageSet
from models.errors import WeightsError
from models.train import Recipe, accuracy, calibrate, predict
from tests.tiny import equal, state, tiny_images, tiny_network, uniform

RECIPE = Recipe(n_images=1, batch_size=16, lr=0.05, augmentation=Augmentation(shift_px=1))
EFFORT = Effort(max_epochs=6, patience_epochs=6)
TRAIN, HELD_OUT = tiny_images(70), tiny_images(50, seed=1)


def retrained(checkpoint: Path | None = None, effort: Effort = EFFORT, **told: object) -> tuple[nn.Sequential, Converged]:
    network = tiny_network(uniform(4, 4))
    calibrate(network, TRAIN)
    given = {"recipe": RECIPE, "seed": 2, "train_split": TRAIN, "chosen_by": HELD_OUT, **told}
    return network, converge(network, effort=effort, checkpoint=checkpoint, **given)  # type: ignore[arg-type]


def test_the_best_epoch_is_what_is_left() -> None:
    seen: list[str] = []
    network, found = retrained(progress=lambda done, most, text: seen.append(f"{done}/{most} {text}"))
    assert found.accuracy == accuracy(network, HELD_OUT)
    assert len(seen) == found.n_epochs == 6
    assert seen[-1].startswith("6/6 epoch 6: ")
    assert f"best {found.accuracy:.2%} at epoch {found.best_epoch}" in seen[-1]
    assert not network.training


@pytest.mark.parametrize("stopped_after", [1, 3, 5])
def test_an_interruption_changes_nothing(tmp_path: Path, stopped_after: int) -> None:
    whole, found = retrained()

    class Interrupted(Exception):
        pass

    def interrupt(done: int, _: int, __: str) -> None:
        if done == stopped_after:
            raise Interrupted

    with pytest.raises(Interrupted):
        retrained(tmp_path / "checkpoint.pt", progress=interrupt)
    resumed, again = retrained(tmp_path / "checkpoint.pt")
    assert again == found
    assert equal(state(resumed), state(whole))
    finished, once_more = retrained(tmp_path / "checkpoint.pt")
    assert once_more == found
    assert equal(state(finished), state(whole))


def test_it_ends_when_it_gets_no_better() -> None:
    """With labels that say nothing the first epochs decide."""
    hopeless = ImageSet(HELD_OUT.x, torch.zeros_like(HELD_OUT.y))
    _, found = retrained(effort=Effort(max_epochs=50, patience_epochs=2), chosen_by=hopeless)
    assert found.n_epochs == found.best_epoch + 2 < 50


def test_weights_that_training_only_makes_worse_are_kept() -> None:
    network = tiny_network(uniform(8, 8))
    calibrate(network, TRAIN)
    before = state(network)
    perfect = ImageSet(HELD_OUT.x, predict(network, HELD_OUT.x).argmax(1))
    found = converge(network, TRAIN, perfect, replace(RECIPE, lr=0.5), Effort(2, 2), seed=0)
    assert (found.best_epoch, found.accuracy) == (0, 1.0)
    assert equal(state(network), before)


def test_a_checkpoint_of_another_retraining_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    retrained(path, Effort(1, 1))
    for told in ({"seed": 3}, {"recipe": replace(RECIPE, lr=0.01)}):
        with pytest.raises(WeightsError, match=r"checkpoint\.pt is of another training: its (seed|recipe) is"):
            retrained(path, Effort(1, 1), **told)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(WeightsError, match=r"cannot be read as the checkpoint of a retraining .*delete it to begin"):
        retrained(path)
