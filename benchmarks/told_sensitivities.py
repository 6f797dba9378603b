"""Does it help an agent to know how sensitive the accuracy is to the bits of each layer? It is told the truth, for nothing.

    python -W ignore -m benchmarks.bench_search --searchers benchmarks.told_sensitivities:ToldSensitivities

A real search has no such truth, and has to spend evaluations on something worse: what does not help here helps nowhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from benchmarks.bench_search import TABLES, TASKS
from flow.decision import Decisions
from flow.searchers.actor_critic import DDPGSearcher
from flow.searchers.reward_model import errors_of
from flow.searchers.space import PolicySpace
from flow.tabular import PolicyTable

N_POLICIES = 600
LEAST = 0.01  # of the greatest sensitivity: below it they count as equal


class ToldSensitivities(DDPGSearcher):
    """DDPG that also sees the sensitivities to the layer's weights and activations, and is else the same."""

    def __init__(self, decisions: Decisions, seed: int) -> None:
        super().__init__(decisions.also_seeing(seen_of(PolicySpace(decisions))), seed)


def seen_of(space: PolicySpace) -> NDArray[np.float64]:
    """Sensitivities to weights and activations of the layers of a task, (n_layers, 2), logarithms scaled to 0..1.

    What activations of a layer cost that has none is a half.
    """
    specs = space.decisions.specs
    found = sensitivities(next(t for t in map(table_of, TASKS) if (t.specs, t.levels) == (specs, space.levels)))
    logs = np.log(np.maximum(found, LEAST * found.max()))
    scaled = iter((logs - logs.min()) / (logs.max() - logs.min()))
    return np.array([[next(scaled), next(scaled) if s.has_act else 0.5] for s in specs])


def table_of(task: str) -> PolicyTable:
    """The table of a task."""
    return PolicyTable.read(TABLES / f"{task}.npz")


def sensitivities(table: PolicyTable) -> NDArray[np.float64]:
    """What an error of 1 costs in each decision, in points: non-negative, by least squares over what policies truly lose."""
    space, rng = PolicySpace(table.decisions()), np.random.default_rng(0)
    vectors = [space.filled(space.draw(rng), rng.permutation(space.n)) for _ in range(N_POLICIES)]
    errors, lost = errors_of(vectors), np.array([table.regret(space.policy(v)) for v in vectors])
    found: NDArray[np.float64] = nnls(errors - errors.mean(axis=0), lost - lost.mean())[0]
    return found
