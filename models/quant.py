"""Bits to Brevitas layers, and from some bits to others in place.

A network is written once with the functions `conv`, `linear`, `act` and `image_input`; with bits they give
Brevitas layers, without (`None`) plain torch ones, so the float network is the same network.

Brevitas keeps the layers, the proxies and the export. The tensor quantizers inside are those of
`models.quantizers`. Outside an export a layer calls its quantizer itself: the way through Brevitas' proxies
gives the same values (a test holds them together) and takes several times as long where layers are small.
"""

from __future__ import annotations

from typing import Any

import torch
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear
from brevitas.proxy import WeightQuantProxyFromInjector
from brevitas.quant import Int8ActPerTensorFloat, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from torch import Tensor, nn

from models.addend_quantizer import AddendQuant
from models.errors import PolicyError
from models.policy import BitPolicy, addend_bits
from models.quantizers import ActQuant, InputQuant, TensorQuant, WeightQuant

ACT_SUFFIX = "_act"  # the activation behind a layer bears the layer's name and this
ADDEND_SUFFIX = "_addend"  # and where a sum is before it, the quantizer of what is added bears this


# One injector a kind serves all bits. At 1 bit Brevitas exports BipolarQuant, which has none of the attributes
# (signed, narrow) that an injector fixes.
class _Weights(Int8WeightPerTensorFloat):
    tensor_quant = WeightQuant


class _Acts(Uint8ActPerTensorFloat):
    tensor_quant = ActQuant


class _Addends(Int8ActPerTensorFloat):
    tensor_quant = AddendQuant


class _Image(Int8ActPerTensorFloat):
    tensor_quant = InputQuant


def _keep() -> None:
    """Stands in for a proxy's `init_tensor_quant`.

    Brevitas would make the quantizer anew, with the bits it was built with, whenever weights are loaded.
    """


class _Conv(QuantConv2d):
    def __init__(self, bits: int, *sizes: int) -> None:
        in_channels, out_channels, kernel_size, stride, padding, groups = sizes
        super().__init__(
            in_channels, out_channels, kernel_size, stride=stride, padding=padding, groups=groups, bias=False,
            weight_quant=_Weights, weight_bit_width=bits,
        )  # fmt: skip
        self.weight_quant.init_tensor_quant = _keep

    def forward(self, x: Tensor) -> Tensor:
        proxy = self.weight_quant
        if proxy.export_mode:
            return super().forward(x)  # type: ignore[no-any-return]
        return self._conv_forward(x, proxy.tensor_quant.quantize(self.weight), None)  # type: ignore[no-any-return]


class _Linear(QuantLinear):
    def __init__(self, bits: int, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False, weight_quant=_Weights, weight_bit_width=bits)
        self.weight_quant.init_tensor_quant = _keep

    def forward(self, x: Tensor) -> Tensor:
        proxy = self.weight_quant
        if proxy.export_mode:
            return super().forward(x)  # type: ignore[no-any-return]
        return nn.functional.linear(x, proxy.tensor_quant.quantize(self.weight))


class _Quantize(QuantIdentity):
    """An activation, the quantizer of addends, or the image's entry."""

    def __init__(self, injector: type[Any], **arguments: Any) -> None:
        super().__init__(act_quant=injector, **arguments)
        self.act_quant.init_tensor_quant = _keep

    @property
    def quantizer(self) -> TensorQuant:
        return self.act_quant.fused_activation_quant_proxy.tensor_quant  # type: ignore[no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        quantizer = self.quantizer
        if not self.act_quant.export_mode:
            return quantizer.quantize(x)
        if type(quantizer) is ActQuant and quantizer.bits > 1:
            x = x.relu()  # the quantizer does it on its way, but FINN wants to see the node
        return super().forward(x)  # type: ignore[no-any-return]


def conv(
    bits: int | None, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0,
    groups: int = 1,
) -> nn.Module:  # fmt: skip
    """A convolution without bias, (B, C_in, H, W) to (B, C_out, (H+2p-k)//s+1, (W+2p-k)//s+1), channels last.

    So it is from the first, as training makes it so: sums in another order would end in other bits.

    Args:
        bits: of the weights, 1..8; None for float.
        in_channels: C_in, 1 or more.
        out_channels: C_out, 1 or more.
        kernel_size: side of the square window, k.
        stride: s.
        padding: pixels of zeros around the image, p. What is read must have a zero then: two bits or more.
        groups: 1, or `in_channels` for a depthwise one.
    """
    layer: nn.Module
    if bits is None:
        layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    else:
        layer = _Conv(bits, in_channels, out_channels, kernel_size, stride, padding, groups)
    return layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def linear(bits: int | None, in_features: int, out_features: int) -> nn.Module:
    """A linear layer without bias, (B, N_in) to (B, N_out)."""
    if bits is None:
        return nn.Linear(in_features, out_features, bias=False)
    return _Linear(bits, in_features, out_features)


