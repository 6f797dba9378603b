"""What the rewards of policies not yet evaluated may be: a regression on what bits lose, and a process on what it misses.

A quantizer of b bits has an error in proportion to 2^-b, and the loss that errors cause is to first order linear in
them, to second order in their squares. So the reward is a sum of effects of 2^-b, its root and its square of every
decision, none of which does good; what does not add up is left to a Gaussian process on all 2^-b together. With the few
dozen trials of a search more than that (products of errors, a length scale for every decision) predicts no better, and
what is drawn from it is wilder: see docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky
from scipy.optimize import nnls

Floats = NDArray[np.float64]

NOISE = 0.05  # variance of an evaluation in the regression, of rewards scaled to 1
SPREAD, DARING = 0.5, 100  # of the posterior's variance, which draws have at least; trials from which on they have all of it
MOST_STEPS = 3000  # of the solver
N_WAVES = 128  # random Fourier features of a draw of the process
LENGTHS, VARIANCES, NOISES = (0.5, 1.0, 2.0), (0.02, 0.05, 0.1, 0.2, 0.4), (0.02, 0.05, 0.1)  # that the process may have
MOST_BEHIND, HALF_TRUSTED = 2.0, 0.25  # of the spread of rewards: what lies further behind, and what has half a say
OTHER_SHARE = 0.5  # of the draws are of the other model
FEW = 20  # trials, up to which the regression stands alone


def errors_of(bits: object) -> Floats:
    """2^(1-b) of bits (n, d), 0..1."""
    return np.asarray(2.0 ** (1.0 - np.asarray(bits, float)))


def _effects_of(bits: object) -> Floats:
    """What has an effect of its own: errors and their squares (n, 2 d)."""
    x = errors_of(bits)
    return np.concatenate([x, x**2], axis=1)


def _harms_of(bits: object) -> Floats:
    """The same with the roots of errors before them (n, 3 d): the last bit may do little harm or nearly all."""
    x = errors_of(bits)
    return np.concatenate([np.sqrt(x), x, x**2], axis=1)


class LinearModel:
    """A Bayesian linear regression on errors and their squares; what of its effects would do good counts as nothing."""

    def fit(self, bits: object, rewards: Floats, spread: float = SPREAD) -> None:
        """Take in rewards (n,) of policies (n, d); draws have so much of the posterior's variance."""
        x = _effects_of(bits)
        self._centre, self._spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        self._offset, self._scale = float(rewards.mean()), float(rewards.std()) + 1e-6
        z = (x - self._centre) / self._spread
        precision = z.T @ z / NOISE + np.eye(z.shape[1])
        self._mean = np.linalg.solve(precision, z.T @ ((rewards - self._offset) / self._scale)) / NOISE
        covariance = spread * np.linalg.inv(precision)
        self._factor = np.linalg.cholesky((covariance + covariance.T) / 2)

    def _function(self, effects: Floats) -> Callable[[object], Floats]:
        harmful = np.minimum(effects, 0.0)

        def function(bits: object) -> Floats:
            found: Floats = self._offset + self._scale * ((_effects_of(bits) - self._centre) / self._spread @ harmful)
            return found

        return function

    @property
    def mean(self) -> Callable[[object], Floats]:
        """What is expected: from policies (n, d) to rewards (n,)."""
        return self._function(self._mean)

    def sample(self, rng: np.random.Generator) -> Callable[[object], Floats]:
        """One function that may be the truth."""
        return self._function(self._mean + self._factor @ rng.standard_normal(len(self._mean)))


class MonotoneModel:
    """The same regression, but with effects that are fitted under the condition that none does good.

    An error and its square say nearly the same: fitted freely, one often takes back what the other has too much, and cutting
    off only what does good leaves the harm twice. A draw is the fit to rewards and effects that were disturbed as much as is
    not known of them (randomize, then optimize; Bardsley et al., SIAM Journal on Scientific Computing 36(4), 2014).
    """

    def fit(self, bits: object, rewards: Floats, trust: Floats, spread: float) -> None:
        """Take in rewards (n,) of policies (n, d), each with a share (n,), above 0 and at most 1, of a full say.

        Draws have so much of the posterior's variance.
        """
        self._daring = np.sqrt(spread)
        x = _harms_of(bits)
        self._centre, self._spread = np.average(x, axis=0, weights=trust), x.std(axis=0) + 1e-6
        self._offset, self._scale = float(np.average(rewards, weights=trust)), float(rewards.std()) + 1e-6
        z, say = (self._centre - x) / self._spread, np.sqrt(trust / NOISE)
        self._rows = np.concatenate([z * say[:, None], np.eye(z.shape[1])])
        self._wanted = np.concatenate([(rewards - self._offset) / self._scale * say, np.zeros(z.shape[1])])
        self._mean = self._function(self._wanted)

    def _function(self, wanted: Floats) -> Callable[[object], Floats]:
        harm = nnls(self._rows, wanted, maxiter=MOST_STEPS)[0]

        def function(bits: object) -> Floats:
            found: Floats = self._offset + self._scale * ((self._centre - _harms_of(bits)) / self._spread @ harm)
            return found

        return function

    @property
    def mean(self) -> Callable[[object], Floats]:
        """What is expected: from policies (n, d) to rewards (n,)."""
        return self._mean

    def sample(self, rng: np.random.Generator) -> Callable[[object], Floats]:
        """One function that may be the truth."""
        return self._function(self._wanted + self._daring * rng.standard_normal(len(self._wanted)))


