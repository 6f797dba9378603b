"""What made a result is told as it was."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from flow.provenance import data_digest, provenance, revision
from models.data import SearchSplits, load_splits


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> SearchSplits:
    return load_splits("digits", tmp_path_factory.mktemp("data"), (1, 28, 28)).for_search()


def test_the_command_can_be_given_again(digits: SearchSplits) -> None:
    found = provenance(digits, ["/somewhere/bin/bitloop", "search", "--model", "a b.py:net"])
    assert found["command"] == "bitloop search --model 'a b.py:net'"
    assert all(isinstance(value, str) for value in found.values())


def test_one_changed_pixel_or_label_or_another_split_changes_the_datas_digest(digits: SearchSplits) -> None:
    first = data_digest(digits)
    assert first == data_digest(digits)
    pixel = digits.search.x.clone()
    pixel[0, 0, 0, 0] += 1
    label = digits.train.y.clone()
    label[-1] = (label[-1] + 1) % 10
    others = [
        replace(digits, search=replace(digits.search, x=pixel)),
        replace(digits, train=replace(digits.train, y=label)),
        replace(digits, search=digits.train, train=digits.search),
    ]
    assert len({first, *map(data_digest, others)}) == 4


def test_the_revision_is_gits_and_says_when_files_were_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert revision(tmp_path) == ""
    git("init", "-q")
    assert revision(tmp_path) == ""
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-q", "-m", "first")
    git("tag", "-m", "t", "v1")
    assert revision(tmp_path) == git("rev-parse", "HEAD")[:12]
    (tmp_path / "a").write_text("2")
    assert revision(tmp_path) == git("rev-parse", "HEAD")[:12] + "-dirty"
