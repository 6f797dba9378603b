"""Splits of known data sets and of a user's own, which keep the test images apart."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models import data
from models.augmentation import NO_AUGMENTATION, Augmentation
from models.data import ImageSet, SearchSplits, Splits, load_splits, make_splits
from models.errors import DataError, ImageFileError, SplitError, UnknownDatasetError
from models.preparation import Preparation
from tests.made_data import made_arrays, numbered, without

DATA_DIR = Path(os.environ.get("DATA_DIR") or "data")


def real(name: str) -> Path:
    """The file of a real data set, where there is one."""
    path = DATA_DIR / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not there: no real {name} to read")
    return path


def parts(splits: Splits) -> tuple[ImageSet, ImageSet, ImageSet]:
    return splits.train, splits.search, splits.test


# --- known data sets ---------------------------------------------------------------------------------------------


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_splits("mnist", tmp_path, (1, 28, 28))
    assert str(caught.value) == (
        f"{tmp_path / 'mnist.npz'} is not there; put the data set there (see 'Data' in README.md) or use DATASET=auto"
    )


def test_load_splits_reads_the_file_and_prepares_the_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **made_arrays(n_train=5200, shape=(4, 4)))
    splits = load_splits("mnist", tmp_path, (3, 8, 8))
    assert (splits.dataset, splits.n_classes) == ("mnist", 4)
    assert splits.classes == ("0", "1", "2", "3")  # not MNIST's ten
    assert splits.preparation == Preparation(3, 8, 8)
    assert splits.augmentation == Augmentation(shift_px=2)
    assert [len(images) for images in parts(splits)] == [200, 5000, 12]
    for images in parts(splits):
        assert images.x.shape[1:] == (3, 8, 8)
        assert images.x.dtype == torch.uint8
        assert images.x.is_contiguous(memory_format=torch.channels_last)
        assert images.y.dtype == torch.int64


def test_a_file_too_small_to_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **made_arrays(n_train=5099, shape=(2, 2)))
    with pytest.raises(SplitError) as caught:
        load_splits("mnist", tmp_path, (1, 2, 2))
    assert str(caught.value) == (
        "mnist has 5099 train images; 5100 or more are wanted, as 5000 of them become the search split; "
        "use a larger file or DATASET=digits"
    )


def test_digits_need_no_folder() -> None:
    splits = load_splits("digits", Path("there is no such folder"), (1, 28, 28))
    assert [len(images) for images in parts(splits)] == [1138, 300, 359]
    assert splits.classes == tuple("0123456789")


def test_real_mnist() -> None:
    splits = load_splits("mnist", real("mnist").parent, (1, 28, 28))
    # LeCun, Cortes, Burges: 60,000 and 10,000 images; the first label of the test part is 7.
    assert [len(images) for images in parts(splits)] == [55_000, 5000, 10_000]
    assert splits.test.y[:3].tolist() == [7, 2, 1]
    # 5,000 of 60,000 images of its 5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949 a class.
    assert np.bincount(splits.search.y.numpy()).tolist() == [494, 562, 496, 511, 487, 452, 493, 522, 487, 496]


# --- a user's own ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of CIFAR-10 as a folder of images, 60 each."""
    with np.load(real("cifar10")) as arrays:
        x, y = arrays["x_test"], arrays["y_test"]
    folder = tmp_path_factory.mktemp("data") / "my photos"
    for label, name in ((3, "cat"), (5, "dog"), (8, "ship")):
        (folder / name).mkdir(parents=True)
        for i, pixels in enumerate(x[y == label][:60]):
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def test_a_folder_of_real_images(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    splits = load_splits(str(folder), Path("nowhere"), (3, 32, 32), lambda *a: seen.append(a))
    assert seen[-1] == (180, 180)
    assert (splits.n_classes, splits.classes) == (3, ("cat", "dog", "ship"))
    assert [np.bincount(images.y.numpy()).tolist() for images in parts(splits)] == [[38, 38, 39], [10, 10, 9], [12] * 3]
    assert not splits.augmentation.flip  # whether that keeps the labels is not known
    # Every image is in one split, with the pixels it has in its file and its folder's label.
    in_files = {
        np.asarray(Image.open(file)).tobytes(): label
        for label, name in enumerate(splits.classes)
        for file in (folder / name).iterdir()
    }
    in_splits = {
        x.permute(1, 2, 0).numpy().tobytes(): y
        for images in parts(splits)
        for x, y in zip(images.x, images.y.tolist(), strict=True)
    }
    assert in_splits == in_files


def test_a_folder_for_a_grey_network_of_another_size(folder: Path) -> None:
    splits = load_splits(str(folder), Path("nowhere"), (1, 28, 28))
    assert splits.train.x.shape[1:] == (1, 28, 28)
    assert splits.preparation == Preparation.of((1, 28, 28))


def test_a_damaged_image_of_a_folder(folder: Path, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for file in (folder / name).iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "dog" / "7.png").write_bytes((folder / "dog" / "7.png").read_bytes()[:500])
    with pytest.raises(ImageFileError, match=r"^.*/dog/7\.png cannot be read as an image \(.*\); PNG, JPEG"):
        load_splits(str(tmp_path), tmp_path, (3, 32, 32))


def test_a_name_for_every_content(folder: Path, tmp_path: Path) -> None:
    name = load_splits(str(folder), tmp_path, (3, 8, 8)).dataset
    assert name.startswith("my_photos-")
    assert len(name) == len("my_photos-") + 8
    assert load_splits(f"{folder}/", tmp_path, (3, 8, 8)).dataset == name
    np.savez(tmp_path / "tiny.v2.npz", **made_arrays(n_train=200))
    first = load_splits(str(tmp_path / "tiny.v2.npz"), tmp_path, (1, 6, 6)).dataset
    assert first.startswith("tiny_v2-")
    changed = made_arrays(n_train=200)
    changed["x_train"][77, 3, 3] ^= 1
    np.savez(tmp_path / "tiny.v2.npz", **changed)
    assert load_splits(str(tmp_path / "tiny.v2.npz"), tmp_path, (1, 6, 6)).dataset != first


def test_an_npz_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    names = np.array(["ant", "bee", "cat", "dog"])
    np.savez(path, **made_arrays(n_train=1000, n_test=40), classes=names)
    splits = load_splits(str(path), tmp_path / "nowhere", (1, 6, 6))
    assert [len(images) for images in parts(splits)] == [800, 200, 40]
    assert splits.classes == ("ant", "bee", "cat", "dog")
    np.savez(path, **without(made_arrays(n_train=1000), "x_test", "y_test"))
    splits = load_splits(str(path), tmp_path / "nowhere", (1, 6, 6))
    assert [len(images) for images in parts(splits)] == [640, 160, 200]
    assert splits.classes == ("0", "1", "2", "3")


@pytest.mark.parametrize("name", ["", "auto", "minst"])
def test_what_is_neither_a_name_nor_a_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownDatasetError):
        load_splits(name, tmp_path, (1, 6, 6))


