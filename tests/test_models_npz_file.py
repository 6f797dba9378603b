"""Data set files: what is read, what is refused and in which words."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import npz_file
from models.arrays import KEYS, REMEDY, Arrays
from models.errors import DataError, ModelError
from models.npz_file import read_npz
from tests.bomb import Bomb
from tests.made_data import made_arrays, without


@pytest.mark.parametrize("shape", [(6, 6), (6, 5), (6, 6, 1), (6, 6, 3)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_was_written(tmp_path: Path, shape: tuple[int, ...], save: Callable[..., None]) -> None:
    content = made_arrays(shape=shape)
    save(tmp_path / "a.npz", **content, another=np.arange(3))
    got = read_npz(tmp_path / "a.npz")
    assert list(got) == list(KEYS)
    assert all(np.array_equal(got[key], content[key]) for key in KEYS)


def test_the_arrays_that_may_be_missing(tmp_path: Path) -> None:
    content = without(made_arrays(), "x_test", "y_test") | {
        "group_train": np.arange(40) // 4,
        "classes": np.array(["ant", "bee", "cat", "dog"]),
    }
    np.savez(tmp_path / "a.npz", **content)
    got = read_npz(tmp_path / "a.npz")
    assert list(got) == ["x_train", "y_train", "group_train", "classes"]
    assert all(np.array_equal(got[key], content[key]) for key in content)


def test_arrays_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **without(made_arrays(), "y_test"))
    with pytest.raises(DataError) as caught:
        read_npz(path)
    assert str(caught.value) == (
        f"{path} lacks the array y_test; it needs x_train, y_train, x_test, y_test, the last two or neither; {REMEDY}"
    )
    assert isinstance(caught.value, ModelError)


def npz_bytes(content: Arrays) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **content)
    return file.getvalue()


def npy_header(shape: str) -> bytes:
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def lying_npz(shape: str) -> bytes:
    """An npz whose x_train claims a shape that its 16 bytes do not hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x_train.npy", npy_header(shape) + bytes(16))
        for key in KEYS[1:]:
            archive.writestr(f"{key}.npy", npy_header("(2,)") + bytes(2))
    return file.getvalue()


GOOD = npz_bytes(made_arrays())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"not a zip file at all",
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        GOOD[:300] + bytes(200) + GOOD[500:],
        npy_header("(2,)") + bytes(2),  # an npy, no npz
        b"\x80\x04N.",  # a pickle
        lying_npz("(1000000000000,)"),
        lying_npz("(10000000000, 1000000000, 10000)"),
        lying_npz("(99999999999999999999999999,)"),
        lying_npz("(-4,)"),
        lying_npz("(17,)"),
        lying_npz("'"),
        lying_npz("__import__('os')"),
    ],
    ids=[
        "empty",
        "two bytes",
        "text",
        "a byte short",
        "half",
        "a hole",
        "npy",
        "pickle",
        "10^12 values",
        "10^23 values",
        "more than 64 bits",
        "negative",
        "a value too many",
        "header cut off",
        "code in the header",
    ],
)
def test_corrupt_files_are_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    text = str(caught.value)
    assert text.startswith(f"{path} cannot be read as npz (")
    assert text.endswith(f"); {REMEDY}")
    assert "\n" not in text
    assert path.read_bytes() == content


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255))
def test_no_flipped_byte_makes_another_error_or_other_data(position: int, flip: int) -> None:
    content = bytearray(GOOD)
    content[position] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.npz"
        path.write_bytes(content)
        try:
            got = read_npz(path)
        except DataError:
            return
    assert all(np.array_equal(got[key], value) for key, value in made_arrays().items())


def test_an_array_beyond_the_limit_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "a.npz", **{**made_arrays(), "x_test": np.zeros((200, 100, 100), np.uint8)})
    monkeypatch.setattr(npz_file, "MAX_ARRAY_BYTES", 1 << 20)
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"^x_test in .*a\.npz is larger than 1,048,576 bytes; make the file anew"):
        read_npz(tmp_path / "a.npz")


def test_pickled_objects_are_never_unpickled(tmp_path: Path) -> None:
    path, fuse = tmp_path / "a.npz", tmp_path / "unpickled"
    np.savez(path, **{**made_arrays(), "y_train": np.array([Bomb(fuse)] * 40, dtype=object)}, allow_pickle=True)
    with pytest.raises(DataError, match=r"^y_train in .*a\.npz holds Python objects, .*; they are not unpickled; "):
        read_npz(path)
    assert not fuse.exists()


def test_images_of_mixed_size_are_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    mixed = np.empty(40, object)
    mixed[:] = [np.zeros((4 + i % 2, 5), np.uint8) for i in range(40)]
    np.savez(path, **{**made_arrays(), "x_train": mixed}, allow_pickle=True)
    with pytest.raises(DataError) as caught:
        read_npz(path)
    assert str(caught.value) == (
        f"x_train in {path} holds Python objects, which is also how NumPy saves images of mixed size; they are not "
        "unpickled; save one uint8 array of images of one size, or use an image folder, whose images are resized"
    )


def test_what_an_array_claims_is_held_against_its_room_before_memory_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.npz").write_bytes(lying_npz("(3000000000,)"))
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"\(x_train says it has shape \(3000000000,\), its 144 bytes do not\)"):
        read_npz(tmp_path / "a.npz")


def test_a_folder_or_nothing_in_the_files_place(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(DataError, match="cannot be read as npz"):
            read_npz(path)
