"""The report in a real browser: it is drawn, in dark and light, wide and narrow, asks for nothing and complains of nothing."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from flow.watch.page import write_report
from flow.watch.run_view import read_run
from flow.watch.sections import sections
from tests.browser import Browser, browser_path
from tests.made_watched_run import made_records, made_watched_run

pytestmark = pytest.mark.skipif(browser_path() is None, reason="no chromium is installed")

DRAWN = "document.documentElement?.dataset?.drawn !== undefined"
CHARTS = ["pareto", "learning", "bits", "resources", "cycles", "gaps"]
# of every chart: where it is, how many drawings and marks of data are in it, and the colour of its texts
LOOK = """[...document.querySelectorAll(".chart")].map(chart => {
  const box = chart.getBoundingClientRect();
  return {
    name: chart.id.replace("chart-", ""), x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height,
    drawings: chart.querySelectorAll("svg.main-svg").length,
    marks: chart.querySelectorAll(".point path, path.point, path.js-line").length,
    ink: getComputedStyle(chart.querySelector(".xtick text")).fill,
  };
})"""
INK = {False: "rgb(27, 31, 36)", True: "rgb(230, 234, 239)"}
GROUND = {False: (255, 255, 255), True: (20, 24, 29)}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    run = made_watched_run(folder / "tfc-pynq-z2", searchers=("ddpg", "tpe"))
    view = read_run(run)
    view = read_run(run, made_records(run, folder / "measurements.db", view.estimate, view.policy))
    assert [s.figure.name for s in sections(view) if s.figure] == CHARTS
    write_report(view, folder / "report.html")
    return folder / "report.html"


def share_drawn(picture: np.ndarray[Any, Any], chart: dict[str, Any], ground: tuple[int, int, int]) -> float:
    """Share of a chart's pixels that are not the page's ground."""
    x, y, width, height = (round(chart[k]) for k in ("x", "y", "width", "height"))
    part = picture[y : y + height, x : x + width].astype(int)
    assert part.size
    return float((np.abs(part - np.array(ground)).max(axis=2) > 24).mean())


@pytest.mark.parametrize("width_px", [1280, 400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_is_drawn(browser: Browser, report: Path, dark: bool, width_px: int) -> None:
    browser.requests.clear()
    browser.look_at(report.as_uri(), dark=dark, width_px=width_px, ready=DRAWN)
    charts = browser.evaluate(LOOK)
    assert [c["name"] for c in charts] == CHARTS
    assert all(c["drawings"] >= 2 and c["marks"] >= 1 and c["ink"] == INK[dark] for c in charts)
    picture = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("RGB"))
    assert picture.shape[1] == width_px
    assert tuple(picture[2, 2]) == GROUND[dark]
    assert all(0.01 < share_drawn(picture, c, GROUND[dark]) < 0.9 for c in charts)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width_px  # only tables scroll sideways
    assert browser.requests == [report.as_uri()]
    assert browser.complaints == []


def test_it_follows_the_scheme_onto_paper_and_back(browser: Browser, report: Path) -> None:
    browser.look_at(report.as_uri(), dark=False, width_px=1280, ready=DRAWN)
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    browser.call("Emulation.setEmulatedMedia", features=[dark])
    browser.wait_for(f"{LOOK}.every(chart => chart.ink === '{INK[True]}')")
    browser.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    on_paper = browser.evaluate(LOOK)
    assert {c["ink"] for c in on_paper} == {INK[False]}
    assert {c["height"] for c in on_paper} == {300}
    browser.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert {c["ink"] for c in browser.evaluate(LOOK)} == {INK[True]}
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page/") <= 9
    assert browser.complaints == []


def test_the_policy_appears_where_one_points(browser: Browser, report: Path) -> None:
    browser.look_at(report.as_uri(), dark=False, width_px=1280, ready=DRAWN)
    browser.evaluate("document.getElementById('chart-pareto').scrollIntoView()")
    at = browser.evaluate(
        """(() => {
          const stars = [...document.querySelectorAll("#chart-pareto .scatterlayer .point")];
          const box = stars[stars.length - 1].getBoundingClientRect();
          return {x: box.x + box.width / 2, y: box.y + box.height / 2};
        })()"""
    )
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **at)
    told = browser.evaluate(
        """new Promise(done => setTimeout(
          () => done(document.querySelector("#chart-pareto .hoverlayer")?.textContent ?? ""), 500))"""
    )
    assert "conv0 W" in told or "uniform" in told
