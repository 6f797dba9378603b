"""Augmentation: nothing but pixels of the image and the fill, the same under the same generator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.augmentation import NO_AUGMENTATION, Augmentation, cut_out, mirror_images, shift_images
from models.errors import DataError

augmentations = st.builds(
    Augmentation, st.booleans(), st.integers(0, 4), st.integers(0, 12), st.sampled_from([0, 128, 255])
)  # fmt: skip
shapes = st.tuples(st.integers(1, 6), st.sampled_from([1, 2, 3]), st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**31)


def noise(shape: tuple[int, int, int, int], seed: int, channels_last: bool = True) -> Tensor:
    x = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(augmentations, shapes, seeds, st.booleans())
def test_shape_type_and_values_are_the_images_own(
    augmentation: Augmentation, shape: tuple[int, int, int, int], seed: int, channels_last: bool
) -> None:
    x = noise(shape, seed, channels_last)
    before = x.clone()
    y = augmentation.augment(x, generator(seed))
    assert torch.equal(x, before)
    assert (y.shape, y.dtype) == (x.shape, torch.uint8)
    assert torch.equal(y, augmentation.augment(before.contiguous(), generator(seed)))  # whatever the memory format
    for original, altered in zip(x, y, strict=True):
        allowed = {tuple(pixel) for pixel in original.flatten(1).T.tolist()} | {(augmentation.fill,) * shape[1]}
        assert {tuple(pixel) for pixel in altered.flatten(1).T.tolist()} <= allowed


def by_hand(x: np.ndarray, margin_px: int, top: int, left: int, mirrored: bool, row: int, col: int, size_px: int, fill: int):
    """One image (C, H, W), pixel by pixel."""
    out = np.full_like(x, fill)
    _, height, width = x.shape
    for r in range(height):
        for c in range(width):
            if (
                row - size_px // 2 <= r < row - size_px // 2 + size_px
                and col - size_px // 2 <= c < col - size_px // 2 + size_px
            ):
                continue
            from_r, from_c = r + top - margin_px, (width - 1 - c if mirrored else c) + left - margin_px
            if 0 <= from_r < height and 0 <= from_c < width:
                out[:, r, c] = x[:, from_r, from_c]
    return out


@given(shapes, st.integers(1, 4), st.integers(1, 12), seeds)
def test_all_three_against_pixel_by_pixel(shape: tuple[int, int, int, int], margin_px: int, size_px: int, seed: int) -> None:
    n, _, height, width = shape
    x = noise(shape, seed)
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, 2 * margin_px + 1, (2, n))
    mirrored, row, col = rng.integers(0, 2, n) > 0, rng.integers(0, height, n), rng.integers(0, width, n)
    y = shift_images(x, torch.from_numpy(top), torch.from_numpy(left), margin_px, 7)
    y = mirror_images(y, torch.from_numpy(mirrored))
    y = cut_out(y, torch.from_numpy(row), torch.from_numpy(col), size_px, 7)
    for i in range(n):
        wanted = by_hand(x[i].numpy(), margin_px, top[i], left[i], mirrored[i], row[i], col[i], size_px, 7)
        assert np.array_equal(y[i].numpy(), wanted)


@given(shapes, seeds)
def test_mirrored_twice_is_the_image(shape: tuple[int, int, int, int], seed: int) -> None:
    x = noise(shape, seed)
    which = torch.rand(shape[0], generator=generator(seed)) < 0.5
    assert torch.equal(mirror_images(mirror_images(x, which), which), x)
    assert torch.equal(mirror_images(x, torch.ones(shape[0], dtype=torch.bool)), x.flip(3))


@given(shapes, st.integers(1, 4), seeds)
def test_a_shift_by_nothing_is_the_image(shape: tuple[int, int, int, int], margin_px: int, seed: int) -> None:
    x = noise(shape, seed)
    middle = torch.full((shape[0],), margin_px)
    assert torch.equal(shift_images(x, middle, middle, margin_px, 9), x)


@given(augmentations, seeds)
def test_the_generator_decides(augmentation: Augmentation, seed: int) -> None:
    x = noise((64, 1, 9, 9), 0)
    y = augmentation.augment(x, generator(seed))
    torch.rand(3)  # the global generator has no part in it
    assert torch.equal(y, augmentation.augment(x, generator(seed)))
    if augmentation.shift_px or augmentation.flip or augmentation.cutout_px > 1:
        assert not torch.equal(y, augmentation.augment(x, generator(seed + 1)))


def test_what_shift_and_flip_draw_never_changes() -> None:
    # What bitloop 0.1.0 drew, in this order: rows, columns, mirrored or not. Shipped weights are made with it.
    x = noise((50, 3, 8, 8), 1)
    g = generator(5)
    top, left = torch.randint(5, (50, 1), generator=g)[:, 0], torch.randint(5, (50, 1), generator=g)[:, 0]
    wanted = mirror_images(shift_images(x, top, left, 2, 0), torch.rand(50, generator=g) < 0.5)
    assert torch.equal(Augmentation(flip=True, shift_px=2).augment(x, generator(5)), wanted)


def test_every_shift_and_either_side_come_about_equally_often() -> None:
    x = torch.arange(1, 26, dtype=torch.uint8).reshape(1, 1, 5, 5).expand(5000, 1, 5, 5)
    middles = Augmentation(shift_px=1).augment(x, generator())[:, 0, 2, 2]
    values, counts = middles.unique(return_counts=True)
    assert values.tolist() == [7, 8, 9, 12, 13, 14, 17, 18, 19]
    assert counts.min() > 450
    assert counts.max() < 660
    mirrored = Augmentation(flip=True).augment(x, generator())[:, 0, 0, 0] == 5
    assert 2350 < int(mirrored.sum()) < 2650


def test_cutout_blanks_a_square_anywhere() -> None:
    x = torch.full((4000, 3, 8, 8), 200, dtype=torch.uint8)
    blank = (Augmentation(cutout_px=3, fill=9).augment(x, generator()) == 9).all(1)
    sizes = blank.sum((1, 2)).unique().tolist()
    assert sizes == [4, 6, 9]  # in a corner, at an edge, inside
    assert blank.any(0).all()
    assert torch.equal(blank.sum((1, 2)), blank.any(1).sum(1) * blank.any(2).sum(1))  # rectangles


def test_no_augmentation_is_the_images_themselves() -> None:
    x = noise((3, 3, 5, 5), 0)
    assert Augmentation() == NO_AUGMENTATION
    assert NO_AUGMENTATION.augment(x, generator()) is x


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("shift_px", -1, "shift_px of an augmentation is -1; a whole number from 0 to 1024 is wanted"),
        ("cutout_px", 1025, "cutout_px of an augmentation is 1025; a whole number from 0 to 1024 is wanted"),
        ("fill", 256, "fill of an augmentation is 256; a whole number from 0 to 255 is wanted"),
    ],
)
def test_values_outside_their_range(field: str, value: int, words: str) -> None:
    with pytest.raises(DataError) as caught:
        replace(Augmentation(), **{field: value})
    assert str(caught.value) == words
