"""Reading `trials.db` while a search may be writing to it, and where nobody may write at all."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna

from flow.errors import RunDirectoryError
from flow.store import STORAGE_ERRORS, TrialStore
from flow.trial import Trial


class _TrialsFile(TrialStore):
    """The studies of a file that is only read.

    Args:
        path: of the SQLite file.

    Attributes:
        storage: of Optuna; whatever writes to it is refused by SQLite.

    Raises:
        RunDirectoryError: the file is not there.
        StoreError: it cannot be read as an Optuna storage, here or in any method.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise RunDirectoryError(f"{path} is not there: the run holds no trial yet; make search writes one")
        self.path = path
        optuna.logging.set_verbosity(optuna.logging.WARNING)

        def connect() -> sqlite3.Connection:  # by a URL of its own, as SQLAlchemy's does not take every path
            # Not mode=ro: what a search that was killed left half-written could not be taken back then, and so not be read.
            connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, check_same_thread=False)
            connection.execute("PRAGMA query_only=ON")
            return connection

        with self._translated((*STORAGE_ERRORS, RuntimeError)):  # the last for a file of another version of Optuna
            self.storage = optuna.storages.RDBStorage(
                "sqlite:///trials.db", engine_kwargs={"creator": connect}, skip_table_creation=True
            )
            self.studies = optuna.get_all_study_names(self.storage)

    def of(self, study: str) -> list[Trial]:
        """The finished trials of a study, in the order of evaluation."""
        with self._translated():
            self._study = optuna.load_study(study_name=study, storage=self.storage)
        return self.trials()


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """A `trials.db` for Optuna's own tools, which cannot write to it.

    Raises:
        RunDirectoryError: the file is not there.
        StoreError: it cannot be read as an Optuna storage.
    """
    return _TrialsFile(path).storage


def read_trials(path: Path) -> dict[str, list[Trial]]:
    """The finished trials in a `trials.db`, study by study, each in the order of evaluation; studies without one left out.

    Raises:
        RunDirectoryError: the file is not there.
        StoreError: it cannot be read as bitloop wrote it.
    """
    file = _TrialsFile(path)
    found = {study: file.of(study) for study in file.studies}
    return {study: trials for study, trials in found.items() if trials}
