"""What was measured, kept: `Measurements`, an SQLite file that is only ever added to.

The file itself refuses to change or remove a row (triggers), whoever opens it. A row is one JSON document, with what it is
listed by beside it. The same document is kept once, so importing a file twice adds nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from boards.errors import MeasurementsError
from boards.measurement import AnyRecord, Record, Simulation

_APPLICATION = 0x62_6C_6D_73  # "blms": tells the file from other SQLite files
_VERSION = 2  # from 2 on there may be simulations; else it is as 1, which an older bitloop reads
_READABLE = (1, 2)
_SCHEMA = (
    """CREATE TABLE records (
        id INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        simulated INTEGER NOT NULL CHECK (simulated IN (0, 1)),
        board TEXT NOT NULL,
        at TEXT NOT NULL,
        document TEXT NOT NULL
    ) STRICT""",
    """CREATE TRIGGER records_stay_as_they_are BEFORE UPDATE ON records
    BEGIN SELECT RAISE(ABORT, 'measurements are never changed'); END""",
    """CREATE TRIGGER records_stay BEFORE DELETE ON records
    BEGIN SELECT RAISE(ABORT, 'measurements are never removed'); END""",
    # A REPLACE removes what is in its way without asking the trigger above; so nothing is put where something is.
    """CREATE TRIGGER records_come_once BEFORE INSERT ON records
    WHEN EXISTS (SELECT 1 FROM records WHERE id = NEW.id OR digest = NEW.digest)
    BEGIN SELECT RAISE(IGNORE); END""",
    f"PRAGMA application_id={_APPLICATION}",
    f"PRAGMA user_version={_VERSION}",
)
_RECORD: TypeAdapter[AnyRecord] = TypeAdapter(Record)
_BUSY_S = 30.0  # that another process may write for


@dataclass(frozen=True)
class Kept:
    """A record with its number, from 1 in the order of arrival."""

    number: int
    record: AnyRecord


class Measurements:
    """The records of a file, made if it is not there.

    Args:
        path: of the SQLite file.

    Raises:
        MeasurementsError: it is no such file or cannot be read or written, here or in any method.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open("DEFERRED") as db:
            made = self._is_made(db)
        if not made:
            with self._open("IMMEDIATE") as db:
                if not self._is_made(db):  # again: another process may have made it since
                    for statement in _SCHEMA:
                        db.execute(statement)

    def _is_made(self, db: sqlite3.Connection) -> bool:
        """Whether the file has its tables; False of an empty one."""
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return False
        application, version = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if application != _APPLICATION:
            raise MeasurementsError(f"{self.path} is an SQLite file, but not one of measurements; name another one")
        if version not in _READABLE:
            raise MeasurementsError(
                f"{self.path} has version {version}, this bitloop reads {' and '.join(map(str, _READABLE))}; use the bitloop "
                "that wrote it"
            )
        return True

    @contextlib.contextmanager
    def _open(self, transaction: str) -> Iterator[sqlite3.Connection]:
        """A connection for one piece of work, which is kept whole or not at all."""
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)) as db:
                db.execute(f"BEGIN {transaction}")
                try:
                    yield db
                except BaseException:
                    db.execute("ROLLBACK")
                    raise
                db.execute("COMMIT")
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise MeasurementsError(
                f"the measurements in {self.path} cannot be used ({error}); free some space if the disk is full, or name "
                "another file with MEASUREMENTS="
            ) from error

    def add(self, record: AnyRecord) -> bool:
        """Keep a record. Returns whether it was new."""
        return self._add([record]) == 1

    def _add(self, records: list[AnyRecord]) -> int:
        rows = []
        for record in records:
            document = json.dumps(record.model_dump(mode="json"), sort_keys=True)
            digest = hashlib.sha256(document.encode()).hexdigest()
            at = record.at.isoformat()
            rows.append((digest, record.kind, int(record.simulated), record.board, at, document))
        with self._open("IMMEDIATE") as db:
            if any(isinstance(record, Simulation) for record in records):
                db.execute(f"PRAGMA user_version={_VERSION}")
            before = db.total_changes
            db.executemany("INSERT INTO records (digest, kind, simulated, board, at, document) VALUES (?, ?, ?, ?, ?, ?)", rows)
            return db.total_changes - before

    def records(
        self, *, board: str | None = None, simulated: bool | None = None, kind: str | None = None
    ) -> list[Kept]:  # fmt: skip
        """What was kept, in the order of arrival.

        Args:
            board: only of this one.
            simulated: only of the simulated board (True) or of real ones (False); simulations of RTL are neither.
            kind: only of this one: measurement, synthesis or simulation.
        """
        with self._open("DEFERRED") as db:
            rows = db.execute(
                "SELECT id, document FROM records WHERE (?1 IS NULL OR board = ?1) AND (?3 IS NULL OR kind = ?3) "
                "AND (?2 IS NULL OR (simulated = ?2 AND kind != 'simulation')) ORDER BY id",
                (board, None if simulated is None else int(simulated), kind),
            ).fetchall()
        return [Kept(number, self._read(document, f"record {number} of {self.path}")) for number, document in rows]

    @staticmethod
    def _read(document: str, what: str) -> AnyRecord:
        try:
            return _RECORD.validate_json(document)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the whole"
            raise MeasurementsError(f"{what} is none of bitloop's: {where}: {first['msg']}; export it again") from error

    def export(self, path: Path, kept: list[Kept]) -> None:
        """Write records for another file of measurements, one JSON document a line; whole or not at all."""
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text("".join(k.record.model_dump_json() + "\n" for k in kept), encoding="utf-8")
            part.replace(path)
        except OSError as error:
            raise MeasurementsError(f"{path} cannot be written ({error.strerror}); name another file") from error
        finally:
            part.unlink(missing_ok=True)

    def take_in(self, path: Path) -> tuple[int, int]:
        """Add what `export` wrote, all of it or, where a line is none, nothing.

        Returns:
            How many were new, and how many there were.
        """
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise MeasurementsError(f"{path} cannot be read ({error}); give a file that bitloop exported") from error
        records = [self._read(line, f"line {i + 1} of {path}") for i, line in enumerate(lines) if line.strip()]
        return self._add(records), len(records)
