"""Damaged QONNX files through the whole of a build that needs no Vivado: a typed error or a network that verifies, no crash."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
N, N_SLOW = 12, 300


def through(folder: Path, first: int, last: int) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.fuzz_qonnx", str(folder), str(first), str(last)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    _, *found = map(json.loads, done.stdout.splitlines())
    print(Counter(row["became"] for row in found))
    assert [row["number"] for row in found] == list(range(first, last))
    assert [row for row in found if row["wrong"]] == []
    assert any(row["became"] != "GraphError" for row in found)  # damage that does no harm is built


def test_a_damaged_qonnx_file_is_refused_or_built_as_it_is(tmp_path: Path) -> None:
    through(tmp_path, 0, N)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_hundreds_of_damaged_qonnx_files_are(tmp_path: Path) -> None:
    through(tmp_path, N, N_SLOW)


def test_constants_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    """FINN's streamlining did not come to an end with them."""
    import onnx

    from flow.build_source import source_of_qonnx
    from flow.errors import GraphError
    from tests.fuzz_qonnx import small_network

    file = small_network(tmp_path)
    source_of_qonnx(file, "pynq-z2", None, 1000).plan()
    model = onnx.load(str(file))
    constant = next(c for c in model.graph.initializer if c.name == "conv0_norm.weight")
    constant.raw_data = b"\0\0\x80\xff" * 4  # minus infinity
    onnx.save(model, str(file))
    with pytest.raises(GraphError) as caught:
        source_of_qonnx(file, "pynq-z2", None, 1000).plan()
    assert str(caught.value).startswith(f"{file} has a constant that is not finite, conv0_norm.weight; ")
