"""Images and how they are split: train, search and test, so that a search cannot reach the test split."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.arrays import Arrays
from models.augmentation import NO_AUGMENTATION, Augmentation
from models.datasets import DATASETS, DatasetInfo, dataset_info, digits
from models.errors import DataError, SplitError
from models.image_folder import read_folder
from models.npz_file import read_npz
from models.preparation import Preparation
from models.splits import Seed, grouped_split, stratified_split

__all__ = [
    "DATASETS",
    "DatasetInfo",
    "ImageSet",
    "SearchSplits",
    "Splits",
    "dataset_info",
    "digits",
    "load_splits",
    "make_splits",
]

# One split for every search and every pretraining: another one would put images that shipped
# weights were trained on into the search split.
SPLIT_SEED = 20241
MIN_TRAIN = 100  # images that must be left to train on: batch norms are fitted to them
# Of a data set that does not say: the test split first, the search split from what is left.
TEST_SHARE, MAX_TEST = 0.2, 10_000
SEARCH_SHARE, MAX_SEARCH = 0.2, 5000


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: x uint8 (N, C, H, W), y int64 (N,)."""

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: int) -> ImageSet:
        """The first `n` images, or all where there are fewer."""
        return ImageSet(self.x[:n], self.y[:n])

    def take(self, index: np.ndarray) -> ImageSet:
        """The images at the given positions."""
        i = torch.from_numpy(np.ascontiguousarray(index))
        return ImageSet(self.x[i], self.y[i])


@dataclass(frozen=True)
class SearchSplits:
    """What a search may see: images to retrain on, images to score on.

    Attributes:
        train, search: the images; without a path to the test split.
        dataset: a known data set's name, or its own with the first digits of its content's SHA-256.
        n_classes: labels are 0 to n_classes - 1.
        classes: their names; empty where nobody gave any.
        augmentation: what keeps the labels of its images true.
        preparation: how the images became what they are; None where nobody said.
    """

    train: ImageSet
    search: ImageSet
    dataset: str
    n_classes: int
    classes: tuple[str, ...] = ()
    augmentation: Augmentation = NO_AUGMENTATION
    preparation: Preparation | None = None


@dataclass(frozen=True)
class Splits:
    """All three splits of a data set, prepared for a model's input shape; attributes as `SearchSplits` has them."""

    train: ImageSet
    search: ImageSet
    test: ImageSet
    dataset: str
    n_classes: int
    classes: tuple[str, ...] = ()
    augmentation: Augmentation = NO_AUGMENTATION
    preparation: Preparation | None = None

    def for_search(self) -> SearchSplits:
        """The splits without the test images."""
        return SearchSplits(
            self.train, self.search, self.dataset, self.n_classes, self.classes, self.augmentation, self.preparation
        )


