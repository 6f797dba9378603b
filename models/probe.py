"""A float network to its `LayerSpec`s, in one forward pass."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor, nn

from models.spec import LayerSpec


@torch.no_grad()
def probe_layers(network: nn.Module, input_shape: tuple[int, int, int]) -> tuple[LayerSpec, ...]:
    """The convolutions and linear layers of a float network in the order the data meets them.

    Args:
        network: float; its weights give `weight_std`.
        input_shape: of one image, (C, H, W).
    """
    met: list[tuple[str, nn.Conv2d | nn.Linear, Tensor, Tensor]] = []
    handles = [
        m.register_forward_hook(lambda m, x, y, name=name: met.append((name, m, x[0], y)))
        for name, m in network.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    try:
        network.eval()(torch.zeros(1, *input_shape))
    finally:
        for h in handles:
            h.remove()
    specs = []
    for i, (name, m, x, y) in enumerate(met):
        weight = m.weight
        is_conv = isinstance(m, nn.Conv2d)
        specs.append(
            LayerSpec(
                name=name,
                index=i,
                kind="conv" if is_conv else "linear",
                in_channels=x.shape[1],
                out_channels=y.shape[1],
                kernel_size=m.kernel_size[0] if isinstance(m, nn.Conv2d) else 1,
                stride=m.stride[0] if isinstance(m, nn.Conv2d) else 1,
                in_size=x.shape[2] if is_conv else 1,
                out_size=y.shape[2] if is_conv else 1,
                n_params=weight.numel(),
                n_macs=weight.numel() * (prod(y.shape[2:]) if is_conv else 1),
                weight_std=float(weight.std()),
                has_act=i < len(met) - 1,
            )
        )
    return tuple(specs)
