"""Which recipe should the retraining have that ends a search?

    python -W ignore -m benchmarks.bench_final --device cuda              (a GPU; a CPU needs ten minutes an epoch)
    python -W ignore -m benchmarks.bench_final --part 2/3                 the second of three shares, for processes side by side
    python -W ignore -m benchmarks.bench_final --model tfc --dataset mnist --bits 1/1,2/2,4/4         uniform policies
    python -W ignore -m benchmarks.bench_final --report

Each policy is retrained as `make search` does it in the end, epoch by epoch with the best one kept, but for the learning rate
and the weight of the float network's opinion in the loss. Recipes are told apart by the search split, as the product would;
the test split is beside it. Without `--bits` the policies are the answers of `model-based` in `benchmarks.bench_board`, CNV on
CIFAR-10.
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
from benchmarks.bench_board import SEARCHERS, float_accuracy, latest
from benchmarks.kept import add_line, add_part_option, is_kept, part_of, read_lines, rows_of
from benchmarks.task import Task, percent
from flow.config import SearchSettings
from flow.evaluator import RETRAINING
from models.convergence import Effort, converge
from models.device import prepare_process
from models.policy import BitPolicy
from models.train import accuracy, fitted

KEPT = Path(__file__).with_name("measured") / "final.jsonl"
RATES = (0.01, 0.003, 0.001)
DISTILLATIONS = (0.0, 0.5, 0.9)
EPOCHS = (1, 5)
MIXED_SEEDS = (0, 1, 2)


def measure(task: Task, cell: dict[str, Any]) -> dict[str, Any]:
    """Retrain a policy with a recipe."""
    policy, train_split = BitPolicy.from_json(json.dumps(cell["policy"])), task.whole.train
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


def policies(task: Task, bits: str) -> list[dict[str, Any]]:
    """What is retrained: uniform policies of the bits named, or what searches of CNV answered with."""
    if bits:
        pairs = [tuple(map(int, pair.split("/"))) for pair in bits.split(",")]
        uniform = {f"{w}/{a}": BitPolicy.uniform(task.evaluator.specs, w, a) for w, a in pairs}
        return [{"group": f"{task.settings.model} {of}", "policy": json.loads(p.to_json())} for of, p in uniform.items()]
    now = float_accuracy()
    answers = [r for r in latest(read_lines(KEPT_BOARD)) if (r["searcher"], r["float"]) == (SEARCHERS[0], now)]
    return [{"group": "cnv mixed", "policy": r["policy"]} for r in answers if r["seed"] in MIXED_SEEDS]


def report(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown: accuracies in percent on the search and on the test split."""
    shares = sorted({r["distillation"] for r in rows})
    lines = [
        "| policies | epochs | learning rate | " + " | ".join(f"distilled {s:.0%}" for s in shares) + " |",
        "|---|---|---|" + "---|" * len(shares),
    ]
    for group, epochs, lr in dict.fromkeys((r["group"], r["epochs"], r["lr"]) for r in rows):
        cells = []
        for share in shares:
            wanted = {"group": group, "epochs": epochs, "lr": lr, "distillation": share}
            runs = rows_of(wanted, rows)
            cells.append(" / ".join(percent([r[s] for r in runs]) for s in ("search", "test")) if runs else "")
        lines.append(f"| {group} | {epochs} | {lr} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cnv")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--bits", default="", help="weight and activation bits of uniform policies")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES)
    parser.add_argument("--distillations", type=float, nargs="+", default=DISTILLATIONS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--report", action="store_true")
    add_part_option(parser)
    arguments = parser.parse_args()
    prepare_process(1)
    rows = read_lines(KEPT)
    if not arguments.report:
        named = {"model": arguments.model, "dataset": arguments.dataset, "seed": 0, "device": arguments.device}
        task = Task(SearchSettings.model_validate(named))
        cells = [
            {**of, "epochs": n, "lr": lr, "distillation": share, "seed": 0, "float": round(task.weights.search_accuracy, 5)}
            for of, n, lr, share in product(
                policies(task, arguments.bits), arguments.epochs, arguments.rates, arguments.distillations
            )
        ]
        for cell in part_of(cells, arguments.part):
            if not is_kept(cell, rows):
                rows.append(measure(task, cell))
                add_line(KEPT, rows[-1])
                print(rows[-1], flush=True)
    print(report(rows))


if __name__ == "__main__":
    main()
