"""Our tensor quantizers against Brevitas' own, bit for bit, and what they promise beyond that."""

from __future__ import annotations

import copy

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
from torch import Tensor, nn

from models import quant
from models.addend_quantizer import AddendQuant
from models.quantizers import ActQuant
from models.train import calibrate, scale_images
from tests.tiny import noise, tiny_images, tiny_network, uniform

BITS = range(1, 9)


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


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("top", [0.3, 1.7, 6.0])
def test_addends_equal_brevitas_bit_for_bit(bits: int, top: float) -> None:
    theirs = QuantIdentity(
        act_quant=Int8ActPerTensorFloat, bit_width=bits, scaling_impl_type="parameter", scaling_init=top,
        return_quant_tensor=True,
    )  # fmt: skip
    ours = quant.addend(bits - 1)  # of the activation behind the sum
    assert isinstance(act_quant(ours), AddendQuant)
    x = noise(40, 50, scale=top)  # a third lies beyond the range
    expected = theirs(x)
    act_quant(ours).step.fill_(expected.scale.item())
    assert torch.equal(ours(x), expected.value)
    assert torch.equal(ours(x.clone().requires_grad_()), expected.value)  # on the way of a training
    integers = (expected.value / expected.scale).round()
    assert (integers.min(), integers.max()) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


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


# --- the same gradients as Brevitas, where the definitions coincide ----------------------------------------------


def gradients(layer: nn.Module, x: Tensor) -> Tensor:
    """Of the input, for another upstream gradient at every value."""
    x = x.clone().requires_grad_()
    y = layer(x)
    y.backward(torch.linspace(-1, 1, y.numel()).reshape(y.shape))
    assert x.grad is not None
    return x.grad


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("step", [2.0**-6, 0.013])
def test_weight_gradients_equal_brevitas(bits: int, step: float) -> None:
    # Brevitas' scale is constant here: with its own, the largest weight gets the scale's gradient as well.
    high = 2 ** (bits - 1) - 1
    theirs = QuantLinear(
        64, 32, bias=False, weight_quant=Int8WeightPerTensorFloat, weight_bit_width=bits,
        weight_scaling_impl_type="const", weight_scaling_init=step * high,
    )  # fmt: skip
    ours = quant.linear(bits, 64, 32)
    weight = noise(32, 64, scale=step * high)  # a third lies beyond the range; both pass it on there
    x = noise(5, 64, seed=1)
    for layer in (theirs, ours):
        layer.weight.data.copy_(weight)
    ((quantizer, _),) = quant.weight_quantizers(ours)
    quantizer.step.fill_(theirs.quant_weight().scale.item())
    assert torch.equal(gradients(ours, x), gradients(theirs, x))
    # Brevitas' gradient is divided and multiplied by the step on its way: exact for a power of two only.
    torch.testing.assert_close(ours.weight.grad, theirs.weight.grad, rtol=0 if step == 2.0**-6 else 1e-6, atol=0)


def test_bipolar_weight_gradients_are_brevitas_over_the_scale() -> None:
    # Brevitas multiplies by the scale, so that a 1-bit layer learns more slowly than one of 2 bits; ours does not.
    theirs, ours = QuantLinear(64, 32, **brevitas_weight_arguments(1)), quant.linear(1, 64, 32)
    weight, x = noise(32, 64, scale=0.02), noise(5, 64, seed=1)
    for layer in (theirs, ours):
        layer.weight.data.copy_(weight)
    scale = theirs.quant_weight().scale.item()
    ((quantizer, _),) = quant.weight_quantizers(ours)
    quantizer.step.fill_(scale)
    assert torch.equal(gradients(ours, x), gradients(theirs, x))
    torch.testing.assert_close(ours.weight.grad * scale, theirs.weight.grad, rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("step", [2.0**-4, 0.29])
def test_act_gradients_equal_brevitas(bits: int, step: float) -> None:
    top = step * (2**bits - 1)
    theirs = QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=bits, scaling_impl_type="const", scaling_init=top)
    ours = quant.act(bits)
    act_quant(ours).step.fill_(top / (2**bits - 1))
    x = noise(500, scale=top)
    # Theirs clamps what is rounded already, so it passes half a step beyond the range; and it is divided and
    # multiplied by the step on its way: exact for a power of two only.
    x = x[(x <= top) | (x > top + 0.51 * step)]
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x), rtol=0 if step == 2.0**-4 else 1e-6, atol=0)


def test_bipolar_act_gradients_equal_brevitas_bit_for_bit() -> None:
    x = torch.cat([noise(1000), torch.tensor([0.0, -0.0])])
    assert torch.equal(gradients(quant.act(1), x), gradients(QuantIdentity(act_quant=SignedBinaryActPerTensorConst), x))


def test_image_gradients_equal_brevitas_bit_for_bit() -> None:
    theirs = QuantIdentity(act_quant=Int8ActPerTensorFloat, scaling_impl_type="const", scaling_init=1.0)
    x = noise(1000, scale=0.5)
    x = x[(x.abs() < 127 / 128) | (x.abs() > 1.01)]  # theirs passes half a step beyond the range
    assert torch.equal(gradients(quant.image_input(True), x), gradients(theirs, x))


# --- past Brevitas' proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
def test_the_short_way_gives_what_the_way_through_brevitas_gives(bits: int) -> None:
    x = noise(2, 3, 6, 6)
    for layer, through in (
        (quant.conv(bits, 3, 8, 3), QuantConv2d.forward),
        (quant.linear(bits, 6, 5), QuantLinear.forward),
        (quant.act(bits), QuantIdentity.forward),
        (quant.image_input(True), QuantIdentity.forward),
    ):
        short = gradients(layer, x)
        assert torch.equal(through(layer, x), layer(x))
        assert torch.equal(gradients(lambda x, layer=layer, through=through: through(layer, x), x), short)


def test_a_copy_has_quantizers_of_its_own_and_loading_weights_keeps_bits() -> None:
    network = tiny_network(uniform(8, 8))
    quant.set_bits(network, uniform(3, 2))
    calibrate(network, tiny_images())
    x = noise(4, 2, 6, 6)
    before = network(x)
    twin = copy.deepcopy(network)
    quant.set_bits(twin, uniform(1, 1))
    assert torch.equal(network(x), before)
    twin.load_state_dict(tiny_network(uniform(1, 1), seed=3).state_dict())
    assert [q.bits for q, _ in quant.weight_quantizers(twin)] == [1, 1, 1]
    assert [q.bits for q in quant.act_quantizers(twin)] == [1, 1]
    assert torch.equal(twin.eval()(x), tiny_network(uniform(1, 1), seed=3).eval()(x))


# --- steps -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", BITS)
def test_integer_weights_are_what_the_calibrated_layer_holds(bits: int) -> None:
    layer = quant.linear(bits, 64, 32)
    ((quantizer, weight),) = quant.weight_quantizers(layer)
    quantizer.calibrate(weight)
    integers = quant.integer_weights(layer.weight, bits)
    assert torch.equal(integers * quantizer.step, layer.quant_weight().value)
    assert integers.abs().max() <= max(1, 2 ** (bits - 1) - 1)


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


def test_without_bits_the_layers_are_plain() -> None:
    kinds = [type(m) for m in tiny_network(None).children()]
    assert kinds == [
        nn.Identity, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.Flatten,
        nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear,
    ]  # fmt: skip