# --- splitting ---------------------------------------------------------------------------------------------------


def numbers(images: ImageSet) -> list[int]:
    return images.x.flatten(1).contiguous().numpy().view("<u4").ravel().tolist()


def test_every_image_lands_in_one_split_with_its_label() -> None:
    splits = make_splits(numbered(700, 50), "numbers", (1, 2, 2), n_search=200)
    train, search, test = (numbers(s) for s in parts(splits))
    assert sorted(train + search) == list(range(700))
    assert test == list(range(700, 750))
    for images in parts(splits):
        assert (np.array(numbers(images)) % 3).tolist() == images.y.tolist()
    assert splits.augmentation == NO_AUGMENTATION


@given(st.integers(150, 400), st.integers(0, 2**31), st.booleans(), st.integers(2, 12))
def test_without_test_images_all_three_come_from_the_train_images(n: int, seed: int, grouped: bool, size: int) -> None:
    arrays = without(numbered(n, 0), "x_test", "y_test")
    group = np.arange(n) // 3 // size * 3 + np.arange(n) % 3  # tracks of `size` images of one class
    if grouped:
        arrays["group_train"] = group
    try:
        splits = make_splits(arrays, "numbers", (1, 2, 2), seed=seed)
    except SplitError as error:
        assert "are left to train on" in str(error)  # noqa: PT017
        return
    found = [numbers(images) for images in parts(splits)]
    assert sorted(i for mine in found for i in mine) == list(range(n))
    for images, mine in zip(parts(splits), found, strict=True):
        assert (np.array(mine) % 3).tolist() == images.y.tolist()
        assert set(images.y.tolist()) == {0, 1, 2}
    slack = 3 + (2 * size * 3 if grouped else 0)
    assert abs(len(found[2]) - n / 5) <= slack
    assert abs(len(found[1]) - n * 4 / 25) <= slack
    if grouped:
        tracks = [set(group[mine].tolist()) for mine in found]
        assert not tracks[0] & tracks[1]
        assert not tracks[0] & tracks[2]
        assert not tracks[1] & tracks[2]
    again = make_splits(arrays, "numbers", (1, 2, 2), seed=seed)
    assert [numbers(images) for images in parts(again)] == found


