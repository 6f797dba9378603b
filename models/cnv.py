"""CNV: FINN's VGG-like network for 32x32 colour images (Umuroglu et al., FPGA'17; brevitas bnn_pynq CNV)."""

from __future__ import annotations

from torch import nn

from models.layers import Layers, scaled
from models.policy import BitPolicy

INPUT_SHAPE = (3, 32, 32)
CONV_CHANNELS = (64, 64, 128, 128, 256, 256)
POOL_AFTER = (1, 3)  # a 2x2 max pool after these convolutions
LINEAR_FEATURES = (512, 512)


def build(policy: BitPolicy | None, n_classes: int, width: float = 1.0) -> nn.Sequential:
    """CNV, (B, 3, 32, 32) in [-1, 1] to logits (B, n_classes); without a policy the float network.

    Args:
        policy: the bits of each layer.
        n_classes: outputs of the last layer.
        width: multiplies the channels and features of every other layer, see `models.layers.scaled`.
    """
    net = nn.Sequential()
    layers = Layers(policy, net)
    layers.image()
    n = INPUT_SHAPE[0]
    for i, full in enumerate(CONV_CHANNELS):
        n = layers.conv(f"conv{i}", n, scaled(full, width), kernel_size=3)
        if i in POOL_AFTER:
            net.add_module(f"conv{i}_pool", nn.MaxPool2d(2))
    net.add_module("flatten", nn.Flatten())
    for i, full in enumerate(LINEAR_FEATURES):
        n = layers.linear(f"fc{i}", n, scaled(full, width))
    layers.last(f"fc{len(LINEAR_FEATURES)}", n, n_classes)
    return net
