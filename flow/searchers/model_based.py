"""The default: an agent that learns a model of the reward and practises on it between trials."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flow.decision import Decisions
from flow.objective import Worth
from flow.searchers.climbing import Climber
from flow.searchers.cost_model import CostModel
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

    Where something else than the accuracy is sought (`aim`), the model is still one of the accuracy. What it is worth is
    worked out with the cost, which is known; a second model (`flow.searchers.cost_model`) only makes it quick.

    Args:
        decisions: the pass over the layers.
        seed: of everything random.
    """

    N_COSTS = 100  # policies of which the cost is asked at first
    N_FIRST = 10  # accuracies before the model has a say: policies are random till then, so that it learns of all decisions
    N_ROUNDS = 2  # steps of the actor before a proposal
    N_EPISODES = 24  # imagined, of each step
    N_STARTS = 2  # of local search from each source: episodes and trials
    N_FAVOURED = 30  # trials up to which it begins from those the model expects most of
    N_LATER, N_BEST = 3, 5  # after that it begins from so many of the so many best
    MOST_ASKED = 40  # policies asked whether they are feasible, a start
    LEARN_SCALES_EVERY = 10  # trials
    MOST_TRIALS = 600  # that the model takes in

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._history = History()
        self._beyond: dict[Vector, float] = {}
        self._asked: set[Vector] = set()
        self._model = RewardModel()
        self._n_fitted = 0
        self._n_learned = 0
        self._climber = Climber(self._space)
        self._actor = Actor(decisions, seed)
        self._worth: Worth | None = None
        self._costs: CostModel | None = None

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`; never a policy that was met before, as long as there are others."""
        seen = self._history.seen | self._asked
        if self._n_known < self.N_FIRST:
            starts, vector = [self._random()], None
        else:
            self._fit()
            function = self._worth_of(self._model.sample(self._rng))
            starts = [*self._imagined(function), *self._starts()]
            ends = [self._climber.climb(s, function, seen, self.MOST_ASKED) for s in starts]
            _, vector = max(ends, key=lambda e: e[0])
            if vector is not None and self._worth is None:
                spent = self._space.filled(vector, self._rng.permutation(self._space.n))
                vector = vector if spent in seen else spent
        if vector is None:
            vector = unseen(self._space, starts[0], seen, self._rng)
        self._asked.add(vector)
        return self._space.policy(vector)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`."""
        vector = self._space.told(policy)
        self._history.add(vector, reward)
        if self._costs:
            self._costs.take_in(vector)

    def inform(self, policy: BitPolicy, accuracy: float) -> None:
        """See `Informed.inform`: the model takes it in, no search begins at it."""
        policy.check_against(self._space.decisions.specs)
        self._beyond[self._space.vector(policy)] = accuracy

    @property
    def _n_known(self) -> int:
        """Policies of which there is an accuracy."""
        return len(self._history) + len(self._beyond)

    def aim(self, worth: Worth) -> None:
        """See `Aiming.aim`."""
        self._worth, self._costs = worth, CostModel(self._space, worth.cost)
        for i in range(self.N_COSTS):
            vector = self._space.draw(self._rng)
            self._costs.take_in(self._space.filled(vector, self._rng.permutation(self._space.n)) if i % 4 == 0 else vector)

    def _worth_of(self, accuracies: Function) -> Function:
        """What policies (n, d) are worth whose accuracies a function gives."""
        if self._worth is None or self._costs is None:
            return accuracies
        rewards, costs = self._worth.rewards, self._costs
        costs.learn()
        return lambda bits: rewards(accuracies(bits), costs.costs(bits))

    def shortlist(self, n: int) -> list[BitPolicy]:
        """See `Shortlisting.shortlist`: those of which the model expects most, given all trials."""
        if self._n_known < self.N_FIRST:
            return [] if self._worth else [self._space.policy(v) for v in self._history.best(n)]
        self._model.fit(*self._told(), learn_scales=False)  # leaves no trace in what is asked next
        self._n_fitted = 0
        return [self._space.policy(v) for v in self._promising(n)]

    def _random(self) -> Vector:
        """A random policy; where the accuracy is sought it leaves nothing to spend, and spends it evenly."""
        return self._space.draw(self._rng) if self._worth else self._space.balanced(self._rng)

    def _imagined(self, function: Function) -> list[Vector]:
        """Where local search begins beside the trials."""
        return self._actor.practise(function, self.N_ROUNDS, self.N_EPISODES)[: self.N_STARTS]

    def _starts(self) -> list[Vector]:
        """Trials that local search begins from: first those the model expects most of, later some of the best there are.

        The model's own favourites lie close together, and what it is wrong about is found from elsewhere.
        """
        if len(self._history) < self.N_FAVOURED:
            return self._promising(self.N_STARTS)
        best = self._promising(self.N_BEST) if self._worth else self._history.best(self.N_BEST)
        return [best[i] for i in self._rng.choice(len(best), min(len(best), self.N_LATER), replace=False)]

    def _promising(self, n: int) -> list[Vector]:
        """The trials that the model expects most of, the best first."""
        vectors = list(dict.fromkeys(self._history.vectors))
        if not vectors:
            return []
        worth = self._model.mean(vectors)
        if self._worth and self._costs:
            worth = self._worth.rewards(worth, self._costs.exact(vectors))
        order = np.argsort(-worth, kind="stable")
        return [vectors[i] for i in order[:n]]

    def _fit(self) -> None:
        """Bring the model up to date with the trials."""
        n = self._n_known
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
        beyond = sorted(self._beyond, key=lambda v: -self._beyond[v])[: self.MOST_TRIALS - len(best)]
        return [*(vectors[i] for i in best), *beyond], [*(rewards[i] for i in best), *(self._beyond[v] for v in beyond)]


class UnpractisedSearcher(ModelBasedSearcher):
    """An ablation of the default: local search begins at random policies, not at those of an actor that has practised."""

    def _imagined(self, function: Function) -> list[Vector]:
        return [self._random() for _ in range(self.N_STARTS)]
