"""One network for all bits: switched in place it equals a newly built one, and nothing is left behind."""

from __future__ import annotations

import gc
import random
import tracemalloc
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models import quant
from models.data import load_splits
from models.errors import PolicyError
from models.export import write_qonnx
from models.policy import BitPolicy, LayerBits
from models.probe import probe_layers
from models.registry import get_model
from models.train import Recipe, calibrate, predict, train
from models.weights import Pretrained
from tests.qonnx_graph import graph_of
from tests.tiny import INPUT_SHAPE, noise, tiny_images, tiny_network, uniform

bits = st.integers(1, 8)
policies = st.builds(
    lambda w, a: BitPolicy({"conv0": LayerBits(w[0], a[0]), "fc0": LayerBits(w[1], a[1]), "fc1": LayerBits(w[2], None)}),
    st.tuples(bits, bits, bits),
    st.tuples(bits, bits),
)


def new(policy: BitPolicy, like: nn.Module) -> nn.Sequential:
    """A newly built network with the weights and norms of another."""
    network = tiny_network(policy, seed=5)
    fresh = network.state_dict()
    steps = {k: v for k, v in fresh.items() if k.endswith(".step")}
    network.load_state_dict({**like.state_dict(), **steps})
    return network


def same(a: nn.Module, b: nn.Module) -> None:
    first, second = a.state_dict(), b.state_dict()
    assert list(first) == list(second)
    assert all(torch.equal(first[k], second[k]) for k in first)
    x = noise(5, *INPUT_SHAPE)
    for mode in (True, False):
        assert torch.equal(a.train(mode)(x), b.train(mode)(x))


@given(policies, policies)
@settings(max_examples=15)
def test_a_switched_network_equals_a_new_one_bit_for_bit(before: BitPolicy, after: BitPolicy) -> None:
    images = tiny_images(48)
    network = tiny_network(before)
    calibrate(network, images)
    train(network, images, Recipe(n_images=32, batch_size=16), seed=0)
    quant.set_bits(network, after)
    other = new(after, network)
    same(network, other)
    for one in (network, other):
        calibrate(one, images)
    same(network, other)
    for one in (network, other):
        train(one, images, Recipe(n_images=32, batch_size=16), seed=1)
    same(network, other)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (uniform(1, 1), uniform(4, 3)),
        (uniform(8, 8), uniform(1, 1)),
        (uniform(2, 2), BitPolicy({"conv0": LayerBits(1, 3), "fc0": LayerBits(4, 1), "fc1": LayerBits(1, None)})),
    ],
)
def test_the_export_follows_a_switch(before: BitPolicy, after: BitPolicy, tmp_path: Path) -> None:
    network = tiny_network(before)
    calibrate(network, tiny_images())
    write_qonnx(network, INPUT_SHAPE, tmp_path / "before.onnx")  # what Brevitas keeps of it must not come again
    quant.set_bits(network, after)
    calibrate(network, tiny_images())
    other = new(after, network)
    calibrate(other, tiny_images())
    write_qonnx(network, INPUT_SHAPE, tmp_path / "switched.onnx")
    write_qonnx(other, INPUT_SHAPE, tmp_path / "new.onnx")
    assert graph_of(tmp_path / "switched.onnx") == graph_of(tmp_path / "new.onnx")
    assert graph_of(tmp_path / "switched.onnx") != graph_of(tmp_path / "before.onnx")


def test_float_weights_are_never_changed_by_a_switch() -> None:
    network = tiny_network(uniform(8, 8))
    for p in network.parameters():
        p.data.mul_(30)  # beyond ±0.1 and ±1, where Brevitas' 1-bit quantizers clip them in place
    before = [p.detach().clone() for p in network.parameters()]
    for policy in (uniform(1, 1), uniform(2, 1), uniform(1, 8), uniform(8, 8)):
        quant.set_bits(network, policy)
        calibrate(network, tiny_images())
        network.train()(noise(4, *INPUT_SHAPE)).sum().backward()
    assert all(torch.equal(p, b) for p, b in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (BitPolicy({"conv0": LayerBits(2, 2)}), r"it lacks \['fc0', 'fc1'\] and has \[\]"),
        (
            BitPolicy({**uniform(2, 2), "fc9": LayerBits(2, 2)}),
            r"it lacks \[\] and has \['fc9'\], which the network has not; the layers are conv0, fc0, fc1",
        ),
        (uniform(2, 2).replace(fc1=LayerBits(2, 2)), r"layer 'fc1' takes no activation bits \(null\), the policy gives 2"),
        (uniform(2, 2).replace(fc0=LayerBits(2, None)), "layer 'fc0' takes 1 to 8 bits, the policy gives None"),
    ],
)
def test_a_policy_that_does_not_fit_changes_nothing(policy: BitPolicy, words: str) -> None:
    network = tiny_network(uniform(5, 4))
    calibrate(network, tiny_images())
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(PolicyError, match=words):
        quant.set_bits(network, policy)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert [q.bits for q in quant.act_quantizers(network)] == [4, 4]


def test_a_float_network_is_refused() -> None:
    with pytest.raises(PolicyError, match="the layers are none, as the network is not quantized"):
        quant.set_bits(tiny_network(None), uniform(2, 2))


# --- the real networks -------------------------------------------------------------------------------------------


def pretrained(name: str) -> Pretrained:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Pretrained(name, "digits", 10, 0, 0.1, get_model(name).build().state_dict())


@pytest.mark.parametrize("name", ["tfc", "cnv:0.125"])
def test_requantizing_in_place_equals_quantizing_anew(name: str) -> None:
    weights, info = pretrained(name), get_model(name)
    specs = probe_layers(weights.network(), info.input_shape)
    images = load_splits("digits", Path("nowhere"), info.input_shape).train.first(60)
    kept = {k: v.clone() for k, v in weights.state.items()}
    rng = random.Random(0)
    network = weights.quantized(BitPolicy.uniform(specs, 8, 8))
    for _ in range(3):
        policy = BitPolicy.draw(specs, rng)
        weights.requantize(network, policy)
        assert not network.training
        assert all(p.grad is None for p in network.parameters())
        fresh = weights.quantized(policy)
        for one in (network, fresh):
            calibrate(one, images)
            train(one, images, Recipe(n_images=60, batch_size=30), seed=0)
        assert torch.equal(predict(network, images.x), predict(fresh, images.x))
    assert all(torch.equal(v, kept[k]) for k, v in weights.state.items())  # training moved copies


def test_a_thousand_switches_leave_nothing_behind() -> None:
    weights, x = pretrained("tfc"), torch.zeros(2, *get_model("tfc").input_shape)
    specs = probe_layers(weights.network(), tuple(x.shape[1:]))
    rng = random.Random(0)
    policies = [BitPolicy.draw(specs, rng) for _ in range(50)]
    network = weights.quantized(policies[0])

    def switch(n: int) -> None:
        for i in range(n):
            weights.requantize(network, policies[i % len(policies)])
            if i % 100 == 0:
                network(x).sum().backward()  # what a pass makes on its way is freed, too

    def objects() -> tuple[int, int]:
        gc.collect()
        alive = gc.get_objects()
        return len(alive), sum(issubclass(type(o), torch.Tensor) for o in alive)

    switch(101)
    n_objects, n_tensors = objects()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        switch(1000)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    more_objects, more_tensors = objects()
    assert more_tensors <= n_tensors
    assert more_objects - n_objects < 50  # a leak of one object a switch would make 1,000
    assert grown < 50_000  # bytes: fifty a switch would be a leak
