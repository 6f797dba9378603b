"""What the arrays of a data set must be, and in which words they are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.arrays import REMEDY, Arrays, check_arrays
from models.datasets import digits
from models.errors import DataError, ModelError
from tests.made_data import made_arrays, without

GROUPS = {"group_train": np.arange(40) // 4, "group_test": 100 + np.arange(12) // 4}
NAMES = {"classes": np.array(["ant", "bee", "cat", "dog"])}


@pytest.mark.parametrize(
    "arrays",
    [
        made_arrays(),
        made_arrays(shape=(6, 5, 1)),
        made_arrays(shape=(5, 6, 3)),
        made_arrays() | GROUPS | NAMES,
        made_arrays() | {"group_train": np.array(["a", "b"] * 20)},
        made_arrays() | {"y_train": (np.arange(40) % 4).astype(np.int64), "y_test": (np.arange(12) % 4).astype(np.int16)},
        without(made_arrays(), "x_test", "y_test"),
        made_arrays(n_train=600, n_test=300, n_classes=300) | {"y_train": np.arange(600) % 300, "y_test": np.arange(300)},
        digits(),
    ],
)
def test_data_sets(arrays: Arrays) -> None:
    check_arrays(arrays, "HERE")


def change(key: str, how: Callable[[np.ndarray], np.ndarray]) -> Arrays:
    arrays = made_arrays() | GROUPS | NAMES
    return {**arrays, key: how(arrays[key])}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (without(made_arrays(), "y_train"), "HERE lacks the array y_train; it needs x_train, y_train, x_test, y_test; "),
        (
            without(made_arrays(), "y_test"),
            "HERE lacks the array y_test; it needs x_train, y_train, x_test, y_test, the last two or neither; ",
        ),
        (
            without(made_arrays() | GROUPS, "x_test", "y_test"),
            "HERE lacks the array x_test; it needs x_train, y_train, x_test, y_test, the last two or neither; ",
        ),
        (change("x_train", lambda x: x.astype(np.float32)), "x_train in HERE is float32; uint8 is wanted; "),
        (
            change("y_test", lambda y: y.astype(np.float32)),
            "y_test in HERE is float32; whole numbers, as uint8 or int64, are wanted; ",
        ),
        (change("y_train", lambda y: y > 1), "y_train in HERE is bool; whole numbers, as uint8 or int64, are wanted; "),
        (
            change("y_train", lambda y: y.astype("U1")),
            "y_train in HERE is <U1; whole numbers, as uint8 or int64, are wanted; ",
        ),
        (
            change("x_train", lambda x: x.reshape(len(x), -1)),
            "x_train in HERE has shape (40, 36); (N, H, W) or (N, H, W, 3) is wanted; ",
        ),
        (
            change("x_test", lambda x: np.stack([x, x], 3)),
            "x_test in HERE has shape (12, 6, 6, 2); (N, H, W) or (N, H, W, 3) is wanted; ",
        ),
        (
            change("x_test", lambda x: np.stack([x, x, x], 1)),
            "x_test in HERE has shape (12, 3, 6, 6); (N, H, W) or (N, H, W, 3) is wanted; ",
        ),
        (change("x_test", lambda x: x[:0]), "x_test in HERE has shape (0, 6, 6); (N, H, W) or (N, H, W, 3) is wanted; "),
        (change("y_train", lambda y: y[:-1]), "y_train in HERE has shape (39,); (40,) is wanted, one label an image; "),
        (
            change("y_train", lambda y: np.eye(4, dtype=np.uint8)[y]),
            "y_train in HERE has shape (40, 4); (40,) is wanted, one label an image; ",
        ),
        (
            change("x_test", lambda x: x[:, :5]),
            "x_train and x_test in HERE hold images of unlike shapes, (6, 6) and (5, 6); ",
        ),
        (
            change("y_train", lambda y: y.astype(np.int8) - 1),
            "y_train in HERE has the label -1; labels number the classes from 0; ",
        ),
        (
            change("y_train", lambda y: np.where(y == 2, 3, y).astype(np.uint8)),
            "y_train in HERE ends at 3 but has no image of [2]; ",
        ),
        (change("y_train", lambda y: y + np.uint8(1)), "y_train in HERE ends at 4 but has no image of [0]; "),
        (
            change("y_train", lambda y: np.where(y == 3, np.int64(2**62), y)),  # nobody counts up to that
            f"y_train in HERE ends at {2**62} but has no image of [3, 4, 5, 6, 7]; ",
        ),
        (
            change("y_train", np.zeros_like),
            "y_train in HERE has the label 0 only; two classes or more are wanted; ",
        ),
        (change("y_test", lambda y: y + np.uint8(1)), "y_test in HERE has the label 4, y_train ends at 3; "),
        (
            change("y_test", lambda y: np.where(y == 1, 2, y).astype(np.uint8)),
            "y_test in HERE has no image of [1], y_train has; ",
        ),
        (change("group_train", lambda g: g[1:]), "group_train in HERE has shape (39,); (40,) is wanted, one group an image; "),
        (change("group_test", lambda g: g / 2), "group_test in HERE is float64; whole numbers or text are wanted; "),
        (
            change("group_test", lambda g: g - 91),
            "HERE has the group 9 in group_train and in group_test; a group belongs to one of them; ",
        ),
        (change("classes", lambda c: c[:3]), "classes in HERE has 3 names, y_train has 4 classes; "),
        (change("classes", lambda c: c[[0, 1, 1, 2]]), "classes in HERE has the name 'bee' twice; "),
        (change("classes", lambda c: np.arange(4)), "classes in HERE is int64 of shape (4,); a row of text is wanted; "),
        (change("classes", lambda c: c[None]), "classes in HERE is <U3 of shape (1, 4); a row of text is wanted; "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(arrays: Arrays, words: str) -> None:
    with pytest.raises(DataError) as caught:
        check_arrays(arrays, "HERE")
    assert str(caught.value) == words + REMEDY
    assert isinstance(caught.value, ModelError)
