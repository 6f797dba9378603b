"""Pretrained weights: a round trip, and files that are refused without running anything in them."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from models import weights
from models.augmentation import Augmentation
from models.data import Splits, load_splits
from models.errors import ModelError, WeightsError
from models.registry import ModelInfo, get_model
from models.state_file import write_state
from models.train import Recipe, accuracy
from models.weights import (
    FORMAT,
    SHIPPED,
    Pretrained,
    pretrain,
    read_pretrained,
    shipped_weights,
    write_pretrained,
)
from tests.bomb import Bomb
from tests.tiny import equal

REMEDY = "make it anew with `make pretrain` or remove it"


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits("digits", Path("nowhere"), (1, 28, 28))


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    return replace(get_model("tfc"), pretraining=Recipe(n_images=4000, lr=0.1))


@pytest.fixture(scope="module")
def pretrained(info: ModelInfo, splits: Splits) -> Pretrained:
    return pretrain(info, splits.for_search(), seed=3)


# --- pretraining -------------------------------------------------------------------------------------------------


def test_pretraining_learns_and_says_how_well(pretrained: Pretrained, splits: Splits) -> None:
    assert (pretrained.model, pretrained.dataset, pretrained.n_classes, pretrained.seed) == ("tfc", "digits", 10, 3)
    assert pretrained.search_accuracy > 0.8
    assert accuracy(pretrained.network(), splits.search) == pretrained.search_accuracy


def test_pretraining_is_seeded(info: ModelInfo, splits: Splits, pretrained: Pretrained) -> None:
    torch.rand(7)
    assert equal(pretrain(info, splits.for_search(), seed=3).state, pretrained.state)
    assert not equal(pretrain(info, splits.for_search(), seed=4).state, pretrained.state)


def test_pretraining_takes_the_data_sets_augmentation_and_at_most_25_epochs(
    info: ModelInfo, splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Recipe] = []
    monkeypatch.setattr(weights, "train_resumably", lambda network, images, recipe, *_: seen.append(recipe))
    augmentation = Augmentation(flip=True, shift_px=2)
    few = replace(splits.for_search(), train=splits.train.first(100), augmentation=augmentation)
    pretrain(info, few)
    assert seen == [replace(info.pretraining, n_images=2500, augmentation=augmentation)]


# --- files -------------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path, pretrained: Pretrained) -> None:
    path = tmp_path / "w.pt"
    write_pretrained(pretrained, path)
    got = read_pretrained(path)
    assert equal(got.state, pretrained.state)
    assert replace(got, state={}) == replace(pretrained, state={})
    x = torch.zeros(2, 1, 28, 28)
    assert torch.equal(got.network()(x), pretrained.network()(x))
    assert list(tmp_path.iterdir()) == [path]


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        read_pretrained(path)
    text = str(caught.value)
    assert text.startswith(f"{path} ")
    assert text.endswith(f"; {REMEDY}")
    assert "\n" not in text
    assert isinstance(caught.value, ModelError)
    return text


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04", pickle.dumps({"format": FORMAT})])
def test_files_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    assert "cannot be read as pretrained weights (" in refused(path)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file or directory" in refused(tmp_path / "w.pt")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_file(tmp_path: Path, pretrained: Pretrained, share: float) -> None:
    path = tmp_path / "w.pt"
    write_pretrained(pretrained, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def test_a_flipped_bit_in_the_weights(tmp_path: Path, pretrained: Pretrained) -> None:
    path = tmp_path / "w.pt"
    write_pretrained(pretrained, path)
    content = bytearray(path.read_bytes())
    place = content.find(pretrained.state["fc0.weight"].numpy().tobytes()[:64])
    assert place > 0
    content[place + 20] ^= 1
    path.write_bytes(content)
    assert "is damaged: the checksum of " in refused(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": FORMAT + 1}, f"is not of format {FORMAT}"),
        ({"format": None}, f"is not of format {FORMAT}"),
        ({"model": "resnet"}, "(unknown model 'resnet'; did you mean "),
        ({"model": "cnv"}, " does not fit cnv with 10 classes: it lacks conv0.weight; "),
        (
            {"model": "sfc"},
            " does not fit sfc with 10 classes: its fc0.weight has the shape (64, 784), where (256, 784) is wanted; ",
        ),
        (
            {"n_classes": 11},
            " does not fit tfc with 11 classes: its fc3.weight has the shape (10, 64), where (11, 64) is wanted; ",
        ),
        ({"n_classes": -1}, "cannot be read as pretrained weights ("),
        ({"state": {}}, "does not fit tfc with 10 classes: it lacks fc0.weight; "),
        ({"state": 3}, "cannot be read as pretrained weights ("),
        ({"another": 1}, "unexpected keyword argument 'another'"),
    ],
)
def test_files_of_another_network_or_format(tmp_path: Path, pretrained: Pretrained, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "w.pt"
    write_state({"format": FORMAT, **vars(pretrained), **change}, path)
    assert words in refused(path)


def test_a_tensor_too_many(tmp_path: Path, pretrained: Pretrained) -> None:
    path = tmp_path / "w.pt"
    state = {**pretrained.state, "fc9\n.weight": torch.zeros(1)}
    write_state({"format": FORMAT, **vars(pretrained), "state": state}, path)
    assert r"does not fit tfc with 10 classes: it has 'fc9\n.weight', which that network has not; " in refused(path)


@pytest.mark.parametrize("content", [{}, {"format": FORMAT}, [1, 2], torch.zeros(3), 7])
def test_contents_that_are_no_weights(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "w.pt"
    write_state(content, path)
    assert "cannot be read as pretrained weights (" in refused(path)


def test_a_malicious_file_runs_nothing(tmp_path: Path, pretrained: Pretrained) -> None:
    path, fuse = tmp_path / "w.pt", tmp_path / "unpickled"
    torch.save({"format": FORMAT, **vars(pretrained), "seed": Bomb(fuse)}, path)
    assert "cannot be read as pretrained weights (" in refused(path)
    path.write_bytes(pickle.dumps(Bomb(fuse), 2))
    refused(path)
    # A torch file by its form, its pickle replaced, its checksums right.
    good = io.BytesIO()
    torch.save({"format": FORMAT}, good)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            new.writestr(item, pickle.dumps(Bomb(fuse), 2) if item.filename.endswith("data.pkl") else old.read(item))
    refused(path)
    assert not fuse.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "w.pt"
    write_pretrained(pretrained, path)
    before = path.read_bytes()

    def full(content: object, file: io.BufferedWriter) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space left on device"):
        write_pretrained(pretrained, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_that_ship_can_be_read_and_are_small() -> None:
    for path in SHIPPED.glob("*.pt"):
        got = read_pretrained(path)
        assert path.name == f"{got.model}-{got.dataset}.pt"
        assert shipped_weights(got.model, got.dataset) == path
        assert path.stat().st_size < 10_000_000
        assert 0.5 < got.search_accuracy <= 1


def test_weights_that_do_not_ship() -> None:
    assert shipped_weights("tfc", "no such data set") is None
