"""Sensitivities of single decisions, and what is made of them: greedily, or by an integer program (HAWQ's way)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, lsq_linear, milp
from scipy.sparse import coo_array

from flow.decision import Decisions
from flow.searchers.frontier import Frontier
from flow.searchers.reward_model import errors_of
from flow.searchers.space import Floats, History, PolicySpace, Vector, unseen
from models.policy import BitPolicy


class GreedySearcher:
    """Measures what a bit less costs in each decision, then gives bits where they are worth most.

    First comes the uniform policy with the most bits, what it leaves spent; then that with each decision lowered in turn.
    Sensitivities are the non-negative weights of the errors 2^-b that explain all rewards so far best. From the fewest bits on,
    the decision that gains most by another bit gets it, until nothing fits. The next proposals begin anew with what the
    last ones taught.

    Args:
        decisions: the pass over the layers.
        seed: of ties, and of what is proposed where the best guess was met before.
    """

    RIDGE = 0.02

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._history = History()
        self._asked: set[Vector] = set()
        self._first = self._probes()

    def _probes(self) -> list[Vector]:
        space = self._space
        levels = range(min(len(of) for of in space.levels))
        uniform = [space.nearest([of[k] for of in space.levels]) for k in levels]
        start = max(uniform, key=lambda v: (len(set(v)) == 1 and space.contains(v), sum(v)))
        base = space.filled(start, self._rng.permutation(space.n))
        lowered = [space.raised(base, i, -1) or space.raised(base, i, 1) for i in range(space.n)]
        return [base, *(v for v in lowered if v is not None and space.contains(v))]

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`; never a policy that was met before, as long as there are others."""
        seen = self._history.seen | self._asked
        vector = next((v for v in self._first if v not in seen), None)
        if vector is None:
            vector = unseen(self._space, self._proposed(self._sensitivities()), seen, self._rng)
        self._asked.add(vector)
        return self._space.policy(vector)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`."""
        self._history.add(self._space.told(policy), reward)

    def _sensitivities(self) -> Floats:
        """What an error of 1 costs in each decision, (d,), 0 or more."""
        d = self._space.n
        if not len(self._history):
            return np.ones(d)
        x, y = errors_of(self._history.vectors), np.array(self._history.rewards)
        y = y - y.mean()
        x = np.concatenate([x.mean(axis=0) - x, self.RIDGE * np.sqrt(len(x)) * np.eye(d)])
        weights: Floats = lsq_linear(x, np.concatenate([y, np.zeros(d)]), bounds=(0, np.inf)).x
        return weights + 1e-6 * max(float(weights.max()), 1e-6)

    def _proposed(self, sensitivities: Floats) -> Vector:
        space = self._space
        vector = space.nearest([of[0] for of in space.levels])
        left = set(range(space.n))
        while left:
            gains: dict[int, float] = {}
            for i in left:
                more = space.raised(vector, i)
                if more is not None:
                    gains[i] = float(sensitivities[i] * (2.0 ** (1 - vector[i]) - 2.0 ** (1 - more[i])))
            left &= set(gains)
            for i in sorted(gains, key=lambda i: (-gains[i], i)):
                more = space.raised(vector, i)
                if more is not None and space.contains(more):
                    vector = more
                    break
                left.discard(i)
        return vector


class IntegerProgramSearcher(GreedySearcher):
    """The same sensitivities, but the bits are chosen together, by an integer program (Dong et al., HAWQ-V3, ICML 2021).

    What policies may take is not known in numbers, only which ones are feasible: the program's limit is the boundary
    that `Frontier` guesses from what was asked so far. A solution that is not feasible is learned from and the program is
    solved again; one that leaves something to spend has it spent.
    """

    MOST_SOLVED = 6  # programs a proposal
    N_RANDOM = 40  # policies on either side of the boundary that are asked about first
    MOST_NODES = 200  # of the solver, which is a limit that does not hang on the machine's speed

    def __init__(self, decisions: Decisions, seed: int) -> None:
        super().__init__(decisions, seed)
        self._frontier = Frontier(self._space)
        for _ in range(self.N_RANDOM):
            vector = self._space.filled(self._space.draw(self._rng), self._rng.permutation(self._space.n))
            self._frontier.take_in(vector, True)
            more = self._space.raised(vector, int(self._rng.integers(self._space.n)))
            if more is not None:
                self._frontier.contains(more)

    def _proposed(self, sensitivities: Floats) -> Vector:
        order = np.argsort(-sensitivities, kind="stable").tolist()
        for _ in range(self.MOST_SOLVED):
            vector = self._solved(sensitivities)
            if vector is None:
                break
            if self._frontier.contains(vector):
                return self._space.filled(vector, order)
            self._frontier.learn()
        return super()._proposed(sensitivities) if vector is None else self._space.filled(self._space.nearest(vector), order)

    def _solved(self, sensitivities: Floats) -> Vector | None:
        """The bits that cost least accuracy among those guessed to be feasible; None where none are found."""
        levels = self._space.levels
        first = np.cumsum([0, *(len(of) for of in levels)])  # a variable a level of a decision: is it taken?
        pairs, of_weights, constant = self._frontier.terms()
        cost = [s * 2.0 ** (1 - b) for s, of in zip(sensitivities, levels, strict=True) for b in of]
        limit: list[float] = [0.0] * len(cost)
        for i, w in of_weights:
            for k, b in enumerate(levels[i]):
                limit[first[i] + k] += w * b
        rows: list[list[tuple[int, float]]] = [[(first[i] + k, 1.0) for k in range(len(of))] for i, of in enumerate(levels)]
        equal = [1.0] * len(levels)
        for i, j, w in pairs:  # a variable a pair of levels of a weight and of what it reads: are both taken?
            start = len(cost)
            for b in levels[i]:
                for a in levels[j]:
                    cost.append(0.0)
                    limit.append(w * b * a)
            n_j = len(levels[j])
            for k in range(len(levels[i])):
                rows.append([(start + k * n_j + m, 1.0) for m in range(n_j)] + [(first[i] + k, -1.0)])
            for m in range(n_j):
                rows.append([(start + k * n_j + m, 1.0) for k in range(len(levels[i]))] + [(first[j] + m, -1.0)])
            equal += [0.0] * (len(levels[i]) + n_j)
        at = [(r, c, v) for r, row in enumerate(rows) for c, v in row]
        matrix = coo_array(([v for *_, v in at], ([r for r, *_ in at], [c for _, c, _ in at])), shape=(len(rows), len(cost)))
        found = milp(
            np.array(cost), integrality=np.ones(len(cost)), bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(matrix.tocsr(), equal, equal), LinearConstraint(np.array([limit]), -constant, np.inf)
            ],
            options={"node_limit": self.MOST_NODES, "mip_rel_gap": 1e-3},
        )  # fmt: skip
        if found.x is None:
            return None
        return tuple(of[_taken(found.x[first[i] : first[i + 1]])] for i, of in enumerate(levels))


def _taken(values: Sequence[float]) -> int:
    return int(np.argmax(values))
