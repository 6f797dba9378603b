"""A network's layers as the search sees them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.probe import probe_layers
from models.registry import get_model
from models.spec import LayerSpec
from tests.tiny import INPUT_SHAPE, tiny_network, uniform


def test_tiny_network_field_by_field() -> None:
    network = tiny_network(None)
    conv, fc0, fc1 = probe_layers(network, INPUT_SHAPE)
    assert conv == LayerSpec(
        name="conv0", index=0, kind="conv", in_channels=2, out_channels=4, kernel_size=3, stride=1,
        in_size=6, out_size=4, n_params=2 * 4 * 9, n_macs=2 * 4 * 9 * 16,
        weight_std=float(network.conv0.weight.detach().std()), has_act=True,
    )  # fmt: skip
    assert fc0 == LayerSpec(
        name="fc0", index=1, kind="linear", in_channels=16, out_channels=8, kernel_size=1, stride=1,
        in_size=1, out_size=1, n_params=128, n_macs=128,
        weight_std=float(network.fc0.weight.detach().std()), has_act=True, source="conv0",
    )  # fmt: skip
    assert (fc1.name, fc1.index, fc1.n_macs, fc1.has_act) == ("fc1", 2, 24, False)


def test_cnv() -> None:
    # Sizes counted by hand: each 3x3 window without padding takes 2 off the side, each pool halves it.
    info = get_model("cnv")
    specs = probe_layers(info.build(), info.input_shape)
    assert [(s.in_size, s.out_size) for s in specs[:6]] == [(32, 30), (30, 28), (14, 12), (12, 10), (5, 3), (3, 1)]
    assert [s.kind for s in specs] == ["conv"] * 6 + ["linear"] * 3
    assert sum(s.n_macs for s in specs) == (
        900 * 27 * 64 + 784 * 576 * 64 + 144 * 576 * 128 + 100 * 1152 * 128 + 9 * 1152 * 256 + 2304 * 256
        + 256 * 512 + 512 * 512 + 512 * 10
    )  # fmt: skip
    assert [s.has_act for s in specs] == [True] * 8 + [False]


def test_a_quantized_network_has_the_same_layers() -> None:
    assert probe_layers(tiny_network(uniform(3, 2)), INPUT_SHAPE) == probe_layers(tiny_network(None), INPUT_SHAPE)


def test_stride_and_nested_names() -> None:
    inner = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, bias=False), nn.ReLU())
    (spec,) = probe_layers(nn.Sequential(inner), (1, 9, 9))
    assert (spec.name, spec.stride, spec.out_size, spec.n_macs) == ("0.0", 2, 4, 18 * 16)


def test_leaves_no_hook_even_where_the_shape_is_wrong() -> None:
    network = tiny_network(None)
    with pytest.raises(RuntimeError):
        probe_layers(network, (5, 6, 6))
    assert not any(m._forward_hooks for m in network.modules())
    probe_layers(network, INPUT_SHAPE)
    assert not any(m._forward_hooks for m in network.modules())


def test_does_not_touch_weights_or_norms() -> None:
    network = tiny_network(None)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    probe_layers(network, INPUT_SHAPE)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
