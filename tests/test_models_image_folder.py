"""Image folders: how they are laid out, what is decoded, and what is refused by name."""

from __future__ import annotations

import os
import random
import struct
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models import image_folder, preparation
from models.errors import DataError, ImageFileError, ModelError
from models.image_folder import find_images, read_folder, read_image, refused_bombs
from models.preparation import Preparation
from tests.made_data import made_arrays

COLOUR = Preparation.of((3, 6, 6))
GREY = Preparation.of((1, 6, 6))


def save(path: Path, pixels: np.ndarray | Image.Image, **how: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **how)
    return path


def flat(value: int | tuple[int, ...], size: tuple[int, int] = (4, 4), mode: str = "L") -> Image.Image:
    return Image.new(mode, size, value)


def pets(folder: Path, *parts: str) -> Path:
    """Two classes with two images each."""
    for part in parts or (".",):
        for i, name in enumerate(("cat", "dog")):
            for j in range(2):
                save(folder / part / name / f"{j}.png", flat(100 * i + j))
    return folder


def refusal(action: Callable[[], object], kind: type[DataError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        action()
    assert isinstance(caught.value, ModelError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the layout --------------------------------------------------------------------------------------------------


def test_sub_folders_are_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    arrays = read_folder(pets(tmp_path), GREY)
    assert list(arrays) == ["classes", "x_train", "y_train"]
    assert arrays["classes"].tolist() == ["cat", "dog"]
    assert arrays["y_train"].tolist() == [0, 0, 1, 1]
    assert arrays["x_train"].shape == (4, 6, 6, 1)
    assert arrays["x_train"].dtype == np.uint8
    assert arrays["x_train"][:, 0, 0, 0].tolist() == [0, 1, 100, 101]


def test_train_and_test_folders_are_kept_apart(tmp_path: Path) -> None:
    pets(tmp_path, "train", "test")
    (tmp_path / "test" / "dog" / "1.png").unlink()
    arrays = read_folder(tmp_path, COLOUR)
    assert list(arrays) == ["classes", "x_train", "y_train", "x_test", "y_test"]
    assert arrays["x_test"][:, 0, 0].tolist() == [[0] * 3, [1] * 3, [100] * 3]
    assert arrays["y_test"].tolist() == [0, 0, 1]


def test_train_may_stand_alone_and_may_be_a_class(tmp_path: Path) -> None:
    assert list(find_images(pets(tmp_path / "one", "train"))) == ["train"]
    save(tmp_path / "two" / "train" / "1.png", flat(1))
    save(tmp_path / "two" / "tram" / "1.png", flat(1))
    assert list(find_images(tmp_path / "two")["train"]) == ["train", "tram"]


def test_other_files_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    pets(tmp_path)
    for name in ("cat/.hidden.png", "cat/notes.txt", "cat/._0.png", "cover.png"):
        (tmp_path / name).write_bytes(b"no image")
    for name in (".git", "__MACOSX", ".ipynb_checkpoints"):
        (tmp_path / name).mkdir()
    assert read_folder(tmp_path, GREY)["y_train"].tolist() == [0, 0, 1, 1]


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_are_followed_and_broken_ones_named_as_missing_images(tmp_path: Path) -> None:
    pets(tmp_path / "a")
    (tmp_path / "a" / "cat" / "2.png").symlink_to(tmp_path / "a" / "dog" / "1.png")
    assert read_folder(tmp_path / "a", GREY)["x_train"][:, 0, 0, 0].tolist() == [0, 1, 101, 100, 101]
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert len(read_folder(tmp_path / "b", GREY)["y_train"]) == 5


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(20)]
    random.Random(1).shuffle(names)
    for name in names:
        save(tmp_path / "a" / name, flat(int(name[:-4])))
        save(tmp_path / "b" / name, flat(int(name[:-4])))
    x = read_folder(tmp_path, GREY)["x_train"][:20, 0, 0, 0]
    assert x.tolist() == [int(name[:-4]) for name in sorted(names)]


SUFFIX_WORDS = ".png .jpg .jpeg .bmp .gif .tif .tiff .webp .ppm .pgm .pbm"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f: None, "FOLDER is empty; a sub-folder for each class, with its images in it, is wanted"),
        (
            lambda f: save(f / "1.png", flat(1)),
            "FOLDER holds images but no sub-folders; a sub-folder for each class, with its images in it, is wanted",
        ),
        (
            lambda f: save(f / "cat" / "1.png", flat(1)),
            "FOLDER has the class 'cat' only; two sub-folders with images or more are wanted",
        ),
        (
            lambda f: (pets(f), (f / "eel").mkdir()),
            f"FOLDER/eel has no image ({SUFFIX_WORDS}); put images of that class there or remove it",
        ),
        (
            lambda f: save(pets(f) / "cat" / "young" / "1.png", flat(1)),
            "FOLDER/cat/young is a folder in the folder of a class; put its images into FOLDER/cat or elsewhere",
        ),
        (
            lambda f: pets(f, "test"),
            "FOLDER has classes in test/ but none in train/; put the images to learn from into FOLDER/train",
        ),
        (
            lambda f: pets(f, "train", "test", "val"),
            "FOLDER/val is beside train/; test/ is the only other folder that is used; put it elsewhere",
        ),
        (
            lambda f: (pets(f, "train"), (f / "test").mkdir()),
            "FOLDER/test is empty; a sub-folder for each class, with its images in it, is wanted",
        ),
        (
            lambda f: save(pets(f, "train", "test") / "train" / "eel" / "1.png", flat(1)),
            "FOLDER/test lacks the class 'eel', which FOLDER/train has; both need a sub-folder for every class",
        ),
        (
            lambda f: save(pets(f, "train", "test") / "test" / "eel" / "1.png", flat(1)),
            "FOLDER/train lacks the class 'eel', which FOLDER/test has; both need a sub-folder for every class",
        ),
    ],
)
def test_other_layouts_are_refused(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    make(tmp_path)
    assert refusal(lambda: read_folder(tmp_path, GREY)) == words.replace("FOLDER", str(tmp_path))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    text = refusal(lambda: find_images(tmp_path / "none"))
    assert text == f"{tmp_path / 'none'} cannot be listed (No such file or directory); see to that or name another folder"


def test_too_many_images_are_refused_before_any_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "MAX_BYTES", 143)
    monkeypatch.setattr(image_folder, "read_image", lambda path: pytest.fail("it was read"))
    assert refusal(lambda: read_folder(pets(tmp_path), GREY)).startswith("4 images of 1x6x6 have 144 bytes; 143 is the most; ")


