"""Training: pretrain a float network, quantize it, retrain it briefly, measure its accuracy.

Everything is seeded and runs where the network is, on the caller's torch threads: the same call gives the same
network on the same machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models import quant
from models.augmentation import NO_AUGMENTATION, Augmentation
from models.data import ImageSet, SearchSplits
from models.device import CPU, device_of, mixed_precision, runs_ahead
from models.divergence import EXPLODED_LOSS, broken_tensor, diverged
from models.errors import TrainingError
from models.graphed import WORTH_STEPS, GraphedStep

EVAL_VALUES = 128 * 3 * 32 * 32  # pixels and channels of an evaluation's batch: fewer are slower, and so are more
GPU_EVAL_FACTOR = 16
TEMPERATURE = 2.0  # of a distillation
CHECK_EVERY = 50  # steps after which the weights are looked at, and on a GPU the loss: each look waits for it


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        n_images: images seen in all, augmented copies counted.
        batch_size: images a step.
        lr: highest learning rate; it rises over the first `warmup` share and falls along a cosine to 0.
        warmup: share of the steps, 0..1.
        momentum, weight_decay, label_smoothing: of Nesterov SGD and cross entropy; the decay spares norms.
        augmentation: of the images.
        distillation: weight of a teacher's opinion in the loss, 0..1; the rest is cross entropy with the labels.
    """

    n_images: int
    batch_size: int = 128
    lr: float = 0.02
    warmup: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augmentation: Augmentation = NO_AUGMENTATION
    distillation: float = 0.0

    @property
    def n_steps(self) -> int:
        """Optimizer steps; a started batch is counted."""
        return max(1, math.ceil(self.n_images / self.batch_size))


def fitted(recipe: Recipe, splits: SearchSplits, max_epochs: int) -> Recipe:
    """A recipe with a data set's augmentation, and no more images than `max_epochs` passes over its train split."""
    n_images = min(recipe.n_images, max_epochs * len(splits.train))
    return replace(recipe, n_images=n_images, augmentation=splits.augmentation)


def scale_images(x: Tensor) -> Tensor:
    """uint8 images (B, C, H, W) to floats in [-1, 1), channels last.

    A pixel p becomes (p - 128) / 128, so that the network's 8-bit input quantizer loses nothing and an
    accelerator is fed with p - 128.
    """
    # p / 128 - 1 in one pass: both steps are exact, so it is the same
    minus_one = torch.full((), -1.0, device=x.device)  # made there: a tensor that is brought there would be waited for
    return torch.add(minus_one, x.float(), alpha=1 / 128).contiguous(memory_format=torch.channels_last)


def batches(
    images: ImageSet, recipe: Recipe, generator: torch.Generator, device: torch.device = CPU
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a recipe's number of images: the train split in one random order after another, augmented.

    The same ones on every device; they come from `device` where it pays to bring the whole split there first.
    """
    order = torch.empty(0, dtype=torch.long)
    if _fits(images, recipe, device):
        images = ImageSet(images.x.to(device), images.y.to(device))
    for _ in range(recipe.n_steps):
        while len(order) < recipe.batch_size:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        pick, order = order[: recipe.batch_size].to(images.x.device), order[recipe.batch_size :]
        # Channels last they are one block an image, which a gather along the first dimension copies at once.
        x = images.x.permute(0, 2, 3, 1).index_select(0, pick).permute(0, 3, 1, 2)
        yield recipe.augmentation.augment(x, generator), images.y.index_select(0, pick)


def _fits(images: ImageSet, recipe: Recipe, device: torch.device) -> bool:
    """Whether a GPU should hold all images: each is seen at least once, and they leave most of its memory free."""
    if device.type != "cuda" or recipe.n_images < len(images):
        return False
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return images.x.nbytes < free_bytes / 4


def _lr_at(step: int, recipe: Recipe) -> float:
    rise = recipe.warmup * recipe.n_steps
    if step < rise:
        return recipe.lr * (step + 1) / (rise + 1)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, recipe.n_steps - rise)))


def _diverged(network: nn.Module, x: Tensor, loss: float, step: int, recipe: Recipe) -> TrainingError:
    error = diverged(network, x, loss, f"at step {step + 1} of {recipe.n_steps} with learning rate {recipe.lr}")
    network.eval()
    return error


def train(
    network: nn.Module,
    images: ImageSet,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int, float], None] | None = None,
    teacher: nn.Module | None = None,
) -> None:
    """Train a network in place, from its present weights.

    Args:
        network: float or quantized; trained on the device it is on, left in eval mode.
        images: the train split, on the CPU.
        recipe: how.
        seed: of the order of images and the augmentation.
        progress: called after every step with steps done, steps in all, the step's loss (on a GPU the loss
            that was last looked at).
        teacher: a network on the same device, in eval mode, whose logits are learned too where the recipe
            says so.

    Raises:
        ValueError: the recipe distils, and there is no teacher.
        TrainingError: the loss is not a finite number or exploded, or a weight is not finite; the layer is named.
    """
    drawn = batches(images, recipe, torch.Generator().manual_seed(seed), device_of(network))
    run_steps(network, optimizer_of(network, recipe), drawn, range(recipe.n_steps), recipe, progress, teacher)
    network.eval()


def optimizer_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of a recipe, at its beginning."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        fused=True,
    )


def run_steps(
    network: nn.Module, optimizer: torch.optim.Optimizer, batches: Iterable[tuple[Tensor, Tensor]], steps: range,
    recipe: Recipe, progress: Callable[[int, int, float], None] | None = None, teacher: nn.Module | None = None,
) -> None:  # fmt: skip
    """Some steps of a training, one a batch; see `train`.

    The network is left in training mode.

    Args:
        network: see `train`.
        optimizer: of the network, as the steps before left it.
        batches: as many as there are steps, or more; no more are drawn.
        steps: the numbers of the steps, from 0, among the recipe's; one or more.
        recipe: of the whole training.
        progress: see `train`.
        teacher: see `train`.
    """
    if recipe.distillation and teacher is None:
        raise ValueError(f"a recipe with distillation {recipe.distillation} needs a teacher")
    device = device_of(network)
    network.train()

    def loss_of(x: Tensor, labels: Tensor) -> Tensor:
        with mixed_precision(device):
            logits = network(x)
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)
            if teacher is not None and recipe.distillation:
                loss = torch.lerp(loss, _apart_from(teacher, x, logits), recipe.distillation)
        return loss

    def descend(loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def whole_step(pixels: Tensor, labels: Tensor) -> Tensor:
        loss = loss_of(scale_images(pixels), labels)
        descend(loss)
        return loss.detach()

    ahead = runs_ahead(device)
    graphed = GraphedStep(whole_step, device) if ahead and len(steps) >= WORTH_STEPS else None
    rates = _rates_of(optimizer, device) if graphed else []
    value = math.nan
    for step, (pixels, labels) in zip(steps, batches, strict=False):
        x, y = pixels.to(device), labels.to(device)
        look = step % CHECK_EVERY == 0 or step in (steps[0], steps[-1])
        if graphed is not None:
            for rate in rates:
                rate.fill_(_lr_at(step, recipe))
            loss = graphed(x, y)
        else:
            for group in optimizer.param_groups:
                group["lr"] = _lr_at(step, recipe)
            loss = loss_of(scale_images(x), y)
        if look or not ahead:
            value = loss.item()
        # `not <=` is true of nan, too
        if not value <= EXPLODED_LOSS or (look and broken_tensor(network) is not None):
            raise _diverged(network, scale_images(x), value, step, recipe)
        if graphed is None:
            descend(loss)
        if progress is not None:
            progress(step + 1, recipe.n_steps, value)
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate.item()  # as a checkpoint keeps it
    if broken_tensor(network) is not None:
        raise _diverged(network, scale_images(x), value, step, recipe)


def _rates_of(optimizer: torch.optim.Optimizer, device: torch.device) -> list[Tensor]:
    """The learning rates of an optimizer's groups, made tensors: a recorded step reads them where they are."""
    rates = [torch.zeros((), device=device) for _ in optimizer.param_groups]
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return rates


