"""Our tensor quantizers against Brevitas' own, bit for bit, and what they promise beyond that."""

from __future__ import annotations

import math

import pytest
import torch
from brevitas.nn import QuantConv2d, QuantIdentity, QuantLinear, QuantReLU
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
    Uint8ActPerTensorFloat,
)
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models import quant
from models.quant import GAUSSIAN_STEP, ActQuant, InputQuant, WeightQuant
from models.train import Recipe, accuracy, calibrate, scale_images, train
from tests.tiny import tiny_images, tiny_network, uniform

BITS = range(1, 9)


def noise(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def brevitas_weight_arguments(bits: int) -> dict[str, object]:
    theirs = SignedBinaryWeightPerTensorConst if bits == 1 else Int8WeightPerTensorFloat
    return {"weight_quant": theirs, "weight_bit_width": bits, "bias": False}


def act_quant(layer: nn.Module) -> ActQuant:
    (found,) = quant.act_quantizers(layer)
    return found


# --- the same values as Brevitas ---------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
def test_linear_weights_equal_brevitas_bit_for_bit(bits: int) -> None:
    theirs = QuantLinear(64, 32, **brevitas_weight_arguments(bits))
    ours = quant.linear(bits, 64, 32)
    weight = noise(32, 64, scale=0.2)
    theirs.weight.data.copy_(weight)
    ours.weight.data.copy_(weight)
    expected = theirs.quant_weight()
    ((quantizer, _),) = quant.weight_quantizers(ours)
    quantizer.step.fill_(expected.scale.item())
    got = ours.quant_weight()
    assert torch.equal(got.value, expected.value)
    assert got.scale.item() == expected.scale.item()
    assert got.bit_width == expected.bit_width == bits
    assert got.signed == expected.signed
    x = noise(5, 64, seed=1)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("bits", BITS)
def test_conv_weights_equal_brevitas_bit_for_bit(bits: int) -> None:
    theirs = QuantConv2d(3, 8, 3, **brevitas_weight_arguments(bits))
    ours = quant.conv(bits, 3, 8, 3)
    weight = noise(8, 3, 3, 3, scale=0.2)
    theirs.weight.data.copy_(weight)
    ours.weight.data.copy_(weight)
    expected = theirs.quant_weight()
    ((quantizer, _),) = quant.weight_quantizers(ours)
    quantizer.step.fill_(expected.scale.item())
    assert torch.equal(ours.quant_weight().value, expected.value)
    x = noise(2, 3, 6, 6, seed=1)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("clip", [0.3, 1.7, 6.0])
def test_activations_equal_brevitas_bit_for_bit(bits: int, clip: float) -> None:
    theirs = QuantReLU(
        act_quant=Uint8ActPerTensorFloat, bit_width=bits, scaling_impl_type="parameter", scaling_init=clip,
        return_quant_tensor=True,
    )  # fmt: skip
    ours = quant.act(bits)
    x = noise(40, 50, scale=2.0)
    expected = theirs(x)
    act_quant(ours).step.fill_(expected.scale.item())
    assert torch.equal(ours(x), expected.value)
    assert int(expected.value.unique().numel()) <= 2**bits


def test_bipolar_activations_equal_brevitas_bit_for_bit() -> None:
    theirs = QuantIdentity(act_quant=SignedBinaryActPerTensorConst)
    ours = quant.act(1)
    x = torch.cat([noise(1000), torch.tensor([0.0, -0.0, 1e-30, -1e-30])])
    assert torch.equal(ours(x), theirs(x))


def test_image_input_equals_brevitas_bit_for_bit() -> None:
    theirs = QuantIdentity(act_quant=Int8ActPerTensorFloat, scaling_impl_type="parameter", scaling_init=1.0)
    x = torch.cat([noise(1000), torch.tensor([-1.0, 1.0, 0.999])])
    assert torch.equal(quant.image_input(True)(x), theirs(x))


def test_image_input_loses_nothing_of_an_image() -> None:
    x = scale_images(torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16))  # every grey value there is
    assert torch.equal(quant.image_input(True)(x), x)
    assert torch.equal((x * 128).flatten(), torch.arange(-128.0, 128.0))


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


