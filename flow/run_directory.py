"""The directory of one run: what it belongs to, and the files in it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flow.errors import RunDirectoryError
from models.files import read_json, whole_file

IDENTITY_FILE, TRIALS_FILE = "run.json", "trials.db"
PACKAGES = ("torch", "brevitas", "finn-plus", "qonnx", "gymnasium", "stable-baselines3", "optuna", "numpy")


def versions() -> dict[str, str]:
    """The installed versions of what decides a result, bitloop's own first."""
    return {name: version(name) for name in ("bitloop", *PACKAGES)}


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file for people to read too, whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def make_directory(path: Path) -> None:
    """Make the directory of a run, if it is not there.

    Raises:
        RunDirectoryError: it is not a directory and cannot be made one.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunDirectoryError(f"RUN={path} is not a directory; name another one") from error
    except OSError as error:
        raise RunDirectoryError(f"RUN={path} cannot be made ({error.strerror}); see to that or name another one") from error


class RunDirectory:
    """Files of a run: `run.json`, `trials.db`, `policy.json`, `weights.pt`, `model.onnx`, `summary.md`.

    Where no float weights ship, those it pretrained are there, too: `pretrained.pt`.

    Args:
        path: made if it is not there.

    Raises:
        RunDirectoryError: it is not a directory and cannot be made one, or its `run.json` cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        make_directory(path)
        self.identity = self._read_identity()

    def _read_identity(self) -> dict[str, Any]:
        """What the run was begun with; empty for a new one."""
        file = self.path / IDENTITY_FILE
        if not file.exists():
            return {}
        try:
            identity = read_json(file)
        except (OSError, ValueError) as error:
            raise RunDirectoryError(f"{file} cannot be read ({error}); name another RUN or remove {self.path}") from error
        if not isinstance(identity, dict):
            raise RunDirectoryError(f"{file} holds no JSON object; name another RUN or remove {self.path}")
        return identity

    def claim(self, identity: dict[str, Any]) -> None:
        """Say what this run is; one that is there already must be the same.

        Raises:
            RunDirectoryError: it is another run.
        """
        self.check(identity)
        if not self.identity:
            write_json(self.path / IDENTITY_FILE, identity)
            self.identity = identity

    def check(self, identity: dict[str, Any]) -> None:
        """Look whether this run, if it has begun, is the one that is meant.

        Args:
            identity: variable name, as a user gives it, to value.

        Raises:
            RunDirectoryError: it is another run; the text names the first difference. Or it has trials, and does not
                say of what.
        """
        if not self.identity:
            if (self.path / TRIALS_FILE).exists():
                raise RunDirectoryError(
                    f"{self.path} holds {TRIALS_FILE} but no {IDENTITY_FILE}, so that nobody knows what its trials are of; "
                    "name another RUN, or move the file away"
                )
            return
        for name, value in identity.items():
            if name not in self.identity:
                raise RunDirectoryError(
                    f"{self.path} holds a run of another version of bitloop, which does not say its {name}; name another "
                    f"RUN, or remove {self.path} to begin anew"
                )
            if self.identity[name] != value:
                raise RunDirectoryError(
                    f"{self.path} holds a run with {name}={self.identity.get(name)}, this one has {name}={value}; "
                    f"name another RUN, or remove {self.path} to begin anew"
                )

    def __truediv__(self, name: str) -> Path:
        return self.path / name
