"""Bits to Brevitas layers.

A network is written once with the three functions at the end of this file; with bits they give
Brevitas layers, without (`None`) plain torch ones, so the float network is the same network.

Brevitas keeps the layers, the proxies and the export. The tensor quantizers inside are ours, for
two reasons. Scales: Brevitas' abs-max weight scale leaves a 2-bit CNV at chance, a step of
k(b)·rms(w) does not. Speed: one fused pass forward and one backward instead of a chain of small
operations. They give the values Brevitas' own quantizers give for the same scale (a test compares
them bit for bit).
"""

from __future__ import annotations

from typing import Any

import torch
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
from brevitas.proxy import ActQuantProxyFromInjector, WeightQuantProxyFromInjector
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from torch import Tensor, nn

# The step of the symmetric b-bit quantizer with the least mean square error for a Gaussian of unit
# variance (J. Max, "Quantizing for minimum distortion", IRE Trans. Inf. Theory 6(1), 1960),
# found numerically for the narrow range -(2^(b-1)-1)..2^(b-1)-1. `tests/test_models_quant.py` re-derives them.
GAUSSIAN_STEP = {2: 1.225, 3: 0.65, 4: 0.355, 5: 0.195, 6: 0.105, 7: 0.06, 8: 0.03}

N_CALIBRATION = 65536  # values are enough to find a step from
INPUT_BITS = 8
INPUT_RANGE = 1.0  # images are scaled to [-1, 1]


