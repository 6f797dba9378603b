"""A search without FINN and without training: made-up costs, made-up accuracies, a small made-up board.

Run as a program it is the command line with made-up costs: `python -m tests.flow_fakes search --model tfc …`.
"""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from boards.board import Board, Resources
from boards.registry import get_board
from flow.constraint import Constraint, reach_under
from flow.decision import Decisions
from flow.frugality import Frugal
from flow.objective import Goal, Objective, Worth
from hls.estimators import Estimator, TableEstimator
from hls.types import Estimate, NodeEstimate
from models.policy import BitPolicy, LayerBits
from models.spec import LayerSpec
from tests.tables import MadeUpTables, options_of

SPECS = (
    LayerSpec("conv0", 0, "conv", 2, 4, 3, 1, 6, 4, n_params=72, n_macs=1152, weight_std=0.3, has_act=True),
    LayerSpec("fc0", 1, "linear", 16, 8, 1, 1, 1, 1, n_params=128, n_macs=128, weight_std=0.2, has_act=True),
    LayerSpec("fc1", 2, "linear", 8, 3, 1, 1, 1, 1, n_params=24, n_macs=24, weight_std=0.6, has_act=False),
)
BOARD = replace(get_board("pynq-z2"), title="tiny board", capacity=Resources(lut=400, ff=1000, bram18=9, dsp=10), clock_mhz=1.0)
CONSTRAINT = Constraint(BOARD, min_fps=3000.0, max_utilisation=0.8)


