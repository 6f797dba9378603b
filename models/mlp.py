"""The perceptrons: FINN's TFC, SFC and LFC for 28x28 grey images, and the one that spots keywords.

Sources: Y. Umuroglu et al., "FINN" (FPGA'17), and brevitas_examples/bnn_pynq, models FC, for the sizes of the
first three; github.com/mlcommons/tiny_results_v0.7, open/hls4ml-finn/code/kws/KWS-W3A3, for those of the last.
"""

from __future__ import annotations

from math import prod

from torch import nn

from models.layers import Layers
from models.policy import BitPolicy

GREY_28 = (1, 28, 28)
TFC_FEATURES = (64, 64, 64)
SFC_FEATURES = (256, 256, 256)
LFC_FEATURES = (1024, 1024, 1024)
# Speech of one second as 49 frames of 10 cepstral coefficients, taken as a grey image; 12 classes: ten words,
# silence and any other word.
KEYWORD_SHAPE = (1, 49, 10)
KEYWORD_FEATURES = (256, 256, 256)
N_KEYWORDS = 12


def build(
    policy: BitPolicy | None, n_classes: int, input_shape: tuple[int, int, int], features: tuple[int, ...]
) -> nn.Sequential:
    """A perceptron, (B, C, H, W) in [-1, 1] to logits (B, n_classes); without a policy the float network.

    Args:
        policy: the bits of each layer, fc0 to the last.
        n_classes: outputs of the last layer.
        input_shape: of one image, (C, H, W).
        features: outputs of every other layer.
    """
    net = nn.Sequential()
    layers = Layers(policy, net)
    net.add_module("flatten", nn.Flatten())
    layers.image()
    n = prod(input_shape)
    for i, out in enumerate(features):
        n = layers.linear(f"fc{i}", n, out)
    layers.last(f"fc{len(features)}", n, n_classes)
    return net
