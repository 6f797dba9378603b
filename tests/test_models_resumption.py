"""Pretraining that is interrupted: it goes on, and nothing shows that it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models import resumption, weights
from models.augmentation import Augmentation
from models.data import ImageSet, SearchSplits, digits, make_splits
from models.errors import WeightsError
from models.registry import get_model
from models.resumption import train_resumably
from models.train import Recipe, train
from models.weights import Pretrained, pretrain

INFO = get_model("tfc")
RECIPE = Recipe(n_images=1100, batch_size=100, augmentation=Augmentation(shift_px=2, cutout_px=4))  # 11 steps


@pytest.fixture(scope="module")
def splits() -> SearchSplits:
    return make_splits(digits(), "digits", INFO.input_shape, 300).for_search()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumption, "EVERY_STEPS", 3)
    monkeypatch.setattr(weights, "MAX_EPOCHS", 1)


def interrupted_at(step: int) -> Callable[[int, int, float], None]:
    def progress(done: int, _: int, __: float) -> None:
        if done == step:
            raise KeyboardInterrupt

    return progress


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return INFO.build()


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("step", [1, 3, 5, 11])
def test_it_goes_on_as_if_nothing_had_been(splits: SearchSplits, step: int, tmp_path: Path) -> None:
    whole, broken, resumed = network(), network(), network()
    train(whole, splits.train, RECIPE, seed=4)
    kept = tmp_path / "kept.pt"
    with pytest.raises(KeyboardInterrupt):
        train_resumably(broken, splits.train, RECIPE, 4, kept, interrupted_at(step))
    assert kept.exists() == (step > 3)  # what was done since the last checkpoint is done again
    steps: list[int] = []
    train_resumably(resumed, splits.train, RECIPE, 4, kept, lambda done, *_: steps.append(done))
    assert steps == list(range((step - 1) // 3 * 3 + 1, 12))
    assert same(whole, resumed)
    assert not resumed.training
    again = network()
    train_resumably(again, splits.train, RECIPE, 4, kept)
    assert same(whole, again)  # a finished one is not trained on


def test_a_checkpoint_of_another_training_is_refused(splits: SearchSplits, tmp_path: Path) -> None:
    kept = tmp_path / "kept.pt"
    train_resumably(network(), splits.train, RECIPE, 4, kept)
    with pytest.raises(WeightsError, match=r"kept\.pt is of another training: its seed is 4, not 5; delete the file to begin"):
        train_resumably(network(), splits.train, RECIPE, 5, kept)
    turned = ImageSet(splits.train.x, splits.train.y.flip(0))
    with pytest.raises(WeightsError, match="its images is"):
        train_resumably(network(), turned, RECIPE, 4, kept)
    renamed = torch.nn.Sequential(network(), torch.nn.Identity())
    with pytest.raises(WeightsError, match="its layers is"):
        train_resumably(renamed, splits.train, RECIPE, 4, kept)
    with pytest.raises(WeightsError, match="its network is , not sfc; delete"):
        train_resumably(network(), splits.train, RECIPE, 4, kept, belongs_to="sfc")
    kept.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read as the checkpoint of a pretraining"):
        train_resumably(network(), splits.train, RECIPE, 4, kept)


def test_a_pretraining_goes_on(splits: SearchSplits, tmp_path: Path) -> None:
    def weights_of(progress: Callable[[int, int, float], None] | None, kept: Path | None) -> Pretrained:
        return pretrain(INFO, splits, 2, progress, checkpoint=kept)

    kept = tmp_path / "kept.pt"
    with pytest.raises(KeyboardInterrupt):
        weights_of(interrupted_at(5), kept)
    resumed, whole = weights_of(None, kept), weights_of(None, None)
    assert resumed.search_accuracy == whole.search_accuracy
    assert all(torch.equal(value, resumed.state[name]) for name, value in whole.state.items())
