"""What Vivado reported of a build: its files in `results/`, read into `Resources` and `Timing`.

FINN reads Vivado's own reports into JSON (finn/analysis/fpgadataflow/post_synth_res.py, finn/util/vivado.py,
parse_ooc_synth_results); the slack of the routed design is read here from Vivado's text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boards.board import Resources
from hls.errors import ReportError
from hls.handover.progress import FORMAT, WrongPackageError, read_object, sha256
from models.files import parse_json

TOP = "(top)"
_PARTITION = re.compile(r"StreamingDataflowPartition_\d+_(?=.)")  # FINN's prefix of a node inside the shell


@dataclass(frozen=True)
class Timing:
    """Timing of a routed design.

    Attributes:
        slack_ns: the worst negative slack (WNS); below 0 the clock is missed.
        period_ns: of the clock that was asked for.
        hold_ns: the worst hold slack (WHS); below 0 data changes too early, at any clock. None where it is not reported.
        pulse_ns: the worst slack of pulse widths (WPWS); None where it is not reported.

    Raises:
        ValueError: a slack that is as long as the period, or no number.
    """

    slack_ns: float
    period_ns: float
    hold_ns: float | None = None
    pulse_ns: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.period_ns < math.inf or not -math.inf < self.slack_ns < self.period_ns:
            raise ValueError(f"a slack of {self.slack_ns} ns in a period of {self.period_ns} ns cannot be")

    @property
    def met(self) -> bool:
        """Whether the design works at its clock, as far as reported."""
        return all(slack is None or slack >= 0 for slack in (self.slack_ns, self.hold_ns, self.pulse_ns))

    @property
    def fmax_mhz(self) -> float:
        """The fastest clock the design would take."""
        return 1000.0 / (self.period_ns - self.slack_ns)


@dataclass(frozen=True)
class Reports:
    """What one build reported.

    Attributes:
        vivado: its version.
        system: of the whole design behind synthesis, shell and DMA engines included.
        nodes: of every hardware node of it, by FINN's name.
        accelerator: of the accelerator alone, placed and routed out of context.
        accelerator_timing: of that.
        system_timing: of the whole design, routed; it decides about the bitfile.
        power_w: that Vivado estimates for the accelerator alone; None where it says nothing.
    """

    vivado: str
    system: Resources
    nodes: Mapping[str, Resources]
    accelerator: Resources
    accelerator_timing: Timing
    system_timing: Timing
    power_w: float | None


def read_results(folder: Path, plan_digest: str) -> dict[str, Any]:
    """The `results.json` of a finished build, after looking whether all its files are what it says.

    Args:
        folder: `results/` of a build.
        plan_digest: of the plan it must belong to.

    Raises:
        ReportError: it belongs to another plan, a file is missing, damaged or not in it, or stand-in tools made it.
    """
    try:
        document = read_object(folder / "results.json")
        if document["format"] != FORMAT:
            raise ReportError(f"{folder} has format {document['format']!r}, this bitloop reads {FORMAT}; build again")
        if document["plan"] != plan_digest:
            raise ReportError(
                f"{folder} belongs to the plan {document['plan']!r}, not to {plan_digest}; remove it and build again"
            )
        for name, wanted in document["files"].items():
            if not (folder / name).is_file() or sha256(folder / name) != wanted:
                raise ReportError(f"{folder / name} is missing or not what results.json says; copy results/ again, whole")
        listed = {"results.json", *document["files"]}
        strange = sorted(p for p in folder.rglob("*") if p.is_symlink() or not (p.is_dir() or _name(p, folder) in listed))
        if strange:
            raise ReportError(f"{strange[0]} is a link or not in results.json, so nobody knows whose it is; remove it")
        _ = document["tools"]["version"]  # what comes after this reads it
        if document["tools"]["stand_in"]:
            raise ReportError(
                f"{folder} was made by stand-in tools ({document['tools']['vivado']}), which build nothing; unset "
                f"FINN_TOOL_DIR_OVERRIDE, remove {folder} and build with Vivado"
            )
    except (WrongPackageError, KeyError, TypeError, AttributeError) as error:
        raise ReportError(f"{folder} cannot be read ({error}); copy results/ again, whole") from error
    return document


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def read_reports(folder: Path, clock_mhz: float) -> Reports:
    """What Vivado reported.

    Args:
        folder: `report/` of `results/`.
        clock_mhz: that was asked for.

    Raises:
        ReportError: a report is missing or is not what Vivado writes.
    """
    synthesis, alone = _json(folder / "post_synth_resources.json"), _json(folder / "ooc_synth_and_timing.json")
    routed = folder / "post_route_timing.rpt"
    _refuse_stand_in(folder / "post_synth_report.xml")
    _refuse_stand_in(routed)
    try:
        nodes = {_PARTITION.sub("", name): _resources(row) for name, row in synthesis.items() if name != TOP}
        return Reports(
            vivado=str(alone["vivado_version"]),
            system=_resources(synthesis[TOP]),
            nodes=nodes,
            accelerator=_resources(alone),
            accelerator_timing=Timing(float(alone["WNS"]), float(alone["clk_period_ns"])),
            system_timing=routed_timing(routed, clock_mhz),
            power_w=float(alone["total_power_W"]) if "total_power_W" in alone else None,
        )
    except KeyError as error:
        raise ReportError(f"the reports in {folder} do not say {error}; see the log of the build") from error
    except (TypeError, ValueError, AttributeError) as error:  # null, or a text where a number is wanted
        raise ReportError(f"the reports in {folder} are not what FINN writes ({error}); see the log of the build") from error


def routed_timing(report: Path, clock_mhz: float) -> Timing:
    """Setup, hold and pulse widths of a timing summary of Vivado's.

    Raises:
        ReportError: one of them is not there.
    """
    found = re.search(r"^[ \t]*(WNS\(ns\).*)\n[- \t]+\n(.*)$", _text(report), re.MULTILINE)
    row = dict(zip(re.split(r"\s{2,}", found[1].strip()), found[2].split(), strict=False)) if found else {}
    slack: dict[str, float] = {}
    for name in ("WNS", "WHS", "WPWS"):
        try:
            slack[name] = float(row[f"{name}(ns)"])
        except (KeyError, ValueError):  # Vivado writes NA where there is nothing to look at
            raise ReportError(
                f"{report} has no {name} ({row.get(f'{name}(ns)', 'not there')}); without it nobody knows whether the design "
                "meets its clock: see the log of the build"
            ) from None
    try:
        return Timing(slack["WNS"], 1000.0 / clock_mhz, slack["WHS"], slack["WPWS"])
    except ValueError as error:
        raise ReportError(f"{report} is not what Vivado writes: {error}; see the log of the build") from error


def _resources(row: Mapping[str, Any]) -> Resources:
    """A row of FINN's as ours: a block RAM of 36 kbit is two of 18."""
    counts = {name: float(row[name]) for name in ("LUT", "FF", "BRAM_18K", "BRAM_36K", "DSP")}
    wrong = next((name for name, count in counts.items() if not 0 <= count < math.inf), None)
    if wrong:
        raise ValueError(f"{wrong} is {counts[wrong]}")
    return Resources(counts["LUT"], counts["FF"], counts["BRAM_18K"] + 2 * counts["BRAM_36K"], counts["DSP"])


def _json(path: Path) -> dict[str, Any]:
    _refuse_stand_in(path)
    try:
        found = parse_json(_text(path))
    except ValueError as error:
        raise ReportError(f"{path} is not JSON ({error}); build again") from error
    if not isinstance(found, dict):
        raise ReportError(f"{path} holds no JSON object; build again")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ReportError(f"{path} cannot be read ({error.strerror}); the build has not come so far") from error


def _refuse_stand_in(path: Path) -> None:
    """Raise of a report that says itself that no Vivado wrote it."""
    if re.search(r"stand-in tool", _text(path), re.IGNORECASE):
        raise ReportError(f"{path} was written by a stand-in tool, which builds nothing; it is no result")
