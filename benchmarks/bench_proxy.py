"""Which reward ranks policies as a long retraining does, and what each costs.

    make bench-proxy               (hours; goes on where it stopped: benchmarks/measured/)

Half of the policies have bits drawn from 1 to 8, half from 2 to 4, where they are alike and hard to tell apart. Every
reward of every policy is measured with every seed on the search split; the seed draws calibration images, the order of
training and its augmentation. The truth is the accuracy on the test split after the long retraining, the mean over
all seeds but the one the reward was measured with. Printed are rank correlations (Spearman) with bootstrap intervals over
policies, the difference to the long retraining's own correlation (the ceiling that seeds leave), and the CPU time.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.kept import add_line, float_weights, read_lines
from flow.config import default_data_dir
from flow.evaluator import RETRAINING
from models.data import load_splits
from models.device import prepare_process
from models.own_network import plain_name
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import get_model
from models.train import Recipe, accuracy, calibrate, train

OUT = Path(__file__).with_name("measured")
N_CALIBRATION = 1000
BOOTSTRAPS = 500


@dataclass(frozen=True)
class Reward:
    """A way to score a policy.

    Attributes:
        name: of the reward.
        norms: whether batch norms are re-estimated.
        n_images: of the retraining, 0 for none.
        distillation: weight of the float network's opinion.
    """

    name: str
    norms: bool = True
    n_images: int = 0
    distillation: float = 0.0


def ladder(long: int) -> tuple[Reward, ...]:
    """The rewards, the cheapest first, the truth last.

    Args:
        long: images of the long retraining.
    """
    return (
        Reward("quantized only", norms=False),
        Reward("norms re-estimated"),
        Reward("1,024 images", n_images=1024),
        Reward("4,096 images", n_images=4096),
        Reward("4,096 images, distilled", n_images=4096, distillation=0.5),
        Reward("long", n_images=long),
    )


def policies(specs: object, n: int) -> list[BitPolicy]:
    """The same ones every time: half with bits from 1 to 8, half from 2 to 4."""
    rng = random.Random(0)
    wide = [BitPolicy.draw(specs, rng) for _ in range(n - n // 2)]  # type: ignore[arg-type]
    narrow = [BitPolicy.draw(specs, rng, 2, 4, 4) for _ in range(n // 2)]  # type: ignore[arg-type]
    return [p for pair in zip(wide, [*narrow, *wide[len(narrow) :]], strict=True) for p in pair][:n]


def measure(model: str, dataset: str, n_policies: int, seeds: int, long: int, kept: Path) -> None:
    """Measure what the file does not hold yet, line by line."""
    info = get_model(model)
    splits = load_splits(dataset, default_data_dir(), info.input_shape)
    weights = float_weights(model, splits, OUT)
    teacher = weights.network()
    specs = probe_layers(teacher, info.input_shape)
    print(
        f"{model} on {dataset}: float {accuracy(teacher, splits.search):.2%} on {len(splits.search):,} search images",
        flush=True,
    )
    done = {(r["policy"], r["seed"], r["reward"]) for r in read_lines(kept)}
    network = weights.quantized(BitPolicy.uniform(specs, 8, 8))
    every = policies(specs, n_policies)
    for seed in range(seeds):
        for number, policy in enumerate(every):
            for reward in ladder(long):
                if (number, seed, reward.name) in done:
                    continue
                begun = time.process_time()
                weights.requantize(network, policy)
                few = splits.train.take(np.random.default_rng(seed).permutation(len(splits.train))[:N_CALIBRATION])
                calibrate(network, few, norms=reward.norms)
                if reward.n_images:
                    recipe: Recipe = replace(
                        RETRAINING, n_images=reward.n_images, augmentation=splits.augmentation, distillation=reward.distillation
                    )
                    train(network, splits.train, recipe, seed, teacher=teacher)
                found = accuracy(network, splits.search)
                cpu_s = time.process_time() - begun
                line = {
                    "policy": number, "seed": seed, "reward": reward.name, "accuracy": found, "cpu_s": round(cpu_s, 3),
                    "bits": str(policy),
                }  # fmt: skip
                if reward.name == "long":
                    line["test"] = accuracy(network, splits.test)
                add_line(kept, line)
            print(f"seed {seed}, policy {number + 1} of {n_policies}", flush=True)


def correlations(rows: list[dict[str, object]], picked: NDArray[np.int64], names: list[str]) -> dict[str, float]:
    """Mean rank correlation of each reward with the truth over the seeds, for some of the policies."""
    seeds = sorted({int(str(r["seed"])) for r in rows})
    table = {(r["policy"], r["seed"], r["reward"]): r for r in rows}
    truth = np.array([[float(str(table[p, s, "long"]["test"])) for s in seeds] for p in range(picked.max() + 1)])
    out = {}
    for name in names:
        each = []
        for i, s in enumerate(seeds):
            others = np.delete(truth, i, axis=1).mean(axis=1) if len(seeds) > 1 else truth[:, 0]
            scores = np.array([float(str(table[int(p), s, name]["accuracy"])) for p in picked])
            each.append(spearmanr(scores, others[picked]).statistic)
        out[name] = float(np.mean(each))
    return out


def groups(n: int) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """All policies, and those with bits from 2 to 4, which stand at every second place."""
    yield "all", np.arange(n)
    yield "2 to 4 bits", np.arange(1, n, 2)


def report(kept: Path) -> None:
    """Print what was measured, of the policies that have everything."""
    rows = read_lines(kept)
    names = list(dict.fromkeys(str(r["reward"]) for r in rows))
    n_seeds = len({r["seed"] for r in rows})
    whole = [p for p in {int(str(r["policy"])) for r in rows} if sum(r["policy"] == p for r in rows) == n_seeds * len(names)]
    n = next((i for i in range(len(whole)) if i not in whole), len(whole))
    rows = [r for r in rows if int(str(r["policy"])) < n]
    print(f"{kept.stem}: {n} policies, {n_seeds} seeds")
    for group, picked in groups(n):
        rng = np.random.default_rng(0)
        point = correlations(rows, picked, names)
        drawn = [correlations(rows, rng.choice(picked, len(picked)), names) for _ in range(BOOTSTRAPS)]
        for name in names:
            low, high = np.nanpercentile([d[name] for d in drawn], [5, 95])
            apart = np.nanpercentile([d[name] - d["long"] for d in drawn], [5, 95])
            cpu = np.median([float(str(r["cpu_s"])) for r in rows if r["reward"] == name])
            told = "as good as long" if apart[1] >= 0 else "worse than long"
            print(
                f"  {group:12} {name:26} {point[name]:.3f} ({low:.3f} to {high:.3f})   minus long {apart[0]:+.3f} to "
                f"{apart[1]:+.3f}: {told:16} {cpu:8.2f} CPU s"
            )


def main() -> None:
    """Measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cnv:0.25")
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--policies", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--long", type=int, default=45_000, help="images of the long retraining")
    parser.add_argument("--report", action="store_true", help="print only what was measured before")
    arguments = parser.parse_args()
    prepare_process(1)
    OUT.mkdir(parents=True, exist_ok=True)
    kept = OUT / f"proxy-{plain_name(arguments.model)}-{arguments.dataset}.jsonl"
    if not arguments.report:
        measure(arguments.model, arguments.dataset, arguments.policies, arguments.seeds, arguments.long, kept)
    report(kept)


if __name__ == "__main__":
    main()
