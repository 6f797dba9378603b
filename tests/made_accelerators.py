"""Checkpoints of networks with made-up weights, as a build begins with them, and their accelerators as RTL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from boards.board import Board
from boards.registry import get_board
from hls.build_plan import BuildPlan, PlannedLayer, planned_board
from hls.finn_build import finn_parts, prepare
from hls.finn_rtl import Accelerator
from hls.types import Implementation
from models import quant
from models.data import ImageSet
from models.export import write_qonnx
from models.layers import Layers
from models.policy import BitPolicy
from models.probe import probe_layers
from models.resnet import ResidualBlock
from models.train import calibrate
from tests.networks import Network

BOARD = get_board("pynq-z2")
SMALL_SHAPE = (3, 8, 8)


def small_network(policy: BitPolicy | None, n_classes: int = 6) -> nn.Sequential:
    """A convolution, a block with a plain shortcut, one with a convolution as its shortcut, a mean, a last layer."""
    net = nn.Sequential()
    layers = Layers(policy, net)
    layers.image()
    layers.conv("conv", SMALL_SHAPE[0], 4, 3, padding=1)
    net.add_module("plain", ResidualBlock(policy, "plain", 4, 4, 1))
    net.add_module("strided", ResidualBlock(policy, "strided", 4, 8, 2))
    net.add_module("mean", quant.GlobalMean())
    net.add_module("flatten", nn.Flatten())
    layers.last("fc", 8, n_classes)
    return net


def small_checkpoint(folder: Path, bits: int = 3, target_fps: int = 20_000) -> Path:
    """The checkpoint of `small_network`. About 10 s, most of it FINN's."""
    generator = torch.Generator().manual_seed(0)
    floats = small_network(None)
    for module in floats.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.normal_(0, 0.2, generator=generator)
    specs = probe_layers(floats, SMALL_SHAPE)
    network = small_network(BitPolicy.uniform(specs, bits, bits))
    network.load_state_dict({**network.state_dict(), **floats.state_dict()})
    pixels = torch.randint(0, 256, (40, *SMALL_SHAPE), generator=generator, dtype=torch.uint8)
    calibrate(network, ImageSet(pixels, torch.zeros(40, dtype=torch.int64)))
    write_qonnx(network, SMALL_SHAPE, folder / "network.onnx")
    built = [Implementation.HLS_APART] * len(specs)
    built[1] = Implementation.RTL
    layers = tuple(
        PlannedLayer(s.name, bits, bits if s.has_act else None, kind if s.has_act else Implementation.HLS)
        for s, kind in zip(specs, built, strict=True)
    )
    return _checkpoint(folder, layers, target_fps)


def zoo_checkpoint(
    name: str, policy: BitPolicy, built: Sequence[Implementation], folder: Path, target_fps: int, top_k: int = 0
) -> Path:
    """The checkpoint of a network of the registry."""
    network = Network(name)
    network.export(policy, folder / "network.onnx")
    layers = tuple(
        PlannedLayer(s.name, policy[s.name].weight, policy[s.name].act, kind)
        for s, kind in zip(network.specs, built, strict=True)
    )
    return _checkpoint(folder, layers, target_fps, top_k)


def _checkpoint(folder: Path, layers: tuple[PlannedLayer, ...], target_fps: int, top_k: int = 0, board: Board = BOARD) -> Path:
    plan = BuildPlan("made", planned_board(board, finn_parts()), "0" * 64, layers, None, target_fps, {}, top_k=top_k)
    prepare(plan, board, folder / "network.onnx", folder / "checkpoint.onnx")
    return folder / "checkpoint.onnx"


def random_frames(accelerator: Accelerator, n: int, seed: int = 0) -> NDArray[Any]:
    """Frames of random pixels less 128."""
    return np.random.default_rng(seed).integers(-128, 128, (n, *accelerator.circuit.reads.shape[1:]))
