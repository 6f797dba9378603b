"""Which steps of a build are finished, and in which order the rest comes; kept in `progress.json`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT = 1


class WrongPackageError(Exception):
    """What lies in a directory is not what its plan says; the text is one line that says what to do."""


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        WrongPackageError: it is not there, or no such thing.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WrongPackageError(f"{path} cannot be read ({error}); copy the directory it belongs to again, whole") from error
    if not isinstance(found, dict):
        raise WrongPackageError(f"{path} holds no JSON object; copy the directory it belongs to again, whole")
    return found


@dataclass
class Progress:
    """How far a build is.

    FINN writes absolute paths into its models from code generation on: a directory that was moved begins anew.

    Attributes:
        file: where it is kept.
        origin: what the build belongs to: the plan's digest, the checkpoint's sha256 and where the directory lies.
        seconds: of every finished step, in order.
    """

    file: Path
    origin: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, file: Path, origin: Mapping[str, str], steps: Sequence[str]) -> Progress:
        """What is left of an earlier call, as far as it belongs to this one.

        Args:
            file: where it is kept.
            origin: what this build belongs to.
            steps: in their order; only finished ones before the first unfinished one count.
        """
        seconds: dict[str, float] = {}
        try:
            kept = read_object(file)
            if kept["format"] == FORMAT and kept["origin"] == dict(origin):
                for name in steps:
                    seconds[name] = float(kept["seconds"][name])
        except (WrongPackageError, KeyError, TypeError, ValueError):
            pass  # the first step that it does not tell of, or nothing that can be read: from there on
        return cls(file, dict(origin), seconds)

    def finish(self, step: str, seconds: float) -> None:
        """A step is done and its model is on the disk."""
        self.seconds[step] = round(seconds, 1)
        write_json(self.file, {"format": FORMAT, "origin": self.origin, "seconds": self.seconds})
