"""Estimators: from a policy and the limits of a board to the best accelerator there is for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from boards.board import Board, Resources
from hls.cost import CostTables
from hls.finn_backend import hardware_graph
from hls.folding import FoldingSearch
from hls.types import Estimate
from models.policy import BitPolicy, LayerBits

TABLES = "tables of FINN's operators"


class Estimator(Protocol):
    """What a policy costs and gives on a board, without building it."""

    def estimate(self, policy: BitPolicy, limits: Resources) -> Estimate:
        """The accelerator with the highest frame rate within the limits.

        Where none fits, the one that exceeds the limits by the smallest factor found;
        `estimate.resources <= limits` tells which it is. The same arguments give the same estimate.
        """
        ...


class TableEstimator:
    """Estimates from `CostTables`, with the best folding; what was asked before is remembered.

    Args:
        tables: the network's costs on the board's part.
        board: gives the clock.
    """

    def __init__(self, tables: CostTables, board: Board) -> None:
        self.tables = tables
        self.board = board
        self.foldings = FoldingSearch(tables, board.clock_mhz, TABLES)
        self._known: dict[tuple[BitPolicy, Resources], Estimate] = {}

    def estimate(self, policy: BitPolicy, limits: Resources) -> Estimate:
        """See `Estimator.estimate`."""
        found = self._known.get((policy, limits))
        if found is None:
            found = self.foldings.fastest(policy, limits)
            self._known[policy, limits] = found
        return found


def reference_policy(policy: BitPolicy) -> BitPolicy:
    """The bits that a network's reference graph is exported with: those of `policy`, but its tail one-bit.

    Behind a last layer with one-bit weights and activations FINN appends a node that other bits do
    without; `CostTables` needs to see it once.
    """
    *_, before, last = policy
    return policy.replace(**{before: LayerBits(policy[before].weight, 1), last: LayerBits(1, None)})


def tabulate(
    layers: BitPolicy,
    export: Callable[[BitPolicy, Path], None],
    integer_weights: Callable[[str, int], np.ndarray],
    board: Board,
) -> CostTables:
    """The cost tables of a network: FINN's flow runs once, about 8 s and 5 s more the first time in a process.

    Args:
        layers: any policy of the network with at least two layers; its names and order count.
        export: writes the network with given bits as QONNX.
        integer_weights: layer name and bits to its integer weights, (fan-in, outputs).
        board: gives part and clock.

    Raises:
        GraphError: FINN cannot convert the network, or it is not a chain of known nodes.
    """
    with TemporaryDirectory(prefix="bitloop-tables-") as folder:
        onnx = Path(folder) / "reference.onnx"
        export(reference_policy(layers), onnx)
        graph = hardware_graph(onnx, board)
    return CostTables(graph, list(layers), integer_weights, board.host_port_bits, board.family)
