"""Accuracy of uniform policies after long retraining, beside what Brevitas published.

    make bench-accuracy            (tfc, sfc, lfc on MNIST: two CPU hours; goes on where it stopped)
    python -m benchmarks.bench_accuracy --models cnv --dataset cifar10 --bits 1/1,1/2,2/2,4/4        (100 CPU minutes)
    python -m benchmarks.bench_accuracy --models cnv --dataset cifar10 --bits 1/1,2/2 --epochs 30         (for a GPU)

Every network starts from float weights (those that ship, else trained here), is calibrated and retrained with each
seed. Test accuracy is that of the last step: no step is chosen by it. Published: the README of
brevitas_examples/bnn_pynq (TFC, SFC, LFC on MNIST, whose first layer reads images of as many bits as activations where
bitloop's reads 8; CNV on CIFAR-10, which is not what is measured where the images at hand went through JPEG).
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.kept import add_line, add_part_option, float_weights, is_kept, part_of, read_lines
from flow.config import default_data_dir
from models.data import load_splits
from models.datasets import DATASETS
from models.device import prepare_process, resolve_device
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import get_model
from models.train import Recipe, accuracy, calibrate, train

OUT = Path(__file__).with_name("measured")
PUBLISHED = {
    ("tfc", 1, 1): 93.17, ("tfc", 1, 2): 94.79, ("tfc", 2, 2): 96.60,
    ("sfc", 1, 1): 97.81, ("sfc", 1, 2): 98.31, ("sfc", 2, 2): 98.66,
    ("lfc", 1, 1): 98.88, ("lfc", 1, 2): 98.99,
    ("cnv", 1, 1): 84.22, ("cnv", 1, 2): 87.80, ("cnv", 2, 2): 89.03,
}  # fmt: skip
MNIST = Recipe(n_images=20 * 55_000, batch_size=128, lr=0.05, weight_decay=1e-5)
RECIPES: dict[str | tuple[str, int, int], Recipe] = {
    # No augmentation: a small perceptron with one bit has nothing to spare for shifted digits.
    "tfc": MNIST, "sfc": MNIST,
    "lfc": replace(MNIST, distillation=0.5, augmentation=DATASETS["mnist"].augmentation),
    # One bit of weights and activations gains from more epochs than two do.
    ("lfc", 1, 1): replace(MNIST, n_images=50 * 55_000, distillation=0.5, augmentation=DATASETS["mnist"].augmentation),
    # As long as a CPU allows: Brevitas trained for a thousand epochs.
    "cnv": Recipe(n_images=2 * 45_000, batch_size=128, lr=0.02, weight_decay=1e-4, distillation=0.5,
                  augmentation=DATASETS["cifar10"].augmentation),
}  # fmt: skip


def main() -> None:
    """Retrain what the file does not hold yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="tfc,sfc,lfc", help="of tfc, sfc, lfc and cnv")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--bits", default="1/1,1/2,2/2", help="weight and activation bits")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=int, help="other than the recipe's")
    add_part_option(parser)
    arguments = parser.parse_args()
    prepare_process(1)
    OUT.mkdir(parents=True, exist_ok=True)
    kept = OUT / f"accuracy-{arguments.dataset}.jsonl"
    rows = read_lines(kept)
    bits = [tuple(map(int, b.split("/"))) for b in arguments.bits.split(",")]
    for model in arguments.models.split(","):
        info = get_model(model)
        splits = load_splits(arguments.dataset, default_data_dir(), info.input_shape)
        weights = float_weights(model, splits, OUT)
        specs = probe_layers(weights.network(), info.input_shape)
        teacher = weights.network().to(resolve_device())
        print(f"{model}, float: {accuracy(teacher, splits.test):.2%} on the test split", flush=True)
        cells = [(seed, *pair) for seed in map(int, arguments.seeds.split(",")) for pair in bits]
        for seed, weight, act in part_of(cells, arguments.part):
            recipe = RECIPES.get((model, weight, act), RECIPES[model])
            if arguments.epochs:
                recipe = replace(recipe, n_images=arguments.epochs * len(splits.train))
            cell = {"model": model, "weight": weight, "act": act, "seed": seed, "n_images": recipe.n_images}
            if is_kept(cell, rows):
                continue
            network = weights.quantized(BitPolicy.uniform(specs, weight, act)).to(resolve_device())
            calibrate(network, splits.train.first(1000))
            begun = time.process_time()
            train(network, splits.train, recipe, seed, teacher=teacher)
            rows.append(cell | {"test": accuracy(network, splits.test), "cpu_s": round(time.process_time() - begun)})
            add_line(kept, rows[-1])
            print(rows[-1], flush=True)
    print(f"{arguments.dataset}, test accuracy: mean (least to most) over seeds; published")
    for of in dict.fromkeys((r["model"], r["weight"], r["act"], r["n_images"]) for r in rows):
        model, weight, act, n_images = of
        found = [100 * r["test"] for r in rows if (r["model"], r["weight"], r["act"], r["n_images"]) == of]
        mean, published = sum(found) / len(found), PUBLISHED.get((model, weight, act))
        told = "" if published is None else f"{published:.2f} ({mean - published:+.2f})"
        spread = f"{mean:.2f} ({min(found):.2f} to {max(found):.2f}), {len(found)} seeds"
        print(f"  {model:6} W{weight}A{act}  {n_images:9,} images  {spread}   {told}")


if __name__ == "__main__":
    main()
