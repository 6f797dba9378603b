"""A plain module to a chain: what comes out is the same network, and what cannot be built is refused by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models import quant
from models.chain import Step, plan
from models.chain_network import Chain, build, take_values
from models.data import ImageSet
from models.errors import ModelError, NetworkError, PolicyError
from models.export import write_qonnx
from models.policy import BitPolicy, LayerBits
from models.probe import probe_layers
from models.trace import trace
from models.train import Recipe, calibrate, predict, reestimate_norms, train

SHAPE = (1, 12, 12)


class Net(nn.Module):
    """A module whose forward is handed in."""

    def __init__(self, forward: Callable[[Any, Any], Any], **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        return self._forward(self, x)


def images(n: int = 64, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(
        torch.randint(256, (n, *shape), dtype=torch.uint8, generator=generator), torch.randint(3, (n,), generator=generator)
    )


def noise(n: int = 4, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def converted(module: nn.Module, shape: tuple[int, int, int] = SHAPE) -> tuple[tuple[Step, ...], Chain]:
    steps = plan(trace(module.eval(), shape))
    network = build(steps, None)
    take_values(network, steps, module)
    return steps, network.eval()


def lived_in(module: nn.Module, seed: int = 0) -> nn.Module:
    """Norms that are no identity."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.3, generator=generator)
            m.running_var.uniform_(0.5, 2, generator=generator)
            if m.affine:
                m.weight.data.uniform_(0.5, 1.5, generator=generator)
                m.bias.data.normal_(0, 0.3, generator=generator)
    return module


def tail(n: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(n, 3, bias=False)]


def kinds(steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    return [(step.kind, step.name) for step in steps]


# --- what comes out ----------------------------------------------------------------------------------------------


def test_nested_modules_keep_their_names_and_their_state_dict() -> None:
    module = nn.Sequential()
    module.add_module("body", nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)))
    module.add_module("head", nn.Sequential(*tail(100)))
    steps, network = converted(lived_in(module))
    assert kinds(steps) == [
        ("image", "image"), ("conv", "body.0"), ("norm", "body.1"), ("act", "body.0_act"), ("pool", "body.3"),
        ("flatten", "head.0"), ("linear", "head.1"),
    ]  # fmt: skip
    assert list(network.state_dict()) == list(module.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(network.state_dict().values(), module.state_dict().values(), strict=True))
    assert torch.allclose(network(noise()), module(noise()), atol=1e-6)
    assert [s.name for s in probe_layers(network, SHAPE)] == ["body.0", "head.1"]


FORMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "F.relu, F.max_pool2d, torch.flatten": lambda s, x: s.b(torch.flatten(F.max_pool2d(F.relu(s.a(x)), 2), 1)),
    "methods": lambda s, x: s.b(s.a(x).relu().flatten(1)),
    "torch.relu, view with size": lambda s, x: s.b(torch.relu(s.a(x)).view(x.size(0), -1)),
    "in place, reshape with shape": lambda s, x: s.b(s.a(x).relu_().reshape(x.shape[0], -1)),
    "keywords": lambda s, x: s.b(torch.flatten(F.max_pool2d(F.relu(s.a(x)), kernel_size=2, stride=1), start_dim=1)),
    "F.dropout": lambda s, x: s.b(F.dropout(F.relu(s.a(x)), 0.5, s.training).flatten(1)),
    "ReLU twice": lambda s, x: s.b(F.relu(F.relu(s.a(x))).flatten(1)),
    "flatten twice": lambda s, x: s.b(F.relu(s.a(x)).flatten(1).flatten(1)),
    "ReLU behind the pool": lambda s, x: s.b(F.relu(F.max_pool2d(s.a(x), 2)).flatten(1)),
    "ReLU behind the flattening": lambda s, x: s.b(F.relu(s.a(x).flatten(1))),
    "contiguous": lambda s, x: s.b(F.relu(s.a(x)).contiguous().view(x.size(0), -1)),
}


