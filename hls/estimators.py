"""Estimators: from a policy and the limits of a board to the best accelerator there is for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import numpy as np

from boards.board import Board, Resources
from hls.calibrate import Calibration
from hls.cost import CostTables
from hls.finn_backend import hardware_graph
from hls.folding import FoldingSearch
from hls.types import Estimate, before_factors
from models.policy import BitPolicy, LayerBits
from models.spec import LayerSpec

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
        calibration: what measurements on it had to say; the estimates have its factors, and keep to the limits with them.
    """

    def __init__(self, tables: CostTables, board: Board, calibration: Calibration | None = None) -> None:
        self.tables = tables
        self.board = board
        self.calibration = calibration
        self.foldings = FoldingSearch(tables, board.clock_mhz, TABLES)
        self._known: dict[tuple[BitPolicy, Resources], Estimate] = {}

    def estimate(self, policy: BitPolicy, limits: Resources) -> Estimate:
        """See `Estimator.estimate`."""
        found = self._known.get((policy, limits))
        if found is None:
            if self.calibration is None:
                found = self.foldings.fastest(policy, limits)
            else:
                factors = self.calibration.of(policy)
                found = replace(self.foldings.fastest(policy, before_factors(limits, factors)), factors=factors)
            self._known[policy, limits] = found
        return found


def reference_policy(specs: Sequence[LayerSpec]) -> BitPolicy:
    """The bits that a network's reference graph is exported with: 4, but its tail one-bit where it can be.

    Behind a last layer with one-bit weights and activations FINN appends a node that other bits do
    without; `CostTables` needs to see it once.
    """
    policy = BitPolicy.uniform(specs, 4, 4)
    last = specs[-1]
    read = next((s for s in specs if s.name == last.source), None)
    if read is None or read.min_act_bits > 1:
        return policy
    return policy.replace(**{read.name: LayerBits(policy[read.name].weight, 1), last.name: LayerBits(1, None)})


def tabulate(
    specs: Sequence[LayerSpec],
    export: Callable[[BitPolicy, Path], None],
    integer_weights: Callable[[str, int], np.ndarray],
    board: Board,
    top_k: int = 0,
) -> CostTables:
    """The cost tables of a network: FINN's flow runs once, 8 s for CNV, up to a minute for the deepest.

    Args:
        specs: the network's layers, in order.
        export: writes the network with given bits as QONNX.
        integer_weights: layer name and bits to its integer weights, (fan-in, outputs).
        board: gives part and clock.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.

    Raises:
        GraphError: FINN cannot convert the network, or it has nodes that cannot be costed.
    """
    with TemporaryDirectory(prefix="bitloop-tables-") as folder:
        onnx = Path(folder) / "reference.onnx"
        export(reference_policy(specs), onnx)
        graph = hardware_graph(onnx, board, top_k)
    return CostTables(graph, specs, integer_weights, board.host_port_bits, board.family)
