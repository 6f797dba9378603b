"""What a build is to do, before anything is done: `BuildPlan`.

A plan is facts only: which network, for which board, how every layer is built and folded, by which steps. The same facts
give the same digest, whoever plans and wherever; what a build directory holds is recognised by it. Carrying a plan out
is `hls.finn_build` (bitloop's own part of FINN's flow) and then `hls.handover` (FINN's steps for the board).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from boards.board import Board
from hls.errors import BuildError
from hls.handover.progress import FORMAT, plan_digest
from hls.types import Folding, Implementation
from models.files import parse_json

STEPS_WITHOUT_TOOLS = (
    "step_transpose_decomposition",
    "step_generate_estimate_reports",
    "step_assign_ddr_weight_offsets",
    "step_hw_codegen",
)
"""FINN's steps behind bitloop's own part that need no vendor tool."""

STEPS_WITH_TOOLS = (
    "step_hw_ipgen",
    "step_set_fifo_depths",
    "step_create_stitched_ip",
    "step_out_of_context_synthesis",
    "step_prepare_synthesis",
    "step_synthesize_bitfile",
    "step_make_driver",
    "step_deployment_package",
)
"""FINN's steps from Vitis HLS to the bitfile.

The order is that of finn.builder.build_dataflow_config.default_build_dataflow_steps. Its step_generate_hardware is taken
here as the three steps it consists of for a network without loops, so that what took hours in one is not lost with
another. Its step_measure_rtlsim_performance is left out: it wants FINN's own simulator library, built with Vivado's.
"""

PACKAGES = ("finn-plus", "qonnx", "bitloop")  # whose versions decide what a build gives


@dataclass(frozen=True)
class PlannedBoard:
    """What a build is told of a board: names as bitloop and FINN have them, Vivado's part, the clock in MHz."""

    name: str
    finn_name: str
    fpga_part: str
    clock_mhz: float


@dataclass(frozen=True)
class PlannedLayer:
    """A layer: its bits (`act` is None for the last one) and what its matrix unit is built as."""

    name: str
    weight: int
    act: int | None
    implementation: Implementation


@dataclass(frozen=True)
class BuildPlan:
    """Everything that a build depends on.

    Attributes:
        name: of the build, for people; the digest leaves it out.
        board: what it is built for.
        model_sha256: of the QONNX file.
        layers: in order; none for a network that was not searched, which is then built as FINN decides.
        folding: node by node; None where FINN is to find one for `target_fps`.
        target_fps: frames a second that FINN's SetFolding aims at; None where there is a folding.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.
        fifo_depths: words of the FIFOs behind a node, node by node, where a simulation has measured them; elsewhere they
            are as deep as the estimate counts them (`hls.corrections.FIFO_DEPTH`).
        instrumented: whether the accelerator counts its own cycles (FINN's instrumentation), for some more resources.
        policy_digest: of the policy it was made from, if any.
        versions: of what decides the outcome, name to version.
        steps_without_tools, steps_with_tools: FINN's, in order.
    """

    name: str
    board: PlannedBoard
    model_sha256: str
    layers: tuple[PlannedLayer, ...]
    folding: Folding | None
    target_fps: int | None
    versions: Mapping[str, str]
    top_k: int = 0
    fifo_depths: Mapping[str, int] = field(default_factory=dict)
    instrumented: bool = False
    policy_digest: str | None = None
    steps_without_tools: tuple[str, ...] = STEPS_WITHOUT_TOOLS
    steps_with_tools: tuple[str, ...] = STEPS_WITH_TOOLS

    def __post_init__(self) -> None:
        if (self.folding is None) == (self.target_fps is None):
            raise BuildError("a plan has either a folding or a frame rate to fold for, not both and not neither")
        if self.target_fps is not None and self.target_fps < 1:
            raise BuildError(f"TARGET_FPS is {self.target_fps}; a whole number of 1 or more is wanted")

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """What every layer's unit is built as, in order; none where FINN decides."""
        return tuple(layer.implementation for layer in self.layers)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with anything but the name."""
        return plan_digest(asdict(self))

    def to_json(self) -> str:
        """The content of `plan.json`."""
        return json.dumps({"format": FORMAT, "digest": self.digest, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> BuildPlan:
        """Read what `to_json` gave.

        Raises:
            BuildError: it is no plan, of another format, or was changed since.
        """
        try:
            raw: dict[str, Any] = parse_json(text)
            digest, found = raw.pop("digest"), raw.pop("format")
            if found != FORMAT:
                raise BuildError(f"the plan has format {found!r}, this bitloop reads {FORMAT}; build into another directory")
            raw["board"] = PlannedBoard(**raw["board"])
            raw["layers"] = tuple(
                PlannedLayer(**{**layer, "implementation": Implementation(layer["implementation"])}) for layer in raw["layers"]
            )
            for name in ("steps_without_tools", "steps_with_tools"):
                raw[name] = tuple(raw[name])
            plan = cls(**raw)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BuildError(
                f"this is no plan of a build ({type(error).__name__}: {error}); build into another directory"
            ) from error
        if plan.digest != digest:
            raise BuildError(
                f"the plan says it is {digest!r} and is {plan.digest!r}: it was changed; build into another directory"
            )
        return plan

    def files(self) -> dict[str, str]:
        """What a build directory begins with, name to content: the plan, and the folding as FINN takes it."""
        found = {"plan.json": self.to_json()}
        if self.folding is not None:
            found["folding.json"] = json.dumps({"Defaults": {}, **self.folding}, indent=2) + "\n"
        return found


def planned_board(board: Board, finn_parts: Mapping[str, str]) -> PlannedBoard:
    """What a build is told of a board.

    Args:
        board: to build for.
        finn_parts: FINN's boards, name to part (finn.util.basic.pynq_part_map).

    Raises:
        BuildError: FINN cannot build for it.
    """
    if board.finn_name is None:
        raise BuildError(
            f"FINN has no {board.title}, so BOARD={board.name} can be estimated but not built; FINN builds for "
            f"{', '.join(sorted(finn_parts))} (finn_name in a board file)"
        )
    part = finn_parts.get(board.finn_name)
    if part is None:
        raise BuildError(
            f"finn_name of BOARD={board.name} is {board.finn_name!r}, which FINN does not know; it is one of "
            f"{', '.join(sorted(finn_parts))}"
        )
    if part != board.fpga_part:
        raise BuildError(
            f"BOARD={board.name} has the part {board.fpga_part}, but FINN's {board.finn_name} is a {part}: FINN would build "
            f"for that; set fpga_part to {part} or take another finn_name"
        )
    return PlannedBoard(board.name, board.finn_name, board.fpga_part, board.clock_mhz)
