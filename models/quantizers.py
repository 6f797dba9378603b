"""The tensor quantizers: float values to multiples of a step, one fused pass forward and one backward.

They give the values Brevitas' own quantizers give for the same step (tests compare them bit for bit), and
any of them takes any bits from 1 to 8 in place. The steps are ours: Brevitas' abs-max weight scale
leaves a 2-bit CNV at chance, a step of k(b)·rms(w) does not.

Where the gradients differ from Brevitas' own, on purpose: a step is a constant (Brevitas lets the gradient
reach the largest weight through the scale); activations pass it within 0..top (Brevitas half a step beyond, as
it clamps what is rounded already); bipolar weights pass it as it is (Brevitas times the scale).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

# The step of the symmetric b-bit quantizer with the least mean square error for a Gaussian of unit
# variance (J. Max, "Quantizing for minimum distortion", IRE Trans. Inf. Theory 6(1), 1960),
# found numerically for the narrow range -(2^(b-1)-1)..2^(b-1)-1. `tests/test_models_quantizers.py` re-derives them.
GAUSSIAN_STEP = {2: 1.2240, 3: 0.65077, 4: 0.35341, 5: 0.19325, 6: 0.10549, 7: 0.057261, 8: 0.030870}

N_CALIBRATION = 65536  # values are enough to find a step from
INPUT_BITS = 8
INPUT_RANGE = 1.0  # images are scaled to [-1, 1]


# Where a gradient is wanted, the two functions below make a copy of x with an operation of torch's own that has the
# gradient they want, and overwrite the copy behind autograd's back. A Python autograd function would take 20 to 40 µs
# more, forward and backward, which is as long as a small layer's work.


def _tracked(x: Tensor) -> bool:
    return x.requires_grad and torch.is_grad_enabled()


def _bounded(x: Tensor, step: Tensor, low: float, high: float) -> Tensor:
    """A copy of x, clamped to low·step..high·step; the gradient passes inside."""
    if step.device.type == "cpu":
        s = step.item()
        return nn.functional.hardtanh(x, low * s, high * s)
    return x.clamp(low * step, high * step)  # a number would have to be waited for


def round_clamp(x: Tensor, step: Tensor, low: float, high: float, everywhere: bool = False) -> Tensor:
    """clamp(round(x / step), low, high) · step, halves to even.

    Args:
        x: any shape.
        step: more than 0, without dimensions.
        low: a whole number, 0 or less.
        high: a whole number, 1 or more.
        everywhere: the gradient passes everywhere, so that what is outside the range finds back, and not
            where x lies inside low·step..high·step only.
    """
    if not _tracked(x):
        return x.div(step).round_().clamp_(low, high).mul_(step)
    if everywhere:
        y = x.clone()
        y.detach().div_(step).round_().clamp_(low, high).mul_(step)
    else:
        y = _bounded(x, step, low, high)
        y.detach().div_(step).round_().mul_(step)
    return y


def sign(x: Tensor, step: Tensor, everywhere: bool = False) -> Tensor:
    """The step where x >= 0, else -step; the gradient passes where |x| < step, or everywhere.

    What is not a number becomes a step, too, and is seen no more: `models.train` looks for it in the weights.
    """
    if _tracked(x):
        y = x.clone() if everywhere else _bounded(x, step, -1.0, 1.0)
        values = y.detach().add_(0.0)
    else:
        y = values = x.add(0.0)  # makes -0 to +0, so that its sign is that of x >= 0
    torch.copysign(step, values, out=values)  # `where` takes seven times as long
    return y


class TensorQuant(nn.Module):
    """Base of the quantizers: bits, a step kept in the state dict, and the four values Brevitas expects.

    Attributes:
        bits: 1..8; `set_bits` changes them.
        step: the distance of two neighbouring values, more than 0; a tensor without dimensions.
    """

    step: Tensor
    _zero: Tensor
    _bits: Tensor

    def __init__(self, bit_width: int) -> None:
        super().__init__()
        self.register_buffer("step", torch.ones(()))
        self.register_buffer("_zero", torch.zeros(()), persistent=False)
        self.register_buffer("_bits", torch.zeros(()), persistent=False)
        self.set_bits(bit_width)

    def set_bits(self, bits: int) -> None:
        """Take other bits, 1..8, in place; the step becomes the one a new quantizer begins with."""
        self.bits = bits
        self._bits.fill_(bits)
        self.step.fill_(self.first_step(bits))

    def first_step(self, bits: int) -> float:
        """The step before any calibration."""
        raise NotImplementedError

    def quantize(self, x: Tensor) -> Tensor:
        """Values (any shape) on the grid of the step."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantized values (any shape), step, zero point and bits, as Brevitas' proxies want them."""
        return self.quantize(x), self.step, self._zero, self._bits


