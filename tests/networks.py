"""The real networks with made-up weights: cheap to make, and FINN costs them as it does trained ones."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boards.board import Board
from flow.evaluator import as_matrix
from hls.cost import CostTables
from hls.estimators import tabulate
from models.data import digits, make_splits
from models.export import write_qonnx
from models.policy import BitPolicy
from models.probe import probe_layers
from models.quant import integer_weights
from models.registry import get_model
from models.train import calibrate


class Network:
    """A network of the registry with normally distributed weights, norms that are no identity, calibrated on digits."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.info = get_model(name)
        generator = torch.Generator().manual_seed(seed)
        self.float = self.info.build()
        for module in self.float.modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.data.normal_(0, 0.05, generator=generator)
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                module.weight.data.normal_(1, 0.2, generator=generator)
                module.bias.data.normal_(0, 0.3, generator=generator)
        self.specs = probe_layers(self.float, self.info.input_shape)
        self.images = make_splits(digits(), "digits", self.info.input_shape, 300).train.first(40)

    def quantized(self, policy: BitPolicy) -> torch.nn.Sequential:
        network = self.info.build(policy)
        network.load_state_dict({**network.state_dict(), **self.float.state_dict()})
        calibrate(network, self.images)
        return network

    def export(self, policy: BitPolicy, path: Path) -> None:
        write_qonnx(self.quantized(policy), self.info.input_shape, path)

    def uniform(self, bits: int) -> BitPolicy:
        return BitPolicy.uniform(self.specs, bits, bits)

    def random_policy(self, rng: random.Random, low: int = 1, high: int = 8) -> BitPolicy:
        return BitPolicy.draw(self.specs, rng, low, high, high)

    def tables(self, board: Board, top_k: int = 0) -> CostTables:
        weights = {s.name: self.float.get_submodule(s.name).get_parameter("weight").detach() for s in self.specs}

        def integers(name: str, bits: int) -> NDArray[np.float64]:
            return as_matrix(integer_weights(weights[name], bits))

        return tabulate(self.specs, self.export, integers, board, top_k)
