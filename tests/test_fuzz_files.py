"""Every file that is read, damaged: a typed error that names it or a result, in bounded time and memory, and nothing executed.

Which damage a file has follows from its kind and its number, so that a failure comes again; the default run does the first of
each kind, the long one (`make test-slow`) more than ten thousand in all.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from boards import pynq_runner
from boards.simulated_board import circuit
from flow.errors import BITLOOP_ERRORS, SettingsError, WeightsError
from flow.golden import read_golden
from flow.policy_file import read_policy
from models import files, npz_file
from models.npz_file import read_npz
from models.state_file import read_state
from tests.fuzz_archives import ARCHIVES
from tests.fuzz_boards import ABOUT, BOARDS
from tests.fuzz_documents import DOCUMENTS
from tests.fuzz_mutations import FUSE, Target

TARGETS = (*DOCUMENTS, *BOARDS, *ARCHIVES)
LIMIT_S = 3.0  # of processor time, for one file
MEMORY_BYTES = 768 << 20  # that the process may grow by while all damaged ones of a kind are read
SHOWN = 12
SHARE = 12  # the default run takes the first twelfth


class TooLongError(BaseException):
    """A file is being read for too long; no `except Exception` of a reader's stops it."""


@contextlib.contextmanager
def no_longer_than(limit_s: float) -> Iterator[None]:
    """Raises `TooLongError` after so much processor time, which other work on the machine does not slow down.

    What sleeps for ever is left to pytest-timeout.
    """

    def over(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def what_is_wrong(target: Target, path: Path) -> str:
    """Reads a damaged file; empty where all is well, else what is not, in a line."""
    try:
        with no_longer_than(LIMIT_S):
            target.read(path)
    except target.refusals as error:
        text = str(error)
        if not text.strip() or "\n" in text.strip() or len(text) > 1_000_000:
            return f"{type(error).__name__} is not one line: {text[:200]!r}"
        if target.is_named and path.name not in text and path.parent.name not in text:
            return f"{type(error).__name__} does not name the file: {text[:200]}"
    except TooLongError:
        return f"took more than {LIMIT_S:g} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]!r}"
    return ""


def fuzz(target: Target, n: int, folder: Path) -> list[str]:
    """What went wrong with `n` damaged files."""
    path = target.prepare(folder)
    beside = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    valid = path.read_bytes()
    target.read(path)
    wrong = []
    for number in range(n):
        for other, content in beside.items():
            other.write_bytes(content)
        path.write_bytes(target.mutate(random.Random(f"{target.name} {number}"), valid))
        if found := what_is_wrong(target, path):
            wrong.append(f"{number}: {found}")
        assert not Path(FUSE).exists(), f"damaged file {number} of {target.name} was executed"
    return wrong


def check(target: Target, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, folder = tmp_path / "here", tmp_path / "fuzzed"
    here.mkdir()
    folder.mkdir()
    monkeypatch.chdir(here)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = fuzz(target, n, folder)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert not wrong, f"{len(wrong)} of {n} damaged files: " + "\n".join(wrong[:SHOWN])
    assert grown < MEMORY_BYTES
    assert {p.name for p in tmp_path.iterdir()} == {"here", "fuzzed"}  # no path led out of the folder


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_a_damaged_file_gives_a_typed_error_or_a_result(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(target, target.n // SHARE, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_ten_thousand_damaged_files_do(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(target, target.n, tmp_path, monkeypatch)


def bomb(path: Path, *keys: str) -> Path:
    """An archive of a few kilobytes that unpacks to 8 MB an array."""
    np.savez_compressed(path, **dict.fromkeys(keys, np.zeros(8 << 20, np.uint8)))  # type: ignore[arg-type]
    assert path.stat().st_size < 100_000
    return path


@pytest.mark.parametrize(
    ("keys", "limit", "read"),
    [
        (("pixels", "labels", "logits"), (npz_file, "MAX_ARRAY_BYTES"), read_golden),
        (("x_train", "y_train"), (npz_file, "MAX_ARRAY_BYTES"), read_npz),
        (
            ("inputs", "labels"),
            (pynq_runner, "MAX_TEST_SET_BYTES"),
            lambda p: pynq_runner._check_test_set(p, ABOUT, "simulated"),
        ),
        (("circuit", "w"), (circuit, "MAX_BYTES"), lambda p: circuit.read_circuit(p.read_bytes())),
    ],
    ids=["golden set", "data set", "test set", "circuit"],
)
def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: tuple[str, ...],
    limit: tuple[object, str],
    read: Callable[[Path], object],
) -> None:
    path = bomb(tmp_path / "bomb.npz", *keys)
    monkeypatch.setattr(*limit, 1 << 20)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises((*BITLOOP_ERRORS, ValueError), match=r"1,048,576"):
        read(path)


def test_weights_that_are_packed_are_refused_before_they_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", b"")
        archive.writestr("weights/data/0", bytes(8 << 20))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("it was unpacked"))
    with pytest.raises(
        WeightsError, match=r"weights\.pt cannot be read as weights \(weights/data\.pkl in it is compressed\); make them"
    ):
        read_state(path, "weights", "make them anew")


def test_a_json_file_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 1000)
    (tmp_path / "policy.json").write_text(json.dumps({"policy": {}, "more": "x" * 1000}))
    with pytest.raises(SettingsError, match=r"policy\.json holds no policy \(it is longer than 1,000 bytes\)"):
        read_policy(tmp_path / "policy.json")


def test_there_are_ten_thousand() -> None:
    assert sum(target.n for target in TARGETS) >= 10_000
    assert sum(target.n // SHARE for target in TARGETS) >= 1_000
    assert len({target.name for target in TARGETS}) == len(TARGETS)