class WeightQuant(TensorQuant):
    """Symmetric, narrow weights of 2..8 bits, step k(b)·rms(w); 1 bit: ±mean|w|, never clipping w."""

    def first_step(self, bits: int) -> float:
        """The same for all bits: a calibration is wanted."""
        return 0.1

    @torch.no_grad()
    def calibrate(self, weight: Tensor) -> None:
        """Set the step from the weights (any shape)."""
        step = weight.abs().mean() if self.bits == 1 else weight.pow(2).mean().sqrt() * GAUSSIAN_STEP[self.bits]
        self.step.copy_(step.clamp_min(1e-8))

    def quantize(self, x: Tensor) -> Tensor:
        """Weights (any shape) on the grid of the step."""
        if self.bits == 1:
            return sign(x, self.step, everywhere=True)
        high = float(2 ** (self.bits - 1) - 1)
        return round_clamp(x, self.step, -high, high, everywhere=True)

    def integers(self, weight: Tensor) -> Tensor:
        """The integers that weights (any shape) are multiples of the step by."""
        return self.quantize(weight).div(self.step).round_()


class ActQuant(TensorQuant):
    """Unsigned activations of 2..8 bits, the ReLU included; 1 bit: ±1 without a ReLU.

    FINN takes no other scale at 1 bit (finn/transformation/qonnx/qonnx_activation_handlers.py), and the
    next layer's norm makes up for it. For more bits the step is calibrated per bit width: the one of
    64 with the least mean square error over the activations seen. While `observed` is a list, every
    input is kept there, behind the ReLU, instead of quantized.
    """

    def __init__(self, bit_width: int) -> None:
        super().__init__(bit_width)
        self.observed: list[Tensor] | None = None

    def first_step(self, bits: int) -> float:
        """1 for 1 bit, else a top of 4."""
        return 1.0 if bits == 1 else 4.0 / (2**bits - 1)

    @torch.no_grad()
    def calibrate(self, x: Tensor) -> None:
        """Set the step from activations (any shape, at least one value)."""
        if self.bits == 1:
            return
        sample = x.flatten()
        if sample.numel() > N_CALIBRATION:  # at random: even steps would meet some channels or pixels only
            generator = torch.Generator().manual_seed(0)
            sample = sample[torch.randint(sample.numel(), (N_CALIBRATION,), generator=generator).to(sample.device)]
        sample, high = sample.relu(), float(2**self.bits - 1)
        top = sample.max().clamp_min(1e-8)
        steps = top * torch.linspace(1 / 64, 1, 64, device=sample.device) / high
        errors = torch.stack([(sample.div(s).round_().clamp_(0, high).mul_(s) - sample).pow(2).mean() for s in steps])
        self.step.copy_(steps[errors.argmin()])

    def quantize(self, x: Tensor) -> Tensor:
        """Activations (any shape) on the grid of the step, or kept in `observed`."""
        if self.observed is not None:
            x = x if self.bits == 1 else x.relu()
            self.observed.append(x.detach())
            return x
        if self.bits == 1:
            return sign(x, self.step)
        return round_clamp(x, self.step, 0.0, float(2**self.bits - 1))


class InputQuant(TensorQuant):
    """The image in [-1, 1] as signed 8-bit integers, step 1/128."""

    def __init__(self) -> None:
        super().__init__(INPUT_BITS)

    def first_step(self, bits: int) -> float:
        """The range over its half of the values."""
        return INPUT_RANGE / float(2 ** (bits - 1))

    def quantize(self, x: Tensor) -> Tensor:
        """Images (any shape) on the grid of the step."""
        return round_clamp(x, self.step, -128.0, 127.0)
