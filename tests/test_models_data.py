"""Data sets: what is read, what is refused and in which words, and splits that keep the test images apart."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models import data
from models.data import (
    DATASETS,
    KEYS,
    REMEDY,
    ImageSet,
    SearchSplits,
    Splits,
    dataset_info,
    digits,
    fit_images,
    load_splits,
    make_splits,
    read_npz,
    stratified_split,
)
from models.errors import DataError, ModelError, UnknownDatasetError
from tests.bomb import Bomb

Arrays = dict[str, np.ndarray]


def arrays(n_train: int = 40, n_test: int = 12, shape: tuple[int, ...] = (6, 6), n_classes: int = 4) -> Arrays:
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        "y_train": (np.arange(n_train) % n_classes).astype(np.uint8),
        "x_test": rng.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "y_test": (np.arange(n_test) % n_classes).astype(np.uint8),
    }


# --- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (6, 5), (6, 6, 1), (6, 6, 3)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_was_written(tmp_path: Path, shape: tuple[int, ...], save: Callable[..., None]) -> None:
    content = arrays(shape=shape)
    save(tmp_path / "a.npz", **content, another=np.arange(3))
    got = read_npz(tmp_path / "a.npz")
    assert list(got) == list(KEYS)
    assert all(np.array_equal(got[key], content[key]) for key in KEYS)


def without(key: str) -> Callable[[Arrays], Arrays]:
    return lambda a: {k: v for k, v in a.items() if k != key}


def with_array(key: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda a: {**a, key: change(a[key])}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("y_test"), "FILE lacks the array y_test; it needs x_train, y_train, x_test, y_test; "),
        (with_array("x_train", lambda x: x.astype(np.float32)), "x_train in FILE is float32; uint8 is wanted; "),
        (with_array("y_test", lambda y: y.astype(np.int64)), "y_test in FILE is int64; uint8 is wanted; "),
        (
            with_array("x_train", lambda x: x.reshape(len(x), -1)),
            "x_train in FILE has shape (40, 36); (N, H, W) or (N, H, W, 3) is wanted; ",
        ),
        (
            with_array("x_test", lambda x: np.stack([x, x], 3)),
            "x_test in FILE has shape (12, 6, 6, 2); (N, H, W) or (N, H, W, 3) is wanted; ",
        ),
        (
            with_array("x_test", lambda x: x[:0]),
            "x_test in FILE has shape (0, 6, 6); (N, H, W) or (N, H, W, 3) is wanted; ",
        ),
        (
            with_array("y_train", lambda y: y[:-1]),
            "y_train in FILE has shape (39,); (40,) is wanted, one label an image; ",
        ),
        (
            with_array("y_train", lambda y: np.eye(4, dtype=np.uint8)[y]),
            "y_train in FILE has shape (40, 4); (40,) is wanted, one label an image; ",
        ),
        (
            with_array("x_test", lambda x: x[:, :5]),
            "x_train and x_test in FILE hold images of unlike shapes, (6, 6) and (5, 6); ",
        ),
        (
            with_array("y_train", lambda y: np.where(y == 2, 3, y).astype(np.uint8)),
            "y_train in FILE ends at 3 but has no image of [2]; ",
        ),
        (with_array("y_train", lambda y: y + np.uint8(1)), "y_train in FILE ends at 4 but has no image of [0]; "),
        (
            with_array("y_train", np.zeros_like),
            "y_train in FILE has the label 0 only; two classes or more are wanted; ",
        ),
        (
            with_array("y_test", lambda y: y + np.uint8(1)),
            "y_test in FILE has the label 4, y_train ends at 3; ",
        ),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, change: Callable[[Arrays], Arrays], words: str) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **change(arrays()))
    with pytest.raises(DataError) as caught:
        read_npz(path)
    assert str(caught.value) == words.replace("FILE", str(path)) + REMEDY
    assert isinstance(caught.value, ModelError)


def npz_bytes(content: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **content)
    return file.getvalue()


def npy_header(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def lying_npz(shape: str) -> bytes:
    """An npz whose x_train claims a shape that its 16 bytes do not hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", npy_header(shape) + bytes(16))
        for key in KEYS[1:]:
            archive.writestr(f"{key}.npy", npy_header("(2,)") + bytes(2))
    return file.getvalue()


