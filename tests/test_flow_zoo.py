"""Every network of the registry from a search to its files, which are held against the trained network.

Keywords come without data at hand, so that network is estimated and exported only.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from flow import cli, pipeline
from flow.config import SearchSettings
from flow.progress import SilentListener
from flow.verification import verify_run
from models import weights as weights_module
from models.policy import BitPolicy
from models.preparation import Preparation
from models.registry import get_model

SEARCHED = [("resnet8:0.25", 10_000.0), ("lenet5:0.5", 100_000.0)]
SLOWLY = [
    ("mobilenet:0.25", 10_000.0), ("sfc", 200_000.0), ("lfc", 10_000.0),
    # So slowly that every layer has 8 bits: of the 28,800 values behind the first one some lie so near to a half that the
    # QONNX file, in single precision, rounds them the other way than thresholds do; `hls.rounding` tells those apart.
    ("cnv:0.25", 1000.0),
    ("resnet20:0.25", 1000.0),
]  # fmt: skip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("model", "min_fps"), [*SEARCHED, *(pytest.param(*m, marks=pytest.mark.slow) for m in SLOWLY)])
def test_a_whole_search(model: str, min_fps: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_module, "MAX_EPOCHS", 3)
    settings = SearchSettings(
        model=model, dataset="digits", data_dir=tmp_path / "nowhere", run_dir=tmp_path / "run", n_trials=2, threads=1,
        retrain_images=128, final_images=1000, min_fps=min_fps,
    )  # fmt: skip
    found = pipeline.search(settings, SilentListener())
    document = json.loads((tmp_path / "run" / "policy.json").read_text())
    written = (tmp_path / "run" / "summary.md").read_text()
    assert found.constraint.violation(found.best.estimate) <= 0
    assert document["estimate"]["meets_constraint"] is True
    assert document["estimate"]["fps"] >= min_fps
    assert BitPolicy.from_dict(document["policy"]) == found.best.policy
    assert set(document["implementations"]) == set(document["policy"])
    assert Preparation.from_dict(document["data"]["preparation"]) == Preparation.of(get_model(model).input_shape)
    for layer in document["policy"]:
        assert f"| {layer} |" in written
    assert [v.agrees for v in verify_run(tmp_path / "run", 2)] == [True, True, True]


def test_keywords_are_estimated_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And exported: the check holds the estimates of a random policy against FINN's flow on the QONNX file."""
    told = ["estimate", "--model", "kws", "--data-dir", str(tmp_path / "nowhere")]
    assert cli.main([*told, "--weight-bits", "1", "--act-bits", "1"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "kws comes without a data set: its activations are calibrated on noise" in said.out
    fps = int(re.search(r"([\d,]+) fps in the steady state", " ".join(said.out.split()))[1].replace(",", ""))  # type: ignore[index]
    assert fps >= get_model("kws").min_fps
    assert cli.main([*told, "--check", "1"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert ": 0 differences" in " ".join(said.out.split())
