"""A network and images small enough that a test trains in milliseconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models import quant
from models.data import ImageSet
from models.policy import BitPolicy, LayerBits

INPUT_SHAPE = (2, 6, 6)
N_CLASSES = 3


def uniform(weight: int, act: int) -> BitPolicy:
    """The same bits in every layer of the tiny network."""
    return BitPolicy({"conv0": LayerBits(weight, act), "fc0": LayerBits(weight, act), "fc1": LayerBits(weight, None)})


def tiny_network(policy: BitPolicy | None, seed: int = 0) -> nn.Sequential:
    """Conv 2-4, pool, linear 16-8, linear 8-3: all kinds of layers that the real networks have."""
    bits = policy or {"conv0": None, "fc0": None, "fc1": None}
    weight = {name: b and b.weight for name, b in bits.items()}
    act = {name: b and b.act for name, b in bits.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential()
        net.add_module("image", quant.image_input(policy is not None))
        net.add_module("conv0", quant.conv(weight["conv0"], 2, 4, kernel_size=3))
        net.add_module("conv0_norm", nn.BatchNorm2d(4))
        net.add_module("conv0_act", quant.act(act["conv0"]))
        net.add_module("conv0_pool", nn.MaxPool2d(2))
        net.add_module("flatten", nn.Flatten())
        net.add_module("fc0", quant.linear(weight["fc0"], 16, 8))
        net.add_module("fc0_norm", nn.BatchNorm1d(8))
        net.add_module("fc0_act", quant.act(act["fc0"]))
        net.add_module("fc1", quant.linear(weight["fc1"], 8, N_CLASSES))
    return net


def tiny_images(n: int = 64, seed: int = 0) -> ImageSet:
    """Noise whose brightness tells the class."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(N_CLASSES, (n,), generator=generator)
    noise = torch.randint(86, (n, *INPUT_SHAPE), generator=generator)
    return ImageSet((noise + 84 * y[:, None, None, None]).to(torch.uint8), y)


def noise(*shape: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    """Normally distributed values."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of a network's state."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two states are the same, bit for bit and in the same order."""
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