def _hold_out(y: np.ndarray, group: np.ndarray | None, n_held: int, seed: Seed, n_later: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (kept, held) images; what is kept will be of `n_later` splits."""
    return stratified_split(y, n_held, seed) if group is None else grouped_split(y, group, n_held, seed, n_later)


def _check_enough(arrays: Arrays, n_parts: int, dataset: str) -> None:
    """Raise `SplitError` where a class has too few images, or groups of them, to be in every split."""
    y, group = arrays["y_train"], arrays.get("group_train")
    # Of each class every image counts once, or every group once.
    counted = y if group is None else np.unique(np.stack([y, np.unique(group, return_inverse=True)[1]]), axis=1)[0]
    counts = np.bincount(counted.astype(np.int64))
    if counts.min() < n_parts:
        rarest, n, what = int(counts.argmin()), int(counts.min()), "image" if group is None else "group"
        raise SplitError(
            f"{dataset} has {n} {what}{'s' * (n != 1)} of class {_class_names(arrays)[rarest]!r} to split; "
            f"{n_parts} or more are wanted, for {'train, search and test' if n_parts == 3 else 'train and search'}; "
            "add some or leave that class out"
        )


def _class_names(arrays: Arrays) -> tuple[str, ...]:
    """The classes' names, or their numbers."""
    return tuple(map(str, arrays.get("classes", range(int(arrays["y_train"].max()) + 1))))


def make_splits(
    arrays: Arrays, dataset: str, shape: tuple[int, int, int], n_search: int | None = None, seed: int = SPLIT_SEED
) -> Splits:
    """Prepare a data set's images for a model's input shape and split them, by groups where there are any.

    Args:
        arrays: as `models.arrays.check_arrays` lets them pass.
        dataset: its name.
        shape: (C, H, W).
        n_search: images of the search split, None for `SEARCH_SHARE` of the train images; near to it where groups
            or rare classes ask for that.
        seed: of what goes where.

    Raises:
        SplitError: too few images, images of a class or groups of a class.
        DataError: the prepared images are larger than memory should hold.
    """
    y, group = arrays["y_train"].astype(np.int64), arrays.get("group_train")
    _check_enough(arrays, 2 if "x_test" in arrays else 3, dataset)
    kept = np.arange(len(y))
    out = kept[:0]
    if "x_test" not in arrays:
        kept, out = _hold_out(y, group, min(MAX_TEST, round(TEST_SHARE * len(y))), (seed, 1), 2)
    n_wanted = min(MAX_SEARCH, round(SEARCH_SHARE * len(kept))) if n_search is None else n_search
    if n_search is not None and len(kept) < n_search + MIN_TRAIN:
        raise SplitError(
            f"{dataset} has {len(kept)} train images; {n_search + MIN_TRAIN} or more are wanted, "
            f"as {n_search} of them become the search split; use a larger file or DATASET=digits"
        )
    train, search = (kept[i] for i in _hold_out(y[kept], None if group is None else group[kept], n_wanted, seed, 1))
    if len(train) < MIN_TRAIN:
        raise SplitError(
            f"{dataset} has {len(y)} train images, of which {len(train)} are left to train on when {len(search)} become the "
            f"search split{f' and {len(out)} the test split' if len(out) else ''}; {MIN_TRAIN} or more are wanted; "
            "add images or use DATASET=digits"
        )

    preparation = Preparation.of(shape)
    whole = ImageSet(preparation.prepare(arrays["x_train"]), torch.from_numpy(y))
    if len(out):
        test = whole.take(out)
    else:
        test = ImageSet(preparation.prepare(arrays["x_test"]), torch.from_numpy(arrays["y_test"].astype(np.int64)))
    n_classes = int(y.max()) + 1
    splits = Splits(
        whole.take(train), whole.take(search), test, dataset, n_classes, _class_names(arrays), preparation=preparation
    )
    for part, images in (("train", splits.train), ("search", splits.search), ("test", splits.test)):
        absent = np.setdiff1d(np.arange(n_classes), images.y.numpy())
        if len(absent):
            raise SplitError(
                f"no split of {dataset} by its groups was found with class {splits.classes[absent[0]]!r} in {part}; "
                "add groups that hold it"
            )
    return splits


def _named_by_content(splits: Splits, path: Path) -> str:
    """A name for a user's own data set that another content does not have, and that any file name may contain."""
    digest = hashlib.sha256()
    for images in (splits.train, splits.search, splits.test):
        for part in (images.x.permute(0, 2, 3, 1), images.y):
            digest.update(np.ascontiguousarray(part.numpy()).data)
    return f"{re.sub(r'[^A-Za-z0-9_]+', '_', path.resolve().stem)}-{digest.hexdigest()[:8]}"


def load_splits(
    name: str, data_dir: Path, shape: tuple[int, int, int], progress: Callable[[int, int], None] | None = None
) -> Splits:
    """The splits of a data set: read from `data_dir/<name>.npz` (digits needs no file), or from a path of the user's.

    Args:
        name: as `dataset_info` takes it.
        data_dir: where the known ones are.
        shape: of the model's input, (C, H, W).
        progress: called with images read and images in all, where they are read one by one.

    Raises:
        UnknownDatasetError: no such name.
        DataError: the file is missing or wrong; `ImageFileError` an image is; `SplitError` there is too little of it.
    """
    info = dataset_info(name)
    if info.path is not None:
        arrays = read_folder(info.path, Preparation.of(shape), progress) if info.path.is_dir() else read_npz(info.path)
    elif name == "digits":
        arrays = digits()
    else:
        path = data_dir / f"{name}.npz"
        if not path.is_file():
            raise DataError(f"{path} is not there; put the data set there (see 'Data' in README.md) or use DATASET=auto")
        arrays = read_npz(path)
    splits = replace(make_splits(arrays, name, shape, info.n_search), augmentation=info.augmentation)
    if info.path is not None:
        return replace(splits, dataset=_named_by_content(splits, info.path))
    if "classes" not in arrays and len(info.classes) == splits.n_classes:
        return replace(splits, classes=info.classes)
    return splits
