"""Networks by name, and what belongs to each."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.data import DATASETS
from models.errors import ModelError, UnknownModelError
from models.layers import scaled
from models.policy import BitPolicy
from models.probe import probe_layers
from models.registry import MODELS, get_model


def test_every_model_is_found_by_its_own_name_and_has_a_data_set() -> None:
    for name, info in MODELS.items():
        assert info.name == name
        assert get_model(name) is info
        assert info.dataset in DATASETS or name == "kws"  # nobody may hand its data on
        assert info.min_fps > 0


@pytest.mark.parametrize(("wrong", "nearest"), [("cvn", "cnv"), ("tcf", "tfc"), ("CNV", "cnv"), ("tfcc", "tfc")])
def test_unknown_model_names_the_nearest_and_all(wrong: str, nearest: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        get_model(wrong)
    assert f"unknown model {wrong!r}; did you mean" in str(caught.value)
    assert str(caught.value).endswith("There are cnv, tfc, sfc, lfc, kws, lenet5, resnet8, resnet20, mobilenet")
    assert isinstance(caught.value, ModelError)
    if wrong.islower():
        assert f"{nearest!r}?" in str(caught.value)


@pytest.mark.parametrize("name", MODELS)
def test_the_float_network_and_every_quantized_one_are_the_same_network(name: str) -> None:
    info = get_model(name)
    network = info.build(n_classes=7)
    specs = probe_layers(network, info.input_shape)
    x = torch.zeros(2, *info.input_shape)
    assert network.eval()(x).shape == (2, 7)
    for policy in (BitPolicy.uniform(specs, 1, 1), BitPolicy.uniform(specs, 4, 3)):
        quantized = info.build(policy, n_classes=7)
        assert quantized.eval()(x).shape == (2, 7)
        assert [n for n, _ in quantized.named_parameters()] == [n for n, _ in network.named_parameters()]
        loaded = quantized.load_state_dict(network.state_dict(), strict=False)
        assert not loaded.unexpected_keys
        assert all(key.endswith(".step") for key in loaded.missing_keys)


# Counted by hand from the layer sizes of brevitas_examples/bnn_pynq (models CNV and FC), the MLPerf Tiny entry, LeCun et
# al. (without padding: 4x4x16 values behind the second pool) and He et al. (with convolutions in two shortcuts), ten
# classes, for keywords twelve.
N_WEIGHTS = {
    "cnv": 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256) + 256 * 512 + 512 * 512 + 512 * 10,
    "tfc": 784 * 64 + 64 * 64 * 2 + 64 * 10,
    "sfc": 784 * 256 + 256 * 256 * 2 + 256 * 10,
    "lfc": 784 * 1024 + 1024 * 1024 * 2 + 1024 * 10,
    "kws": 490 * 256 + 256 * 256 * 2 + 256 * 12,
    "lenet5": 25 * 6 + 25 * 6 * 16 + 256 * 120 + 120 * 84 + 84 * 10,
    "resnet8": 9 * (3 * 16 + 2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 16 * 32 + 32 * 64 + 64 * 10,
    "resnet20": 9 * (3 * 16 + 6 * 16 * 16 + 16 * 32 + 5 * 32 * 32 + 32 * 64 + 5 * 64 * 64) + 16 * 32 + 32 * 64 + 64 * 10,
    "mobilenet": 9 * (3 * 16 + 16 + 32 + 64 + 64 + 128) + 16 * 32 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 10,
}


@pytest.mark.parametrize("name", MODELS)
def test_number_of_weights(name: str) -> None:
    info = get_model(name)
    assert sum(s.n_params for s in probe_layers(info.build(), info.input_shape)) == N_WEIGHTS[name]


# --- width multipliers -------------------------------------------------------------------------------------------


def test_a_quarter_of_cnv() -> None:
    info = get_model("cnv:0.25")
    specs = probe_layers(info.build(), info.input_shape)
    assert [s.out_channels for s in specs] == [16, 16, 32, 32, 64, 64, 128, 128, 10]
    full = get_model("cnv")
    assert (info.name, info.dataset, info.input_shape) == ("cnv:0.25", full.dataset, full.input_shape)
    assert get_model("cnv:.250") is info
    assert get_model("cnv:1.0") is full
    policy = BitPolicy.uniform(specs, 2, 2)
    assert info.build(policy, n_classes=7).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@given(st.floats(0.125, 4.0))
def test_channels_are_near_their_share_and_multiples_of_8(width: float) -> None:
    for full in (64, 128, 256, 512):
        n = scaled(full, width)
        assert n % 8 == 0
        assert n >= 8
        assert abs(n - full * width) <= 4
    assert scaled(8, 0.125) == 8


@pytest.mark.parametrize("wrong", ["cnv:", "cnv:0", "cnv:-1", "cnv:0.1", "cnv:5", "cnv:nan", "cnv:inf", "cnv:a", "cnv:0.5:2"])
def test_bad_width_multipliers(wrong: str) -> None:
    with pytest.raises(UnknownModelError) as caught:
        get_model(wrong)
    text = wrong.partition(":")[2]
    assert str(caught.value) == (
        f"model {wrong!r} has the width multiplier {text!r}; allowed are numbers from 0.125 to 4, as in 'cnv:0.25'"
    )


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("lenet5:0.5", [4, 8, 60, 42]),
        ("lenet5:2", [12, 32, 240, 168]),
        ("resnet8:0.5", [8, 8, 8, 16, 16, 16, 32, 32, 32]),
        ("mobilenet:0.5", [8, 8, 16, 16, 32, 32, 32, 32, 64, 64, 64]),
    ],
)
def test_widths_of_others(name: str, channels: list[int]) -> None:
    info = get_model(name)
    assert [s.out_channels for s in probe_layers(info.build(), info.input_shape)][:-1] == channels


def test_widths_of_what_takes_none_and_of_what_is_not_there() -> None:
    with pytest.raises(UnknownModelError) as caught:
        get_model("tfc:0.5")
    assert (
        str(caught.value)
        == "tfc in 'tfc:0.5' takes no width multiplier; say 'tfc'. Those that do: cnv, lenet5, resnet8, resnet20, mobilenet"
    )
    with pytest.raises(UnknownModelError, match=r"^unknown model 'cvn:0\.5'; did you mean 'cnv'\?"):
        get_model("cvn:0.5")
