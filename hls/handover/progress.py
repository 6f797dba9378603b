"""Which steps of a build are finished, and in which order the rest comes; kept in `progress.json`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
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


def plan_digest(plan: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that change with anything of a plan but its name; `format` and `digest` are no part of it."""
    facts = {key: value for key, value in plan.items() if key not in ("name", "format", "digest")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


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
    except (OSError, ValueError, RecursionError) as error:
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
        tools: version and kind of the vendor tools, for the steps that need them; None where they are not used.
        seconds: of every finished step, in order.
        again: why steps that were finished before are done again; empty where none is.
    """

    file: Path
    origin: dict[str, str]
    tools: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    again: str = ""

    @classmethod
    def of(
        cls,
        file: Path,
        origin: Mapping[str, str],
        steps: Sequence[str],
        files: Callable[[str], Sequence[Path]],
        tools: Mapping[str, Any] | None = None,
        with_tools: Sequence[str] = (),
    ) -> Progress:
        """What is left of an earlier call, as far as it belongs to this one.

        Args:
            file: where it is kept.
            origin: what this build belongs to.
            steps: in their order; only finished ones before the first unfinished one count.
            files: what a step leaves and later ones need; a step without them is not finished, whatever is kept of it.
            tools: version and kind of the vendor tools, None where they are not used.
            with_tools: the steps that need them: with other tools they begin anew.
        """
        found = cls(file, dict(origin), dict(tools) if tools is not None else None)
        try:
            kept = read_object(file)
            if kept["format"] != FORMAT or kept["origin"] != dict(origin):
                return found
            for name in steps:
                seconds = float(kept["seconds"][name])
                if name in with_tools and kept.get("tools") != found.tools:
                    found.again = f"{name} and all behind it begin anew: they were done with {_named(kept.get('tools'))}"
                    break
                missing = next((p for p in files(name) if not p.exists()), None)
                if missing is not None:
                    found.again = f"{name} and all behind it begin anew: {missing} is gone"
                    break
                found.seconds[name] = seconds
        except (WrongPackageError, KeyError, TypeError, ValueError):
            pass  # the first step that it does not tell of, or nothing that can be read: from there on
        return found

    def finish(self, step: str, seconds: float) -> None:
        """A step is done and its model is on the disk."""
        self.seconds[step] = round(seconds, 1)
        write_json(self.file, {"format": FORMAT, "origin": self.origin, "tools": self.tools, "seconds": self.seconds})


def _named(tools: Any) -> str:
    """Kept tools for a person."""
    if not isinstance(tools, dict):
        return "tools that nobody noted"
    return f"Vivado {tools.get('version')}" + (" of stand-in tools" if tools.get("stand_in") else "")
