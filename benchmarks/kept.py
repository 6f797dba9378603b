"""What long benchmarks keep to go on from: float weights and measurements, a line each."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models.data import Splits
from models.device import resolve_device
from models.own_network import plain_name
from models.registry import get_model
from models.weights import Pretrained, pretrain, read_pretrained, shipped_weights, write_pretrained


def float_weights(model: str, splits: Splits, folder: Path) -> Pretrained:
    """Those that ship, else those an earlier run kept in a folder, else new ones, kept there."""
    kept = folder / f"{plain_name(model)}-{splits.dataset}.pt"
    for path in (shipped_weights(model, splits.dataset), kept):
        if path is not None and path.exists():
            return read_pretrained(path)
    weights = pretrain(get_model(model), splits.for_search(), device=resolve_device())
    write_pretrained(weights, kept)
    return weights


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The measurements of a file, none where there is none; a last line cut short is left out."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def rows_of(cell: dict[str, Any], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The measurements of a cell: those that have all of its names and values."""
    return [row for row in rows if cell.items() <= row.items()]


def is_kept(cell: dict[str, Any], rows: Sequence[dict[str, Any]]) -> bool:
    """Whether one of the measurements is of a cell."""
    return bool(rows_of(cell, rows))


def add_part_option(parser: argparse.ArgumentParser) -> None:
    """Let several processes share a benchmark."""
    parser.add_argument("--part", default="1/1", help="2/3: the second of three shares, for three processes side by side")


def part_of(cells: Sequence[Any], part: str) -> list[Any]:
    """The share of cells that a part such as 2/3 names."""
    which, n = map(int, part.split("/"))
    if not 1 <= which <= n:
        raise SystemExit(f"--part {part}: there are parts 1/{n} to {n}/{n}")
    return list(cells[which - 1 :: n])


def add_line(path: Path, measured: dict[str, Any]) -> None:
    """Add a measurement to a file."""
    with path.open("a") as file:
        file.write(json.dumps(measured) + "\n")