def test_groups_beside_given_test_images() -> None:
    arrays = numbered(600, 30) | {"group_train": np.arange(600) // 30 * 3 + np.arange(600) % 3}
    splits = make_splits(arrays, "numbers", (1, 2, 2), n_search=120)
    assert numbers(splits.test) == list(range(600, 630))
    assert len(splits.search) == 120
    tracks = [set(arrays["group_train"][numbers(images)].tolist()) for images in (splits.train, splits.search)]
    assert not tracks[0] & tracks[1]


def test_a_search_cannot_reach_the_test_images() -> None:
    for arrays in (numbered(700, 50), without(numbered(700, 0), "x_test", "y_test")):
        splits = make_splits(arrays, "numbers", (1, 2, 2), n_search=200)
        for_search = splits.for_search()
        assert isinstance(for_search, SearchSplits)
        assert not isinstance(for_search, Splits)
        reachable = vars(for_search)
        assert set(reachable) == set(vars(splits)) - {"test"}
        assert all(value is getattr(splits, name) for name, value in reachable.items())
        seen = {i for images in (for_search.train, for_search.search) for i in numbers(images)}
        assert seen.isdisjoint(numbers(splits.test))
        # Not through the tensors' memory either: it is not the test images'.
        held = {images.x.untyped_storage().data_ptr() for images in (for_search.train, for_search.search)}
        assert splits.test.x.untyped_storage().data_ptr() not in held


def labelled(*counts: int, test: bool = True) -> dict[str, np.ndarray]:
    y = np.repeat(np.arange(len(counts)), counts)
    arrays = {"x_train": np.zeros((len(y), 2, 2), np.uint8), "y_train": y}
    n = len(counts)
    return arrays | ({"x_test": np.zeros((n, 2, 2), np.uint8), "y_test": np.arange(n)} if test else {})


def test_rare_classes_are_in_every_split() -> None:
    splits = make_splits(labelled(990, 3, 3, 4, test=False), "rare", (1, 2, 2))
    assert [np.bincount(images.y.numpy()).tolist()[1:] for images in parts(splits)] == [[1, 1, 2], [1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            labelled(500, 1),
            "rare has 1 image of class '1' to split; 2 or more are wanted, for train and search; ",
        ),
        (
            labelled(500, 2, test=False) | {"classes": np.array(["ant", "bee"])},
            "rare has 2 images of class 'bee' to split; 3 or more are wanted, for train, search and test; ",
        ),
        (
            labelled(300, 300, test=False) | {"group_train": np.array(["a", "b", "c"] * 100 + ["d"] * 200 + ["e"] * 100)},
            "rare has 2 groups of class '1' to split; 3 or more are wanted, for train, search and test; ",
        ),
    ],
)
def test_a_class_that_cannot_be_in_every_split(arrays: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(SplitError) as caught:
        make_splits(arrays, "rare", (1, 2, 2))
    assert str(caught.value) == words + "add some or leave that class out"


def scenes(*scenes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A hundred groups of class 0, and one of each of these classes."""
    y = np.array([0] * 300 + [label for scene in scenes for label in scene])
    group = np.concatenate([np.arange(300) // 3, *(np.full(len(scene), 100 + i) for i, scene in enumerate(scenes))])
    classes = len(np.unique(y))
    return labelled(*[1] * classes) | {"x_train": np.zeros((len(y), 2, 2), np.uint8), "y_train": y, "group_train": group}


def test_groups_of_several_classes_are_split_where_that_can_be() -> None:
    splits = make_splits(scenes((1, 2), (2, 3), (3, 4), (4, 1)), "tracks", (1, 2, 2))
    assert set(splits.search.y.tolist()) == set(splits.train.y.tolist()) == {0, 1, 2, 3, 4}
    with pytest.raises(SplitError) as caught:  # each of three classes is in two of three scenes
        make_splits(scenes((1, 2), (2, 3), (3, 1)), "tracks", (1, 2, 2))
    assert str(caught.value) == "no split of tracks by its groups was found with class '3' in search; add groups that hold it"


def test_too_few_images_of_ones_own() -> None:
    with pytest.raises(SplitError) as caught:
        make_splits(labelled(70, 50, test=False), "few", (1, 2, 2))
    assert str(caught.value) == (
        "few has 120 train images, of which 77 are left to train on when 19 become the search split and 24 the test split; "
        "100 or more are wanted; add images or use DATASET=digits"
    )


def test_first_and_take() -> None:
    images = ImageSet(torch.arange(6).reshape(6, 1, 1, 1).to(torch.uint8), torch.arange(6))
    assert len(images) == 6
    assert images.first(2).y.tolist() == [0, 1]
    assert len(images.first(99)) == 6
    assert images.take(np.array([4, 0])[::-1]).y.tolist() == [0, 4]


def test_another_seed_is_another_split() -> None:
    first, second = (make_splits(numbered(700, 50), "numbers", (1, 2, 2), 200, seed) for seed in (data.SPLIT_SEED, 1))
    assert set(numbers(first.search)) != set(numbers(second.search))
