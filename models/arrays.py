"""A data set as arrays, before it is prepared and split: what they are called and what they must be.

x_train, y_train    images, uint8 (N, H, W) or (N, H, W, C) with C 1 or 3, and their labels, integers (N,)
                    that number the classes from 0
x_test, y_test      the same for the test split; without them it is taken from the train images
group_train         (N,), integers or text: what belongs together, as the frames of one track, is never
                    split; group_test likewise, beside test arrays
classes             (number of classes,), text: their names
"""

from __future__ import annotations

import numpy as np

from models.errors import DataError

KEYS = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL_KEYS = ("group_train", "group_test", "classes")
REMEDY = "make the file anew (see 'Data' in README.md) or remove it"

Arrays = dict[str, np.ndarray]


def check_arrays(arrays: Arrays, where: str) -> None:
    """Look whether arrays are a data set.

    Args:
        arrays: by their names, as above.
        where: what they are from, for the text of an error.

    Raises:
        DataError: an array that is missing or of a wrong type or shape, a class that is missing, labels that
            do not number the classes, a group in both parts.
    """
    for key in ("x_train", "y_train", *(KEYS[2:] if {"x_test", "y_test", "group_test"} & arrays.keys() else ())):
        if key not in arrays:
            optional = "" if key.endswith("train") else ", the last two or neither"
            raise DataError(f"{where} lacks the array {key}; it needs {', '.join(KEYS)}{optional}; {REMEDY}")
    parts = [part for part in ("train", "test") if f"x_{part}" in arrays]
    for part in parts:
        _check_part(arrays, part, where)
    if "x_test" in arrays and arrays["x_train"].shape[1:] != arrays["x_test"].shape[1:]:
        raise DataError(
            f"x_train and x_test in {where} hold images of unlike shapes, {arrays['x_train'].shape[1:]} and "
            f"{arrays['x_test'].shape[1:]}; {REMEDY}"
        )
    n_classes = _check_labels(arrays["y_train"], where)
    if "x_test" in arrays:
        _check_test_labels(arrays["y_test"], n_classes, where)
    if "classes" in arrays:
        _check_names(arrays["classes"], n_classes, where)
    if {"group_train", "group_test"} <= arrays.keys():
        shared = np.intersect1d(arrays["group_train"], arrays["group_test"])
        if len(shared):
            raise DataError(
                f"{where} has the group {shared[0]!s} in group_train and in group_test; "
                f"a group belongs to one of them; {REMEDY}"
            )


def _check_part(arrays: Arrays, part: str, where: str) -> None:
    x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
    if x.dtype != np.uint8:
        raise DataError(f"x_{part} in {where} is {x.dtype}; uint8 is wanted; {REMEDY}")
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)) or 0 in x.shape:
        raise DataError(f"x_{part} in {where} has shape {x.shape}; (N, H, W) or (N, H, W, 3) is wanted; {REMEDY}")
    if y.dtype.kind not in "iu":
        raise DataError(f"y_{part} in {where} is {y.dtype}; whole numbers, as uint8 or int64, are wanted; {REMEDY}")
    if y.shape != (len(x),):
        raise DataError(f"y_{part} in {where} has shape {y.shape}; ({len(x)},) is wanted, one label an image; {REMEDY}")
    if y.min() < 0:
        raise DataError(f"y_{part} in {where} has the label {y.min()}; labels number the classes from 0; {REMEDY}")
    group = arrays.get(f"group_{part}")
    if group is not None and group.dtype.kind not in "iuU":
        raise DataError(f"group_{part} in {where} is {group.dtype}; whole numbers or text are wanted; {REMEDY}")
    if group is not None and group.shape != (len(x),):
        raise DataError(f"group_{part} in {where} has shape {group.shape}; ({len(x)},) is wanted, one group an image; {REMEDY}")


def _check_labels(y: np.ndarray, where: str) -> int:
    """The number of classes."""
    present = np.unique(y)
    if len(present) < 2:
        raise DataError(f"y_train in {where} has the label {present[0]} only; two classes or more are wanted; {REMEDY}")
    if present[-1] != len(present) - 1:
        # The first five that are missing; all of them may be too many to list, for one wild label is enough.
        absent = np.setdiff1d(np.arange(len(present) + 5), present)
        absent = absent[absent < int(present[-1])][:5].tolist()
        raise DataError(f"y_train in {where} ends at {present[-1]} but has no image of {absent}; {REMEDY}")
    return len(present)


def _check_test_labels(y: np.ndarray, n_classes: int, where: str) -> None:
    if int(y.max()) >= n_classes:
        raise DataError(f"y_test in {where} has the label {y.max()}, y_train ends at {n_classes - 1}; {REMEDY}")
    absent = np.setdiff1d(np.arange(n_classes), y)[:5].tolist()
    if absent:
        raise DataError(f"y_test in {where} has no image of {absent}, y_train has; {REMEDY}")


def _check_names(names: np.ndarray, n_classes: int, where: str) -> None:
    if names.dtype.kind != "U" or names.ndim != 1:
        raise DataError(f"classes in {where} is {names.dtype} of shape {names.shape}; a row of text is wanted; {REMEDY}")
    if len(names) != n_classes:
        raise DataError(f"classes in {where} has {len(names)} names, y_train has {n_classes} classes; {REMEDY}")
    values, counts = np.unique(names, return_counts=True)
    if counts.max() > 1:
        raise DataError(f"classes in {where} has the name {str(values[counts.argmax()])!r} twice; {REMEDY}")
