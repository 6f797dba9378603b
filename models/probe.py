"""A float network to its `LayerSpec`s, in one forward pass that follows whose activation goes where."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.quant import ACT_SUFFIX, ADDEND_SUFFIX, GlobalMean
from models.spec import LayerSpec

# Why an activation needs two bits: FINN's converters (finn-plus 1.6.1, convert_to_hw) take a one-bit one, -1 or +1,
# only behind a matrix unit of its own, and nothing but such a unit reads it right.
PADDED = "it is padded with zeros, and one bit means -1 or +1"  # fmpadding.py: "DataType must support zero"
SUMMED = "it is added up, and FINN would add the stored bit, not -1 or +1"  # globalaccpool_hls.py: ap_int<1>
BEHIND_A_SUM = "it stands behind a sum, where FINN's thresholds give no -1 and +1"  # thresholding.py: out_scale must be 1
FILTERED = "a depthwise convolution reads it, of which FINN would make a full matrix of one-bit weights"  # bipolar_to_xnor.py
BEHIND_A_FILTER = "it stands behind a depthwise convolution, where FINN's thresholds give no -1 and +1"  # VVAU: likewise


class _Origin(NamedTuple):
    """What a tensor is: a layer's output, before or behind its activation; the image where there is no layer."""

    layer: str | None
    is_behind_act: bool


@dataclass
class _Met:
    """A layer on the way of the data."""

    module: nn.Conv2d | nn.Linear
    x: Tensor
    y: Tensor
    source: str | None
    adds_to: str | None = None
    past: str | None = None
    why_two_bits: str = ""


class _Trace:
    """Follows tensors through the modules of a network; a sum has no origin until an activation gives it one."""

    def __init__(self) -> None:
        self.met: dict[str, _Met] = {}
        self._origins: dict[int, _Origin] = {}
        self._kept: list[Tensor] = []  # as long as they live no other tensor has their id

    def look(self, name: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        """Take note of what a module made of what."""
        origin = self._origins.get(id(x), _Origin(None, True))
        if isinstance(module, nn.Conv2d | nn.Linear):
            self.met[name] = _Met(module, x, y, origin.layer)
            if isinstance(module, nn.Conv2d) and any(module.padding):
                self._needs_two_bits(origin.layer, PADDED)
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                self._needs_two_bits(origin.layer, FILTERED)
                self._needs_two_bits(name, BEHIND_A_FILTER)
            origin = _Origin(name, False)
        elif name.endswith(ACT_SUFFIX):
            origin = _Origin(name.removesuffix(ACT_SUFFIX), True)
        elif name.endswith(ADDEND_SUFFIX):
            layer = name.removesuffix(ADDEND_SUFFIX)
            self._needs_two_bits(layer, BEHIND_A_SUM)
            if origin.is_behind_act:
                self._needs_two_bits(origin.layer, SUMMED)
                self.met[layer].past = origin.layer
            elif origin.layer in self.met:
                self.met[origin.layer].adds_to = layer
        elif isinstance(module, GlobalMean):
            self._needs_two_bits(origin.layer, SUMMED)
        self._origins[id(y)] = origin
        self._kept.append(y)

    def _needs_two_bits(self, layer: str | None, why: str) -> None:
        if layer in self.met:
            self.met[layer].why_two_bits = self.met[layer].why_two_bits or why


def _is_followed(name: str, module: nn.Module) -> bool:
    """Whether a module is looked at as a whole: a layer, a quantizer, or one without parts."""
    if isinstance(module, nn.Conv2d | nn.Linear) or name.endswith((ACT_SUFFIX, ADDEND_SUFFIX)):
        return True
    return (type(module).__module__.startswith("torch.nn") and not any(module.children())) or isinstance(module, GlobalMean)


@torch.no_grad()
def probe_layers(network: nn.Module, input_shape: tuple[int, int, int]) -> tuple[LayerSpec, ...]:
    """The convolutions and linear layers of a float network in the order the data meets them.

    Activations, and quantizers of addends, are known by their names (`models.quant`).

    Args:
        network: float; its weights give `weight_std`.
        input_shape: of one image, (C, H, W).
    """
    trace = _Trace()
    handles = [
        m.register_forward_hook(lambda m, x, y, name=name: trace.look(name, m, x[0], y))
        for name, m in network.named_modules()
        if _is_followed(name, m)
    ]
    try:
        network.eval()(torch.zeros(1, *input_shape))
    finally:
        for h in handles:
            h.remove()
    last = len(trace.met) - 1
    return tuple(_spec(i, name, met, i == last) for i, (name, met) in enumerate(trace.met.items()))


def _spec(index: int, name: str, met: _Met, is_last: bool) -> LayerSpec:
    m, x, y = met.module, met.x, met.y
    has_act = not is_last and met.adds_to in (None, name)
    why_two_bits = met.why_two_bits if has_act else ""
    is_conv = isinstance(m, nn.Conv2d)
    return LayerSpec(
        name=name,
        index=index,
        kind="conv" if is_conv else "linear",
        in_channels=x.shape[1],
        out_channels=y.shape[1],
        kernel_size=m.kernel_size[0] if isinstance(m, nn.Conv2d) else 1,
        stride=m.stride[0] if isinstance(m, nn.Conv2d) else 1,
        in_size=x.shape[2] if is_conv else 1,
        out_size=y.shape[2] if is_conv else 1,
        n_params=m.weight.numel(),
        n_macs=m.weight.numel() * (prod(y.shape[2:]) if is_conv else 1),
        weight_std=float(m.weight.std()),
        has_act=has_act,
        padding=int(m.padding[0]) if isinstance(m, nn.Conv2d) else 0,
        groups=m.groups if isinstance(m, nn.Conv2d) else 1,
        source=met.source,
        adds_to=met.adds_to,
        past=met.past,
        min_act_bits=2 if why_two_bits else 1,
        why_min_act_bits=why_two_bits,
    )