GOOD = npz_bytes(arrays())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"not a zip file at all",
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        GOOD[:300] + bytes(200) + GOOD[500:],
        npy_header("(2,)") + bytes(2),  # an npy, no npz
        b"\x80\x04N.",  # a pickle
        lying_npz("(1000000000000,)"),
        lying_npz("(10000000000, 1000000000, 10000)"),
        lying_npz("(99999999999999999999999999,)"),
        lying_npz("(-4,)"),
        lying_npz("(17,)"),
        lying_npz("'"),
        lying_npz("__import__('os')"),
    ],
    ids=[
        "empty",
        "two bytes",
        "text",
        "a byte short",
        "half",
        "a hole",
        "npy",
        "pickle",
        "10^12 values",
        "10^23 values",
        "more than 64 bits",
        "negative",
        "a value too many",
        "header cut off",
        "code in the header",
    ],
)
def test_corrupt_files_are_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be read as npz (")
    assert text.endswith(f"); {REMEDY}")
    assert "\n" not in text
    assert path.read_bytes() == content


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_flipped_byte_makes_another_error_or_other_data(position: int, flip: int) -> None:
    content = bytearray(GOOD)
    content[position] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        path.write_bytes(content)
        try:
            got = read_npz(path)
        except DataError:
            return
    assert all(np.array_equal(got[key], value) for key, value in arrays().items())


def test_an_array_beyond_the_limit_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", **{**arrays(), "x_test": np.zeros((200, 100, 100), np.uint8)})
    monkeypatch.setattr(data, "MAX_ARRAY_BYTES", 1 << 20)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"^x_test in .*a\.npz is larger than 1,048,576 bytes; make the file anew"):
        read_npz(tmp_path / "a.npz")


def test_pickled_objects_are_never_unpickled(tmp_path: Path) -> None:
    path, fuse = tmp_path / "a.npz", tmp_path / "unpickled"
    np.savez(path, **{**arrays(), "y_train": np.array([Bomb(fuse)] * 40, dtype=object)}, allow_pickle=True)
    with pytest.raises(DataError, match=r"cannot be read as npz \(Object arrays cannot be loaded"):
        read_npz(path)
    assert not fuse.exists()


def test_a_folder_or_nothing_in_the_files_place(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(DataError, match="cannot be read as npz"):
            read_npz(path)


# --- names and files ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("cifar", "cifar10"), ("cifar100", "cifar10"), ("fashion-mnist", "fashion_mnist"), ("digit", "digits")],
)
def test_unknown_data_set_names_the_nearest_and_all(wrong: str, near: str) -> None:
    with pytest.raises(UnknownDatasetError) as caught:
        dataset_info(wrong)
    assert str(caught.value) == (
        f"unknown data set {wrong!r}; did you mean {near!r}? There are cifar10, mnist, fashion_mnist, digits and auto"
    )


def test_mirroring_keeps_the_labels_of_clothes_and_things_only() -> None:
    assert [name for name, info in DATASETS.items() if info.flip] == ["cifar10", "fashion_mnist"]


def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load_splits("mnist", tmp_path, (1, 28, 28))
    assert str(caught.value) == (
        f"{tmp_path / 'mnist.npz'} is not there; put the data set there (see 'Data' in README.md) or use DATASET=auto"
    )


def test_load_splits_reads_the_file_and_fits_the_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays(n_train=5200, shape=(4, 4)))
    splits = load_splits("mnist", tmp_path, (3, 8, 8))
    assert (splits.dataset, splits.n_classes) == ("mnist", 4)
    assert (len(splits.train), len(splits.search), len(splits.test)) == (200, 5000, 12)
    for images in (splits.train, splits.search, splits.test):
        assert images.x.shape[1:] == (3, 8, 8)
        assert images.x.dtype == torch.uint8
        assert images.y.dtype == torch.int64


