"""The directory of one build, `build/<name>/`: what it belongs to, and the files in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from flow.errors import BuildError, RunDirectoryError
from flow.run_directory import write_json, write_text
from hls.build_plan import BuildPlan
from hls.build_process import seal
from hls.finn_build import BuiltNode, Checkpoint, Stream
from hls.handover.build import CHECKPOINT, PLAN, sealed
from hls.handover.progress import sha256

NODES = "nodes.json"


class BuildDirectory:
    """Files of a build; see `docs/build.md`.

    Args:
        path: made if it is not there.
        plan: what is built in it.

    Raises:
        RunDirectoryError: it is not a directory.
        BuildError: it holds another build.
    """

    def __init__(self, path: Path, plan: BuildPlan) -> None:
        self.path = path
        self.plan = plan
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunDirectoryError(f"OUT={path} is not a directory; name another one") from error
        if (path / PLAN).exists():
            there = BuildPlan.from_json((path / PLAN).read_text(encoding="utf-8"))
            if there.digest != plan.digest:
                raise BuildError(
                    f"{path} holds another build ({_difference(there, plan)}); remove it, or name another directory with OUT="
                )

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def checkpoint(self, prepare: Callable[[Path], Checkpoint]) -> Checkpoint:
        """The checkpoint: the one that is there, else a new one, and the plan's files with it.

        Args:
            prepare: writes a checkpoint to a path.
        """
        kept = self._kept()
        if kept is not None:
            return kept
        found = prepare(self / CHECKPOINT)
        write_json(
            self / NODES,
            {"reads": asdict(found.reads), "hands_on": asdict(found.hands_on), "nodes": [n.to_dict() for n in found.nodes]},
        )
        seal(self.path)
        for name, text in sorted(self.plan.files().items()):  # the plan last: it says that the rest is there
            write_text(self / name, text)
        return found

    def _kept(self) -> Checkpoint | None:
        """The checkpoint that is there, if it is whole."""
        try:
            if not (self / PLAN).exists() or sealed(self.path) != sha256(self / CHECKPOINT):
                return None
            raw = json.loads((self / NODES).read_text(encoding="utf-8"))
            ends = [Stream(tuple(raw[end]["shape"]), raw[end]["datatype"]) for end in ("reads", "hands_on")]
            return Checkpoint(tuple(BuiltNode.from_dict(n) for n in raw["nodes"]), *ends)
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _difference(there: BuildPlan, wanted: BuildPlan) -> str:
    """The first fact in which two plans differ."""
    before: dict[str, Any]
    before, after = asdict(there), asdict(wanted)
    for name, value in after.items():
        if name != "name" and before[name] != value:
            return f"its {name.replace('_', ' ')} is another"
    return "of another format"