class _RoundClamp(torch.autograd.Function):
    """y = clamp(round(x / step), low, high) * step; the gradient passes where x lies inside the range."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, low: float, high: float) -> Tensor:
        s = float(step)
        ctx.save_for_backward(x)
        ctx.bounds = (low * s, high * s)
        return x.div(step).round_().clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.hardtanh_backward(grad, x, *ctx.bounds), None, None, None


class _RoundPassThrough(torch.autograd.Function):
    """As `_RoundClamp`, but the gradient passes everywhere: weights outside the range must find back."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, step: Tensor, low: float, high: float) -> Tensor:
        return w.div(step).round_().clamp_(low, high).mul_(step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad, None, None, None


class _Sign(torch.autograd.Function):
    """y = step where x >= 0, else -step; the gradient passes where |x| < window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, window: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.window = window
        return torch.where(x >= 0, step, -step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        if ctx.window == float("inf"):
            return grad, None, None
        return torch.ops.aten.hardtanh_backward(grad, x, -ctx.window, ctx.window), None, None


class _TensorQuant(nn.Module):
    """Base of the quantizers: a step kept in the state dict, and the four values Brevitas expects."""

    step: Tensor
    _zero: Tensor
    _bits: Tensor

    def __init__(self, bits: int, step: float) -> None:
        super().__init__()
        self.bits = bits
        self.register_buffer("step", torch.tensor(step))
        self.register_buffer("_zero", torch.tensor(0.0), persistent=False)
        self.register_buffer("_bits", torch.tensor(float(bits)), persistent=False)

    def quantize(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.quantize(x), self.step, self._zero, self._bits


class WeightQuant(_TensorQuant):
    """Symmetric, narrow weights of 2..8 bits, step k(b)·rms(w); 1 bit: ±mean|w|, never clipping w."""

    def __init__(self, bit_width: int) -> None:
        super().__init__(bit_width, 0.1)
        self.high = float(2 ** (bit_width - 1) - 1)

    def calibrate(self, weight: Tensor) -> None:
        """Set the step from the weights (any shape)."""
        w = weight.detach()
        step = w.abs().mean() if self.bits == 1 else w.pow(2).mean().sqrt() * GAUSSIAN_STEP[self.bits]
        self.step.copy_(step.clamp_min(1e-8))

    def quantize(self, x: Tensor) -> Tensor:
        """Weights (any shape) on the grid of the step."""
        if self.bits == 1:
            return _Sign.apply(x, self.step, float("inf"))  # type: ignore[no-any-return, no-untyped-call]
        return _RoundPassThrough.apply(x, self.step, -self.high, self.high)  # type: ignore[no-any-return, no-untyped-call]

    def integers(self, weight: Tensor) -> Tensor:
        """The integers that weights (any shape) are multiples of the step by."""
        return self.quantize(weight).div(self.step).round_()


class ActQuant(_TensorQuant):
    """Unsigned activations of 2..8 bits behind a ReLU; 1 bit: ±1 without a ReLU.

    FINN takes no other scale at 1 bit (finn/transformation/qonnx/qonnx_activation_handlers.py), and the
    next layer's norm makes up for it. For more bits the step is calibrated per bit width: the one of
    64 with the least mean square error over the activations seen. While `observed` is a list, every
    input is kept there instead of quantized.
    """

    def __init__(self, bit_width: int) -> None:
        super().__init__(bit_width, 1.0 if bit_width == 1 else 4.0 / (2**bit_width - 1))
        self.high = float(2**bit_width - 1)
        self.observed: list[Tensor] | None = None

    def calibrate(self, x: Tensor) -> None:
        """Set the step from activations (any shape, at least one value)."""
        if self.bits == 1:
            return
        sample = x.flatten()
        if sample.numel() > N_CALIBRATION:  # at random: even steps would meet some channels or pixels only
            generator = torch.Generator().manual_seed(0)
            sample = sample[torch.randint(sample.numel(), (N_CALIBRATION,), generator=generator)]
        top = sample.max().clamp_min(1e-8)
        steps = top * torch.linspace(1 / 64, 1, 64) / self.high
        errors = torch.stack([(sample.div(s).round_().clamp_(0, self.high).mul_(s) - sample).pow(2).mean() for s in steps])
        self.step.copy_(steps[errors.argmin()])

    def quantize(self, x: Tensor) -> Tensor:
        """Activations (any shape) on the grid of the step, or kept in `observed`."""
        if self.observed is not None:
            self.observed.append(x.detach())
            return x
        if self.bits == 1:
            return _Sign.apply(x, self.step, float(self.step))  # type: ignore[no-any-return, no-untyped-call]
        return _RoundClamp.apply(x, self.step, 0.0, self.high)  # type: ignore[no-any-return, no-untyped-call]


class InputQuant(_TensorQuant):
    """The image in [-1, 1] as signed 8-bit integers, step 1/128."""

    def __init__(self) -> None:
        super().__init__(INPUT_BITS, INPUT_RANGE / 2 ** (INPUT_BITS - 1))

    def quantize(self, x: Tensor) -> Tensor:
        """Images (any shape) on the grid of the step."""
        return _RoundClamp.apply(x, self.step, -128.0, 127.0)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def integer_weights(weight: Tensor, bits: int) -> Tensor:
    """The integers that weights of a calibrated layer become: within ±(2^(bits-1)-1), for 1 bit -1 or +1."""
    quantizer = WeightQuant(bits)
    quantizer.calibrate(weight)
    return quantizer.integers(weight)


class _IntWeights(Int8WeightPerTensorFloat):
    tensor_quant = WeightQuant


class _BipolarWeights(SignedBinaryWeightPerTensorConst):
    tensor_quant = WeightQuant
    bit_width = 1


class _UintActs(Uint8ActPerTensorFloat):
    tensor_quant = ActQuant


class _BipolarActs(SignedBinaryActPerTensorConst):
    tensor_quant = ActQuant
    bit_width = 1


class _ImageActs(Int8ActPerTensorFloat):
    tensor_quant = InputQuant


def _weight_arguments(bits: int) -> dict[str, Any]:
    return {"weight_quant": _BipolarWeights if bits == 1 else _IntWeights, "weight_bit_width": bits, "bias": False}


def conv(bits: int | None, in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
    """A convolution without bias or padding, (B, C_in, H, W) to (B, C_out, H-k+1, W-k+1)."""
    if bits is None:
        return nn.Conv2d(in_channels, out_channels, kernel_size, bias=False)
    return QuantConv2d(in_channels, out_channels, kernel_size, **_weight_arguments(bits))  # type: ignore[no-any-return]


def linear(bits: int | None, in_features: int, out_features: int) -> nn.Module:
    """A linear layer without bias, (B, N_in) to (B, N_out)."""
    if bits is None:
        return nn.Linear(in_features, out_features, bias=False)
    return QuantLinear(in_features, out_features, **_weight_arguments(bits))  # type: ignore[no-any-return]


def act(bits: int | None) -> nn.Module:
    """What follows a layer: ReLU to unsigned integers, or for 1 bit the sign (bipolar)."""
    if bits is None:
        return nn.ReLU()
    if bits == 1:
        return QuantIdentity(act_quant=_BipolarActs)  # type: ignore[no-any-return]
    return QuantReLU(act_quant=_UintActs, bit_width=bits)  # type: ignore[no-any-return]


def image_input(quantized: bool) -> nn.Module:
    """The network's entry: images in [-1, 1] as signed 8-bit integers."""
    return QuantIdentity(act_quant=_ImageActs) if quantized else nn.Identity()


def weight_quantizers(network: nn.Module) -> list[tuple[WeightQuant, Tensor]]:
    """The weight quantizers of a network with the weights they read, in order."""
    return [
        (m.tensor_quant, m.tracked_parameter_list[0]) for m in network.modules() if isinstance(m, WeightQuantProxyFromInjector)
    ]


@torch.no_grad()
def quantized_integers(network: nn.Module) -> list[Tensor]:
    """The integer weights of every layer of a calibrated quantized network, in order, in the weights' shapes."""
    return [q.integers(w) for q, w in weight_quantizers(network)]


def act_quantizers(network: nn.Module) -> list[ActQuant]:
    """The activation quantizers of a network, the input's not counted, in order."""
    return [m for m in network.modules() if isinstance(m, ActQuant)]


def set_metadata(network: nn.Module, wanted: bool) -> None:
    """Let Brevitas wrap tensors with scale and bits (export reads them), or not (training is faster)."""
    for m in network.modules():
        if isinstance(m, WeightQuantProxyFromInjector | ActQuantProxyFromInjector):
            m.skip_create_quant_tensor = not wanted