def _trusted(rewards: Floats) -> tuple[Floats, Floats]:
    """Rewards (n,), and how much say each has in the model, above 0 and at most 1: less, the further it is from the best.

    Effects add up near a policy, not all the way to where a network breaks down; but what lies far off still says more than
    nothing, most of all while there are few trials that are good. Of a network that has broken down it only counts that it has.
    """
    high = float(np.quantile(rewards, 0.95))
    spread = max(high - float(np.quantile(rewards, 0.05)), 1e-6)
    rewards = np.maximum(rewards, high - MOST_BEHIND * spread)
    behind = np.maximum(high - rewards, 0.0) / (HALF_TRUSTED * spread)
    return rewards, 1.0 / (1.0 + behind**2)


class RewardModel:
    """The monotone regression, and a Gaussian process on what it misses; draws come from another model, too.

    What a model cannot express it is wrong about for ever, and sure of: its draws keep to where it sees the best policies.
    So every other draw is one of the free regression, which predicts worse and is wrong elsewhere. Few trials are best spent
    near what looks best; the more there are, the more is left of what nobody expects, and the more daring draws become.
    """

    def __init__(self) -> None:
        self._linear = MonotoneModel()
        self._other = LinearModel()
        self._scales = (1.0, 0.05, 0.05)  # length, variance, noise

    def fit(self, bits: Sequence[Sequence[int]], rewards: Sequence[float], learn_scales: bool) -> None:
        """Take in rewards.

        Args:
            bits: of policies, (n, d).
            rewards: of each, finite.
            learn_scales: whether the process's length scale, variance and noise are set anew, to the likeliest.
        """
        y, self._trust = _trusted(np.asarray(rewards, float))
        self._spread = min(1.0, max(SPREAD, len(y) / DARING))
        self._linear.fit(bits, y, self._trust, self._spread)
        self._other.fit(bits, np.asarray(rewards, float), self._spread)
        self._x = errors_of(bits)
        self._scale = max(float(np.sqrt(np.average((y - np.average(y, weights=self._trust)) ** 2, weights=self._trust))), 1e-6)
        self._missed = (y - self._linear.mean(bits)) / self._scale
        self._has_process = len(y) > FEW
        if self._has_process and learn_scales:
            self._scales = max(product(LENGTHS, VARIANCES, NOISES), key=self._likelihood)
        factor = self._factor_of(self._scales)
        self._factor, self._weights = factor, cho_solve((factor, True), self._missed)

    def _kernel(self, a: Floats, scales: tuple[float, float, float]) -> Floats:
        """Between policies and those told, (n_a, n)."""
        length, variance, _ = scales
        apart = (a**2).sum(1)[:, None] + (self._x**2).sum(1) - 2 * a @ self._x.T
        kernel: Floats = variance * np.exp(-np.maximum(apart, 0.0) / (2 * length**2))
        return kernel

    def _factor_of(self, scales: tuple[float, float, float]) -> Floats:
        factor: Floats = cholesky(self._kernel(self._x, scales) + np.diag(scales[2] / self._trust), lower=True)
        return factor

    def _likelihood(self, scales: tuple[float, float, float]) -> float:
        """The logarithm of how likely what was missed is."""
        factor = self._factor_of(scales)
        return float(-0.5 * self._missed @ cho_solve((factor, True), self._missed) - np.log(np.diag(factor)).sum())

    def mean(self, bits: object) -> Floats:
        """The expected rewards of policies (n, d): (n,)."""
        found = self._linear.mean(bits)
        if self._has_process:
            found = found + self._scale * (self._kernel(errors_of(bits), self._scales) @ self._weights)
        return found

    def sample(self, rng: np.random.Generator) -> Callable[[object], Floats]:
        """One function that the rewards may be: from policies (n, d) to rewards (n,).

        That of the process is a draw before any trials, moved onto what was missed (Wilson et al., "Efficiently
        sampling functions from Gaussian process posteriors", ICML 2020).
        """
        if rng.random() < OTHER_SHARE:
            return self._other.sample(rng)
        linear = self._linear.sample(rng)
        length, variance, noise = self._scales
        waves, phases = rng.standard_normal((self._x.shape[1], N_WAVES)) / length, rng.uniform(0, 2 * np.pi, N_WAVES)
        heights = np.sqrt(2 * self._spread * variance / N_WAVES) * rng.standard_normal(N_WAVES)

        def before(x: Floats) -> Floats:
            found: Floats = np.cos(x @ waves + phases) @ heights
            return found

        seen = before(self._x) + np.sqrt(self._spread * noise / self._trust) * rng.standard_normal(len(self._x))
        moved = cho_solve((self._factor, True), self._missed - seen)

        def function(bits: object) -> Floats:
            if not self._has_process:
                return linear(bits)
            x = errors_of(bits)
            missed: Floats = before(x) + self._kernel(x, self._scales) @ moved
            return linear(bits) + self._scale * missed

        return function
