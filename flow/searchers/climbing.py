"""Local search: from a policy to the best one near it, within what is feasible."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from flow.searchers.frontier import Frontier
from flow.searchers.space import Floats, PolicySpace, Vector
from models.policy import MAX_BITS

MOST_MOVES = 20_000
STEPS = (-2, -1, 1, 2)  # levels, of one decision or two
TRADES = tuple(t for t in product((-1, 1), repeat=3) if abs(sum(t)) == 1)  # of three decisions, some up and some down
N_GUESSED = 2000  # moves of which it is guessed whether they are feasible
N_LOOKED_AT = 96  # moves of which the function itself is asked
LIKELY = 0.0  # logarithm of the odds that a policy is feasible, from which on it is worth asking


class Climber:
    """Climbs from policy to policy, each a bit or two of up to three decisions apart, for as long as a function gets larger.

    A trade under a tight budget often takes three decisions: a bit of a large layer is worth bits of two small ones. Of these
    thousands of moves the function is asked for the few that promise most if effects add up; whether a policy is
    feasible, only of those that would be an improvement, the most promising first.

    Args:
        space: the policies.
        seed: of which moves are left out where a network is so deep that there are too many.
    """

    def __init__(self, space: PolicySpace, seed: int = 0) -> None:
        self._space = space
        self.frontier = Frontier(space)
        self._levels = np.array([[*of, *(0,) * (MAX_BITS - len(of))] for of in space.levels])  # (d, 8)
        self._most = np.array([len(of) - 1 for of in space.levels])
        self._decisions, self._steps = self._all_moves(np.random.default_rng(seed))

    def _all_moves(self, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which decisions each move changes and by how many levels, both (n, 3); a change by nothing fills the rest."""
        free = [i for i, most in enumerate(self._most) if most]
        idle = (0, 0)
        moves: list[tuple[tuple[int, int], ...]] = [((i, s), idle, idle) for i in free for s in STEPS]
        moves += [((i, a), (j, b), idle) for i, j in combinations(free, 2) for a, b in product(STEPS, repeat=2) if a * b < 0]
        triples = list(combinations(free, 3))
        n_left = max(0, MOST_MOVES - len(moves)) // len(TRADES)
        if len(triples) > n_left:
            triples = [triples[k] for k in sorted(rng.choice(len(triples), n_left, replace=False))]
        moves += [tuple(zip(at, steps, strict=True)) for at in triples for steps in TRADES]
        table = np.array(moves, np.int64).reshape(-1, 3, 2)
        return table[:, :, 0], table[:, :, 1]

    def _near(self, at: NDArray[np.int64], value: float, function: Callable[[object], Floats]) -> NDArray[np.int64]:
        """Levels of the policies (n, d) near one that promise most if effects add up, of those likely to be feasible."""
        d = len(at)
        singles = np.array([(i, s) for i in range(d) for s in STEPS if 0 <= at[i] + s <= self._most[i]]).reshape(-1, 2)
        each = np.repeat(at[None], len(singles), axis=0)
        each[np.arange(len(singles)), singles[:, 0]] += singles[:, 1]
        effects = np.full((d, 5), -np.inf)  # of steps from -2 to 2; of those that lead to no bits there are
        effects[:, 2] = 0.0
        effects[singles[:, 0], singles[:, 1] + 2] = function(self._bits(each)) - value if len(singles) else 0.0
        promise = effects[self._decisions, self._steps + 2].sum(axis=1)
        top = np.argsort(-promise, kind="stable")[:N_GUESSED]
        top = top[np.isfinite(promise[top])]
        near = np.repeat(at[None], len(top), axis=0)
        for k in range(3):  # in turn: an idle change stands for decision 0
            near[np.arange(len(top)), self._decisions[top, k]] += self._steps[top, k]
        here = float(self.frontier.guess(self._bits(at[None]))[0])  # feasible, whatever is guessed of it
        return near[self.frontier.guess(self._bits(near)) >= min(LIKELY, here - 1)][:N_LOOKED_AT]

    def _bits(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        bits: NDArray[np.int64] = self._levels[np.arange(places.shape[1]), places]
        return bits

    def climb(
        self, vector: Vector, function: Callable[[object], Floats], seen: set[Vector], most_asked: int
    ) -> tuple[float, Vector | None]:
        """The best policy on the way up that is not among those seen.

        Args:
            vector: where to begin; feasible.
            function: from policies (n, d) to values (n,).
            seen: policies that may be passed and not be the result.
            most_asked: policies asked whether they are feasible.

        Returns:
            Its value and the policy; minus infinity and None where all on the way were seen.
        """
        value = float(function([vector])[0])
        best: tuple[float, Vector | None] = (-np.inf, None) if vector in seen else (value, vector)
        at = np.array([of.index(n) for of, n in zip(self._space.levels, vector, strict=True)])
        self.frontier.take_in(vector, True)
        asked, moved = 0, True
        while moved:
            moved = False
            lessons = self.frontier.n_lessons
            near = self._near(at, value, function)
            if not len(near):
                break
            bits = self._bits(near)
            values = function(bits)
            for i in np.argsort(-values, kind="stable"):
                found, candidate = float(values[i]), tuple(bits[i].tolist())
                if found <= value + 1e-12 and best[1] is not None and found <= best[0]:
                    break
                if asked == most_asked:
                    return best
                asked += 1
                if not self.frontier.contains(candidate):
                    if self.frontier.n_lessons > lessons:  # there is a better guess now
                        moved = True
                        break
                    continue
                if candidate not in seen and found > best[0]:
                    best = found, candidate
                if found > value + 1e-12:
                    at, value, moved = near[i], found, True
                    break
        return best
