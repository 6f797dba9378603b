"""Optuna's samplers: TPE, NSGA-II and CMA-ES on shares of what is possible at each step."""

from __future__ import annotations

import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, TPESampler

from flow.decision import Decisions
from flow.searchers.space import History, PolicySpace, Vector, unseen
from models.policy import BitPolicy, LayerBits

SHARE = FloatDistribution(-1.0, 1.0)


class OptunaSearcher:
    """A sampler of Optuna, whose parameters are the actions of an episode.

    Args:
        decisions: the pass over the layers.
        seed: of the sampler.
    """

    N_TRIES = 5  # of the sampler, to propose what was not met before

    def __init__(self, decisions: Decisions, seed: int) -> None:
        self._decisions = decisions
        self._space = PolicySpace(decisions)
        self._rng = np.random.default_rng(seed)
        self._history = History()
        self._asked: set[Vector] = set()
        self._running: dict[BitPolicy, optuna.trial.Trial] = {}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study = optuna.create_study(direction="maximize", sampler=self.sampler(seed))
        self._names = [(f"{s.name}.weight", f"{s.name}.act" if s.has_act else None) for s in decisions.specs]

    def sampler(self, seed: int) -> BaseSampler:
        """A new sampler."""
        raise NotImplementedError

    def ask(self) -> BitPolicy:
        """See `Searcher.ask`; never a policy that was met before, as long as there are others."""
        seen = self._history.seen | self._asked
        for _ in range(self.N_TRIES):
            trial = self._study.ask()
            policy = self._walk(trial)
            if self._space.vector(policy) not in seen:
                self._running[policy] = trial
                break
            self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            policy = self._space.policy(unseen(self._space, self._space.vector(policy), seen, self._rng))
        self._asked.add(self._space.vector(policy))
        return policy

    def _walk(self, trial: optuna.trial.Trial) -> BitPolicy:
        prefix: list[LayerBits] = []
        for weight, act in self._names:
            action = [trial.suggest_float(n, SHARE.low, SHARE.high) if n is not None else 0.0 for n in (weight, act)]
            prefix.append(self._decisions.choose(prefix, np.array(action)))
        return self._decisions.policy(prefix)

    def tell(self, policy: BitPolicy, reward: float) -> None:
        """See `Searcher.tell`; a policy of others is taken in with the middle of each share that leads to it."""
        reward = self._history.add(self._space.told(policy), reward)
        trial = self._running.pop(policy, None)
        if trial is not None:
            self._study.tell(trial, reward)
            return
        params = {
            name: float(value)
            for names, step in zip(self._names, self._decisions.replay(policy), strict=True)
            for name, value in zip(names, step.action, strict=True)
            if name is not None
        }
        self._study.add_trial(
            optuna.trial.create_trial(params=params, distributions=dict.fromkeys(params, SHARE), value=reward)
        )


class TPESearcher(OptunaSearcher):
    """Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011), of all parameters together."""

    def sampler(self, seed: int) -> BaseSampler:
        """See `OptunaSearcher`."""
        return TPESampler(seed=seed, multivariate=True)


class NSGA2Searcher(OptunaSearcher):
    """NSGA-II (Deb et al., 2002) with one objective: a genetic algorithm."""

    def sampler(self, seed: int) -> BaseSampler:
        """See `OptunaSearcher`."""
        return NSGAIISampler(seed=seed, population_size=20)


class CMAESSearcher(OptunaSearcher):
    """Covariance matrix adaptation (Hansen, 2016)."""

    def sampler(self, seed: int) -> BaseSampler:
        """See `OptunaSearcher`."""
        return CmaEsSampler(seed=seed)
