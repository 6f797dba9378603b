"""The directory of one build, `build/<name>/`: what it belongs to, and the files in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from flow.errors import BuildError, RunDirectoryError
from flow.run_directory import write_json, write_text
from hls.build_plan import BuildPlan
from hls.build_process import seal
from hls.finn_build import BuiltNode, Checkpoint, Stream
from hls.handover.build import CHECKPOINT, PLAN, sealed
from hls.handover.lock import alone_in
from hls.handover.progress import WrongPackageError, sha256
from models.files import read_json

NODES = "nodes.json"
# What a build writes before its plan, and what is left of that where it was killed (models.files.whole_file).
_BEFORE_THE_PLAN = re.compile(
    r"\.lock|build\.log|\.?(verified\.json|answers\.npz|checkpoint\.onnx|checkpoint\.sha256|nodes\.json|folding\.json|plan\.json)"
    r"(\..*)?"
)


class BuildDirectory:
    """Files of a build; see `docs/build.md`.

    Args:
        path: made if it is not there.
        plan: what is built in it.

    Entered, nobody else builds in it until it is left.

    Attributes:
        lock: while it is entered; for processes that go on in it. None otherwise.

    Raises:
        RunDirectoryError: it is not a directory, or one of the user's with other things in it.
        BuildError: it holds another build, or another process builds in it (when it is entered).
    """

    def __init__(self, path: Path, plan: BuildPlan) -> None:
        self.path = path
        self.plan = plan
        self.lock: IO[str] | None = None
        self._exit = ExitStack()
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunDirectoryError(f"OUT={path} is not a directory; name another one") from error
        self._check()

    def __enter__(self) -> BuildDirectory:
        with ExitStack() as stack:
            try:
                self.lock = stack.enter_context(alone_in(self.path))
            except WrongPackageError as error:
                raise BuildError(str(error)) from error
            self._check()  # again: another process may have begun another build since
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.lock = None
        self._exit.close()

    def _check(self) -> None:
        """Look whether the directory is this build's, or free."""
        path = self.path
        if not (path / PLAN).exists():
            foreign = sorted(p.name for p in path.iterdir() if not _BEFORE_THE_PLAN.fullmatch(p.name))
            if foreign:
                raise RunDirectoryError(
                    f"OUT={path} holds {foreign[0]} and no {PLAN}, so it is not a build's, whose folders are replaced; name a "
                    "new or an empty directory"
                )
            return
        if (path / "handover" / "__main__.py").exists():
            raise RunDirectoryError(f"OUT={path} is a hand-over package; run ./build.sh in it, or name another directory")
        try:
            text = (path / PLAN).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BuildError(
                f"{path / PLAN} cannot be read ({error}); remove {path}, or name another directory with OUT="
            ) from error
        try:
            there = BuildPlan.from_json(text)
        except BuildError as error:
            raise BuildError(f"{path / PLAN}: {error}") from error
        if there.digest != self.plan.digest:
            raise BuildError(
                f"{path} holds another build ({_difference(there, self.plan)}); remove it, or name another directory with OUT="
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
            raw = read_json(self / NODES)
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
