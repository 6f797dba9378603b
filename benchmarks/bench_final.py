"""Which recipe should the retraining have that ends a search? CNV on CIFAR-10, policies that searches answered with.

    python -W ignore -m benchmarks.bench_final --device cuda              (a GPU; a CPU needs ten minutes an epoch)
    python -W ignore -m benchmarks.bench_final --part 2/3                 the second of three shares, for processes side by side
    python -W ignore -m benchmarks.bench_final --report

Each policy is retrained as `make search` does it in the end, epoch by epoch with the best one kept, but for the learning rate
and the weight of the float network's opinion in the loss. Recipes are told apart by the search split, as the product would;
the test split is beside it. Policies: the answers of `model-based` in `benchmarks.bench_board`.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.bench_board import KEPT as KEPT_BOARD
from benchmarks.bench_board import SEARCHERS, float_accuracy, latest, task_of
from benchmarks.kept import add_line, add_part_option, is_kept, part_of, read_lines
from benchmarks.task import percent
from flow.evaluator import RETRAINING
from models.convergence import Effort, converge
from models.device import prepare_process
from models.policy import BitPolicy
from models.train import accuracy, fitted

KEPT = Path(__file__).with_name("measured") / "final.jsonl"
RATES = (0.01, 0.003, 0.001)
DISTILLATIONS = (0.0, 0.5, 0.9)
EPOCHS = (1, 5)


def measure(cell: dict[str, Any], policy: BitPolicy, device: str) -> dict[str, Any]:
    """Retrain a policy with a recipe."""
    task = task_of(cell["seed"], device)
    train_split = task.whole.train
    recipe = replace(RETRAINING, n_images=len(train_split), lr=cell["lr"], distillation=cell["distillation"])
    recipe = fitted(recipe, task.whole.for_search(), cell["epochs"])
    network = task.evaluator.quantized(policy)
    teacher = task.weights.network().eval().to(task.device)
    effort, begun = Effort(cell["epochs"], cell["epochs"]), time.monotonic()
    ended = converge(network, train_split, task.whole.search, recipe, effort, cell["seed"], teacher=teacher)
    found = {
        "search": round(ended.accuracy, 5),
        "test": round(accuracy(network, task.whole.test), 5),
        "best_epoch": ended.best_epoch,
    }
    return cell | found | {"device": str(task.device), "wall_s": round(time.monotonic() - begun)}


def report(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = ["| epochs | learning rate | distilled | policies | search split | test split |", "|---|---|---|---|---|---|"]
    for epochs, lr, share in product(EPOCHS, RATES, DISTILLATIONS):
        runs = [r for r in rows if (r["epochs"], r["lr"], r["distillation"]) == (epochs, lr, share)]
        if runs:
            found = " | ".join(percent([r[split] for r in runs]) for split in ("search", "test"))
            lines.append(f"| {epochs} | {lr} | {share} | {len(runs)} | {found} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report", action="store_true")
    add_part_option(parser)
    arguments = parser.parse_args()
    prepare_process(1)
    rows, now = read_lines(KEPT), float_accuracy()
    answers = [r for r in latest(read_lines(KEPT_BOARD)) if (r["searcher"], r["float"]) == (SEARCHERS[0], now)]
    cells = [
        {"of": r["seed"], "policy": r["policy"], "epochs": epochs, "lr": lr, "distillation": share, "seed": 0, "float": now}
        for r, epochs, lr, share in product(answers, EPOCHS, RATES, DISTILLATIONS)
    ]
    for cell in part_of(cells, arguments.part) if not arguments.report else ():
        if not is_kept(cell, rows):
            rows.append(measure(cell, BitPolicy.from_json(json.dumps(cell["policy"])), arguments.device))
            add_line(KEPT, rows[-1])
            print(rows[-1], flush=True)
    print(report(rows))


if __name__ == "__main__":
    main()
