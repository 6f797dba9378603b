"""Whether what a run left for the hardware is, bit for bit, the network that was trained."""

from __future__ import annotations

import json
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from boards.registry import get_board
from flow.errors import RunDirectoryError
from flow.golden import read_golden
from flow.policy_file import read_policy
from hls.finn_execution import answers
from hls.types import Implementation
from hls.verify import Verdict, quantizers, verdicts
from models.probe import probe_layers
from models.registry import get_model


def verify_run(path: Path, n_images: int) -> list[Verdict]:
    """Hold QONNX file, streamlined graph and hardware layers of a run against the golden set.

    Args:
        path: the run's directory.
        n_images: of the golden set, 1 or more; about five seconds each for CNV.

    Raises:
        RunDirectoryError: a file is missing or damaged.
        GraphError: FINN cannot convert or run the network.
    """
    policy = read_policy(path / "policy.json")
    document = json.loads((path / "policy.json").read_text(encoding="utf-8"))
    try:
        board = get_board(str(document["board"]))
        model = get_model(str(document["model"]))
        top_k = int(document.get("top_k", 0))
        built = [Implementation(document["implementations"][name]) for name in policy]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise RunDirectoryError(f"{path / 'policy.json'} does not say what every layer is built as ({error})") from error
    if not (path / "model.onnx").is_file():
        raise RunDirectoryError(f"RUN={path} has no model.onnx yet; let make search finish, or make retrain RUN={path}")
    golden = read_golden(path / "golden.npz").first(n_images)
    names = quantizers(probe_layers(model.build(), model.input_shape))
    stages = answers(path / "model.onnx", board, golden.pixels, built, top_k, golden.logits)
    return verdicts(names, golden.logits, stages)


def verdict_table(found: list[Verdict]) -> Table:
    """Verdicts as a table."""
    title = f"beside the trained network, {found[0].n_images} images of the golden set"
    remarks = "\n".join(f"{v.stage}: {v.remark}" for v in found if v.remark)
    table = Table("stage", title=title, caption=remarks or None, box=SIMPLE)
    for head in ("accumulators that differ", "by at most, LSB", "classes that differ", "wrong choices"):
        table.add_column(head, justify="right")
    table.add_column("first layer that differs from the stage before")
    for v in found:
        layer = "none"
        if v.first_layer is not None:
            layer = f"{v.first_layer}: {v.wrong_activations:,} values, by at most {v.largest_step}"
        table.add_row(v.stage, f"{v.wrong_logits:,}", str(v.largest_lsb), str(v.wrong_classes), str(v.wrong_choices), layer)
    return table
