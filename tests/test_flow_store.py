"""The store of trials: a round trip, Optuna's own view of it, and files that cannot be used."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from boards.board import Resources
from flow.errors import StoreError
from flow.store import TrialStore
from flow.trial import Trial
from flow.watch.trials_file import read_trials
from hls.types import Correction
from tests.flow_fakes import estimate_of, no_room_beyond, policy_of


def trial(number: int, accuracy: float = 0.5, fps: float = 5000.0) -> Trial:
    policy = policy_of((1 + number % 8, 2), (3, 4), (5, None))
    return Trial(number, policy, estimate_of(fps), accuracy, accuracy - 0.25, seed=3, duration_s=1.5)


def filled(path: Path, n: int = 3) -> TrialStore:
    store = TrialStore(path, "tfc-pynq-z2")
    for i in range(n):
        store.add(trial(i, accuracy=0.5 + i / 100))
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trials.db"


def test_a_new_store_is_empty(path: Path) -> None:
    assert TrialStore(path, "tfc-pynq-z2").trials() == []
    assert path.is_file()


@pytest.mark.parametrize("name", ["what?", "a b", "100%41", "#1", "é"])
def test_its_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    written = filled(tmp_path / name / "trials.db").trials()
    assert read_trials(tmp_path / name / "trials.db") == {"tfc-pynq-z2": written}
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert [p.name for p in (tmp_path / name).iterdir()] == ["trials.db"]


def test_trials_come_back_as_they_were_added(path: Path) -> None:
    wanted = [trial(i, accuracy=0.5 + i / 100) for i in range(3)]
    assert filled(path).trials() == wanted
    assert TrialStore(path, "tfc-pynq-z2").trials() == wanted  # opened anew


RUN = {"MODEL": "tfc", "SEED": 3, "MIN_FPS": 1000.0, "OBJECTIVE": "accuracy"}


def test_a_store_is_of_one_run(path: Path) -> None:
    filled(path).claim(RUN)
    TrialStore(path, "tfc-pynq-z2").claim({**RUN})
    with pytest.raises(StoreError, match=r"holds trials of a run with MIN_FPS=1000\.0, this one has MIN_FPS=5\.0; put back"):
        TrialStore(path, "tfc-pynq-z2").claim({**RUN, "MIN_FPS": 5.0})
    with pytest.raises(StoreError, match=r"with MIN_ACCURACY=None, this one has MIN_ACCURACY=0\.9"):
        TrialStore(path, "tfc-pynq-z2").claim({**RUN, "MIN_ACCURACY": 0.9})
    TrialStore(path, "tfc-pynq-z2").claim(RUN)


def test_of_a_store_that_does_not_say_whose_it_is_the_seeds_do(path: Path) -> None:
    filled(path)
    with pytest.raises(StoreError, match="with SEED=3, this one has SEED=0"):
        TrialStore(path, "tfc-pynq-z2").claim({**RUN, "SEED": 0})
    TrialStore(path, "tfc-pynq-z2").claim(RUN)


def test_a_file_of_other_studies_is_not_begun_anew_in(path: Path) -> None:
    filled(path)
    with pytest.raises(StoreError, match=r"holds trials of tfc-pynq-z2 and none of cnv-pynq-z2; move the file away"):
        TrialStore(path, "cnv-pynq-z2").claim({**RUN, "MODEL": "cnv"})


def test_an_estimates_corrections_come_back_too(path: Path) -> None:
    corrected = replace(estimate_of(), corrections=(Correction("MVAU_hls_0", "conv0", Resources(lut=5), "thresholds"),))
    store = TrialStore(path, "tfc-pynq-z2")
    store.add(replace(trial(0), estimate=corrected))
    assert store.trials()[0].estimate == corrected


def test_trials_come_in_the_order_in_which_they_were_finished(path: Path) -> None:
    store = TrialStore(path, "tfc-pynq-z2")
    for i in (2, 0, 1):
        store.add(trial(i))
    assert [t.number for t in store.trials()] == [2, 0, 1]


def test_optuna_opens_it_by_itself(path: Path) -> None:
    filled(path)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{path}")
    assert study.study_name == "tfc-pynq-z2"
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    second = study.trials[1]
    assert second.state == optuna.trial.TrialState.COMPLETE
    assert second.params == {"conv0.weight": 2, "conv0.act": 2, "fc0.weight": 3, "fc0.act": 4, "fc1.weight": 5}
    assert set(second.distributions.values()) == {optuna.distributions.IntDistribution(1, 8)}
    assert second.value == 0.26
    wanted = trial(1, accuracy=0.51)
    assert second.user_attrs == {
        "number": 1,
        "accuracy": 0.51,
        "fps": 5000.0,
        "latency_ms": wanted.estimate.latency_ms,
        "lut": pytest.approx(100.0),
        "bram18": pytest.approx(4.0),
        "dsp": 0,
        "policy": wanted.policy.to_json(),
        "estimate": json.dumps(wanted.estimate.to_dict()),
        "seed": 3,
        "rungs": "{}",
        "stopped_at": None,
        "duration_s": 1.5,
        "n_told": None,
        "failure": "",
    }
    assert study.best_trial.number == 2


def test_it_is_only_ever_added_to(path: Path) -> None:
    filled(path, 2)
    before = rows(path)
    TrialStore(path, "tfc-pynq-z2").add(trial(2))
    after = rows(path)
    assert len(after) == 3
    assert after[:2] == before


def rows(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT * FROM trials ORDER BY trial_id").fetchall()
    connection.close()
    return found


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to look like one" * 100, b"SQLite format 3\0" + b"\xff" * 4096]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        TrialStore(path, "tfc-pynq-z2")
    text = str(caught.value)
    assert text.startswith(f"the store of trials {path} cannot be used (file is not a database)")
    assert text.endswith("free some space if the disk is full, or move the file away to begin anew")
    assert "\n" not in text
    assert path.read_bytes() == content


def test_a_damaged_store_is_refused(path: Path) -> None:
    filled(path)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=rf"^the store of trials {path} cannot be used \("):
        TrialStore(path, "tfc-pynq-z2").trials()


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE studies (name TEXT)")
    connection.close()
    with pytest.raises(StoreError, match=rf"^the store of trials {path} cannot be used \("):
        TrialStore(path, "tfc-pynq-z2")


def test_a_folder_in_its_place_is_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="unable to open database file"):
        TrialStore(path, "tfc-pynq-z2")


def test_an_optuna_trial_that_is_not_bitloops_is_refused(path: Path) -> None:
    filled(path)
    study = optuna.load_study(study_name="tfc-pynq-z2", storage=f"sqlite:///{path}")
    study.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(StoreError) as caught:
        TrialStore(path, "tfc-pynq-z2").trials()
    assert str(caught.value) == (
        f"trial 3 in {path} is not as bitloop writes them (KeyError: 'number'); move the file away to begin anew"
    )


def test_a_programming_error_is_not_taken_for_a_full_disk(path: Path) -> None:
    with pytest.raises(AttributeError):
        TrialStore(path, "tfc-pynq-z2").add(None)  # type: ignore[arg-type]


def add_up_to(store: TrialStore, n: int) -> None:
    for i in range(len(store.trials()), n):
        store.add(trial(i))


def test_where_there_is_no_room_the_trial_is_refused_and_earlier_ones_stay(path: Path) -> None:
    store = filled(path, 2)
    with no_room_beyond(path.stat().st_size), pytest.raises(StoreError, match=r"\(disk I/O error\)"):
        add_up_to(store, 200)
    n_written = len(store.trials())
    assert 2 <= n_written < 200
    again = TrialStore(path, "tfc-pynq-z2")
    assert again.trials() == store.trials() == [trial(i, t.accuracy) for i, t in enumerate(store.trials())]
    again.add(trial(n_written))
    assert len(again.trials()) == n_written + 1


def test_what_was_retrained_again_is_kept_beside_the_trials(path: Path) -> None:
    store, policy = filled(path, 1), trial(0).policy
    assert store.again(policy, 64, 5) is None
    store.add_again(policy, 64, 5, 0.75)
    store.add_again(policy, 64, 6, 0.5)
    opened = TrialStore(path, "tfc-pynq-z2")
    assert [opened.again(policy, 64, seed) for seed in (5, 6, 7)] == [0.75, 0.5, None]
    assert opened.again(policy, 128, 5) is None
    assert opened.again(trial(1).policy, 64, 5) is None
    assert opened.trials() == [trial(0)]


def test_a_trial_that_was_stopped_comes_back_with_what_it_had(path: Path) -> None:
    stopped = replace(trial(0), rungs={"quantized": 0.25, "norms re-estimated": 0.5}, stopped_at="norms re-estimated")
    store = TrialStore(path, "tfc-pynq-z2")
    store.add(stopped)
    assert store.trials() == [stopped]