def test_a_file_too_small_to_split(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays(n_train=5099, shape=(2, 2)))
    with pytest.raises(DataError) as caught:
        load_splits("mnist", tmp_path, (1, 2, 2))
    assert str(caught.value) == (
        "mnist has 5099 train images; 5100 or more are wanted, as 5000 of them become the search split; "
        "use a larger file or DATASET=digits"
    )


# --- digits ------------------------------------------------------------------------------------------------------


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
    data.check_arrays(found, "digits")


def test_digits_need_no_folder() -> None:
    splits = load_splits("digits", Path("there is no such folder"), (1, 28, 28))
    assert (len(splits.train), len(splits.search), len(splits.test)) == (1138, 300, 359)
    assert splits.n_classes == 10


# --- fitting -----------------------------------------------------------------------------------------------------


def test_images_that_fit_are_unchanged() -> None:
    x = arrays(shape=(6, 6, 3))["x_train"]
    assert np.array_equal(fit_images(x, (3, 6, 6)).permute(0, 2, 3, 1).numpy(), x)
    grey = arrays()["x_train"]
    assert np.array_equal(fit_images(grey, (1, 6, 6))[:, 0].numpy(), grey)


def test_grey_is_repeated_and_colour_averaged() -> None:
    grey = arrays()["x_train"]
    coloured = fit_images(grey, (3, 6, 6))
    assert all(np.array_equal(coloured[:, c].numpy(), grey) for c in range(3))
    x = np.zeros((1, 2, 2, 3), np.uint8)
    x[..., 0], x[..., 1], x[..., 2] = 10, 20, 60
    assert fit_images(x, (1, 2, 2)).unique().tolist() == [30]


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(0, 255))
def test_any_size_fits_and_an_even_image_stays_even(n: int, h: int, w: int, channels: int, value: int) -> None:
    for source in (np.full((n, h, w), value, np.uint8), np.full((n, h, w, 3), value, np.uint8)):
        fitted = fit_images(source, (channels, 7, 7))
        assert fitted.shape == (n, channels, 7, 7)
        assert fitted.unique().tolist() == [value]


def test_many_images_are_fitted_in_parts_like_few() -> None:
    x = np.random.default_rng(0).integers(0, 256, (4100, 2, 3), dtype=np.uint8)
    whole = fit_images(x, (3, 4, 4))
    assert torch.equal(whole[4090:], fit_images(x[4090:], (3, 4, 4)))


# --- splitting ---------------------------------------------------------------------------------------------------

label_lists = st.lists(st.integers(0, 4), min_size=2, max_size=120).map(lambda y: np.array(y, np.uint8))


@given(label_lists, st.data(), st.integers(0, 2**32 - 1))
def test_a_stratified_split_is_a_partition_with_every_class_in_its_share(y: np.ndarray, draw: st.DataObject, seed: int) -> None:
    n_held = draw.draw(st.integers(0, len(y)))
    kept, held = stratified_split(y, n_held, seed)
    assert len(held) == n_held
    assert sorted([*kept, *held]) == list(range(len(y)))
    labels, counts = np.unique(y, return_counts=True)
    for label, count in zip(labels, counts, strict=True):
        share = n_held * count / len(y)
        # Each class gives its part up to one image, and so does the place of the cut.
        assert abs(np.count_nonzero(y[held] == label) - share) <= 1 + len(labels) * count / len(y) + 1e-9
    again = stratified_split(y, n_held, seed)
    assert np.array_equal(kept, again[0])
    assert np.array_equal(held, again[1])


