"""What all networks are put together from: weighted layers, each with its norm and its activation, by name."""

from __future__ import annotations

from torch import nn

from models import quant
from models.policy import BitPolicy, LayerBits

CHANNEL_STEP = 8  # a narrower or wider network has multiples of it: they fold well


def scaled(n_channels: int, width: float, step: int = CHANNEL_STEP) -> int:
    """Channels times a width multiplier, to the nearest multiple of `step` (half up), `step` or more."""
    return max(step, int(n_channels * width / step + 0.5) * step)


class Layers:
    """Adds layers to a network, with the bits of a policy or, without one, in float.

    Args:
        policy: the bits of every layer, by its path in the network.
        net: what is added to.
        prefix: the path of `net` in the network, with a dot behind; empty for the network itself.
    """

    def __init__(self, policy: BitPolicy | None, net: nn.Module, prefix: str = "") -> None:
        self.policy = policy
        self.net = net
        self._prefix = prefix

    def bits(self, name: str) -> LayerBits | None:
        """The bits of the layer that bears this name in `net`; None for float."""
        return None if self.policy is None else self.policy[self._prefix + name]

    def image(self) -> None:
        """Add the entry, "image": it makes the image's integers."""
        self.net.add_module("image", quant.image_input(self.policy is not None))

    def conv(
        self, name: str, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0,
        groups: int = 1, has_act: bool = True,
    ) -> int:  # fmt: skip
        """Add a convolution, its norm and, unless told otherwise, its activation.

        Args:
            name: of the convolution; with "_norm" and "_act" behind, of the two others.
            in_channels: 1 or more.
            out_channels: 1 or more.
            kernel_size: side of the square window.
            stride: of the window.
            padding: pixels of zeros around the image.
            groups: 1, or `in_channels` for a depthwise convolution.
            has_act: whether an activation follows here.

        Returns:
            `out_channels`.
        """
        bits = self.bits(name)
        self.net.add_module(
            name, quant.conv(bits and bits.weight, in_channels, out_channels, kernel_size, stride, padding, groups)
        )
        self.net.add_module(f"{name}_norm", nn.BatchNorm2d(out_channels))
        if has_act:
            self.act(name)
        return out_channels

    def linear(self, name: str, in_features: int, out_features: int) -> int:
        """Add a linear layer, its norm and its activation, named as those of `conv`; returns `out_features`."""
        self.last(name, in_features, out_features)
        self.net.add_module(f"{name}_norm", nn.BatchNorm1d(out_features))
        self.act(name)
        return out_features

    def last(self, name: str, in_features: int, n_classes: int) -> None:
        """Add a linear layer alone: it hands on the logits."""
        bits = self.bits(name)
        self.net.add_module(name, quant.linear(bits and bits.weight, in_features, n_classes))

    def act(self, name: str) -> None:
        """Add the activation of a layer."""
        bits = self.bits(name)
        self.net.add_module(name + quant.ACT_SUFFIX, quant.act(bits and bits.act))