@pytest.mark.parametrize("name", FORMS)
def test_functional_forms(name: str) -> None:
    sizes = {"F.relu, F.max_pool2d, torch.flatten": 100, "ReLU behind the pool": 100, "keywords": 4 * 81}
    module = Net(FORMS[name], a=nn.Conv2d(1, 4, 3), b=nn.Linear(sizes.get(name, 400), 3, bias=False))
    steps, network = converted(module)
    assert torch.allclose(network(noise()), module(noise()), atol=1e-5)
    order = [kind for kind, _ in kinds(steps)]
    assert order[:4] == ["image", "conv", "bias", "act"]
    assert order[-2:] == ["flatten", "linear"]


def test_dropout_and_identity_are_left_out() -> None:
    module = nn.Sequential(nn.Identity(), nn.Conv2d(1, 4, 3), nn.Dropout2d(), nn.ReLU(), nn.Dropout(), *tail(400))
    steps, network = converted(module)
    assert [k for k, _ in kinds(steps)] == ["image", "conv", "bias", "act", "flatten", "linear"]
    assert torch.allclose(network(noise()), module(noise()), atol=1e-6)


def test_a_bias_before_a_norm_goes_into_it_and_one_without_is_added() -> None:
    module = lived_in(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), *tail(256))
    )
    steps, network = converted(module)
    assert [k for k, _ in kinds(steps)] == ["image", "conv", "norm", "act", "conv", "bias", "act", "flatten", "linear"]
    assert "0.bias" not in network.state_dict()
    assert torch.equal(network.get_parameter("3_bias.bias"), module[3].bias)
    assert torch.allclose(network(noise()), module(noise()), atol=1e-5)
    # and while it is trained, too: the batch's mean takes the bias off
    assert torch.allclose(network.train()(noise()), module.train()(noise()), atol=1e-5)


def test_a_perceptron_is_flattened_before_its_image_is_quantized() -> None:
    steps, _ = converted(nn.Sequential(nn.Flatten(), nn.Linear(144, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)))
    assert [k for k, _ in kinds(steps)][:3] == ["flatten", "image", "linear"]


def test_norms_without_weights_and_with_other_numbers() -> None:
    norm = nn.BatchNorm2d(4, eps=0.1, momentum=None, affine=False)
    module = lived_in(nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), *tail(400)))
    _, network = converted(module)
    mine = network.get_submodule("1")
    assert (mine.eps, mine.momentum, mine.affine) == (0.1, None, False)
    assert torch.allclose(network(noise()), module(noise()), atol=1e-5)


def test_layers_called_in_another_order_than_they_are_held_in_are_in_the_order_of_the_data() -> None:
    module = Net(
        lambda s, x: s.b[1](s.a[1](F.relu(s.b[0](F.relu(s.a[0](x))))).relu().flatten(1)),
        a=nn.ModuleList([nn.Conv2d(1, 4, 3, bias=False), nn.Conv2d(5, 6, 3, bias=False)]),
        b=nn.ModuleList([nn.Conv2d(4, 5, 3, bias=False), nn.Linear(216, 3, bias=False)]),
    )
    _, network = converted(module)
    names = ["a.0", "b.0", "a.1", "b.1"]
    assert [s.name for s in probe_layers(network, SHAPE)] == names
    policy = BitPolicy({n: LayerBits(4, None if n == "b.1" else 4) for n in names})
    quantized = build(plan(trace(module, SHAPE)), policy)
    calibrate(quantized, images())
    assert [tuple(w.shape) for w in quant.quantized_integers(quantized)] == [(4, 1, 3, 3), (5, 4, 3, 3), (6, 5, 3, 3), (3, 216)]
    assert torch.allclose(network(noise()), module(noise()), atol=1e-6)
    assert len(network) == len(list(network.children())) == len(list(network.named_children()))
    assert network[1] is network.get_submodule("a.0")


def test_names_that_are_taken_are_changed_but_never_those_of_layers() -> None:
    module = Net(
        lambda s, x: s.fc(s.relu(s.image_act(s.image(x))).flatten(1)),
        image=nn.Conv2d(1, 4, 3), image_act=nn.BatchNorm2d(4), relu=nn.ReLU(), fc=nn.Linear(400, 3, bias=False),
    )  # fmt: skip
    steps, network = converted(lived_in(module))
    assert kinds(steps)[:4] == [("image", "image_"), ("conv", "image"), ("norm", "image_act_"), ("act", "image_act")]
    assert torch.allclose(network(noise()), module(noise()), atol=1e-5)


