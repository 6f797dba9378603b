"""The examples as a user runs them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from flow import cli
from models.data import load_splits
from tests.flow_fakes import REPLACED

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `own_data.py` writes, in both forms, and the network beside it."""
    folder = tmp_path_factory.mktemp("examples")
    subprocess.run([sys.executable, EXAMPLES / "own_data.py", "shapes"], cwd=folder, check=True)
    shutil.copy(EXAMPLES / "own_network.py", folder)
    return folder


def test_both_forms_of_the_data_are_the_same_images(shapes: Path) -> None:
    shape = (1, 28, 28)
    found = [load_splits(str(shapes / name), Path("nowhere"), shape) for name in ("shapes.npz", "shapes/")]
    for splits in found:
        assert list(splits.classes) == ["circle", "square", "triangle"]
        assert len(splits.train.y) + len(splits.search.y) == 900
        assert torch.bincount(splits.test.y).tolist() == [50, 50, 50]
    npz, folder = (s.test.x.flatten(1).sort(dim=0).values for s in found)
    assert torch.equal(npz, folder)


@pytest.mark.parametrize("data", ["shapes.npz", "shapes/"])
def test_a_search_takes_the_data_and_the_network(
    data: str, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, replacement in REPLACED.items():
        monkeypatch.setattr(name, replacement)
    run = tmp_path / "run"
    network = f"{shapes / 'own_network.py'}:small"
    quick = ("--trials", "1", "--min-fps", "1000", "--threads", "1", "--retrain-images", "64", "--final-images", "64")
    code = cli.main(["search", "--model", network, "--dataset", str(shapes / data), "--run", str(run), *quick])
    assert code == 0
    assert (run / "summary.md").is_file()
