"""How fast quantized networks train and are evaluated, beside float ones and stock Brevitas; and how fast bits change.

    make bench-train               (about 5 minutes)

One process, one thread, the training loop and the evaluation that a search uses, augmentation included. Images are
noise: speed does not depend on them. Speeds are images a second of the process's CPU time, which other work on the
machine disturbs least. The networks take turns; a ratio is that of neighbours in the same turn.

Stock Brevitas is the same topology of its layers with its default quantizers, Int8WeightPerTensorFloat and
Uint8ActPerTensorFloat. As made they collect statistics of the activations over the first 300 steps, as long as a brief
retraining takes; "collected" is what follows after that.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
from torch import nn

from models import quant
from models.augmentation import Augmentation
from models.data import ImageSet
from models.device import prepare_process
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import get_model
from models.train import Recipe, accuracy, calibrate, train
from models.weights import Pretrained

BITS = 4
N_CLASSES = 10
STOCK, COLLECTED = f"stock Brevitas W{BITS}A{BITS}, as made", f"stock Brevitas W{BITS}A{BITS}, collected"
OURS, OURS_1_BIT = f"bitloop W{BITS}A{BITS}", "bitloop W1A1"


def stock_brevitas(network: nn.Sequential, collected: bool) -> nn.Sequential:
    """A float network's topology of Brevitas' layers with its default quantizers."""

    def stock(layer: nn.Module) -> nn.Module:
        if isinstance(layer, nn.Conv2d):
            conv: nn.Module = QuantConv2d(
                layer.in_channels, layer.out_channels, layer.kernel_size, bias=False, weight_bit_width=BITS
            )
            return conv
        if isinstance(layer, nn.Linear):
            linear: nn.Module = QuantLinear(layer.in_features, layer.out_features, bias=False, weight_bit_width=BITS)
            return linear
        makers: dict[type, Callable[[], nn.Module]] = {nn.ReLU: lambda: QuantReLU(bit_width=BITS), nn.Identity: QuantIdentity}
        return makers.get(type(layer), lambda: layer)()

    made = nn.Sequential()
    for name, layer in network.named_children():
        made.add_module(name, stock(layer))
    for module in made.modules():
        collects: Any = getattr(module, "init_scale", None)
        if collected and collects is not None:
            collects()
    return made


def networks(name: str, images: ImageSet) -> dict[str, nn.Sequential]:
    """The variants of a network, calibrated."""
    info = get_model(name)
    specs = probe_layers(info.build(), info.input_shape)
    made = {"float": info.build()}
    for label, bits in ((OURS, BITS), (OURS_1_BIT, 1)):
        made[label] = info.build(BitPolicy.uniform(specs, bits, bits))
        calibrate(made[label], images.first(250))
    for label in (STOCK, COLLECTED):
        made[label] = stock_brevitas(info.build(), collected=label == COLLECTED)
    return made


def spread(values: list[float], digits: int = 0) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def compare(name: str, n_steps: int, n_evaluated: int, n_turns: int) -> None:
    """Measure a network's variants in turns and print speeds and ratios."""
    shape = get_model(name).input_shape
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n_evaluated, *shape), dtype=torch.uint8, generator=generator)
    images = ImageSet(
        x.contiguous(memory_format=torch.channels_last), torch.randint(N_CLASSES, (n_evaluated,), generator=generator)
    )
    augmentation = Augmentation(flip=shape[0] == 3, shift_px=shape[1] // 8)
    recipe = Recipe(n_images=128 * n_steps, batch_size=128, lr=0.001, augmentation=augmentation)
    variants = networks(name, images)
    speeds: dict[str, dict[str, list[float]]] = {what: {label: [] for label in variants} for what in ("train", "evaluate")}
    for turn in range(-1, n_turns):  # the first warms up
        variants[STOCK] = stock_brevitas(get_model(name).build(), collected=False)  # else it would be done collecting
        for label, network in variants.items():
            for what, job, n in (
                ("train", lambda network=network, turn=turn: train(network, images, recipe, turn + 1), recipe.n_images),
                ("evaluate", lambda network=network: accuracy(network, images), len(images)),
            ):
                begin = time.process_time()
                job()
                if turn >= 0:
                    speeds[what][label].append(n / (time.process_time() - begin))
    print(f"\n{name}: images a CPU second, median (least to most) of {n_turns} turns; batches of 128 in training")
    for label in variants:
        print(f"  {label:34} train {spread(speeds['train'][label]):32} evaluate {spread(speeds['evaluate'][label])}")
    for ours in (OURS, OURS_1_BIT):
        for other in ("float", STOCK, COLLECTED):
            ratios = {what: [a / b for a, b in zip(s[ours], s[other], strict=True)] for what, s in speeds.items()}
            label = f"{ours} / {other}"
            print(f"  {label:52} train {spread(ratios['train'], 2):22} × evaluate {spread(ratios['evaluate'], 2)} ×")


def switching(name: str, n: int) -> None:
    """Time policy changes of a network, in milliseconds of the wall clock, calibration not included."""
    info = get_model(name)
    weights = Pretrained(name, "none", N_CLASSES, 0, 0.0, info.build().state_dict())
    specs = probe_layers(weights.network(), info.input_shape)
    rng = random.Random(0)
    policies = [BitPolicy.draw(specs, rng) for _ in range(n)]
    network = weights.quantized(policies[0])

    def timed(job: Callable[[BitPolicy], object], some: list[BitPolicy]) -> str:
        times = []
        for policy in some:
            begin = time.perf_counter()
            job(policy)
            times.append((time.perf_counter() - begin) * 1000)
        return f"{spread(times, 2)} ms"

    print(f"\n{name}: another policy, median (least to most)")
    print(f"  bits in place                       {timed(lambda p: quant.set_bits(network, p), policies)}")
    print(f"  bits and float weights in place     {timed(lambda p: weights.requantize(network, p), policies)}")
    print(f"  a new network with these weights    {timed(weights.quantized, policies[:20])}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=11, help="repetitions of everything")
    arguments = parser.parse_args()
    kept = prepare_process(1)
    print(f"torch {torch.__version__}, one thread, freed memory {'kept' if kept else 'given back'}")
    compare("cnv:0.25", n_steps=10, n_evaluated=2048, n_turns=arguments.turns)
    compare("tfc", n_steps=200, n_evaluated=20_000, n_turns=arguments.turns)
    switching("cnv", 200)


if __name__ == "__main__":
    main()