def test_progress_is_told_image_by_image(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    read_folder(pets(tmp_path, "train", "test"), GREY, lambda *a: seen.append(a))
    assert seen == [(i, 8) for i in range(1, 9)]


# --- decoding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "tiff", "ppm", "PNG"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_lossless_formats_give_their_pixels(tmp_path: Path, suffix: str, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = read_image(save(tmp_path / f"a.{suffix}", pixels))
    assert (image.mode, image.size) == ({2: "L", 3: "RGB"}[len(shape)], (7, 5)) or suffix == "gif"
    assert np.array_equal(np.asarray(image.convert("L" if len(shape) == 2 else "RGB")), pixels)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats_come_near(tmp_path: Path, suffix: str) -> None:
    image = read_image(save(tmp_path / f"a.{suffix}", flat((200, 100, 50), (16, 16), "RGB"), quality=95))
    assert abs(np.asarray(image).astype(int) - [200, 100, 50]).max() <= 4


@pytest.mark.parametrize(("mode", "value", "wanted"), [("1", 1, 255), ("P", 0, (0, 0, 0)), ("CMYK", (0, 0, 0, 0), (255,) * 3)])
def test_other_modes_of_eight_bits_are_taken(tmp_path: Path, mode: str, value: int, wanted: int | tuple[int, ...]) -> None:
    suffix = "tif" if mode == "CMYK" else "png"
    assert read_image(save(tmp_path / f"a.{suffix}", flat(value, mode=mode))).getpixel((0, 0)) == wanted


def test_a_photograph_is_turned_as_its_camera_notes(tmp_path: Path) -> None:
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:, :8] = 255  # the left side, which "rotated by 90 degrees" makes the top
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF 2.3: orientation; 6 is right-top
    image = read_image(save(tmp_path / "a.jpg", pixels, exif=exif, quality=95))
    assert image.size == (16, 32)
    assert np.asarray(image)[:6].min() > 200
    assert np.asarray(image)[10:].max() < 50