class SimulatedTables(MadeUpTables):
    """Costs that grow with bits and with parallelism, in place of `hls.cost.CostTables`.

    A layer is one step that takes 1, 2, 4 or 8 weights a cycle, kept in block RAM or in LUT.

    Args:
        n_macs: layer name to its multiply-accumulates.
        n_params: layer name to its weights.
    """

    def __init__(self, n_macs: Mapping[str, int], n_params: Mapping[str, int]) -> None:
        self.layers = tuple(n_macs)
        self._size = [(n_macs[name], n_params[name]) for name in self.layers]

    @classmethod
    def of(cls, specs: Sequence[LayerSpec]) -> SimulatedTables:
        return cls({s.name: s.n_macs for s in specs}, {s.name: s.n_params for s in specs})

    def with_weights(self, _: object) -> SimulatedTables:
        return self

    def options(self, layer: int, key: Any) -> list[Any]:
        macs, params = self._size[layer]
        act_in = key.act_in or 8
        rows, foldings = [], []
        for n in (1, 2, 4, 8):
            cycles, lut = macs // n, n * (4 + key.weight * act_in) + (key.act_out or 0)
            for row, style in (
                ((cycles, lut, 1 + params * key.weight // 512, n, n), "block"),
                ((cycles, lut + params * key.weight // 8, 0, n, n), "distributed"),
            ):
                rows.append(row)
                foldings.append({"PE": n, "SIMD": 1, "ram_style": style})
        return [options_of(rows, act_in, key.act_out or 16, foldings)]


def made_up_accuracy(policy: BitPolicy) -> float:
    """More bits are better, less and less so; the first layer wants its bits most."""
    loss = sum(2.0 ** -(b.weight + i) + (2.0 ** -(b.act + i) if b.act else 0.0) for i, b in enumerate(policy.values()))
    return 0.95 - 0.4 * loss


class SimulatedEvaluator:
    """Scores in no time, in place of `flow.evaluator.Evaluator`; counts what would have been retrained."""

    seed = 7

    whole_images = 64
    specs = SPECS

    def __init__(self, constraint: Constraint = CONSTRAINT, objective: Objective | None = None) -> None:
        self.constraint = constraint
        self.objective = objective or Objective()
        self.again: list[tuple[BitPolicy, int, int]] = []
        fastest = TableEstimator(SimulatedTables.of(SPECS), constraint.board)  # type: ignore[arg-type]
        leanest = self.objective.goal is Goal.UTILISATION
        self.estimator: Estimator = Frugal(fastest, constraint.min_fps) if leanest else fastest
        self.retrained: list[BitPolicy] = []
        self._scores: dict[BitPolicy, Any] = {}
        self._accuracies: dict[BitPolicy, float] = {}

    def score(self, policy: BitPolicy) -> Any:
        from flow.evaluator import Score

        if policy not in self._scores:
            estimate = self.estimator.estimate(policy, self.constraint.limits)
            if policy not in self._accuracies:
                self.retrained.append(policy)
            self._scores[policy] = Score(self._accuracies.get(policy, made_up_accuracy(policy)), estimate)
        return self._scores[policy]

    def accuracy_again(self, policy: BitPolicy, n_images: int, seed: int) -> float:
        self.again.append((policy, n_images, seed))
        return made_up_accuracy(policy) - seed / 10_000

    def cost(self, policy: BitPolicy) -> float:
        return self.objective.cost(self.estimator.estimate(policy, self.constraint.limits), self.constraint.limits)

    def worth(self) -> Worth:
        reference = self.cost(BitPolicy.uniform(SPECS, 4, 4))
        return Worth(self.cost, lambda accuracies, costs: self.objective.rewards(accuracies, costs, reference))

    def reward(self, score: Any) -> float:
        cost = self.objective.cost(score.estimate, self.constraint.limits)
        return float(self.worth().rewards(np.array([score.accuracy]), np.array([cost]))[0])

    def estimate(self, policy: BitPolicy) -> Estimate:
        return self.estimator.estimate(policy, self.constraint.limits)

    def remember(self, policy: BitPolicy, score: Any) -> None:
        self._scores[policy] = score

    def remember_accuracy(self, policy: BitPolicy, accuracy: float) -> None:
        self._accuracies[policy] = accuracy


@cache
def decisions(constraint: Constraint = CONSTRAINT) -> Decisions:
    """The pass over `SPECS`; shared, as it is never changed."""
    return Decisions(SPECS, reach_under(constraint, SimulatedTables.of(SPECS)))  # type: ignore[arg-type]


def meets_constraint(policy: BitPolicy, constraint: Constraint = CONSTRAINT) -> bool:
    """Whether any folding of a policy keeps to a constraint, found by trying them all."""
    return SimulatedTables.of(SPECS).fits(policy, constraint.limits, constraint.max_cycles)


def policy_of(*bits: tuple[int, int | None]) -> BitPolicy:
    """A policy for `SPECS`."""
    return BitPolicy({s.name: LayerBits(w, a) for s, (w, a) in zip(SPECS, bits, strict=True)})


def all_policies(widths: Sequence[int]) -> list[BitPolicy]:
    """Every policy for `SPECS` whose bits are among `widths`."""
    return [policy_of((a, b), (c, d), (e, None)) for a, b, c, d, e in product(widths, repeat=5)]


def estimate_of(fps: float = 5000.0, lut: float = 100.0, bram18: float = 4.0, board: Board = BOARD) -> Estimate:
    """An estimate with the given figures: a matrix unit a layer, the first of which is the slowest."""
    cycles = round(board.clock_mhz * 1e6 / fps)
    nodes = [
        NodeEstimate(
            f"MVAU_hls_{i}", "MVAU_hls", s.name, cycles // (i + 1), Resources(lut=lut / len(SPECS), bram18=bram18 / len(SPECS)),
            {"PE": 2**i, "SIMD": i + 1, "ram_style": "block"}, (f"MVAU_hls_{i - 1}",) if i else (),
        )
        for i, s in enumerate(SPECS)
    ]  # fmt: skip
    return Estimate(tuple(nodes), board.clock_mhz, "made up")


@contextlib.contextmanager
def no_room_beyond(n_bytes: int) -> Iterator[None]:
    """No file of this process can grow beyond a size, as on a full disk: the system itself refuses to write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def tables_without_finn(
    specs: Sequence[LayerSpec], _export: object, _weights: object, _board: Board, _top_k: int
) -> SimulatedTables:
    """In place of `hls.estimators.tabulate`, for networks of the size of TFC."""
    sizes = dict.fromkeys((s.name for s in specs), 4096)
    return SimulatedTables(sizes, sizes)


def flow_without_finn(
    onnx: Path, board: Board, folding: Mapping[str, Mapping[str, int | str]], implementations: Sequence[str],
    layer_of: Mapping[str, str], top_k: int,
) -> Estimate:  # fmt: skip
    """In place of `hls.finn_backend.estimate_with_flow`: 512 cycles and 10 LUT a node."""
    assert onnx.stat().st_size
    assert set(implementations) == {"hls"}
    assert top_k == 1
    nodes = [NodeEstimate(n, "MVAU_hls", layer_of[n], 512, Resources(lut=10), f) for n, f in folding.items()]
    return Estimate(tuple(nodes), board.clock_mhz, "made up")


REPLACED = {"flow.evaluator.tabulate": tables_without_finn, "flow.handover.estimate_with_flow": flow_without_finn}


def main() -> None:
    """The command line without FINN."""
    import flow.cli
    import flow.evaluator
    import flow.handover

    vars(flow.evaluator)["tabulate"] = tables_without_finn
    vars(flow.handover)["estimate_with_flow"] = flow_without_finn
    flow.cli.entry()


if __name__ == "__main__":
    main()
