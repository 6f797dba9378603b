"""A quantized network to QONNX, the format FINN reads."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import torch
from brevitas.export import export_qonnx
from torch import nn

from models.device import device_of
from models.files import whole_file


def write_qonnx(network: nn.Module, input_shape: tuple[int, int, int], path: Path) -> None:
    """Write a calibrated quantized network as QONNX, batch 1, images in [-1, 1]; never a half file.

    A network on a GPU is taken to the CPU for it, and back.

    Args:
        network: as `ModelInfo.build` gives it with a policy, steps calibrated.
        input_shape: of one image, (C, H, W).
        path: the file; one that is there is replaced.
    """
    device = device_of(network)
    network.eval().cpu()
    try:
        with whole_file(path) as part, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            export_qonnx(network, torch.zeros(1, *input_shape), str(part), dynamo=False)
    finally:
        network.to(device)
