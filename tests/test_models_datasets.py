"""Which data sets there are, and what a name or a path comes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.augmentation import Augmentation
from models.datasets import DATASETS, OWN_AUGMENTATION, dataset_info, digits
from models.errors import DataError, UnknownDatasetError


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("cifar", "cifar10"), ("cifar100", "cifar10"), ("fashion-mnist", "fashion_mnist"), ("digit", "digits")],
)
def test_unknown_data_set_names_the_nearest_and_all(wrong: str, near: str) -> None:
    with pytest.raises(UnknownDatasetError) as caught:
        dataset_info(wrong)
    assert str(caught.value) == (
        f"unknown data set {wrong!r}; did you mean {near!r}? There are cifar10, mnist, fashion_mnist, digits and auto, "
        "and your own as a path to an image folder or an .npz file"
    )


def test_mirroring_keeps_the_labels_of_clothes_and_things_only() -> None:
    assert [name for name, info in DATASETS.items() if info.augmentation.flip] == ["cifar10", "fashion_mnist"]
    assert Augmentation(shift_px=2) == OWN_AUGMENTATION


def test_every_known_data_set_names_its_classes() -> None:
    assert all(len(set(info.classes)) == 10 for info in DATASETS.values())


def test_digits_are_the_known_ones() -> None:
    # scikit-learn, load_digits: 1,797 images of 8x8 with values 0..16; its class counts are 178, 182, 177, 183,
    # 181, 182, 181, 179, 174, 180.
    found = digits()
    assert found["x_train"].shape == (1438, 8, 8)
    assert found["x_test"].shape == (359, 8, 8)
    labels = np.concatenate([found["y_train"], found["y_test"]])
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert found["x_train"].max() == 255
    assert len(np.unique(found["x_train"])) == 17
    assert found["y_train"][:10].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 0, 1]  # 0..9 and again, every fifth is test
    assert found["y_test"][:2].tolist() == [4, 9]


# --- paths -------------------------------------------------------------------------------------------------------


def test_a_folder_and_an_npz_file_by_their_paths(tmp_path: Path) -> None:
    (tmp_path / "a.npz").touch()
    for path in (tmp_path, tmp_path / "a.npz"):
        info = dataset_info(str(path))
        assert (info.name, info.path, info.n_search) == (str(path), path, None)


def test_paths_from_the_working_directory_and_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photos", "mnist", "auto"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.npz").touch()
    monkeypatch.chdir(tmp_path)
    assert dataset_info("photos").path == Path("photos")
    assert dataset_info("a.npz").path == Path("a.npz")
    assert dataset_info("mnist").path is None  # a known name comes first
    assert dataset_info("./mnist").path == Path("mnist")
    with pytest.raises(UnknownDatasetError):
        dataset_info("auto")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert dataset_info("~/photos").path == tmp_path / "photos"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("photo/", "is not there"),
        ("none.npz", "is not there"),
        ("photos.zip", "is neither a folder of images nor an .npz file"),
        ("is_a_file.npz/x", "is not there"),
    ],
)
def test_paths_with_no_data_set_at_them(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / "photos.zip").touch()
    (tmp_path / "is_a_file.npz").touch()
    with pytest.raises(DataError) as caught:
        dataset_info(f"{tmp_path}/{name}")
    assert str(caught.value) == (
        f"DATASET={tmp_path}/{name} {what}; name such a folder or file, or one of cifar10, mnist, fashion_mnist, digits"
    )