def test_splits_of_sorted_labels_are_fair_in_every_prefix() -> None:
    y = np.repeat(np.arange(10), 600)
    kept, held = stratified_split(y, 1000, data.SPLIT_SEED)
    assert np.bincount(y[held]).min() >= 99
    assert np.bincount(y[held]).max() <= 101
    for part in (kept, held):
        for n in (500, 1000):
            assert np.bincount(y[part[:n]], minlength=10).min() > 0.6 * n / 10
            assert np.bincount(y[part[:n]], minlength=10).max() < 1.4 * n / 10


def numbered(n_train: int, n_test: int) -> Arrays:
    """Every image another one: its number in its four pixels."""
    number = np.arange(n_train + n_test, dtype="<u4").view(np.uint8).reshape(-1, 2, 2)
    labels = (np.arange(n_train + n_test) % 3).astype(np.uint8)
    return {
        "x_train": number[:n_train], "y_train": labels[:n_train],
        "x_test": number[n_train:], "y_test": labels[n_train:],
    }  # fmt: skip


def numbers(images: ImageSet) -> list[int]:
    return images.x.flatten(1).contiguous().numpy().view("<u4").ravel().tolist()


def test_every_image_lands_in_one_split_with_its_label() -> None:
    splits = make_splits(numbered(700, 50), "numbers", (1, 2, 2), n_search=200)
    train, search, test = (numbers(s) for s in (splits.train, splits.search, splits.test))
    assert sorted(train + search) == list(range(700))
    assert test == list(range(700, 750))
    for images in (splits.train, splits.search, splits.test):
        assert (np.array(numbers(images)) % 3).tolist() == images.y.tolist()


def test_a_search_cannot_reach_the_test_images() -> None:
    splits = make_splits(numbered(700, 50), "numbers", (1, 2, 2), n_search=200)
    for_search = splits.for_search()
    assert isinstance(for_search, SearchSplits)
    assert not isinstance(for_search, Splits)
    reachable = vars(for_search)
    assert set(reachable) == {"train", "search", "dataset", "n_classes"}
    seen = {i for images in (for_search.train, for_search.search) for i in numbers(images)}
    assert seen.isdisjoint(numbers(splits.test))
    # Not through the tensors' memory either: it is not the test images'.
    held = {images.x.untyped_storage().data_ptr() for images in (for_search.train, for_search.search)}
    assert splits.test.x.untyped_storage().data_ptr() not in held


def test_the_split_of_a_data_set_never_changes() -> None:
    # Recorded with numpy 2.4.6: another split would put images that shipped weights were trained on into the search.
    kept, held = stratified_split(np.tile(np.arange(10, dtype=np.uint8), 5000), 5000, data.SPLIT_SEED)
    assert held[:5].tolist() == [45983, 29579, 43407, 34898, 21282]
    assert kept[:5].tolist() == [5290, 30021, 49345, 33518, 16978]


def test_first_and_take() -> None:
    images = ImageSet(torch.arange(6).reshape(6, 1, 1, 1).to(torch.uint8), torch.arange(6))
    assert len(images) == 6
    assert images.first(2).y.tolist() == [0, 1]
    assert len(images.first(99)) == 6
    assert images.take(np.array([4, 0])[::-1]).y.tolist() == [0, 4]


@pytest.mark.skipif(not os.environ.get("DATA_DIR"), reason="DATA_DIR is not set: no real MNIST to read")
def test_real_mnist() -> None:
    path = Path(os.environ["DATA_DIR"]) / "mnist.npz"
    if not path.is_file():
        pytest.skip("DATA_DIR holds no mnist.npz")
    splits = load_splits("mnist", path.parent, (1, 28, 28))
    # LeCun, Cortes, Burges: 60,000 and 10,000 images; the first label of the test part is 7.
    assert (len(splits.train), len(splits.search), len(splits.test)) == (55_000, 5000, 10_000)
    assert splits.test.y[:3].tolist() == [7, 2, 1]
    assert set(np.bincount(splits.search.y.numpy()).tolist()) <= set(range(450, 570))
