"""What Vivado reported of a build, as it is kept beside measurements: `synthesis.jsonl` in the build's directory."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from boards.measurement import Synthesis, Used
from flow.build_deployment import design_of
from flow.build_directory import BuildDirectory
from flow.build_source import BuildSource
from flow.run_directory import write_text
from hls.finn_build import Checkpoint
from hls.reports import Reports

FILE = "synthesis.jsonl"


def write_synthesis(directory: BuildDirectory, source: BuildSource, checkpoint: Checkpoint, reports: Reports) -> Synthesis:
    """Write what Vivado reported, as `bitloop measurements import` takes it; the same report is written once."""
    plan = directory.plan
    found = Synthesis(
        at=datetime.now(UTC),
        board=source.board.name,
        name=source.name,
        plan=plan.digest,
        policy_digest=source.policy_digest,
        design=design_of(source, checkpoint, plan.instrumented),
        clock_mhz=source.board.clock_mhz,
        vivado=reports.vivado,
        system=Used(**vars(reports.system)),
        nodes={name: Used(**vars(used)) for name, used in reports.nodes.items()},
        fmax_mhz=reports.system_timing.fmax_mhz,
        power_w=reports.power_w,
    )
    there = _read(directory / FILE)
    if there is not None and there.model_copy(update={"at": found.at}) == found:
        return there
    write_text(directory / FILE, found.model_dump_json() + "\n")
    return found


def _read(path: Path) -> Synthesis | None:
    with contextlib.suppress(OSError, ValidationError, UnicodeDecodeError):
        return Synthesis.model_validate_json(path.read_text(encoding="utf-8"))
    return None
