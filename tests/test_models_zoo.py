"""The networks of the registry: what they are made of, that any bits train and export, and what bits they cannot take."""

from __future__ import annotations

import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.util.cleanup import cleanup_model

from models import quant, stand_in
from models.addend_quantizer import AddendQuant
from models.data import load_splits
from models.errors import DataError, PolicyError
from models.export import write_qonnx
from models.policy import BitPolicy, LayerBits, addend_bits
from models.probe import probe_layers
from models.registry import MODELS, get_model
from models.spec import LayerSpec
from models.train import Recipe, accuracy, calibrate, scale_images, train

# As narrow as they come: what is tested does not depend on the width.
SMALL = ("sfc", "kws", "lenet5", "lenet5:0.5", "resnet8:0.5", "mobilenet:0.5")


def specs_of(name: str) -> tuple[LayerSpec, ...]:
    info = get_model(name)
    return probe_layers(info.build(), info.input_shape)


def quantized(name: str, policy: BitPolicy, seed: int = 0) -> torch.nn.Sequential:
    """A calibrated network with the weights of this seed."""
    info = get_model(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = info.build(policy)
    calibrate(network, stand_in.noise_splits(info, 48).train)
    return network


class TestWays:
    """Whose activation a layer reads, and what is added to what."""

    def test_resnet8(self) -> None:
        specs = {s.name: s for s in specs_of("resnet8")}
        assert list(specs) == [
            "conv", "block0_0.conv0", "block0_0.conv1",
            "block1_0.conv0", "block1_0.conv1", "block1_0.shortcut",
            "block2_0.conv0", "block2_0.conv1", "block2_0.shortcut", "fc",
        ]  # fmt: skip
        assert [s.source for s in specs.values()] == [
            None, "conv", "block0_0.conv0",
            "block0_0.conv1", "block1_0.conv0", "block0_0.conv1",
            "block1_0.conv1", "block2_0.conv0", "block1_0.conv1", "block2_0.conv1",
        ]  # fmt: skip
        added = {name: s.adds_to for name, s in specs.items() if s.adds_to}
        assert added == {
            "block0_0.conv1": "block0_0.conv1",
            "block1_0.conv1": "block1_0.conv1", "block1_0.shortcut": "block1_0.conv1",
            "block2_0.conv1": "block2_0.conv1", "block2_0.shortcut": "block2_0.conv1",
        }  # fmt: skip
        without_act = [name for name, s in specs.items() if not s.has_act]
        assert without_act == ["block1_0.shortcut", "block2_0.shortcut", "fc"]
        assert {s.min_act_bits for s in specs.values() if s.has_act} == {2}
        shortcut = specs["block2_0.shortcut"]
        assert (shortcut.kernel_size, shortcut.stride, shortcut.padding, shortcut.in_size, shortcut.out_size) == (
            1,
            2,
            0,
            16,
            8,
        )

    def test_mobilenet(self) -> None:
        specs = specs_of("mobilenet")
        assert [s.source for s in specs] == [None, *(s.name for s in specs[:-1])]
        assert [s.is_depthwise for s in specs] == [False, *[True, False] * 5, False]
        depth = specs[3]
        assert (depth.name, depth.groups, depth.n_params, depth.n_macs) == ("depth1", 32, 32 * 9, 32 * 9 * 16 * 16)
        assert {s.min_act_bits for s in specs if s.has_act} == {2}

    @pytest.mark.parametrize("name", ["tfc", "sfc", "lfc", "kws", "lenet5", "cnv"])
    def test_chains(self, name: str) -> None:
        specs = specs_of(name)
        assert [s.source for s in specs] == [None, *(s.name for s in specs[:-1])]
        assert {s.adds_to for s in specs} == {None}
        assert {(s.min_act_bits, s.why_min_act_bits) for s in specs} == {(1, "")}

    @pytest.mark.parametrize("name", MODELS)
    def test_a_quantized_network_is_probed_alike(self, name: str) -> None:
        info = get_model(name)
        network = info.build()
        specs = probe_layers(network, info.input_shape)
        other = info.build(BitPolicy.uniform(specs, 3, 2))
        other.load_state_dict({**other.state_dict(), **network.state_dict()})
        assert probe_layers(other, info.input_shape) == specs


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("seed", range(2))
def test_any_bits_calibrate_train_and_export(name: str, seed: int, tmp_path: Path) -> None:
    info = get_model(name)
    rng = random.Random(seed)
    policy = BitPolicy.draw(specs_of(name), rng)
    policy.check_against(specs_of(name))
    images = stand_in.noise_splits(info, 48).train
    network = quantized(name, policy)
    losses: list[float] = []
    train(network, images, Recipe(n_images=48, batch_size=16), 0, lambda step, n, loss: losses.append(loss))
    assert len(losses) == 3
    assert all(math.isfinite(loss) for loss in losses)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters() if p.ndim > 1)
    assert 0 <= accuracy(network, images) <= 1
    write_qonnx(network, info.input_shape, tmp_path / "model.onnx")
    model = cleanup_model(ModelWrapper(str(tmp_path / "model.onnx")))
    x = scale_images(images.x[:1]).contiguous()
    (out,) = execute_onnx(model, {model.graph.input[0].name: x.numpy()}).values()
    np.testing.assert_allclose(out, network(x).detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet8:0.25", "mobilenet:0.25"])
def test_switched_in_place_it_is_the_newly_built_network(name: str) -> None:
    info, rng, specs = get_model(name), random.Random(1), specs_of(name)
    before, after = BitPolicy.draw(specs, rng), BitPolicy.draw(specs, rng)
    network, other = quantized(name, before), quantized(name, after)
    quant.set_bits(network, after)
    network.load_state_dict(
        {k: v for k, v in other.state_dict().items() if not k.endswith(".step")} | {
            k: v for k, v in network.state_dict().items() if k.endswith(".step")
        }
    )  # fmt: skip
    calibrate(network, stand_in.noise_splits(info, 48).train)
    calibrate(other, stand_in.noise_splits(info, 48).train)
    x = scale_images(stand_in.noise_splits(info, 48, seed=5).train.x)
    assert torch.equal(network(x), other(x))


class TestSums:
    def test_both_addends_are_multiples_of_one_step(self) -> None:
        specs = specs_of("resnet8:0.5")
        block = quantized("resnet8:0.5", BitPolicy.uniform(specs, 3, 4)).block1_0
        (quantizer,) = [m for m in block.modules() if isinstance(m, AddendQuant)]
        sums: list[torch.Tensor] = []
        block.conv1_act.register_forward_hook(lambda m, x, y: sums.append(x[0]))
        block(torch.rand(2, 8, 32, 32))
        integers = sums[0] / quantizer.step
        assert (integers - integers.round()).abs().max() < 1e-5  # sums of floats: the last digits
        assert -32 <= integers.min().round() < 0 < integers.max().round() <= 30
        assert quantizer.bits == 5

    def test_bits_of_an_addend(self) -> None:
        assert [addend_bits(act) for act in range(1, 9)] == [2, 3, 4, 5, 6, 7, 8, 8]

    @pytest.mark.parametrize("bits", [2, 3, 8])
    def test_the_quantizer_of_addends(self, bits: int) -> None:
        quantizer = AddendQuant(bits)
        x = torch.randn(4000, generator=torch.Generator().manual_seed(0))
        quantizer.calibrate(x)
        integers = quantizer.quantize(x) / quantizer.step
        assert integers.min() >= -(2 ** (bits - 1))
        assert integers.max() <= 2 ** (bits - 1) - 1
        errors = [(quantizer.quantize(x) - x).pow(2).mean()]
        for factor in (0.5, 2):  # no other step is better
            quantizer.step.mul_(factor)
            errors.append((quantizer.quantize(x) - x).pow(2).mean())
            quantizer.step.div_(factor)
        assert errors[0] == min(errors)
        x.requires_grad_()
        quantizer.quantize(x).sum().backward()
        assert torch.equal(x.grad == 1, (x.detach().abs() < 4) & (x.grad > 0))
        assert 0 < x.grad.sum() < len(x) or bits == 8


class TestOneBit:
    """A one-bit activation is -1 or +1: there is no zero to pad with, and FINN has no such thresholds behind sums."""

    @pytest.mark.parametrize(
        ("name", "layer", "reason"),
        [
            ("resnet8", "conv", "it is padded with zeros"),
            ("resnet8", "block0_0.conv1", "it stands behind a sum"),
            ("mobilenet", "depth0", "it stands behind a depthwise convolution"),
            ("mobilenet", "point4", "it is added up"),
        ],
    )
    def test_is_refused_with_the_reason(self, name: str, layer: str, reason: str) -> None:
        specs = specs_of(name)
        policy = BitPolicy.uniform(specs, 4, 4).replace(**{layer: LayerBits(4, 1)})
        with pytest.raises(PolicyError, match=f"layer '{layer}' has a 1-bit activation, .*: {reason}.*; allowed are 2 to 8"):
            policy.check_against(specs)

    def test_uniform_and_drawn_policies_keep_to_it(self) -> None:
        specs = specs_of("resnet8")
        for policy in (BitPolicy.uniform(specs, 1, 1), BitPolicy.draw(specs, random.Random(0), max_act=1)):
            policy.check_against(specs)
            assert {bits.act for bits in policy.values()} == {2, None}


class TestWithoutData:
    def test_keywords_ask_for_data(self) -> None:
        with pytest.raises(
            DataError, match=r"^DATASET is auto, but there is no data set for kws .*images of 49x10 \(1 channel\)"
        ):
            get_model("kws").check_dataset("auto")
        get_model("kws").check_dataset("my.npz")
        get_model("tfc").check_dataset("auto")

    def test_a_file_of_ones_own_does(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        y = np.arange(600) % 12
        np.savez(tmp_path / "words.npz", x_train=rng.integers(0, 256, (600, 49, 10), np.uint8), y_train=y)
        splits = load_splits(str(tmp_path / "words.npz"), tmp_path, get_model("kws").input_shape)
        assert splits.n_classes == get_model("kws").n_classes
        assert splits.train.x.shape[1:] == (1, 49, 10)

    def test_noise_stands_in(self) -> None:
        info = get_model("kws")
        splits = stand_in.noise_splits(info, 60)
        assert splits.train.x.shape == (60, 1, 49, 10)
        assert splits.train.x.dtype == torch.uint8
        assert splits.n_classes == 12
        assert set(splits.train.y.tolist()) == set(range(12))
        assert torch.equal(splits.train.x, stand_in.noise_splits(info, 60).train.x)
        assert not torch.equal(splits.train.x, splits.search.x)
