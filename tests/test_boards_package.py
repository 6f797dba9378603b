"""Deployment packages: what was written is read; whatever is not as it was written is refused by name."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from boards.bitfile import read_bit_header
from boards.errors import BitfileError, PackageError
from boards.package import MANIFEST, read_package, write_package
from tests.flow_fakes import no_room_beyond
from tests.made_packages import bitfile, made_package, manifest, sources


def test_a_package_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = made_package(tmp_path)
    read = read_package(made.path)
    assert read == made
    assert set(read.manifest.files) == {
        "made-0123.bit", "made-0123.hwh", "settings.json", "design.json", "golden.npz",
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == ["package", "sources"]


def test_a_package_may_lie_anywhere(tmp_path: Path) -> None:
    made = made_package(tmp_path)
    moved = made.path.rename(tmp_path / "elsewhere with spaces")
    assert read_package(moved).sha256 == made.sha256


@pytest.mark.parametrize("name", ["made-0123.bit", "made-0123.hwh", "settings.json", "golden.npz"])
def test_a_changed_byte_is_found(tmp_path: Path, name: str) -> None:
    path = made_package(tmp_path).path
    raw = bytearray((path / name).read_bytes())
    raw[-1] ^= 1
    (path / name).write_bytes(raw)
    with pytest.raises(PackageError, match=rf"{name} is not what the manifest says \(sha256\)"):
        read_package(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = made_package(tmp_path).path
    (path / "golden.npz").unlink()
    with pytest.raises(PackageError, match=r"golden\.npz is missing; copy the package again"):
        read_package(path)


def test_a_file_that_nobody_wrote_is_named(tmp_path: Path) -> None:
    path = made_package(tmp_path).path
    (path / "driver").mkdir()
    (path / "driver" / "more.py").write_text("")
    with pytest.raises(PackageError, match=r"driver/more\.py is not in its manifest"):
        read_package(path)


def test_links_are_refused(tmp_path: Path) -> None:
    path = made_package(tmp_path).path
    (path / "golden.npz").rename(tmp_path / "golden.npz")
    (path / "golden.npz").symlink_to(tmp_path / "golden.npz")
    with pytest.raises(PackageError, match="is a link or no plain file"):
        read_package(path)
    (path / "golden.npz").unlink()
    os.mkfifo(path / "golden.npz")
    with pytest.raises(PackageError, match="is a link or no plain file"):
        read_package(path)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a//b", "", "./a", "a\\b", "späti"])
def test_paths_stay_inside(tmp_path: Path, name: str) -> None:
    files = sources(tmp_path / "sources")
    with pytest.raises(PackageError, match="is no path inside a package"):
        write_package(tmp_path / "package", manifest(), {**files, name: files["golden.npz"]})
    path = made_package(tmp_path).path
    raw = json.loads((path / MANIFEST).read_text())
    raw["files"][name] = raw["files"]["golden.npz"]
    (path / MANIFEST).write_text(json.dumps(raw))
    with pytest.raises(PackageError, match="is no path inside a package"):
        read_package(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 1}, "has schema 1, this bitloop reads 2"),
        ({"clock_mhz": 0}, "clock_mhz"),
        ({"colour": "red"}, "colour"),
        ({"files": {"a": "zz"}}, r"files\.a"),
        ({"bitfile": "other.bit"}, "names other.bit, which is not among its files"),
        ({"golden": "other.npz"}, "names other.npz, which is not among its files"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = made_package(tmp_path).path
    (path / MANIFEST).write_text(json.dumps(json.loads((path / MANIFEST).read_text()) | change))
    with pytest.raises(PackageError, match=said):
        read_package(path)


@pytest.mark.parametrize("content", [None, "", "[]", "{", '{"schema_version": 1}', "\udcff"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    path = made_package(tmp_path).path
    (path / MANIFEST).unlink()
    if content is not None:
        (path / MANIFEST).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(PackageError, match=r"manifest"):
        read_package(path)


def test_a_package_for_another_board_is_neither_written_nor_read(tmp_path: Path) -> None:
    board = manifest().board.model_copy(update={"fpga_part": "xczu7ev-ffvc1156-2-e"})
    with pytest.raises(BitfileError, match="the bitfile is for a 7z020clg400, the board has a xczu7ev"):
        made_package(tmp_path, board=board)
    assert not (tmp_path / "package").exists()


def test_a_full_disk_leaves_the_package_that_was_there(tmp_path: Path) -> None:
    before = made_package(tmp_path)
    big = tmp_path / "big"
    big.write_bytes(bytes(200_000))
    with no_room_beyond(100_000), pytest.raises(OSError, match="too large"):
        write_package(before.path, manifest(), {**sources(tmp_path / "sources"), "big": big})
    assert read_package(before.path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["big", "package", "sources"]


def test_a_package_that_cannot_be_put_in_place_leaves_the_one_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = made_package(tmp_path)
    replace = Path.replace

    def refuse(path: Path, target: Path) -> Path:
        if path.name == ".package.part":
            raise PermissionError("told to")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError):
        made_package(tmp_path)
    assert read_package(before.path) == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["package", "sources"]
    monkeypatch.undo()
    assert made_package(tmp_path, name="another").sha256 != before.sha256
    assert sorted(p.name for p in tmp_path.iterdir()) == ["package", "sources"]


def test_a_header_of_a_bitfile(tmp_path: Path) -> None:
    header = read_bit_header(bitfile(tmp_path / "a.bit"))
    assert (header.design, header.part, header.n_bytes) == ("top_wrapper;Version=2022.2", "7z020clg400", 13)


def test_what_is_no_bitfile_is_refused(tmp_path: Path) -> None:
    path = bitfile(tmp_path / "a.bit")
    whole = path.read_bytes()
    with pytest.raises(BitfileError, match="cannot be read"):
        read_bit_header(tmp_path / "none.bit")
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        with pytest.raises(BitfileError):
            read_bit_header(path)
    path.write_bytes(whole + b"x")
    with pytest.raises(BitfileError, match="copy it again"):
        read_bit_header(path)
    path.write_bytes(b"made by a stand-in tool")
    with pytest.raises(BitfileError, match="is no bitfile"):
        read_bit_header(path)
