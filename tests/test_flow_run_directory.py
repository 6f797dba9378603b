"""The run directory: what it belongs to, and that its files are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flow.errors import RunDirectoryError
from flow.run_directory import RunDirectory, versions, write_json, write_text
from tests.flow_fakes import no_room_beyond

IDENTITY = {"MODEL": "tfc", "BOARD": "pynq-z2", "SEED": 3, "MIN_FPS": 1000.0}


def test_a_new_one_is_made_and_belongs_to_nobody(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "runs" / "new")
    assert run.path.is_dir()
    assert run.identity == {}
    assert run / "policy.json" == tmp_path / "runs" / "new" / "policy.json"


def test_a_claim_is_remembered(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.claim(IDENTITY)
    assert run.identity == RunDirectory(tmp_path).identity == IDENTITY
    assert json.loads((tmp_path / "run.json").read_text()) == IDENTITY
    RunDirectory(tmp_path).claim(dict(IDENTITY))


def test_checking_claims_nothing(tmp_path: Path) -> None:
    RunDirectory(tmp_path).check(IDENTITY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"MODEL": "cnv", "SEED": 9}, "holds a run with MODEL=tfc, this one has MODEL=cnv"),
        ({"MIN_FPS": 2000.0}, "holds a run with MIN_FPS=1000.0, this one has MIN_FPS=2000.0"),
        ({"NEW": 1}, "holds a run of another version of bitloop, which does not say its NEW"),
    ],
)
def test_another_run_is_refused_with_the_first_difference(tmp_path: Path, other: dict[str, object], difference: str) -> None:
    RunDirectory(tmp_path).claim(IDENTITY)
    for refuse in (RunDirectory(tmp_path).check, RunDirectory(tmp_path).claim):
        with pytest.raises(RunDirectoryError) as caught:
            refuse({**IDENTITY, **other})
        assert str(caught.value) == f"{tmp_path} {difference}; name another RUN, or remove {tmp_path} to begin anew"
    assert RunDirectory(tmp_path).identity == IDENTITY


def test_trials_that_nobody_knows_what_they_are_of_are_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "trials.db").write_bytes(b"of another model")
    for refuse in (RunDirectory(tmp_path).check, RunDirectory(tmp_path).claim):
        with pytest.raises(RunDirectoryError, match=r"holds trials\.db but no run\.json"):
            refuse(IDENTITY)
    assert [p.name for p in tmp_path.iterdir()] == ["trials.db"]


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "below"):
        with pytest.raises(RunDirectoryError, match=f"^RUN={path} is not a directory; name another one$"):
            RunDirectory(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "cannot be read (Expecting property name"), ("[1]", "holds no JSON object"), ("\xff", "cannot be read ('utf-8'")],
)
def test_a_run_json_that_is_none_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "run.json"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory(tmp_path)
    assert str(caught.value).startswith(f"{file} {said}")
    assert str(caught.value).endswith(f"name another RUN or remove {tmp_path}")


def test_json_is_written_for_people_too(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"conv0": {"weight": 4}, "β": [1]})
    assert (tmp_path / "a.json").read_text() == '{\n  "conv0": {\n    "weight": 4\n  },\n  "\\u03b2": [\n    1\n  ]\n}\n'


def test_where_there_is_no_room_the_old_file_stays_whole(tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    write_text(file, "old")
    with no_room_beyond(4096), pytest.raises(OSError, match="File too large"):
        write_text(file, "new" * 4096)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_versions_name_what_decides_a_result() -> None:
    found = versions()
    assert next(iter(found)) == "bitloop"
    assert {"torch", "brevitas", "finn-plus", "numpy", "stable-baselines3"} <= set(found)
    assert all(found.values())
