"""A network of one's own, in plain PyTorch: nothing in here knows bitloop.

make search MODEL=examples/own_network.py:small
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812 - everybody's name for it
from torch import Tensor, nn

INPUT_SHAPE = (1, 28, 28)  # channels, height, width of an image: what bitloop needs to know


class SmallNet(nn.Module):
    """Two convolutions and two linear layers for 28x28 grey images."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.hidden = nn.Linear(16 * 5 * 5, 32)
        self.norm = nn.BatchNorm1d(32)
        self.dropout = nn.Dropout(0.1)
        self.classes = nn.Linear(32, n_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, 1, 28, 28) to logits (B, n_classes)."""
        x = self.features(x).flatten(1)
        x = F.relu(self.norm(self.hidden(x)))
        return self.classes(self.dropout(x))


def small(n_classes: int = 10) -> nn.Module:
    """The network; bitloop tells it how many classes the data set has."""
    return SmallNet(n_classes)