def act(bits: int | None) -> nn.Module:
    """What follows a layer: ReLU to unsigned integers, or for 1 bit the sign (bipolar)."""
    return nn.ReLU() if bits is None else _Quantize(_Acts, bit_width=bits)


def addend(act_bits: int | None) -> nn.Module:
    """What everything that is to be added passes: signed integers of one step, so that sums are integers too.

    Args:
        act_bits: of the activation behind the sum, 1..8; `models.policy.addend_bits` makes those of the
            addends of it. None for float.
    """
    return nn.Identity() if act_bits is None else _Quantize(_Addends, bit_width=addend_bits(act_bits))


class GlobalMean(nn.AdaptiveAvgPool2d):
    """The mean of every channel, (B, C, H, W) to (B, C, 1, 1); in hardware a sum, its scale moved into what follows."""

    def __init__(self) -> None:
        super().__init__(1)


def image_input(quantized: bool) -> nn.Module:
    """The network's entry: images in [-1, 1] as signed 8-bit integers."""
    return _Quantize(_Image) if quantized else nn.Identity()


@torch.no_grad()
def set_bits(network: nn.Module, policy: BitPolicy) -> None:
    """Give an existing quantized network a policy's bits, in place.

    Float weights and norms stay; steps become those of a newly built network, which this one then equals:
    calibrate it.

    Args:
        network: as `ModelInfo.build` gives it with any policy; the activation behind a layer is named
            as the layer with `ACT_SUFFIX`, the quantizer of the addends before it with `ADDEND_SUFFIX`.
        policy: the bits of each of its layers.

    Raises:
        PolicyError: the policy lacks a layer, has one that the network lacks, or gives an activation bits
            where there is none. The network is unchanged then.
    """
    modules = dict(network.named_modules())
    layers = [name for name, m in modules.items() if isinstance(m, _Conv | _Linear)]
    if set(layers) != set(policy):
        missing = [name for name in layers if name not in policy]
        unknown = [name for name in policy if name not in layers]
        raise PolicyError(
            f"the policy does not fit the network: it lacks {missing} and has {unknown}, which the network has not; "
            f"the layers are {', '.join(layers) or 'none, as the network is not quantized'}"
        )
    for name, bits in policy.items():
        there = isinstance(modules.get(name + ACT_SUFFIX), _Quantize)
        if there != (bits.act is not None):
            need = "1 to 8 bits" if there else "no activation bits (null)"
            raise PolicyError(f"layer {name!r} takes {need}, the policy gives {bits.act!r}")
    for name, bits in policy.items():
        modules[name].weight_quant.tensor_quant.set_bits(bits.weight)
        if bits.act is not None:
            modules[name + ACT_SUFFIX].quantizer.set_bits(bits.act)
            if name + ADDEND_SUFFIX in modules:
                modules[name + ADDEND_SUFFIX].quantizer.set_bits(addend_bits(bits.act))


@torch.no_grad()
def integer_weights(weight: Tensor, bits: int) -> Tensor:
    """The integers that weights of a calibrated layer become: within ±(2^(bits-1)-1), for 1 bit -1 or +1; on the CPU."""
    quantizer = WeightQuant(bits).to(weight.device)
    quantizer.calibrate(weight)
    return quantizer.integers(weight).cpu()


def weight_quantizers(network: nn.Module) -> list[tuple[WeightQuant, Tensor]]:
    """The weight quantizers of a network with the weights they read, in order."""
    return [
        (m.tensor_quant, m.tracked_parameter_list[0]) for m in network.modules() if isinstance(m, WeightQuantProxyFromInjector)
    ]


@torch.no_grad()
def quantized_integers(network: nn.Module) -> list[Tensor]:
    """The integer weights of every layer of a calibrated quantized network, in order, in their shapes, on the CPU."""
    return [q.integers(w).cpu() for q, w in weight_quantizers(network)]


def act_quantizers(network: nn.Module) -> list[ActQuant]:
    """The activation quantizers of a network, the input's not counted, in order."""
    return [m for m in network.modules() if isinstance(m, ActQuant)]
