"""What looks after packages on a board's card, in the Python that it is sent to."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from boards import card, supervisor

OLD_S = time.time() - 2 * card.OLD_S


def on_card(home: Path, *arguments: str) -> dict[str, Any]:
    program = [sys.executable, "-ISc", Path(card.__file__).read_text(), *arguments]
    return dict(json.loads(subprocess.run(program, cwd=home, capture_output=True, text=True, check=True).stdout))


def put(home: Path, number: int, age_s: float = 0.0) -> tuple[Path, str]:
    """A package's folder, and the hash of its manifest."""
    files = {"a": hashlib.sha256(b"a").hexdigest(), "b/c": hashlib.sha256(b"c").hexdigest()}
    text = json.dumps({"files": files, "number": number})
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    folder = home / card.FOLDER / sha256[: card.N_DIGITS]
    (folder / "b").mkdir(parents=True)
    for name, content in (("a", "a"), ("b/c", "c"), (card.MANIFEST, text)):
        (folder / name).write_text(content)
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder, sha256


def test_a_package_is_whole_or_something_is_named(tmp_path: Path) -> None:
    folder, sha256 = put(tmp_path, 0, age_s=1000)

    def why() -> object:
        found = on_card(tmp_path, "look", folder.name, sha256)
        assert found["whole"] == (found["why"] == "")
        return found["why"]

    assert why() == ""
    assert time.time() - folder.stat().st_mtime < 500  # used now
    (folder / "b" / "c").write_text("d")
    assert why() == "b/c is missing or damaged"
    (folder / "a").unlink()
    assert why() == "a is missing or damaged"
    (folder / card.MANIFEST).write_text("{}")
    assert why() == "manifest.json is missing or another one"
    folder.rename(tmp_path / "elsewhere")
    assert why() == "it is not there"
    folder.symlink_to(tmp_path / "elsewhere")
    assert why() == "it is not there"


def test_those_used_last_are_kept(tmp_path: Path) -> None:
    packages = [put(tmp_path, n, age_s=1000 - n)[0] for n in range(5)]
    found = on_card(tmp_path, "tidy", "2", packages[0].name)
    assert sorted(found["removed"]) == sorted(p.name for p in packages[1:3])
    assert [p.exists() for p in packages] == [True, False, False, True, True]
    assert on_card(tmp_path, "tidy", "9")["removed"] == []
    assert len(on_card(tmp_path, "tidy", "0")["removed"]) == 3


def test_a_clock_that_went_back_does_not_make_old_what_is_used_now(tmp_path: Path) -> None:
    """Few boards have a battery for it: without a network they begin in the past again."""
    ahead = [put(tmp_path, n, age_s=n - 90 * 24 * 3600)[0] for n in range(3)]
    used, sha256 = put(tmp_path, 9)
    assert on_card(tmp_path, "look", used.name, sha256)["whole"]
    remains = tmp_path / card.FOLDER / ("exchange-" + "a" * 16)
    remains.mkdir()
    os.utime(remains, (time.time() + 3600,) * 2)
    removed = on_card(tmp_path, "tidy", "2")["removed"]
    assert sorted(removed) == sorted([ahead[1].name, ahead[2].name, remains.name])
    assert used.exists()


def test_what_is_used_last_is_kept_whatever_its_name(tmp_path: Path) -> None:
    """In the order of names they would be others."""
    packages = sorted(put(tmp_path, n)[0] for n in range(4))
    for age_s, path in enumerate(packages):
        os.utime(path, (time.time() - 100 * age_s,) * 2)
    assert sorted(on_card(tmp_path, "tidy", "2")["removed"]) == sorted(p.name for p in packages[2:])


def test_nothing_is_touched_that_is_not_its_own(tmp_path: Path) -> None:
    folder = tmp_path / card.FOLDER
    mine = [folder / name for name in ("notes", "0" * 16, ".notes.part", "exchange-me", ".0.part", "." + "0" * 16 + ".tmp")]
    for path in mine:
        path.mkdir(parents=True)
        (path / card.MANIFEST).write_text("{}")
        os.utime(path, (OLD_S, OLD_S))
    other = tmp_path / "other"
    other.mkdir()
    (folder / ("1" * 16)).symlink_to(other)
    (folder / ("." + "1" * 16 + ".part")).symlink_to(other)
    (folder / ("2" * 16)).write_text("a file")
    before = sorted(folder.iterdir())
    assert on_card(tmp_path, "tidy", "0") == {"removed": [], "left": []}
    assert sorted(folder.iterdir()) == before
    for name in ("notes", "..", ".", "0" * 16):
        assert on_card(tmp_path, "forget", name) == {"left": True}
    assert sorted(folder.iterdir()) == before


def test_what_broke_off_goes_once_it_is_old(tmp_path: Path) -> None:
    names = ["." + "a" * 16 + ".part", "." + "a" * 16 + ".old", "exchange-" + "a" * 16]
    for name in names:
        (tmp_path / card.FOLDER / name).mkdir(parents=True)
    assert on_card(tmp_path, "tidy", "4") == {"removed": [], "left": []}
    for name in names:
        os.utime(tmp_path / card.FOLDER / name, (OLD_S, OLD_S))
    assert sorted(on_card(tmp_path, "tidy", "4")["removed"]) == sorted(names)
    (tmp_path / card.FOLDER / names[2]).mkdir()
    assert on_card(tmp_path, "forget", names[2]) == {"left": False}
    assert on_card(tmp_path, "forget", names[2]) == {"left": False}


def test_an_empty_card_is_tidy(tmp_path: Path) -> None:
    assert on_card(tmp_path, "tidy", "4") == {"removed": [], "left": []}


@pytest.mark.parametrize("module", [card, supervisor])
def test_what_runs_there_is_python_3_8_and_its_library(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
