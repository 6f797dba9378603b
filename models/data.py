"""Images and how they are split: train, search and test, so that a search cannot reach the test split."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.errors import DataError, UnknownDatasetError

# One split for every search and every pretraining: another one would put images that shipped
# weights were trained on into the search split.
SPLIT_SEED = 20241
KEYS = ("x_train", "y_train", "x_test", "y_test")


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
    """What a search may see: images to retrain on, images to score on."""

    train: ImageSet
    search: ImageSet
    dataset: str
    n_classes: int


@dataclass(frozen=True)
class Splits:
    """All three splits of a data set, fitted to a model's input shape."""

    train: ImageSet
    search: ImageSet
    test: ImageSet
    dataset: str
    n_classes: int

    def for_search(self) -> SearchSplits:
        """The splits without the test images."""
        return SearchSplits(self.train, self.search, self.dataset, self.n_classes)


@dataclass(frozen=True)
class DatasetInfo:
    """A data set bitloop knows by name.

    Attributes:
        name: as given to DATASET.
        n_search: images taken from the train part for the search split.
        shift, flip: the augmentation that keeps its labels true.
    """

    name: str
    n_search: int
    shift: int
    flip: bool


DATASETS = {
    d.name: d
    for d in (
        DatasetInfo("cifar10", n_search=5000, shift=4, flip=True),
        DatasetInfo("mnist", n_search=5000, shift=2, flip=False),
        DatasetInfo("fashion_mnist", n_search=5000, shift=2, flip=True),
        DatasetInfo("digits", n_search=300, shift=2, flip=False),
    )
}


def dataset_info(name: str) -> DatasetInfo:
    """The data set of that name.

    Raises:
        UnknownDatasetError: no such name; the text holds the nearest.
    """
    if name not in DATASETS:
        near = get_close_matches(name, [*DATASETS, "auto"], 1, 0.0)
        raise UnknownDatasetError(
            f"unknown data set {name!r}; did you mean {near[0]!r}? There are {', '.join(DATASETS)} and auto"
        )
    return DATASETS[name]


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read and check a data set file.

    Args:
        path: `.npz` with uint8 arrays x_train, y_train, x_test, y_test; images (N, H, W) or (N, H, W, C)
            with 1 or 3 channels, labels (N,) that number the classes from 0.

    Raises:
        DataError: unreadable, a missing array, another type or shape, labels that do not match.
    """
    remedy = "make the file anew (see 'Data' in README.md) or remove it"
    try:
        with np.load(path, allow_pickle=False) as z:
            missing = [k for k in KEYS if k not in z.files]
            if missing:
                raise DataError(f"{path} lacks the array {missing[0]}; it needs {', '.join(KEYS)}; {remedy}")
            arrays = {k: z[k] for k in KEYS}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise DataError(f"{path} cannot be read as npz ({error}); {remedy}") from error
    for name, a in arrays.items():
        if a.dtype != np.uint8:
            raise DataError(f"{name} in {path} is {a.dtype}; uint8 is wanted; {remedy}")
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)) or 0 in x.shape:
            raise DataError(f"x_{part} in {path} has shape {x.shape}; (N, H, W) or (N, H, W, 3) is wanted; {remedy}")
        if y.shape != (len(x),):
            raise DataError(f"y_{part} in {path} has shape {y.shape}; ({len(x)},) is wanted, one label an image; {remedy}")
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise DataError(f"x_train and x_test in {path} hold images of unlike shapes; {remedy}")
    n_classes = int(arrays["y_train"].max()) + 1
    present = np.unique(arrays["y_train"])
    if len(present) != n_classes or n_classes < 2:
        absent = sorted(set(range(n_classes)) - set(present.tolist()))
        raise DataError(f"y_train in {path} has {n_classes} classes but no image of {absent[:5]}; {remedy}")
    if int(arrays["y_test"].max()) >= n_classes:
        raise DataError(f"y_test in {path} has the label {arrays['y_test'].max()}, y_train ends at {n_classes - 1}; {remedy}")
    return arrays


def digits() -> dict[str, np.ndarray]:
    """The 1,797 handwritten digits (8x8, 16 grey levels) that come with scikit-learn; every fifth is test.

    Source: E. Alpaydin, C. Kaynak, UCI "Optical Recognition of Handwritten Digits" (1998), its test part.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.minimum(bunch.images * 16, 255).astype(np.uint8)
    y = bunch.target.astype(np.uint8)
    test = np.arange(len(y)) % 5 == 4
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}


def fit_images(x: np.ndarray, shape: tuple[int, int, int]) -> Tensor:
    """Images (N, H, W[, C]) as uint8 (N, C', H', W'): grey repeated or colour averaged, resized bilinearly."""
    t = torch.from_numpy(x)
    t = t[:, None] if t.ndim == 3 else t.permute(0, 3, 1, 2)
    channels, height, width = shape
    if t.shape[1] != channels:
        grey = t.float().mean(1, keepdim=True).round_().to(torch.uint8)
        t = grey.expand(-1, channels, -1, -1)
    if t.shape[2:] != (height, width):
        t = torch.cat(
            [
                torch.nn.functional.interpolate(part.float(), (height, width), mode="bilinear", align_corners=False)
                .round_()
                .clamp_(0, 255)
                .to(torch.uint8)
                for part in t.split(4096)
            ]
        )
    return t.contiguous(memory_format=torch.channels_last)


def stratified_split(y: np.ndarray, n_held: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions of (kept, held) images; `held` has `n_held` of them with every class in its share.

    Both are in random order, so that any prefix is a fair sample.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(y))
    rank = np.empty(len(y))  # of each image within its class, 0..1: a sort by it interleaves the classes
    for label in np.unique(y):
        mine = order[y[order] == label]
        rank[mine] = (np.arange(len(mine)) + rng.random()) / len(mine)
    interleaved = order[np.argsort(rank[order], kind="stable")]
    return rng.permutation(interleaved[n_held:]), rng.permutation(interleaved[:n_held])


def make_splits(arrays: dict[str, np.ndarray], dataset: str, shape: tuple[int, int, int], n_search: int) -> Splits:
    """Split a data set and fit its images to a model's input shape (C, H, W)."""
    y = arrays["y_train"]
    if n_search >= len(y):
        raise DataError(f"{dataset} has {len(y)} train images; the search split alone needs {n_search}")
    kept, held = stratified_split(y, n_search, SPLIT_SEED)
    whole = ImageSet(fit_images(arrays["x_train"], shape), torch.from_numpy(y.astype(np.int64)))
    test = ImageSet(fit_images(arrays["x_test"], shape), torch.from_numpy(arrays["y_test"].astype(np.int64)))
    return Splits(whole.take(kept), whole.take(held), test, dataset, int(y.max()) + 1)


def load_splits(name: str, data_dir: Path, shape: tuple[int, int, int]) -> Splits:
    """The splits of a data set by name, read from `data_dir/<name>.npz` (digits needs no file).

    Raises:
        UnknownDatasetError: no such name.
        DataError: the file is missing or wrong.
    """
    info = dataset_info(name)
    if name == "digits":
        arrays = digits()
    else:
        path = data_dir / f"{name}.npz"
        if not path.is_file():
            raise DataError(f"{path} is not there; put the data set there or use DATASET=auto (see 'Data' in README.md)")
        arrays = read_npz(path)
    return make_splits(arrays, name, shape, info.n_search)
