"""The command line with a shared store on a real PostgreSQL: what is shared, what is refused, and no password anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from flow import cli
from flow.exchange import open_storage
from flow.storage_url import parse_storage
from flow.store import Elsewhere, TrialStore
from tests.flow_fakes import REPLACED
from tests.postgres import PASSWORD, Postgres, running
from tests.test_flow_cli import QUICK, ROOT, Complaint, complaint, one_line, pretrained_file, run_dir  # noqa: F401

SEARCH = ["search", *QUICK, "--searcher", "random", "--finalists", "2"]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture
def url(postgres: Postgres, tmp_path: Path) -> str:
    return postgres.url(f"of {tmp_path.name}")


@pytest.fixture(autouse=True)
def without_finn(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, replacement in REPLACED.items():
        monkeypatch.setattr(name, replacement)


def trials_of(run: Path) -> list[object]:
    return TrialStore(run / "trials.db", "tfc-pynq-z2").trials()  # type: ignore[return-value]


def test_two_runs_share_a_study_and_its_password_is_nowhere(url: str, run_dir: Path, tmp_path: Path) -> None:  # noqa: F811
    """Really a process, with the URL as an argument: what it says and all that it writes are looked through."""
    other = tmp_path / "other"
    shutil.copytree(run_dir, other)
    said = []
    for run, given in ((run_dir, ["--storage", url]), (other, [])):
        command = [
            sys.executable,
            "-W",
            "ignore",
            "-m",
            "tests.flow_fakes",
            *SEARCH,
            "--trials",
            "2",
            "--run",
            str(run),
            *given,
        ]
        environment = os.environ if given else {**os.environ, "BITLOOP_STORAGE": url}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout + done.stderr)
    shown = parse_storage(url).shown
    assert f"study tfc-pynq-z2 in {shown} is shared: 0 trials of 0 runs so far" in said[0]
    assert f"study tfc-pynq-z2 in {shown} is shared: 2 trials of 1 runs so far" in said[1]
    one, two = trials_of(run_dir), trials_of(other)
    assert [t.policy for t in two if not isinstance(t, Elsewhere)] == [t.policy for t in one]  # type: ignore[attr-defined]
    assert all(t.duration_s == 0 for t in two if not isinstance(t, Elsewhere))  # type: ignore[attr-defined]
    assert (run_dir / "policy.json").read_text().count(f"{shown.replace('searcher@', 'searcher:***@')}") == 1
    for text in said:
        assert PASSWORD not in text
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert PASSWORD.encode() not in path.read_bytes(), path
    shared = open_storage(parse_storage(url))
    (study,) = optuna.get_all_study_summaries(shared.storage)
    assert study.n_trials == 2
    assert len([name for name in study.user_attrs if name.startswith("accuracy of ")]) == 4  # two finalists, two seeds: once
    shared.release()


def test_a_search_of_something_else_is_refused_by_name(
    url: str, run_dir: Path, tmp_path: Path, complaint: Complaint  # noqa: F811
) -> None:  # fmt: skip
    other = tmp_path / "other"
    shutil.copytree(run_dir, other)
    shared = [*SEARCH, "--trials", "1", "--storage", url]
    assert cli.main([*shared, "--run", str(run_dir)]) == 0
    text = complaint(*shared, "--retrain-images", 64, "--run", other)
    shown = parse_storage(url).shown
    assert text == (
        f"the study tfc-pynq-z2 in {shown} is of searches with RETRAIN_IMAGES=128, this one has RETRAIN_IMAGES=64; make them "
        "the same, or name another STUDY"
    )
    assert cli.main([*shared, "--retrain-images", "64", "--study", "other", "--run", str(other)]) == 0


def test_a_server_that_is_down_is_said_before_anything_is_begun(
    postgres: Postgres, url: str, run_dir: Path, complaint: Complaint  # noqa: F811
) -> None:  # fmt: skip
    postgres.stop()
    try:
        text = complaint(*SEARCH, "--trials", "1", "--run", run_dir, "--storage", url)
    finally:
        postgres.start()
    assert text.startswith(f"the shared store {parse_storage(url).shown} cannot be used (connection failed: ")
    assert PASSWORD not in text
    assert not (run_dir / "run.json").exists()


def test_a_url_in_the_wrong_place_is_not_repeated_with_its_password(complaint: Complaint) -> None:  # noqa: F811
    text = complaint("search", f"postgresql://me:{PASSWORD}@db/studies")
    assert "(postgresql://me:***@db/studies)" in text


def test_make_hands_the_url_on_in_the_environment(tmp_path: Path) -> None:
    """Not as an argument, which every list of processes shows."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".installed").touch()
    said = tmp_path / "said"
    (venv / "bin" / "bitloop").write_text(f'#!/bin/sh\necho "<$BITLOOP_STORAGE>" "$@" > {said}\n')
    (venv / "bin" / "bitloop").chmod(0o755)
    url = f"postgresql://me:{PASSWORD}@db/studies"
    subprocess.run(
        ["make", "search", f"VENV={venv}", f"STORAGE={url}", "STUDY=ours", "MODEL=tfc"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    told, *arguments = said.read_text().split()
    assert told == f"<{url}>"
    assert "--study" in arguments
    assert not any(PASSWORD in a for a in arguments)
