"""Local search: from a policy to the best one near it, within what is feasible."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from flow.searchers.frontier import Frontier
from flow.searchers.space import Floats, PolicySpace, Vector

MOST_MOVES = 20_000
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
        self._levels = np.array([[*of, *(0,) * (8 - len(of))] for of in space.levels])  # (d, 8)
        self._most = np.array([len(of) - 1 for of in space.levels])
        self._moves = self._all_moves(np.random.default_rng(seed))

    def _all_moves(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Steps of up to three decisions (n, d): a level or two of one or of two, one level of three."""
        free = [i for i, most in enumerate(self._most) if most]
        found = [{i: d} for i in free for d in (-2, -1, 1, 2)]
        found += [{i: a, j: b} for i, j in combinations(free, 2) for a, b in product((-2, -1, 1, 2), repeat=2) if a * b < 0]
        threes = [d for d in product((-1, 1), repeat=3) if abs(sum(d)) == 1]
        n_left = MOST_MOVES - len(found)
        triples = list(combinations(free, 3))
        if len(triples) * len(threes) > n_left:
            triples = [triples[k] for k in sorted(rng.choice(len(triples), max(n_left, 0) // len(threes), replace=False))]
        found += [dict(zip(at, d, strict=True)) for at in triples for d in threes]
        moves = np.zeros((len(found), len(self._most)), np.int64)
        for row, steps in zip(moves, found, strict=True):
            row[list(steps)] = list(steps.values())
        return moves

    def _near(self, at: NDArray[np.int64], value: float, function: Callable[[object], Floats]) -> NDArray[np.int64]:
        """Levels of the policies (n, d) near one that promise most if effects add up, of those likely to be feasible."""
        d = len(at)
        near = at + self._moves
        legal = ((near >= 0) & (near <= self._most)).all(axis=1)
        near, moves = near[legal], self._moves[legal]
        singles = np.array([(i, s) for i in range(d) for s in (-2, -1, 1, 2) if 0 <= at[i] + s <= self._most[i]])
        if not len(singles):
            return near
        each = np.repeat(at[None], len(singles), axis=0)
        each[np.arange(len(singles)), singles[:, 0]] += singles[:, 1]
        effects = np.zeros((d, 5))
        effects[singles[:, 0], singles[:, 1] + 2] = function(self._bits(each)) - value
        promise = effects[np.arange(d), moves + 2].sum(axis=1)
        here = float(self.frontier.guess(self._bits(at[None]))[0])  # feasible, whatever is guessed of it
        promise[self.frontier.guess(self._bits(near)) < min(LIKELY, here - 1)] = -np.inf
        top = np.argsort(-promise, kind="stable")[:N_LOOKED_AT]
        return near[top[np.isfinite(promise[top])]]

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
