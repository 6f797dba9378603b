"""LeNet-5 for 28x28 grey images (Y. LeCun et al., Proc. IEEE 86(11), 1998), with max pools, norms and ReLU."""

from __future__ import annotations

from torch import nn

from models.layers import Layers, scaled
from models.policy import BitPolicy

INPUT_SHAPE = (1, 28, 28)
CONV_CHANNELS = (6, 16)
KERNEL_SIZE = 5
LINEAR_FEATURES = (120, 84)
CHANNEL_STEP = 2  # of which the published sizes are multiples


def build(policy: BitPolicy | None, n_classes: int, width: float = 1.0) -> nn.Sequential:
    """LeNet-5, (B, 1, 28, 28) in [-1, 1] to logits (B, n_classes); without a policy the float network.

    Its convolutions are not padded: 28 pixels become 24, 12, 8, 4.

    Args:
        policy: the bits of each layer.
        n_classes: outputs of the last layer.
        width: multiplies the channels and features of every other layer, to multiples of 2.
    """
    net = nn.Sequential()
    layers = Layers(policy, net)
    layers.image()
    n, side_px = INPUT_SHAPE[0], INPUT_SHAPE[1]
    for i, full in enumerate(CONV_CHANNELS):
        n = layers.conv(f"conv{i}", n, scaled(full, width, CHANNEL_STEP), KERNEL_SIZE)
        net.add_module(f"conv{i}_pool", nn.MaxPool2d(2))
        side_px = (side_px - KERNEL_SIZE + 1) // 2
    net.add_module("flatten", nn.Flatten())
    n *= side_px**2
    for i, full in enumerate(LINEAR_FEATURES):
        n = layers.linear(f"fc{i}", n, scaled(full, width, CHANNEL_STEP))
    layers.last(f"fc{len(LINEAR_FEATURES)}", n, n_classes)
    return net
