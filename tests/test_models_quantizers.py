"""What the tensor quantizers promise: values on the grid, gradients, steps."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models.quantizers import GAUSSIAN_STEP, ActQuant, InputQuant, WeightQuant, _bounded
from tests.tiny import noise

BITS = range(1, 9)


# --- on the grid, within the range -------------------------------------------------------------------------------

values = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20).map(torch.tensor)
steps = st.floats(2**-10, 2**4, width=32)


@given(st.integers(2, 8), values, steps)
def test_weights_lie_on_the_narrow_grid(bits: int, x: Tensor, step: float) -> None:
    quantizer = WeightQuant(bits)
    quantizer.step.fill_(step)
    y, scale, zero, width = quantizer(x)
    integers = (y / scale).round()
    assert torch.equal(integers * scale, y)
    assert integers.abs().max() <= 2 ** (bits - 1) - 1
    assert (float(scale), float(zero), float(width)) == (step, 0.0, bits)
    assert torch.equal(quantizer.quantize(y), y)  # a second time changes nothing
    inside = x.abs() <= step * (2 ** (bits - 1) - 1)
    assert ((y - x).abs()[inside] <= step * 0.5000001).all()


@given(st.integers(2, 8), values, steps)
def test_activations_lie_on_the_unsigned_grid(bits: int, x: Tensor, step: float) -> None:
    quantizer = ActQuant(bits)
    quantizer.step.fill_(step)
    y = quantizer.quantize(x)
    integers = (y / step).round()
    assert torch.equal(integers * step, y)
    assert integers.min() >= 0
    assert integers.max() <= 2**bits - 1


@given(values, steps)
def test_one_bit_is_bipolar(x: Tensor, step: float) -> None:
    for quantizer in (WeightQuant(1), ActQuant(1)):
        quantizer.step.fill_(step)
        y = quantizer.quantize(x)
        assert torch.equal(y, torch.where(x >= 0, step, -step))


@given(values)
def test_images_lie_on_the_signed_8_bit_grid(x: Tensor) -> None:
    integers = InputQuant().quantize(x) * 128
    assert torch.equal(integers, integers.round())
    assert integers.min() >= -128
    assert integers.max() <= 127


# --- gradients ---------------------------------------------------------------------------------------------------


def gradient(quantizer: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    upstream = torch.arange(1.0, x.numel() + 1)
    y = quantizer(x)
    y = y[0] if isinstance(y, tuple) else y
    (y * upstream).sum().backward()
    assert x.grad is not None
    return x.grad / upstream


@pytest.mark.parametrize("bits", BITS)
def test_weight_gradient_passes_everywhere(bits: int) -> None:
    x = torch.tensor([-100.0, -0.3, -0.01, 0.0, 0.02, 0.3, 100.0])
    assert torch.equal(gradient(WeightQuant(bits), x), torch.ones(7))


@pytest.mark.parametrize("bits", range(2, 9))
def test_act_gradient_passes_inside_the_range_only(bits: int) -> None:
    quantizer = ActQuant(bits)
    quantizer.step.fill_(0.5)
    top = 0.5 * (2**bits - 1)
    x = torch.tensor([-1.0, -1e-3, 1e-3, top / 2, top - 1e-3, top + 1e-3, 2 * top])
    assert gradient(quantizer, x).tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_bipolar_act_gradient_passes_within_one_step() -> None:
    quantizer = ActQuant(1)
    x = torch.tensor([-1.5, -0.99, -0.1, 0.0, 0.1, 0.99, 1.5])
    assert gradient(quantizer, x).tolist() == [0, 1, 1, 1, 1, 1, 0]


# --- steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", range(2, 9))
def test_gaussian_step_is_the_best_one(bits: int) -> None:
    # Re-derives the table: the mean square error over the density of a Gaussian, integrated on a fine grid.
    x = torch.linspace(-8, 8, 160_001, dtype=torch.double)
    density = torch.exp(-x.square() / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    high = 2 ** (bits - 1) - 1

    def error(step: float) -> float:
        return float((((x / step).round().clamp(-high, high) * step - x).square() * density).sum())

    low, most = 0.8 * GAUSSIAN_STEP[bits], 1.25 * GAUSSIAN_STEP[bits]
    for _ in range(40):  # thirds: the error has one minimum
        a, b = low + (most - low) / 3, most - (most - low) / 3
        low, most = (low, b) if error(a) < error(b) else (a, most)
    best = (low + most) / 2
    assert abs(best / GAUSSIAN_STEP[bits] - 1) < 1e-4
    assert error(GAUSSIAN_STEP[bits]) < (1 + 1e-6) * error(best)


def test_three_levels_agree_with_max_1960() -> None:
    # J. Max 1960, table II (equally spaced levels), N=3: spacing 1.2240, mean square error 0.1902.
    assert GAUSSIAN_STEP[2] == pytest.approx(1.2240, abs=5e-5)


@pytest.mark.parametrize("bits", BITS)
def test_weight_step_follows_the_weights(bits: int) -> None:
    quantizer, weight = WeightQuant(bits), noise(64, 32, scale=0.07)
    quantizer.calibrate(weight)
    rms = float(weight.square().mean().sqrt())
    expected = float(weight.abs().mean()) if bits == 1 else GAUSSIAN_STEP[bits] * rms
    assert float(quantizer.step) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("bits", range(2, 9))
def test_act_step_is_the_best_of_its_candidates(bits: int) -> None:
    x = noise(4000, scale=3.0).relu()
    quantizer = ActQuant(bits)
    quantizer.calibrate(x)

    def error(step: float) -> float:
        other = ActQuant(bits)
        other.step.fill_(step)
        return float((other.quantize(x) - x).square().mean())

    top = float(x.max())
    candidates = [top * i / 64 / (2**bits - 1) for i in range(1, 65)]
    assert error(float(quantizer.step)) <= min(map(error, candidates)) * (1 + 1e-5)


def test_act_step_of_many_values_sees_every_channel() -> None:
    # 131,072 values in 512 channels: a sample of every second one would meet the even channels only, all zero.
    x = torch.zeros(256, 512)
    x[:, 1::2] = 5.0
    quantizer = ActQuant(4)
    quantizer.calibrate(x)
    assert float(quantizer.step) * 15 == pytest.approx(5.0)


@pytest.mark.parametrize("bits", BITS)
def test_nothing_but_zeros_gives_a_positive_step(bits: int) -> None:
    for quantizer in (WeightQuant(bits), ActQuant(bits)):
        quantizer.calibrate(torch.zeros(10))
        assert float(quantizer.step) > 0
        assert quantizer.quantize(torch.zeros(10)).isfinite().all()


# --- other bits in place -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), values)
def test_after_any_switches_a_quantizer_equals_a_new_one(path: list[int], x: Tensor) -> None:
    for kind in (WeightQuant, ActQuant):
        switched, new = kind(8), kind(path[-1])
        for bits in path:
            switched.calibrate(x)
            switched.set_bits(bits)
        assert switched.state_dict() == new.state_dict()
        for calibrated in (False, True):
            if calibrated:
                switched.calibrate(x)
                new.calibrate(x)
            for got, expected in zip(switched(x), new(x), strict=True):
                assert torch.equal(got, expected)
        assert torch.equal(gradient(switched, x), gradient(new, x))


@given(st.integers(1, 8), values, steps)
def test_without_a_gradient_the_values_are_the_same(bits: int, x: Tensor, step: float) -> None:
    for kind in (WeightQuant, ActQuant):
        quantizer = kind(bits)
        quantizer.step.fill_(step)
        tracked = quantizer.quantize(x.clone().requires_grad_())
        assert tracked.requires_grad
        assert torch.equal(quantizer.quantize(x), tracked)


@given(values, steps, st.integers(1, 255))
def test_bounds_as_tensors_give_the_same_as_numbers(x: Tensor, step: float, high: int) -> None:
    # As on a GPU, where a number would have to be waited for.
    class Elsewhere:
        device = torch.device("cuda")

        def __rmul__(self, bound: float) -> Tensor:
            return bound * torch.tensor(step)

    for low in (0.0, -float(high)):
        x = x[(x != low * torch.tensor(step)) & (x != high * torch.tensor(step))]  # they differ on the bounds
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        grad = torch.linspace(-1, 1, x.numel())
        first, second = _bounded(a, torch.tensor(step), low, high), _bounded(b, Elsewhere(), low, high)  # type: ignore[arg-type]
        assert torch.equal(first, second)
        first.backward(grad)
        second.backward(grad)
        assert torch.equal(a.grad, b.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", BITS)
def test_takes_bfloat16_as_mixed_precision_hands_it_on(bits: int) -> None:
    x = noise(200).bfloat16()
    for quantizer in (WeightQuant(bits), ActQuant(bits)):
        for tracked in (False, True):
            y = quantizer.quantize(x.clone().requires_grad_(tracked))
            assert y.dtype == torch.bfloat16
            torch.testing.assert_close(y.float(), quantizer.quantize(x.float()), rtol=2**-7, atol=float(quantizer.step) * 1.01)