def test_a_copy_of_a_network_is_a_network_of_its_own() -> None:
    _, network = converted(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *tail(400)))
    twin = copy.deepcopy(network)
    twin.get_parameter("0.weight").data.zero_()
    assert network.get_parameter("0.weight").abs().sum() > 0
    assert not torch.equal(twin(noise()), network(noise()))


def test_two_layers_of_which_one_is_named_as_the_others_activation() -> None:
    module = Net(
        lambda s, x: s.fc(F.relu(s.a_act(F.relu(s.a(x)))).flatten(1)),
        a=nn.Conv2d(1, 4, 3), a_act=nn.Conv2d(4, 4, 1), fc=nn.Linear(400, 3, bias=False),
    )  # fmt: skip
    with pytest.raises(
        NetworkError, match=r"^module 'a_act' has the name that the activation behind module 'a' gets; rename it$"
    ):
        converted(module)


BEHIND = ["flatten", "linear"]
ONE, TWO = ["conv", "bias", "act"], ["conv", "bias", "act", "conv", "bias", "act"]
MORE: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "padding": (lambda: sequence(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()), [*TWO, *BEHIND]),
    "'same'": (lambda: nn.Sequential(nn.Conv2d(1, 4, 5, padding="same"), nn.ReLU(), *tail(576)), [*ONE, *BEHIND]),
    "depthwise": (lambda: sequence(nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4, padding=1), nn.ReLU()), [*TWO, *BEHIND]),
    "mean": (lambda: sequence(nn.ReLU(), nn.AdaptiveAvgPool2d(1), n=4), [*ONE, "mean", *BEHIND]),
    "a function's mean": (lambda: Means(b=nn.Linear(4, 3, bias=False)), [*ONE, "mean", *BEHIND]),
    "a mean of a mean": (
        lambda: sequence(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(1), n=4),
        [*ONE, "mean", *BEHIND],
    ),
    "bias last": (lambda: nn.Sequential(*sequence(nn.ReLU())[:-1], nn.Linear(400, 3)), [*ONE, *BEHIND, "bias"]),
    "norm last": (lambda: nn.Sequential(*sequence(nn.ReLU()), nn.BatchNorm1d(3)), [*ONE, *BEHIND, "norm"]),
}


@pytest.mark.parametrize("name", MORE)
def test_padding_filters_means_and_tails(name: str, tmp_path: Path) -> None:
    make, expected = MORE[name]
    module = lived_in(make())
    steps, network = converted(module)
    assert [k for k, _ in kinds(steps)] == ["image", *expected]
    assert torch.allclose(network(noise()), module(noise()), atol=1e-5)
    quantized = build(steps, BitPolicy.uniform(probe_layers(network, SHAPE), 4, 4))
    calibrate(quantized, images())
    write_qonnx(quantized, SHAPE, tmp_path / "model.onnx")


def test_what_a_filter_reads_has_two_bits_or_more() -> None:
    """FINN makes a full matrix of one-bit weights, zeros included, of a depthwise convolution behind one-bit activations."""
    _, network = converted(sequence(nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.ReLU(), n=256))
    first, behind, _ = probe_layers(network, SHAPE)
    assert (first.min_act_bits, behind.min_act_bits) == (2, 2)
    assert "a depthwise convolution reads it" in first.why_min_act_bits


# --- chains drawn at random --------------------------------------------------------------------------------------


