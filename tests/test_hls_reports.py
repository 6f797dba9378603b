"""Vivado's reports: read as they are, and refused where they are not Vivado's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boards.board import Resources
from hls.errors import ReportError
from hls.handover.progress import sha256
from hls.reports import Timing, read_reports, read_results, routed_timing
from tests.made_reports import ALONE, ROW, routed
from tests.stand_in_tools import MARK, TIMING


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`results/` of a build."""
    report = tmp_path / "report"
    report.mkdir()
    rows = {"(top)": ROW, "StreamingDataflowPartition_1_MVAU_hls_0": {**ROW, "LUT": 7}, "top_axi_interconnect_0_0": ROW}
    (report / "post_synth_resources.json").write_text(json.dumps(rows))
    (report / "ooc_synth_and_timing.json").write_text(json.dumps(ALONE))
    (report / "post_route_timing.rpt").write_text(routed(slack="0.250"))
    (report / "post_synth_report.xml").write_text("<r/>")
    seal(tmp_path)
    return tmp_path


def seal(folder: Path, **changed: Any) -> None:
    files = {p.relative_to(folder).as_posix(): sha256(p) for p in folder.glob("report/*")}
    tools = {"vivado": "/x/vivado", "version": "2022.2", "stand_in": False}
    document = {"format": 1, "plan": "0123", "tools": tools, "seconds": {}, "files": files, **changed}
    (folder / "results.json").write_text(json.dumps(document))


def test_reports_are_read(folder: Path) -> None:
    found = read_reports(folder / "report", 100.0)
    assert found.system == Resources(lut=1200, ff=2100, bram18=7, dsp=4)  # a block of 36 kbit is two of 18
    assert found.nodes["MVAU_hls_0"].lut == 7
    assert "top_axi_interconnect_0_0" in found.nodes
    assert found.accelerator == Resources(lut=1200, ff=2100, bram18=7, dsp=4)
    assert found.accelerator_timing == Timing(1.5, 10.0)
    assert found.accelerator_timing.fmax_mhz == pytest.approx(117.647, abs=1e-3)
    assert found.system_timing == Timing(0.25, 10.0, 0.03, 3.75)
    assert (found.vivado, found.power_w) == ("2022.2", 0.21)
    assert found.system_timing.fmax_mhz == pytest.approx(1000 / 9.75)


def test_a_missed_clock_is_seen(folder: Path) -> None:
    (folder / "report" / "post_route_timing.rpt").write_text(routed(slack="-0.125"))
    timing = read_reports(folder / "report", 100.0).system_timing
    assert not timing.met
    assert timing.fmax_mhz == pytest.approx(1000 / 10.125)
    assert Timing(0.0, 10.0).met


@pytest.mark.parametrize("text", ["", "WNS(ns)", routed(slack="NA   "), "no timing constraints"])
def test_a_design_without_a_slack_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.rpt").write_text(text)
    with pytest.raises(ReportError, match="has no WNS"):
        routed_timing(tmp_path / "a.rpt", 100.0)


@pytest.mark.parametrize(("slacks", "name"), [({"hold": "NA"}, "WHS"), ({"pulse": "NA"}, "WPWS")])
def test_a_design_without_hold_or_pulse_width_is_refused(tmp_path: Path, slacks: dict[str, str], name: str) -> None:
    (tmp_path / "a.rpt").write_text(routed(**slacks))
    with pytest.raises(ReportError, match=rf"has no {name} \(NA\)"):
        routed_timing(tmp_path / "a.rpt", 100.0)


@pytest.mark.parametrize("slacks", [{"hold": "-0.010"}, {"pulse": "-0.100"}])
def test_a_violation_of_hold_or_pulse_width_is_not_met(tmp_path: Path, slacks: dict[str, str]) -> None:
    (tmp_path / "a.rpt").write_text(routed(**slacks))
    assert not routed_timing(tmp_path / "a.rpt", 100.0).met


@pytest.mark.parametrize("change", [{"WNS": None}, {"WNS": "NA"}, {"total_power_W": None}, {"LUT": None}])
def test_a_report_with_a_null_is_refused(folder: Path, change: dict[str, Any]) -> None:
    (folder / "report" / "ooc_synth_and_timing.json").write_text(json.dumps({**ALONE, **change}))
    with pytest.raises(ReportError, match="are not what FINN writes"):
        read_reports(folder / "report", 100.0)


def test_a_row_that_is_no_object_is_refused(folder: Path) -> None:
    (folder / "report" / "post_synth_resources.json").write_text('{"(top)": null}')
    with pytest.raises(ReportError, match="are not what FINN writes"):
        read_reports(folder / "report", 100.0)


def test_files_that_results_do_not_list_are_refused(folder: Path) -> None:
    (folder / "driver").mkdir()
    (folder / "driver" / "on_device.py").write_text("")
    with pytest.raises(ReportError, match=r"on_device\.py is a link or not in results\.json"):
        read_results(folder, "0123")
    (folder / "driver" / "on_device.py").unlink()
    (folder / "report" / "more.rpt").symlink_to(folder / "report" / "post_route_timing.rpt")
    with pytest.raises(ReportError, match=r"more\.rpt is a link"):
        read_results(folder, "0123")


@pytest.mark.parametrize("name", ["post_synth_resources.json", "ooc_synth_and_timing.json", "post_route_timing.rpt"])
def test_a_missing_report_is_named(folder: Path, name: str) -> None:
    (folder / "report" / name).unlink()
    with pytest.raises(ReportError, match=rf"{name} cannot be read"):
        read_reports(folder / "report", 100.0)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"(top)": {"LUT": 1}}'])
def test_a_damaged_report_is_refused(folder: Path, text: str) -> None:
    (folder / "report" / "post_synth_resources.json").write_text(text)
    with pytest.raises(ReportError):
        read_reports(folder / "report", 100.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ooc_synth_and_timing.json", json.dumps({**ALONE, "vivado_version": MARK})),
        ("post_route_timing.rpt", TIMING),
        ("post_synth_report.xml", f"<r><!-- {MARK} --></r>"),
    ],
)
def test_reports_of_stand_in_tools_are_refused(folder: Path, name: str, text: str) -> None:
    (folder / "report" / name).write_text(text)
    with pytest.raises(ReportError, match=rf"{name} was written by a stand-in tool"):
        read_reports(folder / "report", 100.0)


def test_results_are_read_with_every_hash(folder: Path) -> None:
    assert read_results(folder, "0123")["tools"]["version"] == "2022.2"
    with pytest.raises(ReportError, match="belongs to the plan '0123', not to 4567"):
        read_results(folder, "4567")
    (folder / "report" / "post_synth_report.xml").write_text("<other/>")
    with pytest.raises(ReportError, match=r"post_synth_report\.xml is missing or not what results\.json says"):
        read_results(folder, "0123")
    (folder / "report" / "post_synth_report.xml").unlink()
    with pytest.raises(ReportError, match=r"post_synth_report\.xml is missing"):
        read_results(folder, "0123")


def test_results_of_stand_in_tools_are_refused(folder: Path) -> None:
    seal(folder, tools={"vivado": "/x/vivado", "version": "2022.2", "stand_in": True})
    with pytest.raises(ReportError, match=r"was made by stand-in tools \(/x/vivado\), which build nothing"):
        read_results(folder, "0123")


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": 1, "plan": "0123"}', '{"format": 2, "plan": "0123"}'])
def test_damaged_results_are_refused(folder: Path, text: str | None) -> None:
    (folder / "results.json").unlink()
    if text is not None:
        (folder / "results.json").write_text(text)
    with pytest.raises(ReportError):
        read_results(folder, "0123")
