"""Small made-up data sets."""

from __future__ import annotations

import numpy as np

from models.arrays import Arrays


def made_arrays(n_train: int = 40, n_test: int = 12, shape: tuple[int, ...] = (6, 6), n_classes: int = 4) -> Arrays:
    """Noise, with labels that go round."""
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n_train, *shape), dtype=np.uint8),
        "y_train": (np.arange(n_train) % n_classes).astype(np.uint8),
        "x_test": rng.integers(0, 256, (n_test, *shape), dtype=np.uint8),
        "y_test": (np.arange(n_test) % n_classes).astype(np.uint8),
    }


def numbered(n_train: int, n_test: int) -> Arrays:
    """Every image another one: its number in its four pixels; three classes."""
    number = np.arange(n_train + n_test, dtype="<u4").view(np.uint8).reshape(-1, 2, 2)
    labels = (np.arange(n_train + n_test) % 3).astype(np.uint8)
    return {
        "x_train": number[:n_train], "y_train": labels[:n_train],
        "x_test": number[n_train:], "y_test": labels[n_train:],
    }  # fmt: skip


def without(arrays: Arrays, *keys: str) -> Arrays:
    """All arrays but those."""
    return {key: value for key, value in arrays.items() if key not in keys}
