"""What a build begins with: a finished run, or a QONNX file from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from boards.board import Board
from boards.registry import get_board
from flow.constraint import Constraint
from flow.errors import BoardError, BuildError, RunDirectoryError, SettingsError
from flow.fifo_depths import FILE, read_depths
from flow.policy_file import read_policy
from hls.build_plan import PACKAGES, BuildPlan, PlannedLayer, planned_board
from hls.finn_build import finn_parts
from hls.finn_constants import check_constants
from hls.handover.progress import plan_digest, sha256
from hls.types import Estimate, Folding, Implementation
from models.files import read_json


@dataclass(frozen=True)
class BuildSource:
    """A network with all that is known of it.

    Attributes:
        name: of the build.
        onnx: its QONNX file.
        board: to build for.
        layers: with their bits and implementations; none of a file from elsewhere.
        folding: node by node; None where FINN is to find one.
        target_fps: for that; else None.
        estimate, constraint: what it is estimated to take and must keep to; None of a file from elsewhere.
        golden: its golden set; None of a file from elsewhere.
        policy_digest: of its policy; None of a file from elsewhere.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.
        model: as given to MODEL; None of a file from elsewhere.
        fifo_depths: node to words of the FIFOs behind it, where a simulation found them (`flow.fifo_depths`).
    """

    name: str
    onnx: Path
    board: Board
    layers: tuple[PlannedLayer, ...]
    folding: Folding | None
    target_fps: int | None
    estimate: Estimate | None = None
    constraint: Constraint | None = None
    golden: Path | None = None
    policy_digest: str | None = None
    top_k: int = 0
    model: str | None = None
    fifo_depths: Mapping[str, int] = field(default_factory=dict)

    @property
    def design_digest(self) -> str:
        """Changes with whatever FIFO depths depend on: board, bits, implementations and folding; not with the weights."""
        facts = {"board": self.board.name, "layers": [asdict(layer) for layer in self.layers], "folding": self.folding}
        return plan_digest({**facts, "target_fps": self.target_fps, "top_k": self.top_k})

    def plan(self, instrumented: bool = False) -> BuildPlan:
        """What to do with it.

        Args:
            instrumented: whether the accelerator is to count its own cycles.

        Raises:
            BuildError: FINN cannot build for the board.
            RunDirectoryError: the QONNX file cannot be read.
            GraphError: it is from elsewhere, and no ONNX or with constants that are not finite.
        """
        try:
            digest = sha256(self.onnx)
        except OSError as error:
            raise RunDirectoryError(f"{self.onnx} cannot be read ({error.strerror})") from error
        if self.policy_digest is None:
            check_constants(self.onnx)
        return BuildPlan(
            name=self.name,
            board=planned_board(self.board, finn_parts()),
            model_sha256=digest,
            layers=self.layers,
            folding=self.folding,
            target_fps=self.target_fps,
            versions={name: version(name) for name in PACKAGES},
            policy_digest=self.policy_digest,
            top_k=self.top_k,
            instrumented=instrumented,
            fifo_depths=dict(self.fifo_depths),
        )

    def check_fit(self) -> None:
        """Look whether the estimate keeps to the constraint.

        Raises:
            BuildError: it does not; the text says by what.
        """
        if self.estimate is None or self.constraint is None or self.constraint.violation(self.estimate) <= 0:
            return
        c = self.constraint
        raise BuildError(
            f"the policy of {self.name} {c.describe(self.estimate)}; wanted are {c.min_fps:,.0f} fps within "
            f"{c.max_utilisation:.0%} of a {self.board.title}: search again, or build it all the same with FORCE=1"
        )


def source_of_policy(policy: Path) -> BuildSource:
    """What a run left.

    Args:
        policy: its `policy.json`; `model.onnx` and `golden.npz` lie beside it.

    Raises:
        RunDirectoryError: a file is missing or damaged.
        SettingsError, PolicyError: it holds no policy.
    """
    run, bits = policy.parent, read_policy(policy)
    if not (run / "model.onnx").is_file():
        raise RunDirectoryError(f"RUN={run} has no model.onnx yet; let make search finish, or make retrain RUN={run}")
    try:
        document: dict[str, Any] = read_json(policy)
        board = get_board(str(document["board"]))
        built, wanted = document["implementations"], document["constraint"]
        found = BuildSource(
            name=_plain(run.resolve().name),
            onnx=run / "model.onnx",
            board=board,
            layers=tuple(PlannedLayer(name, b.weight, b.act, Implementation(built[name])) for name, b in bits.items()),
            folding=document["folding"],
            target_fps=None,
            estimate=Estimate.from_dict(document["estimate"]),
            constraint=Constraint(board, float(wanted["min_fps"]), float(wanted["max_utilisation"])),
            golden=run / "golden.npz",
            policy_digest=bits.digest,
            top_k=int(document.get("top_k", 0)),
            model=str(document["model"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, BoardError, SettingsError) as error:
        raise RunDirectoryError(
            f"{policy} does not say how every layer is built ({type(error).__name__}: {error}); search again with this bitloop"
        ) from error
    return replace(found, fifo_depths=read_depths(run / FILE, found.design_digest))


def source_of_qonnx(onnx: Path, board: str, folding: Path | None, target_fps: int | None, top_k: int = 0) -> BuildSource:
    """A QONNX file from elsewhere.

    Args:
        onnx: the file.
        board: name or TOML file.
        folding: JSON as FINN's `folding_config_file` takes it; None for FINN's own choice.
        target_fps: then the frame rate it aims at.
        top_k: numbers of the best classes to hand on; 0 for what the file ends in.

    Raises:
        SettingsError: neither or both of the two given, or no such files.
    """
    if (folding is None) == (target_fps is None):
        raise SettingsError("give either FOLDING=…/folding.json or TARGET_FPS=…, not both and not neither")
    if not onnx.is_file():
        raise SettingsError(f"QONNX={onnx} is not there; give a QONNX file")
    found = None
    if folding is not None:
        try:
            found = read_json(folding)
            if not isinstance(found, dict) or not all(isinstance(row, dict) for row in found.values()):
                raise ValueError("an object of objects is wanted")
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"FOLDING={folding} is no folding ({error}); node name to attributes, as FINN takes it"
            ) from error
        if found.pop("Defaults", {}):
            raise BuildError(f"FOLDING={folding} has Defaults; name every node and what it is to have")
    return BuildSource(_plain(onnx.stem), onnx, get_board(board), (), found, target_fps, top_k=top_k)


def _plain(name: str) -> str:
    """A name as it can stand in a path that FINN's scripts do not quote."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)
