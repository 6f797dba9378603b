"""Preparation: any image to a network's input, said once and kept with the policy."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models import preparation as module
from models.errors import DataError
from models.preparation import FILTERS, Preparation
from models.train import scale_images
from tests.made_data import made_arrays

preparations = st.builds(
    Preparation, st.sampled_from([1, 3]), st.integers(1, 4096), st.integers(1, 4096), st.sampled_from(sorted(FILTERS))
)


# --- colour and size ---------------------------------------------------------------------------------------------


def test_images_that_fit_are_unchanged_and_not_copied() -> None:
    x = made_arrays(shape=(6, 5, 3))["x_train"]
    prepared = Preparation(3, 6, 5).prepare(x)
    assert np.array_equal(prepared.permute(0, 2, 3, 1).numpy(), x)
    assert prepared.is_contiguous(memory_format=torch.channels_last)
    assert np.shares_memory(prepared.numpy(), x)
    grey = made_arrays()["x_train"]
    for x in (grey, grey[..., None]):
        assert np.array_equal(Preparation(1, 6, 6).prepare(x)[:, 0].numpy(), grey)


def test_grey_is_repeated_and_colour_becomes_its_luma() -> None:
    grey = made_arrays()["x_train"]
    coloured = Preparation(3, 6, 6).prepare(grey)
    assert all(np.array_equal(coloured[:, c].numpy(), grey) for c in range(3))
    x = np.zeros((1, 2, 2, 3), np.uint8)
    x[..., 0], x[..., 1], x[..., 2] = 10, 20, 60
    # ITU-R BT.601-2, as Pillow's documentation of Image.convert has it: L = R 299/1000 + G 587/1000 + B 114/1000.
    assert Preparation(1, 2, 2).prepare(x).unique().tolist() == [round(2.99 + 11.74 + 6.84)]


@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(0, 255))
def test_any_size_fits_and_an_even_image_stays_even(n: int, h: int, w: int, channels: int, value: int) -> None:
    for source in (np.full((n, h, w), value, np.uint8), np.full((n, h, w, 3), value, np.uint8)):
        prepared = Preparation(channels, 7, 8).prepare(source)
        assert prepared.shape == (n, channels, 7, 8)
        assert prepared.dtype == torch.uint8
        assert prepared.unique().tolist() == [value]


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from([1, 3]), st.sampled_from(sorted(FILTERS)))
def test_arrays_and_image_files_are_prepared_alike(h: int, w: int, has: int, wants: int, resize: str) -> None:
    x = np.random.default_rng(h).integers(0, 256, (2, h, w, has), dtype=np.uint8)
    preparation = Preparation(wants, 5, 6, resize)
    prepared = preparation.prepare(x).permute(0, 2, 3, 1).numpy()
    for one, array in zip(prepared, x, strict=True):
        image = Image.fromarray(array[..., 0] if has == 1 else array)
        assert np.array_equal(one, preparation.pixels(image))
        # What a board does with nothing but Pillow and what is stored with the policy.
        by_hand = image.convert("L" if wants == 1 else "RGB").resize((6, 5), Image.Resampling[resize.upper()])
        assert np.array_equal(one.squeeze(), np.asarray(by_hand))


def test_a_halved_image_is_averaged_not_thinned_out() -> None:
    x = np.zeros((1, 8, 8), np.uint8)
    x[:, ::2] = 200  # every other row
    assert set(Preparation(1, 4, 4).prepare(x)[0, 0, 1:-1].unique().tolist()) == {100}


def test_no_more_than_memory_should_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(DataError) as caught:
        Preparation(1, 6, 6).prepare(made_arrays()["x_train"])
    assert str(caught.value) == (
        "40 images of 1x6x6 have 1,440 bytes; 1,000 is the most; use fewer images or a network with a smaller input"
    )


# --- values ------------------------------------------------------------------------------------------------------


def test_every_pixel_value_enters_the_network_as_stored() -> None:
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    stored = Preparation(1, 16, 16)
    scaled = scale_images(x).flatten().tolist()
    assert scaled == [(p - stored.pixel_offset) / stored.pixel_scale for p in range(256)]
    assert [v * stored.pixel_scale for v in scaled] == list(range(-128, 128))  # an INT8, as an accelerator takes it


# --- storing -----------------------------------------------------------------------------------------------------


@given(preparations)
def test_comes_back_from_json(preparation: Preparation) -> None:
    assert Preparation.from_dict(json.loads(json.dumps(preparation.to_dict()))) == preparation


def test_what_is_stored() -> None:
    preparation = Preparation.of((3, 32, 48))
    assert preparation.shape == (3, 32, 48)
    assert preparation.to_dict() == {
        "channels": 3, "height_px": 32, "width_px": 48, "resize": "bilinear", "pixel_offset": 128, "pixel_scale": 128,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("channels", 2, "channels of a preparation is 2; 1 or 3 is wanted"),
        ("channels", True, "channels of a preparation is True; 1 or 3 is wanted"),
        ("height_px", 0, "height_px of a preparation is 0; a whole number from 1 to 4096 is wanted"),
        ("width_px", 4097, "width_px of a preparation is 4097; a whole number from 1 to 4096 is wanted"),
        ("width_px", 32.0, "width_px of a preparation is 32.0; a whole number from 1 to 4096 is wanted"),
        ("width_px", [1], "width_px of a preparation is [1]; a whole number from 1 to 4096 is wanted"),
        (
            "resize",
            "linear",
            "resize of a preparation is 'linear'; one of nearest, box, bilinear, hamming, bicubic, lanczos is wanted",
        ),
        ("pixel_offset", 0, "pixel_offset of a preparation is 0; 128 is wanted"),
        ("pixel_scale", 255, "pixel_scale of a preparation is 255; 128 is wanted"),
    ],
)
def test_values_outside_their_range(field: str, value: object, words: str) -> None:
    good = Preparation.of((3, 32, 32))
    for make in (
        lambda: replace(good, **{field: value}),
        lambda: Preparation.from_dict({**good.to_dict(), field: value}),
    ):
        with pytest.raises(DataError) as caught:
            make()
        assert str(caught.value) == words


def test_keys_too_many_or_too_few() -> None:
    wanted = "channels, height_px, width_px, resize, pixel_offset, pixel_scale are wanted"
    with pytest.raises(DataError, match=f"^a preparation has the keys none; {wanted}$"):
        Preparation.from_dict({})
    with pytest.raises(DataError, match=rf"^a preparation has the keys .*, mean, .*; {wanted}$"):
        Preparation.from_dict({**Preparation.of((1, 2, 2)).to_dict(), "mean": 0.5})
