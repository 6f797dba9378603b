"""The default: an agent that learns a model of the reward and practises on it between trials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flow.decision import Decisions
from flow.searchers.climbing import Climber
from flow.searchers.imagination import Actor
from flow.searchers.reward_model import RewardModel
from flow.searchers.space import Floats, History, PolicySpace, Vector, unseen
from models.policy import BitPolicy

Function = Callable[[object], Floats]


class ModelBasedSearcher:
    """Learns what rewards to expect, acts on imagined episodes, and proposes what may be the best.

    State, actions, limits and reward are those of every agent. Before a proposal the model of the reward
    (`flow.searchers.reward_model`) gives one function that the rewards may be, drawn from what is still possible; an
    actor practises on episodes whose rewards it gives, within the real limits at every step; the best of these episodes
    and of the trials so far are improved by local search within what is feasible; and the best policy that was not met
    before is proposed. So policies are tried as often as they are likely to be the best (Thompson sampling).

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    N_FIRST = 15  # trials before the model has a say: random, so that it learns of all decisions
    N_ROUNDS = 2  # steps of the actor before a proposal
    N_EPISODES = 24  # imagined, of each step
    N_STARTS = 2  # of local search from each source: episodes and trials
    MOST_ASKED = 40  # policies asked whether they are feasible, a start
    LEARN_SCALES_EVERY = 10  # trials
    MOST_TRIALS = 600  # that the model takes in

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._history = History()
        self._asked: set[Vector] = set()
        self._model = RewardModel()
        self._n_fitted = 0
        self._n_learned = 0
        self._climber = Climber(self._space)
        self._actor = Actor(decisions, seed)

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`; never a policy that was met before, as long as there are others."""
        seen = self._history.seen | self._asked
        if len(self._history) < self.N_FIRST:
            starts, vector = [self._random()], None
        else:
            self._fit()
            function = self._model.sample(self._rng)
            starts = [*self._imagined(function), *self._promising(self.N_STARTS)]
            ends = [self._climber.climb(s, function, seen, self.MOST_ASKED) for s in starts]
            _, vector = max(ends, key=lambda e: e[0])
        if vector is None:
            vector = unseen(self._space, starts[0], seen, self._rng)
        self._asked.add(vector)
        return self._space.policy(vector)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`."""
        self._history.add(self._space.told(policy), reward)

    def shortlist(self, n: int) -> list[BitPolicy]:
        """See `Shortlisting.shortlist`: those of which the model expects most, given all trials."""
        if len(self._history) < self.N_FIRST:
            return [self._space.policy(v) for v in self._history.best(n)]
        self._model.fit(*self._told(), learn_scales=False)  # leaves no trace in what is asked next
        self._n_fitted = 0
        return [self._space.policy(v) for v in self._promising(n)]

    def _random(self) -> Vector:
        """A random policy that leaves nothing to spend."""
        return self._space.filled(self._space.draw(self._rng), self._rng.permutation(self._space.n))

    def _imagined(self, function: Function) -> list[Vector]:
        """Where local search begins beside the trials."""
        return self._actor.practise(function, self.N_ROUNDS, self.N_EPISODES)[: self.N_STARTS]

    def _promising(self, n: int) -> list[Vector]:
        """The trials that the model expects most of, the best first."""
        vectors = list(dict.fromkeys(self._history.vectors))
        order = np.argsort(-self._model.mean(vectors), kind="stable")
        return [vectors[i] for i in order[:n]]

    def _fit(self) -> None:
        """Bring the model up to date with the trials."""
        n = len(self._history)
        if n == self._n_fitted:
            return
        learn = self._n_learned == 0 or n - self._n_learned >= self.LEARN_SCALES_EVERY
        if learn:
            self._n_learned = n
        self._model.fit(*self._told(), learn_scales=learn)
        self._n_fitted = n

    def _told(self) -> tuple[list[Vector], list[float]]:
        """The trials that the model takes in: where they are too many the best, among which a difference matters."""
        vectors, rewards = self._history.vectors, self._history.rewards
        best = np.sort(np.argsort(-np.array(rewards), kind="stable")[: self.MOST_TRIALS])
        return [vectors[i] for i in best], [rewards[i] for i in best]


class UnpractisedSearcher(ModelBasedSearcher):
    """An ablation of the default: local search begins at random policies, not at those of an actor that has practised."""

    def _imagined(self, function: Function) -> list[Vector]:
        return [self._random() for _ in range(self.N_STARTS)]
