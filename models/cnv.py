"""CNV: FINN's VGG-like network for 32x32 colour images (Umuroglu et al., FPGA'17; brevitas bnn_pynq CNV)."""

from __future__ import annotations

from torch import nn

from models import quant
from models.policy import BitPolicy, LayerBits

INPUT_SHAPE = (3, 32, 32)
CONV_CHANNELS = (64, 64, 128, 128, 256, 256)
POOL_AFTER = (1, 3)  # a 2x2 max pool after these convolutions
LINEAR_FEATURES = (512, 512)
CHANNEL_STEP = 8  # a narrower or wider network has multiples of it: they fold well


def scaled(n_channels: int, width: float) -> int:
    """Channels times a width multiplier, to the nearest multiple of 8 (half up), 8 or more."""
    return max(CHANNEL_STEP, int(n_channels * width / CHANNEL_STEP + 0.5) * CHANNEL_STEP)


def build(policy: BitPolicy | None, n_classes: int, width: float = 1.0) -> nn.Sequential:
    """CNV, (B, 3, 32, 32) in [-1, 1] to logits (B, n_classes); without a policy the float network.

    Args:
        policy: the bits of each layer.
        n_classes: outputs of the last layer.
        width: multiplies the channels and features of every other layer, see `scaled`.
    """

    def bits(name: str) -> LayerBits | None:
        return None if policy is None else policy[name]

    net = nn.Sequential()
    net.add_module("image", quant.image_input(policy is not None))
    channels = INPUT_SHAPE[0]
    for i, full in enumerate(CONV_CHANNELS):
        out = scaled(full, width)
        b = bits(f"conv{i}")
        net.add_module(f"conv{i}", quant.conv(b and b.weight, channels, out, kernel_size=3))
        net.add_module(f"conv{i}_norm", nn.BatchNorm2d(out))
        net.add_module(f"conv{i}_act", quant.act(b and b.act))
        if i in POOL_AFTER:
            net.add_module(f"conv{i}_pool", nn.MaxPool2d(2))
        channels = out
    net.add_module("flatten", nn.Flatten())
    for i, full in enumerate(LINEAR_FEATURES):
        out = scaled(full, width)
        b = bits(f"fc{i}")
        net.add_module(f"fc{i}", quant.linear(b and b.weight, channels, out))
        net.add_module(f"fc{i}_norm", nn.BatchNorm1d(out))
        net.add_module(f"fc{i}_act", quant.act(b and b.act))
        channels = out
    last = f"fc{len(LINEAR_FEATURES)}"
    b = bits(last)
    net.add_module(last, quant.linear(b and b.weight, channels, n_classes))
    return net
