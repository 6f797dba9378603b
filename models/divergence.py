"""Which layer a training broke in."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from models.errors import TrainingError

EXPLODED_LOSS = 1e4  # nats: logits that many apart, where chance is the logarithm of the number of classes


def broken_tensor(network: nn.Module) -> str | None:
    """The layer of the first parameter or norm statistic that holds what is not a finite number, if any.

    Looks at one sum a tensor. A bipolar quantizer turns what is not a number into its step, so that a loss
    can be finite while weights are not.
    """
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not math.isfinite(value.sum().item()):
            return name.rpartition(".")[0]
    return None


@torch.no_grad()
def broken_layer(network: nn.Module, x: Tensor) -> str:
    """The first layer, in the order of the data, that hands on what is not finite; else the one of the largest values.

    Args:
        network: in the mode it broke in.
        x: the batch it broke at, floats (B, C, H, W).
    """
    seen: dict[str, float] = {}

    def watch(name: str, module: nn.Module) -> RemovableHandle:
        def look(module: nn.Module, args: object, y: Tensor) -> None:
            seen.setdefault(name, y.abs().max().item())  # a layer within a block ends before the block does

        return module.register_forward_hook(look)

    hooks = [watch(name, module) for name, module in network.named_modules() if name]
    try:
        network(x)
    finally:
        for hook in hooks:
            hook.remove()
    for name, largest in seen.items():
        if not math.isfinite(largest):
            return name
    return broken_tensor(network) or max(seen, key=lambda name: seen[name], default="")


def diverged(network: nn.Module, x: Tensor, loss: float, when: str) -> TrainingError:
    """The error to raise, with the layer named.

    Args:
        network: the network, in train mode.
        x: the batch at hand.
        loss: of that batch.
        when: at which step, with which learning rate.
    """
    layer = broken_layer(network, x)
    if loss <= EXPLODED_LOSS:
        what = f"weights or statistics of layer {layer!r} are no longer finite, though the loss is {loss:.3g},"
    else:
        what = f"the loss became {loss:.6g}, beginning in layer {layer!r},"
    return TrainingError(f"{what} {when}; try a lower learning rate", layer)