@st.composite
def chains(draw: st.DrawFn) -> nn.Sequential:
    """Everything that is allowed, in any order that is."""
    parts: list[nn.Module] = []
    channels, side = 1, SHAPE[1]
    for _ in range(draw(st.integers(0, 2))):
        kernel, n = draw(st.integers(1, min(3, side))), draw(st.integers(2, 5))
        stride = draw(st.integers(1, min(kernel, 2)))
        parts.append(nn.Conv2d(channels, n, kernel, stride, bias=draw(st.booleans())))
        channels, side = n, (side - kernel) // stride + 1
        if draw(st.booleans()):
            parts.append(nn.BatchNorm2d(channels))
        behind: list[nn.Module] = [nn.ReLU()]
        if side > 3 and draw(st.booleans()):
            size, pool_stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
            behind.insert(draw(st.integers(0, 1)), nn.MaxPool2d(size, pool_stride))
            side = (side - size) // pool_stride + 1
        parts += [*behind, nn.Dropout()] if draw(st.booleans()) else behind
    parts.append(nn.Flatten())
    features = channels * side**2
    for _ in range(draw(st.integers(0 if parts[0] is not parts[-1] else 1, 2))):
        n = draw(st.integers(4, 8))
        parts.append(nn.Linear(features, n, bias=draw(st.booleans())))
        features = n
        if draw(st.booleans()):
            parts.append(nn.BatchNorm1d(n))
        parts.append(nn.ReLU())
    parts.append(nn.Linear(features, 3, bias=False))
    torch.manual_seed(draw(st.integers(0, 99)))
    for part in parts:
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()
    return nn.Sequential(*parts)


@given(chains())
@settings(max_examples=40, deadline=None)
def test_the_float_network_gives_what_the_module_gives(module: nn.Sequential) -> None:
    _, network = converted(lived_in(module))
    assert torch.allclose(network(noise()), module(noise()), rtol=1e-3, atol=1e-4)


@given(chains())
@settings(max_examples=15, deadline=None)
def test_with_eight_bits_it_gives_nearly_that(module: nn.Sequential) -> None:
    steps, network = converted(lived_in(module))
    specs = probe_layers(network, SHAPE)
    quantized = build(steps, BitPolicy.uniform(specs, 8, 8))
    quantized.load_state_dict({**quantized.state_dict(), **network.state_dict()})
    calibrate(quantized, images())
    reestimate_norms(network, images())
    wanted, got = predict(network, images().x), predict(quantized, images().x)
    assert (got - wanted).pow(2).mean() < 0.05 * wanted.var() + 1e-4


@given(chains(), st.integers(1, 8), st.integers(1, 8), st.integers(1, 8))
@settings(max_examples=10, deadline=None)
def test_bits_are_switched_in_place_and_it_trains(module: nn.Sequential, weight: int, act: int, before: int) -> None:
    steps, network = converted(module)
    specs = probe_layers(network, SHAPE)
    after = BitPolicy.uniform(specs, weight, act)
    switched, fresh = build(steps, BitPolicy.uniform(specs, before, before)), build(steps, after)
    calibrate(switched, images())
    quant.set_bits(switched, after)
    for one in (switched, fresh):
        one.load_state_dict({**fresh.state_dict(), **network.state_dict()})
        calibrate(one, images())
        train(one, images(), Recipe(n_images=64, batch_size=32, lr=0.001), seed=0)
    assert list(switched.state_dict()) == list(fresh.state_dict())
    assert torch.equal(predict(switched, images().x), predict(fresh, images().x))


def test_it_is_exported_with_names_that_hold_dots(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), nn.Sequential(*tail(400)))
    steps, network = converted(module)
    quantized = build(steps, BitPolicy.uniform(probe_layers(network, SHAPE), 3, 2))
    calibrate(quantized, images())
    write_qonnx(quantized, SHAPE, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size > 0


def test_a_policy_for_another_network() -> None:
    steps, _ = converted(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *tail(400)))
    quantized = build(steps, BitPolicy({"0": LayerBits(2, 2), "3": LayerBits(2, None)}))
    with pytest.raises(PolicyError, match="the layers are 0, 3"):
        quant.set_bits(quantized, BitPolicy({"0": LayerBits(2, 2)}))


# --- what is refused ---------------------------------------------------------------------------------------------


def sequence(*parts: nn.Module, n: int = 400) -> nn.Sequential:
    """A convolution, its ReLU and a last layer, with something in between."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), *parts, *tail(n))


class Plain(nn.Module):
    """Children `a` and `b` and whatever a test adds; forward is the test's."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Linear(400, 3, bias=False)
        for name, part in parts.items():
            self.add_module(name, part)