def test_act_gradient_equals_brevitas() -> None:
    theirs = QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=3, scaling_impl_type="parameter", scaling_init=2.0)
    ours = quant.act(3)
    act_quant(ours).step.fill_(2.0 / 7)
    x = noise(500, scale=2.0)
    # Theirs clamps what is rounded already, so it passes half a step beyond the range; and it is divided and
    # multiplied by the step on its way, so the last bit may differ.
    x = x[(x <= 2.0) | (x > 2.0 + 1.0 / 7)]
    torch.testing.assert_close(gradient(ours, x), gradient(theirs, x), rtol=1e-6, atol=0)


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

    candidates = torch.linspace(0.8, 1.25, 46).mul(GAUSSIAN_STEP[bits]).tolist()
    best = min(candidates, key=error)
    assert abs(best / GAUSSIAN_STEP[bits] - 1) < 0.055
    assert error(GAUSSIAN_STEP[bits]) < 1.03 * error(best)


def test_three_levels_agree_with_max_1960() -> None:
    # J. Max 1960, table II (equally spaced levels), N=3: spacing 1.2240, mean square error 0.1902.
    assert GAUSSIAN_STEP[2] == pytest.approx(1.224, abs=2e-3)


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
def test_integer_weights_are_what_the_calibrated_layer_holds(bits: int) -> None:
    layer = quant.linear(bits, 64, 32)
    ((quantizer, weight),) = quant.weight_quantizers(layer)
    quantizer.calibrate(weight)
    integers = quant.integer_weights(layer.weight, bits)
    assert torch.equal(integers * quantizer.step, layer.quant_weight().value)
    assert integers.abs().max() <= max(1, 2 ** (bits - 1) - 1)


@pytest.mark.parametrize("bits", BITS)
def test_nothing_but_zeros_gives_a_positive_step(bits: int) -> None:
    for quantizer in (WeightQuant(bits), ActQuant(bits)):
        quantizer.calibrate(torch.zeros(10))
        assert float(quantizer.step) > 0
        assert quantizer.quantize(torch.zeros(10)).isfinite().all()


# --- whole networks ----------------------------------------------------------------------------------------------


def test_no_forward_or_backward_changes_the_float_weights() -> None:
    # Brevitas' own 1-bit weight quantizer clips them in place; ours must not, as searches share float weights.
    network = tiny_network(uniform(1, 1))
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.mul_(30)
    before = [p.detach().clone() for p in network.parameters()]
    calibrate(network, tiny_images())
    network.train()
    network(noise(8, 2, 6, 6)).sum().backward()
    network.eval()
    network(noise(8, 2, 6, 6))
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize("weight", BITS)
@pytest.mark.parametrize("act", BITS)
def test_every_pair_of_bits_calibrates_trains_and_evaluates(weight: int, act: int) -> None:
    images = tiny_images(48)
    network = tiny_network(uniform(weight, act))
    calibrate(network, images)
    losses: list[float] = []
    train(network, images, Recipe(n_images=32, batch_size=16), seed=0, progress=lambda i, n, loss: losses.append(loss))
    assert len(losses) == 2
    assert all(math.isfinite(loss) for loss in losses)
    assert all(p.isfinite().all() for p in network.parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)
    assert 0 <= accuracy(network, images) <= 1


def test_quantizers_of_a_network_in_order() -> None:
    policy = uniform(3, 2)
    network = tiny_network(policy)
    found = quant.weight_quantizers(network)
    assert [q.bits for q, _ in found] == [3, 3, 3]
    weights = [network.conv0.weight, network.fc0.weight, network.fc1.weight]
    assert all(w is expected for (_, w), expected in zip(found, weights, strict=True))
    assert [q.bits for q in quant.act_quantizers(network)] == [2, 2]  # the image's is none of them


def test_steps_are_kept_in_the_state_dict() -> None:
    network = tiny_network(uniform(3, 1))
    calibrate(network, tiny_images())
    twin = tiny_network(uniform(3, 1), seed=1)
    twin.load_state_dict(network.state_dict())
    x = noise(4, 2, 6, 6)
    assert torch.equal(twin.eval()(x), network.eval()(x))


@pytest.mark.parametrize("wanted", [True, False])
def test_metadata_does_not_change_the_output(wanted: bool) -> None:
    network = tiny_network(uniform(2, 1))
    calibrate(network, tiny_images())
    x = noise(4, 2, 6, 6)
    before = network(x)
    quant.set_metadata(network, wanted)
    assert torch.equal(network(x), before)


def test_without_bits_the_layers_are_plain() -> None:
    kinds = [type(m) for m in tiny_network(None).children()]
    assert kinds == [
        nn.Identity, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Flatten,
        nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear,
    ]  # fmt: skip
