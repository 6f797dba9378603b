"""ResNet-8 and ResNet-20 for 32x32 colour images.

Source: K. He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2, of which ResNet-8 is the
one with one block a stage; where a block changes the size, its shortcut is a 1x1 convolution (their option B).
"""

from __future__ import annotations

from torch import Tensor, nn

from models import quant
from models.layers import Layers, scaled
from models.policy import BitPolicy

INPUT_SHAPE = (3, 32, 32)
STAGE_CHANNELS = (16, 32, 64)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut past them, (B, C_in, H, W) to (B, C_out, H/s, W/s).

    Both addends pass one quantizer, and the bits of the block's second convolution are those behind the sum. Where the
    shortcut is a convolution it hands on no activation of its own, so it has no activation bits.

    Args:
        policy: the bits of each layer of the network; None for float.
        path: of the block in the network.
        in_channels: C_in.
        out_channels: C_out.
        stride: s, of the first convolution and the shortcut.
    """

    conv0: nn.Module
    conv0_norm: nn.Module
    conv0_act: nn.Module
    conv1: nn.Module
    conv1_norm: nn.Module
    conv1_addend: nn.Module
    conv1_act: nn.Module
    shortcut: nn.Module
    shortcut_norm: nn.Module

    def __init__(self, policy: BitPolicy | None, path: str, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        layers = Layers(policy, self, f"{path}.")
        layers.conv("conv0", in_channels, out_channels, 3, stride, padding=1)
        layers.conv("conv1", out_channels, out_channels, 3, padding=1, has_act=False)
        self.projects = stride > 1 or in_channels != out_channels
        if self.projects:
            layers.conv("shortcut", in_channels, out_channels, 1, stride, has_act=False)
        bits = layers.bits("conv1")
        self.conv1_addend = quant.addend(bits and bits.act)
        layers.act("conv1")

    def forward(self, x: Tensor) -> Tensor:
        """What comes behind the sum, (B, C_out, H/s, W/s)."""
        y = self.conv0_act(self.conv0_norm(self.conv0(x)))
        y = self.conv1_norm(self.conv1(y))
        past = self.shortcut_norm(self.shortcut(x)) if self.projects else x
        out: Tensor = self.conv1_act(self.conv1_addend(y) + self.conv1_addend(past))
        return out


def build(policy: BitPolicy | None, n_classes: int, blocks_a_stage: int, width: float = 1.0) -> nn.Sequential:
    """A ResNet of 6n+2 layers, (B, 3, 32, 32) in [-1, 1] to logits (B, n_classes); without a policy the float network.

    Args:
        policy: the bits of each layer.
        n_classes: outputs of the last layer.
        blocks_a_stage: n; 1 for ResNet-8, 3 for ResNet-20.
        width: multiplies the channels, see `models.layers.scaled`.
    """
    net = nn.Sequential()
    layers = Layers(policy, net)
    layers.image()
    n = layers.conv("conv", INPUT_SHAPE[0], scaled(STAGE_CHANNELS[0], width), 3, padding=1)
    for stage, full in enumerate(STAGE_CHANNELS):
        for block in range(blocks_a_stage):
            path = f"block{stage}_{block}"
            out = scaled(full, width)
            net.add_module(path, ResidualBlock(policy, path, n, out, 2 if stage and not block else 1))
            n = out
    net.add_module("mean", quant.GlobalMean())
    net.add_module("flatten", nn.Flatten())
    layers.last("fc", n, n_classes)
    return net