def _apart_from(teacher: nn.Module, x: Tensor, logits: Tensor) -> Tensor:
    """How far logits are from a teacher's: the Kullback-Leibler divergence at a temperature (Hinton et al., 2015)."""
    with torch.no_grad():
        wanted = nn.functional.log_softmax(teacher(x) / TEMPERATURE, 1)
    got = nn.functional.log_softmax(logits / TEMPERATURE, 1)
    return nn.functional.kl_div(got, wanted, reduction="batchmean", log_target=True) * TEMPERATURE**2


def eval_batch(x: Tensor, device: torch.device) -> int:
    """Images (N, C, H, W) to evaluate at a time."""
    factor = 1 if device.type == "cpu" else GPU_EVAL_FACTOR
    return max(1, factor * EVAL_VALUES // x[0].numel())


@torch.no_grad()
def predict(network: nn.Module, x: Tensor) -> Tensor:
    """Logits (N, classes), on the CPU, of uint8 images (N, C, H, W), in eval mode, where the network is."""
    network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = device_of(network)
    n = eval_batch(x, device)
    return torch.cat([network(scale_images(x[i : i + n].to(device))) for i in range(0, len(x), n)]).cpu()


def accuracy(network: nn.Module, images: ImageSet) -> float:
    """Share of the images, 0..1, whose largest logit is their label's."""
    return float((predict(network, images.x).argmax(1) == images.y).double().mean())


@torch.no_grad()
def reestimate_norms(network: nn.Module, images: ImageSet, batch_size: int = 250) -> None:
    """Replace the running mean and variance of every batch norm by those of the given images.

    Quantizing weights and activations moves them; without this a 2-bit network is near chance.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [m.momentum for m in norms]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # a plain average over the batches
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    device = device_of(network)
    for i in range(0, len(images) - len(images) % min(batch_size, len(images)), batch_size):
        network(scale_images(images.x[i : i + batch_size].to(device)))
    for m, momentum in zip(norms, before, strict=True):
        m.momentum = momentum
    network.eval()


@torch.no_grad()
def calibrate(network: nn.Module, images: ImageSet, n_act_images: int = 250, norms: bool = True) -> None:
    """Set every quantizer's step, then re-estimate the batch norms.

    Weights come first; then, front to back, each activation from what the already quantized layers
    before it hand on, with the norms fitted to them.

    Args:
        network: quantized, with its float weights loaded.
        images: from the train split; 1,000 are plenty.
        n_act_images: how many of them the activations' steps are taken from.
        norms: whether norms are fitted; else they keep what they learned in float.
    """
    for quantizer, weight in quant.weight_quantizers(network):
        quantizer.calibrate(weight)
    few = images.first(n_act_images)
    network.train(norms).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = scale_images(few.x.to(device_of(network)))
    for module in network.children():
        for act in quant.act_quantizers(module):  # one after the other: in a block with a sum the first decides on the rest
            act.observed = []
            module(x)
            seen, act.observed = act.observed or [], None
            act.calibrate(torch.cat(seen))
        x = module(x)
    if norms:
        reestimate_norms(network, images)