def test_mixed_sizes_and_colours_are_made_one(tmp_path: Path) -> None:
    save(tmp_path / "a" / "1.png", flat(7, (3, 9)))
    save(tmp_path / "a" / "2.png", flat((7, 7, 7), (6, 6), "RGB"))
    save(tmp_path / "b" / "1.bmp", flat((7, 7, 7), (40, 1), "RGB"))
    for wanted in (COLOUR, GREY):
        x = read_folder(tmp_path, wanted)["x_train"]
        assert x.shape == (3, 6, 6, wanted.channels)
        assert np.unique(x).tolist() == [7]


def test_opaque_alpha_is_dropped_and_any_other_refused(tmp_path: Path) -> None:
    opaque = save(tmp_path / "a.png", flat((1, 2, 3, 255), mode="RGBA"))
    assert read_image(opaque).getpixel((0, 0)) == (1, 2, 3)
    for name, image in (("b.png", flat((1, 2, 3, 254), mode="RGBA")), ("c.png", flat((9, 0), mode="LA"))):
        path = save(tmp_path / name, image)
        assert refusal(lambda path=path: read_image(path), ImageFileError) == (
            f"{path} is transparent in places, whatever is behind; flatten it onto a background or remove it"
        )
    palette = flat(0, mode="P")
    path = save(tmp_path / "d.png", palette, transparency=0)
    assert "is transparent in places" in refusal(lambda: read_image(path), ImageFileError)


@pytest.mark.parametrize(("suffix", "dtype", "mode"), [("png", np.uint16, "I;16"), ("tif", np.float32, "F")])
def test_more_than_eight_bits_are_refused(tmp_path: Path, suffix: str, dtype: type, mode: str) -> None:
    path = save(tmp_path / f"a.{suffix}", np.full((4, 4), 300, dtype))
    assert refusal(lambda: read_image(path), ImageFileError) == (
        f"{path} has pixels of Pillow's mode {mode}; 8 bits a channel are wanted; replace or remove it"
    )


def png_bytes() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return save(Path(folder) / "a.png", made_arrays(shape=(9, 9, 3))["x_train"][0]).read_bytes()


GOOD = png_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", GOOD[:-40], GOOD[: len(GOOD) // 2], GOOD[:60], b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "cut off", "half", "header only", "a program"],
)
def test_corrupt_images_are_named(tmp_path: Path, content: bytes) -> None:
    pets(tmp_path)
    path = tmp_path / "dog" / "0.png"
    path.write_bytes(content)
    text = refusal(lambda: read_folder(tmp_path, GREY), ImageFileError)
    assert text.startswith(f"{path} cannot be read as an image (")
    assert text.endswith("); PNG, JPEG, BMP, GIF, TIFF, WEBP and PPM are; replace or remove it")


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_flipped_byte_makes_another_error(position: int, flip: int) -> None:
    content = bytearray(GOOD)
    content[position] ^= flip
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "a.png"
        path.write_bytes(content)
        try:
            read_image(path)
        except ImageFileError as error:
            assert str(error).startswith(f"{path} ")  # noqa: PT017


def test_a_missing_image_and_a_folder_in_its_place(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        assert refusal(lambda path=path: read_image(path), ImageFileError).startswith(f"{path} cannot be read as an image (")


def bomb(path: Path, width: int, height: int) -> Path:
    """A PNG of few bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("side_px", [10_000, 100_000])
def test_decompression_bombs_are_refused_by_their_size(tmp_path: Path, side_px: int) -> None:
    path = bomb(pets(tmp_path) / "cat" / "0.png", side_px, side_px)
    words = f"{path} has more than 89,478,485 pixels; make it smaller or remove it"  # Pillow's own limit
    with warnings.catch_warnings(record=True) as told:
        assert refusal(lambda: read_folder(tmp_path, GREY), ImageFileError) == words
    assert told == []
    with refused_bombs():
        assert refusal(lambda: read_image(path), ImageFileError) == words


def test_the_first_bad_image_is_named_and_the_rest_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(200):
        save(tmp_path / "a" / f"{i:03}.png", flat(1))
        save(tmp_path / "b" / f"{i:03}.png", flat(1))
    for i in (3, 9):
        (tmp_path / "a" / f"{i:03}.png").write_bytes(b"")
    n_read = 0

    def counting(path: Path) -> Image.Image:
        nonlocal n_read
        n_read += 1
        return read_image(path)

    monkeypatch.setattr(image_folder, "read_image", counting)
    assert f"{tmp_path / 'a' / '003.png'} cannot be read" in refusal(lambda: read_folder(tmp_path, GREY), ImageFileError)
    assert n_read < 400
