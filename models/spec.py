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
        has_act: whether a quantized activation follows.
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
