"""What a run leaves for people to read: golden by construction, as the test writes the expected text itself."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from typing import Any

import pytest
from typer.main import get_command

from boards.board import Resources
from flow import cli
from flow.constraint import ANY_FPS
from flow.report import Outcome, UniformResult, command, policy_document, summary, weight_bits
from flow.trial import Trial
from hls.types import Correction
from tests.flow_fakes import CONSTRAINT, SPECS, estimate_of, policy_of

IDENTITY = {
    "MODEL": "tfc", "BOARD": "pynq-z2", "DATASET": "digits", "SEED": 3, "MIN_FPS": 3000.0, "MAX_UTIL": 0.8,
    "SEARCHER": "ddpg", "RETRAIN_IMAGES": 2048, "TOP_K": 1,
}  # fmt: skip
POLICY = policy_of((3, 2), (4, 1), (8, None))
CORRECTIONS = (
    Correction("MVAU_hls_0", "conv0", Resources(lut=6), "thresholds"),
    Correction("MVAU_hls_1", "fc0", Resources(lut=4), "thresholds"),
    Correction("shell", "", Resources(lut=70, bram18=1), "the shell"),
)
BEST = Trial(6, POLICY, estimate_of(fps=4000.0), accuracy=0.91, reward=0.91, seed=3, duration_s=2.0)


@pytest.fixture
def during() -> Outcome:
    versions, data = {"bitloop": "0.1.0", "torch": "2"}, {"classes": ["no", "yes"]}
    return Outcome(
        IDENTITY, 50_000, versions, SPECS, CONSTRAINT, 9, BEST, BEST.estimate, 0.97, data=data, made_by={"revision": "0123"}
    )


@pytest.fixture
def finished(during: Outcome) -> Outcome:
    uniform = (
        UniformResult(8, 0.95, estimate_of(lut=1234.0)),
        UniformResult(4, 0.93, estimate_of(fps=2500.0)),
        UniformResult(2, 0.8, estimate_of()),
    )
    final = replace(estimate_of(fps=5000.0, lut=120.0), method="the whole flow", corrections=CORRECTIONS)
    return replace(during, estimate=final, search_accuracy=0.925, test_accuracy=0.9125, uniform=uniform)


def test_policy_json_during_a_search(during: Outcome) -> None:
    document = policy_document(during)
    assert document["accuracy"] == {"float_search": 0.97, "trial_search": 0.91, "final_search": None, "final_test": None}
    assert document["estimate"]["method"] == "made up"
    assert document["estimate"]["fps"] == 4000


def test_policy_json_at_the_end(finished: Outcome) -> None:
    document = policy_document(finished)
    estimate = json.loads(json.dumps(document.pop("estimate")))
    assert document == {
        "format": 1,
        "model": "tfc",
        "dataset": "digits",
        "board": "pynq-z2",
        "seed": 3,
        "top_k": 1,
        "constraint": {"min_fps": 3000.0, "max_utilisation": 0.8},
        "policy": {"conv0": {"weight": 3, "act": 2}, "fc0": {"weight": 4, "act": 1}, "fc1": {"weight": 8, "act": None}},
        "policy_digest": POLICY.digest,
        "implementations": {"conv0": "hls", "fc0": "hls", "fc1": "hls"},
        "folding": {
            "MVAU_hls_0": {"PE": 1, "SIMD": 1, "ram_style": "block"},
            "MVAU_hls_1": {"PE": 2, "SIMD": 2, "ram_style": "block"},
            "MVAU_hls_2": {"PE": 4, "SIMD": 3, "ram_style": "block"},
        },
        "accuracy": {"float_search": 0.97, "trial_search": 0.91, "final_search": 0.925, "final_test": 0.9125},
        "calibration": None,
        "data": {"classes": ["no", "yes"]},
        "layers": [
            {"name": "conv0", "kind": "conv", "parameters": 72, "macs": 1152},
            {"name": "fc0", "kind": "linear", "parameters": 128, "macs": 128},
            {"name": "fc1", "kind": "linear", "parameters": 24, "macs": 24},
        ],
        "uniform": [
            {
                "bits": u.bits,
                "accuracy": u.accuracy,
                "meets_constraint": u.bits == 2,
                "fps": u.estimate.fps,
                "latency_ms": u.estimate.latency_ms,
                "resources": asdict(u.estimate.resources),
            }
            for u in finished.uniform
        ],
        "trial": 6,
        "n_trials": 9,
        "final_images": 50_000,
        "run": IDENTITY,
        "versions": {"bitloop": "0.1.0", "torch": "2"},
        "made_by": {"revision": "0123"},
    }
    e = finished.estimate
    assert estimate == {
        "method": "the whole flow",
        "meets_constraint": True,
        "fps": 5000.0,
        "latency_ms": (200 + 100 + 66) / 1000,
        "clock_mhz": 1.0,
        "resources": asdict(e.resources),
        "finn_resources": asdict(e.finn_resources),
        "cycles_per_layer": {"conv0": 200, "fc0": 100, "fc1": 66},
        "nodes": json.loads(json.dumps([asdict(n) for n in e.nodes])),
        "corrections": [asdict(c) for c in e.corrections],
        "factors": {},
    }


def test_policy_json_is_json(finished: Outcome) -> None:
    text = json.dumps(policy_document(finished), allow_nan=False)
    assert json.dumps(json.loads(text)) == text


def test_policy_json_says_where_the_constraint_is_not_met(finished: Outcome) -> None:
    document = policy_document(replace(finished, estimate=estimate_of(fps=2000.0)))
    assert document["estimate"]["meets_constraint"] is False


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text, row by row, cell by cell; the line below a head left out."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            if not line.startswith("| ---"):
                found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        elif found[-1]:
            found.append([])
    return [t for t in found if t]


def test_the_tables_of_the_summary(finished: Outcome) -> None:
    accuracy, layers, origins, policies = tables(summary(finished))
    assert accuracy == [
        ["network", "search split", "test split"],
        ["float", "97.00%", "–"],
        ["best trial (number 6), briefly retrained", "91.00%", "–"],
        ["best policy, finally retrained", "92.50%", "91.25%"],
    ]
    assert layers == [
        ["layer", "weight bits", "activation bits", "parameters", "MACs", "unit", "PE", "SIMD", "weights in", "cycles a frame",
         "LUT", "BRAM18", "DSP"],
        ["conv0", "3", "2", "72", "1,152", "hls", "1", "1", "block", "200 ◀ slowest", "46", "1", "0"],
        ["fc0", "4", "1", "128", "128", "hls", "2", "2", "block", "100", "44", "1", "0"],
        ["fc1", "8", "–", "24", "24", "hls", "4", "3", "block", "66", "40", "1", "0"],
    ]  # fmt: skip
    assert origins == [
        ["of that", "LUT", "BRAM18", "DSP"],
        ["what FINN counts", "120", "4", "0"],
        ["thresholds", "10", "0", "0"],
        ["the shell", "70", "1", "0"],
    ]
    assert policies == [
        ["policy", "accuracy", "fps", "latency ms", "LUT", "BRAM18", "constraint"],
        ["found by the search", "91.00%", "4,000", "0.458", "100 (25%)", "4 (44%)", "fits"],
        ["uniform 8 bits", "95.00%", "5,000", "0.366", "1,234 (308%)", "4 (44%)", "does not fit: 1,234 of 320 LUT"],
        ["uniform 4 bits", "93.00%", "2,500", "0.733", "100 (25%)", "4 (44%)", "too slow: 2,500 fps"],
        ["uniform 2 bits", "80.00%", "5,000", "0.366", "100 (25%)", "4 (44%)", "fits"],
    ]


def test_a_summary_names_no_frame_rate_where_none_is_asked_for(finished: Outcome) -> None:
    any_rate = replace(finished, constraint=replace(finished.constraint, min_fps=ANY_FPS))
    assert summary(any_rate).splitlines()[2] == "Within 80% of the board's resources; 9 trials, searcher ddpg, seed 3."


def test_a_summary_does_not_call_retrained_what_was_not(finished: Outcome) -> None:
    free = summary(replace(finished, identity={**finished.identity, "RETRAIN_IMAGES": 0}))
    assert "| best trial (number 6), calibrated, not retrained |" in free
    assert "All calibrated, not retrained, as a trial is" in free
    assert "briefly retrained" not in free


def test_the_lines_of_the_summary(finished: Outcome) -> None:
    lines = summary(finished).splitlines()
    assert lines[0] == "# tfc on tiny board, digits"
    assert lines[2] == ("At least 3,000 frames a second within 80% of the board's resources; 9 trials, searcher ddpg, seed 3.")
    assert "estimated, none is measured" in lines[4]
    assert "Method: the whole flow, at 1 MHz, and bitloop's corrections" in lines[4]
    mean = (3 * 72 + 4 * 128 + 8 * 24) / (72 + 128 + 24)
    assert f"Mean {mean:.2f} bits a weight. Digest {POLICY.digest}." in lines
    assert "Together 200 LUT, 5 BRAM18 and 0 DSP: 5,000 fps, 0.366 ms for the first frame (fits)." in lines
    assert "Versions: bitloop 0.1.0, torch 2." in lines
    assert all(line == line.rstrip() for line in lines)


def test_a_trial_before_the_end_has_a_summary_too(during: Outcome) -> None:
    accuracy, _, _, policies = tables(summary(during))
    assert accuracy[-1] == ["best policy, finally retrained", "–", "–"]
    assert len(policies) == 2


def test_weight_bits_count_every_weight_once() -> None:
    assert weight_bits(policy_of((2, 1), (2, 1), (2, None)), SPECS) == 2
    assert weight_bits(policy_of((1, 1), (8, 1), (1, None)), SPECS) == (72 + 8 * 128 + 24) / 224


def test_the_command_is_what_the_command_line_takes() -> None:
    text = command(IDENTITY, 50_000, 9)
    assert text == (
        "make search MODEL=tfc BOARD=pynq-z2 DATASET=digits SEED=3 MIN_FPS=3000 MAX_UTIL=0.8 SEARCHER=ddpg "
        "RETRAIN_IMAGES=2048 TOP_K=1 FINAL_IMAGES=50000 TRIALS=9"
    )
    flags: Any = {o for p in get_command(cli.app).commands["search"].params for o in p.opts}  # type: ignore[attr-defined]
    for variable in shlex.split(text)[2:]:
        assert f"--{variable.split('=')[0].lower().replace('_', '-')}" in flags


@pytest.mark.parametrize("fps", [1000.0, 0.5, 1234567.5, 1e-9])
def test_a_frame_rate_survives_the_command(fps: float) -> None:
    words = dict(w.split("=") for w in command({**IDENTITY, "MIN_FPS": fps}, 1, 1).split()[2:])
    assert float(words["MIN_FPS"]) == fps
