"""TFC: FINN's small perceptron for 28x28 grey images, 784-64-64-64-classes (brevitas bnn_pynq TFC)."""

from __future__ import annotations

from math import prod

from torch import nn

from models import quant
from models.policy import BitPolicy, LayerBits

INPUT_SHAPE = (1, 28, 28)
FEATURES = (64, 64, 64)


def build(policy: BitPolicy | None, n_classes: int) -> nn.Sequential:
    """TFC, (B, 1, 28, 28) in [-1, 1] to logits (B, n_classes); without a policy the float network."""

    def bits(name: str) -> LayerBits | None:
        return None if policy is None else policy[name]

    net = nn.Sequential()
    net.add_module("flatten", nn.Flatten())
    net.add_module("image", quant.image_input(policy is not None))
    features = prod(INPUT_SHAPE)
    for i, out in enumerate(FEATURES):
        b = bits(f"fc{i}")
        net.add_module(f"fc{i}", quant.linear(b and b.weight, features, out))
        net.add_module(f"fc{i}_norm", nn.BatchNorm1d(out))
        net.add_module(f"fc{i}_act", quant.act(b and b.act))
        features = out
    last = f"fc{len(FEATURES)}"
    b = bits(last)
    net.add_module(last, quant.linear(b and b.weight, features, n_classes))
    return net
