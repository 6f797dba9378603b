"""Plans: the same facts have the same digest, and boards that FINN cannot build for are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from boards.registry import get_board
from hls.build_plan import BuildPlan, PlannedBoard, PlannedLayer, planned_board
from hls.errors import BuildError
from hls.types import Implementation

BOARD = PlannedBoard("pynq-z2", "Pynq-Z2", "xc7z020clg400-1", 100.0)
LAYERS = (PlannedLayer("fc0", 2, 2, Implementation.RTL), PlannedLayer("fc1", 1, None, Implementation.HLS))
FOLDING = {"MVAU_rtl_0": {"PE": 2, "SIMD": 4, "ram_style": "block"}, "MVAU_hls_0": {"PE": 1, "SIMD": 1}}
PLAN = BuildPlan("made", BOARD, "ab" * 32, LAYERS, FOLDING, None, {"finn-plus": "1.6.1"})
PARTS = {"Pynq-Z2": "xc7z020clg400-1", "ZCU104": "xczu7ev-ffvc1156-2-e"}


def test_a_plan_is_read_as_it_was_written() -> None:
    assert BuildPlan.from_json(PLAN.to_json()) == PLAN
    for_fps = replace(PLAN, folding=None, target_fps=1000, layers=(), fifo_depths={"MVAU_hls_0": 7}, policy_digest="0123")
    assert BuildPlan.from_json(for_fps.to_json()) == for_fps
    assert set(PLAN.files()) == {"plan.json", "folding.json"}
    assert set(for_fps.files()) == {"plan.json"}
    assert json.loads(PLAN.files()["folding.json"]) == {"Defaults": {}, **FOLDING}


@pytest.mark.parametrize(
    "change",
    [
        {"board": replace(BOARD, clock_mhz=101.0)},
        {"model_sha256": "cd" * 32},
        {"layers": LAYERS[::-1]},
        {"folding": {**FOLDING, "MVAU_hls_0": {"PE": 1, "SIMD": 2}}},
        {"versions": {"finn-plus": "1.6.2"}},
        {"top_k": 1},
        {"fifo_depths": {"MVAU_hls_0": 7}},
        {"policy_digest": "x"},
        {"steps_with_tools": PLAN.steps_with_tools[:-1]},
    ],
)
def test_every_fact_is_in_the_digest(change: dict[str, Any]) -> None:
    assert replace(PLAN, **change).digest != PLAN.digest


def test_the_digest_does_not_depend_on_the_name_nor_on_an_order_without_meaning() -> None:
    turned = dict(reversed(FOLDING.items()))
    assert replace(PLAN, name="another", folding=turned).digest == PLAN.digest


def test_a_plan_that_was_changed_is_refused() -> None:
    raw = json.loads(PLAN.to_json())
    raw["board"]["clock_mhz"] = 250.0
    with pytest.raises(BuildError, match="it was changed; build into another directory"):
        BuildPlan.from_json(json.dumps(raw))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"format": 1, "digest": "x"}', '{"digest": "x", "format": 1, "a": 1}']
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(BuildError, match="this is no plan of a build"):
        BuildPlan.from_json(text)


def test_another_format_is_refused() -> None:
    with pytest.raises(BuildError, match="has format 2, this bitloop reads 1"):
        BuildPlan.from_json('{"format": 2, "digest": "x"}')


@pytest.mark.parametrize("change", [{"folding": None}, {"target_fps": 100}])
def test_a_folding_or_a_frame_rate(change: dict[str, Any]) -> None:
    with pytest.raises(BuildError, match="either a folding or a frame rate"):
        replace(PLAN, **change)


def test_a_frame_rate_below_one_is_refused() -> None:
    with pytest.raises(BuildError, match="TARGET_FPS is 0"):
        replace(PLAN, folding=None, target_fps=0)


def test_a_board_that_finn_has() -> None:
    assert planned_board(get_board("pynq-z2"), PARTS) == BOARD


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"finn_name": None},
            r"FINN has no PYNQ-Z2, so BOARD=pynq-z2 can be estimated but not built; FINN builds for Pynq-Z2, ZC",
        ),
        ({"finn_name": "Pynq-Z9"}, r"finn_name of BOARD=pynq-z2 is 'Pynq-Z9', which FINN does not know"),
        ({"fpga_part": "xc7z010clg400-1"}, r"has the part xc7z010clg400-1, but FINN's Pynq-Z2 is a xc7z020clg400-1"),
    ],
)
def test_a_board_that_finn_would_build_otherwise_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BuildError, match=said):
        planned_board(replace(get_board("pynq-z2"), **change), PARTS)
