"""A small network of depthwise-separable convolutions for 32x32 colour images.

Source of the idea: A. Howard et al., "MobileNets" (2017). Sizes are ours: the first strides are left out, as 32 pixels
leave less to divide than 224.
"""

from __future__ import annotations

from torch import nn

from models import quant
from models.layers import Layers, scaled
from models.policy import BitPolicy

INPUT_SHAPE = (3, 32, 32)
FIRST_CHANNELS = 16
BLOCKS = ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1))  # channels behind a block, stride of its depthwise convolution


def build(policy: BitPolicy | None, n_classes: int, width: float = 1.0) -> nn.Sequential:
    """The network, (B, 3, 32, 32) in [-1, 1] to logits (B, n_classes); without a policy in float.

    Args:
        policy: the bits of each layer: "depth<i>" filters every channel by itself, "point<i>" mixes them.
        n_classes: outputs of the last layer.
        width: multiplies the channels, see `models.layers.scaled`.
    """
    net = nn.Sequential()
    layers = Layers(policy, net)
    layers.image()
    n = layers.conv("conv", INPUT_SHAPE[0], scaled(FIRST_CHANNELS, width), 3, padding=1)
    for i, (full, stride) in enumerate(BLOCKS):
        layers.conv(f"depth{i}", n, n, 3, stride, padding=1, groups=n)
        n = layers.conv(f"point{i}", n, scaled(full, width), 1)
    net.add_module("mean", quant.GlobalMean())
    net.add_module("flatten", nn.Flatten())
    layers.last("fc", n, n_classes)
    return net
