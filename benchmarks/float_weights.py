"""Float weights for a benchmark."""

from __future__ import annotations

from pathlib import Path

from models.data import Splits
from models.device import resolve_device
from models.registry import get_model
from models.weights import Pretrained, pretrain, read_pretrained, shipped_weights, write_pretrained


def float_weights(model: str, splits: Splits, folder: Path) -> Pretrained:
    """Those that ship, else those an earlier run kept in a folder, else new ones, kept there."""
    kept = folder / f"{model}-{splits.dataset}.pt".replace(":", "-")
    for path in (shipped_weights(model, splits.dataset), kept):
        if path is not None and path.exists():
            return read_pretrained(path)
    weights = pretrain(get_model(model), splits.for_search(), device=resolve_device())
    write_pretrained(weights, kept)
    return weights
