"""What a layer is, as the search and the cost tables see it: `LayerSpec`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LayerSpec:
    """One quantized layer of a network, in the order of the data.

    Attributes:
        name: the layer's name, the key of a `BitPolicy`.
        index: position among the quantized layers, from 0.
        kind: "conv" or "linear".
        in_channels, out_channels: channels (conv) or features (linear).
        kernel_size, stride: of the square window; 1 for linear layers.
        in_size, out_size: height and width of the square feature map before and after; 1 for linear.
        n_params: weights, biases not counted (the networks have none).
        n_macs: multiply-accumulate operations an image.
        weight_std: standard deviation of the float weights, the sample's (n-1).
        has_act: whether a quantized activation of its own follows.
        padding: pixels of zeros around what it reads.
        groups: 1; `in_channels` of a depthwise convolution.
        source: the layer whose activation it reads; None where that is the image.
        adds_to: the layer before whose activation its output is added to another; itself, or for a convolution in a
            shortcut the one it is a shortcut past. None where nothing is added.
        past: the layer whose activation is added to its output past a skip without a layer; None where there is none.
        min_act_bits: fewest bits that its activation can have in hardware, 1 or 2.
        why_min_act_bits: why not one, in words; empty where it can.
    """

    name: str
    index: int
    kind: Literal["conv", "linear"]
    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int
    in_size: int
    out_size: int
    n_params: int
    n_macs: int
    weight_std: float
    has_act: bool
    padding: int = 0
    groups: int = 1
    source: str | None = None
    adds_to: str | None = None
    past: str | None = None
    min_act_bits: int = 1
    why_min_act_bits: str = ""

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel is filtered by itself."""
        return self.groups > 1
