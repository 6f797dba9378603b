"""Does a mixed policy beat a uniform one that has no fewer bits? TFC on MNIST, against 1/1, 1/2 and 2/2.

    python -m benchmarks.bench_accuracy --models tfc --seeds 0,1,2,3,4,5,6,7,8,9      (the uniform ones, 12 CPU minutes)
    python -W ignore -m benchmarks.bench_uniform            (40 minutes on one core; goes on where it stopped)

A mixed policy counts if its weights take no more memory than the uniform one's, its activations no more bits in all, and the
fastest accelerator for it within the board's limits is no slower. All of them are looked at: each is retrained briefly, the
`N_MEDIUM` best for `MEDIUM_IMAGES`, the `N_LONG` best of these as `bench_accuracy` retrains uniform ones; the latter two with
`CHOOSING_SEEDS`, and all by the search split. The best one's test accuracy, with ten other seeds, is compared with what
`bench_accuracy` has kept of the same seeds. Of 1/1 no policy has as few bits; there, the nearest is taken: `SPARE_BITS` more
for weights, none for activations.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import fmean
from typing import Any

from benchmarks.bench_accuracy import OUT, PUBLISHED, RECIPES
from benchmarks.kept import add_line, read_lines
from benchmarks.task import Task, percent, spread
from flow.config import SearchSettings
from flow.evaluator import DISTILLATION, RETRAINING, Evaluator
from models.device import prepare_process
from models.policy import BitPolicy, LayerBits
from models.spec import LayerSpec
from models.train import Recipe, accuracy, train

KEPT = OUT / "uniform.jsonl"
MODEL, DATASET = "tfc", "mnist"
UNIFORM = ((1, 1), (1, 2), (2, 2))
SPARE_BITS = {(1, 1): 640}  # as many as the last layer has weights
MOST_WEIGHT, MOST_ACT = 4, 4  # bits looked at
N_MEDIUM, N_LONG, MEDIUM_IMAGES = 24, 6, 110_000
CHOOSING_SEEDS, SEEDS = (10, 11, 12), tuple(range(10))


def bits_of(policy: BitPolicy, specs: tuple[LayerSpec, ...]) -> tuple[int, int]:
    """Bits of all weights, and of one activation of each layer, added up."""
    weights = sum(policy[s.name].weight * s.n_params for s in specs)
    return weights, sum(policy[s.name].act or 0 for s in specs)


def candidates(of: tuple[int, int], evaluator: Evaluator) -> list[BitPolicy]:
    """Mixed policies of no more bits and no fewer frames a second than a uniform one."""
    specs = evaluator.specs
    uniform = BitPolicy.uniform(specs, *of)
    most_weight, most_act = bits_of(uniform, specs)
    fps = evaluator.estimate(uniform).fps
    found = []
    acts = [range(1, MOST_ACT + 1) if s.has_act else (None,) for s in specs]
    for weights in product(range(1, MOST_WEIGHT + 1), repeat=len(specs)):
        for act in product(*acts):
            policy = BitPolicy((s.name, LayerBits(w, a)) for s, w, a in zip(specs, weights, act, strict=True))
            n_weight, n_act = bits_of(policy, specs)
            few = n_weight <= most_weight + SPARE_BITS.get(of, 0) and n_act <= most_act
            if few and policy != uniform and evaluator.estimate(policy).fps >= fps:
                found.append(policy)
    return found


def retrained(task: Task, policy: BitPolicy, recipe: Recipe, seed: int) -> tuple[float, float]:
    """Accuracies on the search and test splits."""
    network = task.evaluator.quantized(policy)
    train(network, task.whole.train, recipe, seed, teacher=task.weights.network().eval())
    return accuracy(network, task.whole.search), accuracy(network, task.whole.test)


def most_accurate(task: Task, policies: Sequence[BitPolicy], recipe: Recipe, n: int) -> list[BitPolicy]:
    """The best `n` after a retraining, by the mean over seeds on the search split; all, not retrained, of `n` or fewer."""
    if len(policies) <= n:
        return list(policies)
    found = {p: fmean(retrained(task, p, recipe, s)[0] for s in CHOOSING_SEEDS) for p in policies}
    return sorted(policies, key=lambda p: -found[p])[:n]


def measure(of: tuple[int, int]) -> dict[str, Any]:
    """The best mixed policy found beside a uniform one, and its accuracies."""
    named = {"model": MODEL, "dataset": DATASET, "min_fps": 1.0, "retrain_images": RETRAINING.n_images, "device": "cpu"}
    task = Task(SearchSettings.model_validate(named))
    evaluator = task.evaluator
    policies = candidates(of, evaluator)
    few = sorted(policies, key=lambda p: -evaluator.score(p).accuracy)[:N_MEDIUM]
    medium = replace(RECIPES[MODEL], n_images=MEDIUM_IMAGES, distillation=DISTILLATION)
    best = most_accurate(task, most_accurate(task, few, medium, N_LONG), RECIPES[MODEL], 1)[0]
    uniform = BitPolicy.uniform(evaluator.specs, *of)
    row = {
        "of": list(of), "policies": len(policies), "policy": json.loads(best.to_json()),
        "bits": bits_of(best, evaluator.specs), "bits of uniform": bits_of(uniform, evaluator.specs),
        "fps": round(evaluator.estimate(best).fps), "fps of uniform": round(evaluator.estimate(uniform).fps),
        "test": [round(retrained(task, best, RECIPES[MODEL], s)[1], 5) for s in SEEDS],
    }  # fmt: skip
    add_line(KEPT, row)
    return row


def report(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    kept = read_lines(OUT / f"accuracy-{DATASET}.jsonl")
    lines = [
        "| uniform | its accuracy | mixed | its accuracy | ahead | bits of weights | of activations | fps | published |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        weight, act = row["of"]
        its = {r["seed"]: r["test"] for r in kept if (r["model"], r["weight"], r["act"]) == (MODEL, weight, act)}
        ahead = [100 * (found - its[seed]) for seed, found in zip(SEEDS, row["test"], strict=True)]
        bits = ", ".join(f"{b['weight']}/{b['act'] or '-'}" for b in row["policy"].values())
        cells = [
            f"{weight}/{act}", f"{percent([its[s] for s in SEEDS])} %",
            bits, f"{percent(row['test'])} %", spread(ahead, "+.2f"),
            f"{row['bits'][0]:,} (uniform {row['bits of uniform'][0]:,})", f"{row['bits'][1]} ({row['bits of uniform'][1]})",
            f"{row['fps']:,} ({row['fps of uniform']:,})", f"{PUBLISHED[MODEL, weight, act]:.2f} %",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the table."""
    prepare_process(1)
    rows = read_lines(KEPT)
    for of in UNIFORM:
        if not any(r["of"] == list(of) for r in rows):
            rows.append(measure(of))
            print(rows[-1], flush=True)
    print(report(rows))


if __name__ == "__main__":
    main()
