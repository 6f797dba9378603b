"""Measurements are kept whole, once, and for ever, whatever happens beside them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boards.errors import MeasurementsError
from boards.measurements import Measurements
from tests.made_measurements import made_measurement, made_simulation, made_synthesis


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    records = [made_measurement(), made_synthesis(), made_measurement(simulated=False, board="zcu104")]
    assert all(store.add(r) for r in records)
    kept = Measurements(tmp_path / "m.db").records()
    assert [k.record for k in kept] == records
    assert [k.number for k in kept] == [1, 2, 3]


def test_the_same_record_is_kept_once(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    assert store.add(made_measurement())
    assert not store.add(made_measurement())
    assert len(store.records()) == 1


def test_simulated_and_real_ones_can_be_told_apart(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    for simulated, board in [(True, "pynq-z2"), (False, "pynq-z2"), (False, "zcu104")]:
        store.add(made_measurement(simulated=simulated, board=board))
    assert [k.number for k in store.records(simulated=True)] == [1]
    assert [k.number for k in store.records(simulated=False)] == [2, 3]
    assert [k.number for k in store.records(simulated=False, board="zcu104")] == [3]


def test_simulations_of_rtl_are_neither_real_nor_of_the_simulated_board(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    for record in (made_measurement(), made_simulation(), made_synthesis(), made_simulation(board="zcu104")):
        store.add(record)
    assert [k.number for k in store.records(simulated=True)] == [1]
    assert [k.number for k in store.records(simulated=False)] == [3]
    assert [k.number for k in store.records(kind="simulation")] == [2, 4]
    assert [k.number for k in store.records(kind="simulation", board="zcu104")] == [4]
    assert store.records(kind="simulation")[0].record == made_simulation()


def version_1(path: Path) -> None:
    """A file as bitloop wrote it before there were simulations, with one record."""
    Measurements(path).add(made_measurement())
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=1")


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_an_older_file_is_read_and_stays_what_it_is_until_it_holds_a_simulation(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    version_1(path)
    store = Measurements(path)
    store.add(made_synthesis())
    assert [k.record for k in store.records()] == [made_measurement(), made_synthesis()]
    assert version_of(path) == 1
    assert store.add(made_simulation())
    assert version_of(path) == 2
    assert [k.record for k in Measurements(path).records()] == [made_measurement(), made_synthesis(), made_simulation()]
    with pytest.raises(sqlite3.IntegrityError, match="never changed"), contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE records SET kind = 'measurement' WHERE id = 3")


def test_reading_an_older_file_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.db"
    version_1(path)
    before = path.read_bytes()
    assert len(Measurements(path).records()) == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("statement", ["UPDATE records SET document = '{}'", "DELETE FROM records"])
def test_nobody_changes_or_removes_a_record(tmp_path: Path, statement: str) -> None:
    store = Measurements(tmp_path / "m.db")
    store.add(made_measurement())
    db = sqlite3.connect(tmp_path / "m.db")
    with pytest.raises(sqlite3.IntegrityError, match="measurements are never"):
        db.execute(statement)
    db.close()
    assert [k.record for k in store.records()] == [made_measurement()]


def test_nothing_takes_the_place_of_a_record(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    store.add(made_measurement())
    with contextlib.closing(sqlite3.connect(tmp_path / "m.db")) as db, db:
        db.execute("REPLACE INTO records SELECT id, digest, kind, simulated, board, at, '{}' FROM records")
        db.execute("REPLACE INTO records SELECT id, 'other', kind, simulated, board, at, '{}' FROM records")
    assert [k.record for k in store.records()] == [made_measurement()]


def test_a_colleagues_measurements_are_taken_in_once(tmp_path: Path) -> None:
    theirs, ours = Measurements(tmp_path / "theirs.db"), Measurements(tmp_path / "ours.db")
    for n in range(3):
        theirs.add(made_measurement(at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=n), simulated=False))
    theirs.export(tmp_path / "m.jsonl", theirs.records())
    ours.add(theirs.records()[1].record)
    assert ours.take_in(tmp_path / "m.jsonl") == (2, 3)
    assert ours.take_in(tmp_path / "m.jsonl") == (0, 3)
    assert {k.record.at for k in ours.records()} == {k.record.at for k in theirs.records()}


def test_a_file_with_one_damaged_line_adds_nothing(tmp_path: Path) -> None:
    store = Measurements(tmp_path / "m.db")
    good = made_measurement().model_dump_json()
    other, negative = good.replace('"format":1', '"format":2'), good.replace("100.0", "-1.0", 1)
    for damaged in ('{"kind": "guess"}', "[]", good[:-1], other, negative):
        (tmp_path / "m.jsonl").write_text(f"{good}\n{damaged}\n")
        with pytest.raises(MeasurementsError, match=r"line 2 of .*m\.jsonl is none of bitloop's"):
            store.take_in(tmp_path / "m.jsonl")
        assert store.records() == []
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MeasurementsError, match="cannot be read"):
        store.take_in(tmp_path / "m.jsonl")
    with pytest.raises(MeasurementsError, match="cannot be read"):
        store.take_in(tmp_path / "nothing.jsonl")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_export_gives_a_typed_error_or_a_record(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(made_measurement().model_dump_json().encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.jsonl").write_bytes(bytes(raw))
    store = Measurements(tmp_path / "m.db")
    before = len(store.records())
    try:
        new, of = store.take_in(tmp_path / "m.jsonl")
    except MeasurementsError:
        assert len(store.records()) == before
    else:
        assert of >= new
        assert len(store.records()) == before + new


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + bytes(2000)])
def test_what_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.db"
    path.write_bytes(content)
    with pytest.raises(MeasurementsError, match=r"m\.db"):
        Measurements(path)
    assert path.read_bytes() == content


def test_another_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "trials.db")
    db.execute("CREATE TABLE trials (id)")
    db.commit()
    db.close()
    with pytest.raises(MeasurementsError, match="not one of measurements"):
        Measurements(tmp_path / "trials.db")
    Measurements(tmp_path / "m.db")
    db = sqlite3.connect(tmp_path / "m.db")
    db.execute("PRAGMA user_version=7")
    db.close()
    with pytest.raises(MeasurementsError, match="has version 7, this bitloop reads 1 and 2"):
        Measurements(tmp_path / "m.db")


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MeasurementsError, match="unable to open database file"):
        Measurements(tmp_path / "no" / "m.db")


def _add(path: Path, first: int) -> None:
    for n in range(first, first + 25):
        Measurements(path).add(made_measurement(at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n)))


def test_processes_that_begin_and_write_at_once_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_add, args=(tmp_path / "m.db", 100 * i)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert len(Measurements(tmp_path / "m.db").records()) == 100


def test_a_time_without_a_zone_is_refused() -> None:
    raw = json.loads(made_measurement().model_dump_json()) | {"at": "2026-01-01T00:00:00"}
    with pytest.raises(ValueError, match="timezone"):
        type(made_measurement()).model_validate(raw)