class Looks(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.a(x))
        if x.sum() > 0:
            x = x.relu()
        return self.b(x.flatten(1))


class Shortcut(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.a(x))
        return self.b((y + self.c(y)).flatten(1))


class Twice(Plain):
    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.c(F.relu(self.a(x))))
        return self.b(F.relu(self.c(y)).flatten(1))


class Scaled(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x / 2)).flatten(1))


class Loose(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 400))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.a(x)).flatten(1), self.weight)


class Fixed(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)).permute(0, 2, 3, 1).flatten(1))


class TwoInputs(Plain):
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.b(F.relu(self.a(x)).flatten(1))


class Halves(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.a(x)).view(-1, 200)


class Means(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x)).mean((2, 3)))


class HiddenSigmoid(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.sigmoid(self.a(x)).flatten(1))


def tied() -> nn.Module:
    layers = [nn.Conv2d(4, 4, 1) for _ in range(2)]
    layers[1].weight = layers[0].weight
    return nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), layers[0], nn.ReLU(), layers[1], nn.ReLU(), *tail(576))


S, C, R, L = nn.Sequential, nn.Conv2d, nn.ReLU, nn.Linear
PLACE = r"at line \d+ of test_models_trace\.py"
ACTIVATION = r"what layers hand on are unsigned integers behind a ReLU, found with thresholds; use nn\.ReLU and train anew$"
# what it is: how it is made, the module that the error is about, what it says
REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "Sigmoid": (lambda: sequence(nn.Sigmoid()), "1", rf"^module '1' \(Sigmoid\) cannot be built: {ACTIVATION}"),
    "GELU": (lambda: sequence(nn.GELU()), "1", rf"^module '1' \(GELU\) cannot be built: {ACTIVATION}"),
    "a subclass": (lambda: sequence(nn.ReLU6()), "1", rf"\(ReLU6\) cannot be built: {ACTIVATION}"),
    "LayerNorm": (lambda: sequence(nn.LayerNorm([4, 10, 10]), R()), "1", r"statistics from the image at hand"),
    "Softmax": (lambda: S(*sequence(R()), nn.Softmax(1)), "4", r"\(Softmax\) .* the logits, .*; leave it out$"),
    "AvgPool2d": (lambda: sequence(R(), nn.AvgPool2d(2), n=100), "2", r"the only average that is built .*; use"),
    "another shape": (lambda: S(nn.Flatten(2), nn.Conv1d(1, 3, 2), nn.Flatten()), "0", "only flattening a whole image"),
    "nobody's": (lambda: sequence(nn.PixelShuffle(2), R()), "1", r"there is no unit for it; allowed are nn\.Conv2d"),
    "no ReLU between": (lambda: sequence(C(4, 4, 1), R()), "0", r"no ReLU follows before module '1' \(Conv2d\)"),
    "ReLU at the end": (lambda: S(*sequence(R()), R()), "3", "a ReLU follows, which cuts the logits off"),
    "norm behind ReLU": (lambda: sequence(R(), nn.BatchNorm2d(4)), "2", "stands behind a ReLU, .*; put it between"),
    "norm behind pool": (
        lambda: sequence(nn.MaxPool2d(2), nn.BatchNorm2d(4), R(), n=100), "2", r"behind module '1' \(MaxPool2d\)",
    ),
    "norm behind norm": (lambda: sequence(nn.BatchNorm2d(4), nn.BatchNorm2d(4), R()), "2", "behind a norm"),
    "norm without statistics": (
        lambda: sequence(nn.BatchNorm2d(4, track_running_stats=False), R()), "1", "leave track_running_stats at True",
    ),
    "norm first": (lambda: S(nn.BatchNorm2d(1), *sequence(R())), "0", r"begin with nn\.Conv2d or nn\.Linear$"),
    "pool first": (lambda: S(nn.MaxPool2d(1), *sequence(R())), "0", "no unit stands before it"),
    "convolution last": (lambda: S(C(1, 4, 3), R(), C(4, 3, 10), nn.Flatten()), "2", r"end with nn\.Linear$"),
    "one layer": (lambda: S(nn.Flatten(), L(144, 3, bias=False)), "", "1 layer with weights; 2 or more"),
    "no layer": (lambda: S(nn.Flatten()), "", "0 layers with weights"),
    "dilation": (lambda: S(C(1, 4, 3, dilation=2), R(), *tail(256)), "0", "its dilation is 2; leave"),
    "oblong kernel": (lambda: S(C(1, 4, (3, 1)), R(), *tail(480)), "0", "its kernel is 3x1, and windows are square"),
    "oblong stride": (lambda: S(C(1, 4, 2, (1, 2)), R(), *tail(264)), "0", "its stride is 1x2"),
    "crashes": (lambda: S(C(1, 4, 1, 2), R(), *tail(144)), "0", "a 1x1 window with stride 2 over 1 channels; use"),
    "padded pool": (lambda: sequence(R(), nn.MaxPool2d(2, padding=1), n=144), "2", "padding 1 and dilation 1; leave"),
    "linear on maps": (lambda: S(L(12, 5), R(), *tail(60)), "0", r"it reads 3 dimensions an image; .*nn\.Flatten"),
    "weights shared": (tied, "4", r"shares a parameter with '2'; .*give each its own weights$"),
    "a branch": (lambda: Shortcut(c=C(4, 4, 1)), "relu", rf"^relu\(\) in forward {PLACE} feeds .* and .*; networks of your"),
    "called twice": (lambda: Twice(c=C(4, 4, 1)), "c", r"^module 'c' \(Conv2d\) is called 2 times; .*for each call$"),
    "control flow": (Looks, "", rf"^torch\.fx cannot trace Looks\.forward \(TraceError: .*, {PLACE}\); .* no `if`"),
    "arithmetic": (Scaled, "truediv", rf"^operator truediv in forward {PLACE} .* comes scaled to -1 to 1; leave it out or"),
    "free weights": (Loose, "linear", rf"^linear\(\) in forward {PLACE} .* its weights belong to no module"),
    "permuted": (Fixed, "permute", rf"^\.permute\(\) in forward {PLACE} cannot be built: there is no unit for it"),
    "two inputs": (TwoInputs, "", r"^TwoInputs\.forward takes x, y; it is to take images alone"),
    "in other rows": (Halves, "view", "makes 200 of 4x10x10, in 4 rows for 2 images; only flattening"),
    "a function": (HiddenSigmoid, "sigmoid", rf"^sigmoid\(\) in forward {PLACE} cannot be built: {ACTIVATION}"),
    "a border alone": (
        lambda: sequence(R(), nn.AdaptiveAvgPool2d(1), C(4, 4, 3, padding=1), R(), n=4), "3", "a window of 3 over a map of one",
    ),
    "a filter of 1": (lambda: sequence(R(), C(4, 4, 1, groups=4), R()), "2", "a window of 1 over single channels is a scale"),
    "mean of parts": (lambda: sequence(R(), nn.AdaptiveAvgPool2d(2), n=16), "2", "the only average that is built"),
    "grouped": (lambda: sequence(R(), C(4, 4, 1, groups=2), R()), "2", "it has 2 groups, .*; let groups be 1, or as many as"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_built_is_refused_with_module_reason_and_remedy(name: str) -> None:
    make, module, words = REFUSED[name]
    with pytest.raises(NetworkError, match=words) as caught:
        converted(make())
    assert caught.value.module == module
    assert isinstance(caught.value, ModelError)
    assert "\n" not in str(caught.value)


def test_the_name_is_that_of_the_inner_module() -> None:
    module = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(nn.Tanh())), *tail(400))
    with pytest.raises(NetworkError, match=r"^module '0\.1\.0' \(Tanh\) cannot be built"):
        converted(module)


def test_maps_that_are_not_square() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *tail(4 * 8 * 10))
    with pytest.raises(NetworkError, match="it reads 1x10x12, and feature maps are square; give INPUT_SHAPE as many rows as"):
        converted(module, (1, 10, 12))
