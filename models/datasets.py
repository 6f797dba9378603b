"""Which data sets there are: known ones by name, a user's own by path."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from models.arrays import Arrays
from models.augmentation import Augmentation
from models.errors import DataError, UnknownDatasetError


@dataclass(frozen=True)
class DatasetInfo:
    """What bitloop knows of a data set before it is read.

    Attributes:
        name: as given to DATASET.
        augmentation: what keeps the labels of its images true.
        n_search: images taken from the train part for the search split; None for `SEARCH_SHARE` of it.
        classes: their names, in the labels' order; empty where only the data set knows.
        path: of a user's own; None for a known one.
    """

    name: str
    augmentation: Augmentation
    n_search: int | None = None
    classes: tuple[str, ...] = ()
    path: Path | None = None


DIGIT_NAMES = tuple("0123456789")
# The names of their authors: A. Krizhevsky (2009); H. Xiao, K. Rasul, R. Vollgraf (2017).
CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FASHION_NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
# No cutout: shipped weights were trained without, and it costs a brief retraining more than it gives.
DATASETS = {
    d.name: d
    for d in (
        DatasetInfo("cifar10", Augmentation(flip=True, shift_px=4), n_search=5000, classes=CIFAR10_NAMES),
        DatasetInfo("mnist", Augmentation(shift_px=2), n_search=5000, classes=DIGIT_NAMES),
        DatasetInfo("fashion_mnist", Augmentation(flip=True, shift_px=2), n_search=5000, classes=FASHION_NAMES),
        DatasetInfo("digits", Augmentation(shift_px=2), n_search=300, classes=DIGIT_NAMES),
    )
}
OWN_AUGMENTATION = Augmentation(shift_px=2)  # whether mirrored images keep their labels is not known


def dataset_info(name: str) -> DatasetInfo:
    """The data set of that name, or the user's own at that path: an image folder, or a file that ends in `.npz`.

    Known names come first; any other that has a `/` in it, ends in `.npz` or is a folder is a path.

    Raises:
        UnknownDatasetError: no such name; the text holds the nearest.
        DataError: a path with neither at it.
    """
    if name in DATASETS:
        return DATASETS[name]
    path = Path(name).expanduser()
    if "/" in name or name.endswith(".npz") or (name not in ("", "auto") and path.is_dir()):
        if not path.is_dir() and not (path.is_file() and path.suffix == ".npz"):
            what = "is neither a folder of images nor an .npz file" if path.exists() else "is not there"
            raise DataError(f"DATASET={name} {what}; name such a folder or file, or one of {', '.join(DATASETS)}")
        return DatasetInfo(name, OWN_AUGMENTATION, path=path)
    near = get_close_matches(name, [*DATASETS, "auto"], 1, 0.0)
    raise UnknownDatasetError(
        f"unknown data set {name!r}; did you mean {near[0]!r}? There are {', '.join(DATASETS)} and auto, "
        "and your own as a path to an image folder or an .npz file"
    )


def digits() -> Arrays:
    """The 1,797 handwritten digits (8x8, 16 grey levels) that come with scikit-learn; every fifth is test.

    Source: E. Alpaydin, C. Kaynak, UCI "Optical Recognition of Handwritten Digits" (1998), its test part.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = np.minimum(bunch.images * 16, 255).astype(np.uint8)
    y = bunch.target.astype(np.uint8)
    test = np.arange(len(y)) % 5 == 4
    return {"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}
