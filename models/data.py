"""Images and how they are split: train, search and test, so that a search cannot reach the test split."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.errors import DataError, UnknownDatasetError

# One split for every search and every pretraining: another one would put images that shipped
# weights were trained on into the search split.
SPLIT_SEED = 20241
KEYS = ("x_train", "y_train", "x_test", "y_test")
MAX_ARRAY_BYTES = 4 << 30  # of one array: CIFAR-10's largest has 154 MB
MIN_TRAIN = 100  # images that must be left to train on: batch norms are fitted to them
REMEDY = "make the file anew (see 'Data' in README.md) or remove it"


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


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    """The four arrays of an npz, unchecked."""
    with zipfile.ZipFile(path) as archive:  # np.load would take other formats, too
        members = {m.filename: m.file_size for m in archive.infolist()}
    for key in KEYS:
        if f"{key}.npy" not in members:
            raise DataError(f"{path} lacks the array {key}; it needs {', '.join(KEYS)}; {REMEDY}")
        if members[f"{key}.npy"] > MAX_ARRAY_BYTES:
            raise DataError(f"{key} in {path} is larger than {MAX_ARRAY_BYTES:,} bytes; {REMEDY}")
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in KEYS}


def check_arrays(arrays: dict[str, np.ndarray], where: str) -> None:
    """Raise `DataError` unless the four arrays are as `read_npz` wants them; `where` says where they are from."""
    for name, a in arrays.items():
        if a.dtype != np.uint8:
            raise DataError(f"{name} in {where} is {a.dtype}; uint8 is wanted; {REMEDY}")
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)) or 0 in x.shape:
            raise DataError(f"x_{part} in {where} has shape {x.shape}; (N, H, W) or (N, H, W, 3) is wanted; {REMEDY}")
        if y.shape != (len(x),):
            raise DataError(f"y_{part} in {where} has shape {y.shape}; ({len(x)},) is wanted, one label an image; {REMEDY}")
    if arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise DataError(
            f"x_train and x_test in {where} hold images of unlike shapes, {arrays['x_train'].shape[1:]} and "
            f"{arrays['x_test'].shape[1:]}; {REMEDY}"
        )
    present = np.unique(arrays["y_train"]).tolist()
    if len(present) < 2:
        raise DataError(f"y_train in {where} has the label {present[0]} only; two classes or more are wanted; {REMEDY}")
    absent = sorted(set(range(present[-1] + 1)) - set(present))
    if absent:
        raise DataError(f"y_train in {where} ends at {present[-1]} but has no image of {absent[:5]}; {REMEDY}")
    if int(arrays["y_test"].max()) > present[-1]:
        raise DataError(f"y_test in {where} has the label {arrays['y_test'].max()}, y_train ends at {present[-1]}; {REMEDY}")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read and check a data set file.

    Args:
        path: `.npz` with uint8 arrays x_train, y_train, x_test, y_test; images (N, H, W) or (N, H, W, C)
            with 1 or 3 channels, labels (N,) that number the classes from 0.

    Raises:
        DataError: unreadable, a missing array, another type or shape, labels that do not match.
    """
    try:
        arrays = _load_npz(path)
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib, lzma, ast and numpy each have errors of their own; MemoryError, too
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read as npz ({reason.splitlines()[0]}); {REMEDY}") from error
    check_arrays(arrays, str(path))
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

    def fit(part: Tensor) -> Tensor:
        if part.shape[1] != channels:
            part = part.float().mean(1, keepdim=True).round_().to(torch.uint8).expand(-1, channels, -1, -1)
        if part.shape[2:] != (height, width):
            resized = nn.functional.interpolate(part.float(), (height, width), mode="bilinear", align_corners=False)
            part = resized.round_().clamp_(0, 255).to(torch.uint8)
        return part

    if t.shape[1:] != shape:
        # In parts: all at once would take four times the memory as floats.
        t = torch.cat([fit(part) for part in torch.split(t, 4096)])
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
    if len(y) - n_search < MIN_TRAIN:
        raise DataError(
            f"{dataset} has {len(y)} train images; {n_search + MIN_TRAIN} or more are wanted, "
            f"as {n_search} of them become the search split; use a larger file or DATASET=digits"
        )
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
            raise DataError(f"{path} is not there; put the data set there (see 'Data' in README.md) or use DATASET=auto")
        arrays = read_npz(path)
    return make_splits(arrays, name, shape, info.n_search)
