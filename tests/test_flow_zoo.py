"""Whole searches on networks that are no chains, and their files held against the trained network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flow import pipeline
from flow.config import SearchSettings
from flow.progress import SilentListener
from flow.verification import verify_run
from models import weights as weights_module
from models.policy import BitPolicy


@pytest.mark.parametrize("model", ["resnet8:0.25", pytest.param("mobilenet:0.25", marks=pytest.mark.slow)])
def test_a_whole_search(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "MAX_EPOCHS", 3)
    settings = SearchSettings(
        model=model, dataset="digits", data_dir=tmp_path / "nowhere", run_dir=tmp_path / "run", n_trials=2, threads=1,
        retrain_images=128, final_images=1000, min_fps=10_000,
    )  # fmt: skip
    found = pipeline.search(settings, SilentListener())
    document = json.loads((tmp_path / "run" / "policy.json").read_text())
    assert document["estimate"]["meets_constraint"] is True
    assert document["estimate"]["fps"] >= 10_000
    assert BitPolicy.from_dict(document["policy"]) == found.best.policy
    assert set(document["implementations"]) == set(document["policy"])
    for layer in document["policy"]:
        assert f"| {layer} |" in (tmp_path / "run" / "summary.md").read_text()
    assert [v.agrees for v in verify_run(tmp_path / "run", 2)] == [True, True, True]
