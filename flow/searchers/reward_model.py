"""What the rewards of policies not yet evaluated may be: a Gaussian process on what bits lose.

A quantizer of b bits has an error in proportion to 2^-b, and the loss that errors cause is to first order linear in
them, to second order in their squares and products; of products, those of the weights of a layer and of the
activations at its two ends matter most. So the reward is a sum of effects of 2^-b and 4^-b of every decision and of these
products, which have a mean in common, and a smooth function of all 2^-b together for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

Floats = NDArray[np.float64]
N_WAVES = 192  # random Fourier features of a sample's smooth part
JITTER = 1e-8
EXPECTED = -1.0  # effect that all decisions have in common


def errors_of(bits: object) -> Floats:
    """2^(1-b) of bits (n, d), 0..1."""
    return np.asarray(2.0 ** (1.0 - np.asarray(bits, float)))


@dataclass(frozen=True)
class Scales:
    """Hyperparameters, of rewards scaled to deviation 1.

    Attributes:
        common: deviation of the effect that all decisions have in common.
        linear, square: deviations of the effects of single decisions, of 2^-b and of 4^-b, around it.
        product: deviation of the effects of pairs of decisions.
        smooth: deviation of the smooth part.
        noise: deviation of an evaluation.
        lengths: length scale of the smooth part in each decision (d,).
    """

    common: float
    linear: float
    square: float
    product: float
    smooth: float
    noise: float
    lengths: Floats

    @classmethod
    def of_logs(cls, logs: Floats) -> Scales:
        """From their logarithms (6 + d,)."""
        common, linear, square, product, smooth, noise = (float(v) for v in np.exp(logs[:6]))
        return cls(common, linear, square, product, smooth, noise, np.exp(logs[6:]))


def _prior(n_decisions: int) -> tuple[Floats, Floats]:
    """Means and deviations of the logarithms: weak beliefs, which keep few rewards from meaning too much."""
    means = np.log([1.0, 0.5, 0.3, 1.0, 0.5, 0.15] + [2.0] * n_decisions)
    deviations = np.array([1.0, 0.7, 0.7, 0.7, 0.7, 0.7] + [0.7] * n_decisions)
    return means, deviations


def _of_features(s: Scales) -> tuple[float, float, float, float]:
    """Deviations of the effects of features, in their order."""
    return s.common, s.linear, s.square, s.product


class RewardModel:
    """A posterior over rewards.

    Args:
        n_decisions: of a policy.
        pairs: decisions whose errors act together.
    """

    def __init__(self, n_decisions: int, pairs: Sequence[tuple[int, int]]) -> None:
        self._pairs = np.array(pairs, np.int64).reshape(-1, 2)
        self._logs, self._deviations = _prior(n_decisions)
        self._means = self._logs.copy()
        self._scales = Scales.of_logs(self._logs)

    def fit(self, bits: Sequence[Sequence[int]], rewards: Sequence[float], learn_scales: bool) -> None:
        """Take in rewards.

        Args:
            bits: of policies, (n, d).
            rewards: of each, finite.
            learn_scales: whether hyperparameters are set anew, to the most probable ones; a few times as slow.
        """
        y = np.asarray(rewards, float)
        # a network that has broken down says nothing of how good the good ones are
        low = np.median(y) - 4 * max(float(np.quantile(y, 0.9) - np.median(y)), 1e-4)
        y = np.maximum(y, low)
        self._mean, self._deviation = float(y.mean()), max(float(y.std()), 1e-6)
        self._x = errors_of(bits)
        self._centre = self._x.mean(axis=0), (self._x**2).mean(axis=0), self._products(self._x).mean(axis=0)
        self._y = (y - self._mean) / self._deviation - self._expected(self._x)
        if learn_scales:
            self._logs = self._most_probable()
            self._scales = Scales.of_logs(self._logs)
        k = self._kernel(self._x) + (self._scales.noise**2 + JITTER) * np.eye(len(y))
        self._factor = cholesky(k, lower=True)
        self._weights = cho_solve((self._factor, True), self._y)

    def _products(self, x: Floats) -> Floats:
        products: Floats = x[:, self._pairs[:, 0]] * x[:, self._pairs[:, 1]]
        return products

    def _features(self, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Of the common effect (n, 1), linear ones (n, d), squares (n, d), and products, around the policies told."""
        linear, square, product = x - self._centre[0], x**2 - self._centre[1], self._products(x) - self._centre[2]
        return linear.sum(axis=1, keepdims=True) / np.sqrt(x.shape[1]), linear, square, product

    def _expected(self, x: Floats) -> Floats:
        """Rewards before any were told, of deviation 1: the more errors the worse."""
        expected: Floats = EXPECTED * self._features(x)[0][:, 0]
        return expected

    def _parts(self, a: Floats, b: Floats, s: Scales) -> list[Floats]:
        """The kernel's parts between policies: common, linear, square, product, smooth, each (n_a, n_b)."""
        of_a, of_b = self._features(a), self._features(b)
        parts = [w**2 * (p @ q.T) for w, p, q in zip(_of_features(s), of_a, of_b, strict=True)]
        p, q = a / s.lengths, b / s.lengths
        apart = np.maximum((p**2).sum(1)[:, None] + (q**2).sum(1) - 2 * p @ q.T, 0.0)
        return [*parts, s.smooth**2 * np.exp(-apart / 2)]

    def _kernel(self, a: Floats) -> Floats:
        """Between policies and those told, (n_a, n)."""
        kernel: Floats = np.sum(self._parts(a, self._x, self._scales), axis=0)
        return kernel

    def _most_probable(self) -> Floats:
        found = minimize(self._loss, self._logs, jac=True, method="L-BFGS-B", options={"maxiter": 15},
                         bounds=[(m - 4, m + 4) for m in self._means])  # fmt: skip
        logs: Floats = found.x
        return logs

    def _loss(self, logs: Floats) -> tuple[float, Floats]:
        """The negative logarithm of the posterior of hyperparameters, and its gradient."""
        s = Scales.of_logs(logs)
        parts = self._parts(self._x, self._x, s)
        n = len(self._y)
        k = np.sum(parts, axis=0) + (s.noise**2 + JITTER) * np.eye(n)
        try:
            factor = cholesky(k, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(logs)
        alpha = cho_solve((factor, True), self._y)
        z = (logs - self._means) / self._deviations
        loss = 0.5 * self._y @ alpha + np.log(np.diag(factor)).sum() + 0.5 * z @ z
        w = 0.5 * (cho_solve((factor, True), np.eye(n)) - np.outer(alpha, alpha))
        gradient = np.empty_like(logs)
        gradient[:5] = [2 * (w * p).sum() for p in parts]
        gradient[5] = 2 * s.noise**2 * np.trace(w)
        m = w * parts[4]
        x = self._x
        apart = 2 * ((m.sum(axis=1) @ x**2) - ((m @ x) * x).sum(axis=0))
        gradient[6:] = apart / s.lengths**2
        return float(loss), gradient + z / self._deviations

    def mean(self, bits: object) -> Floats:
        """The expected rewards of policies (n, d): (n,)."""
        x = errors_of(bits)
        found: Floats = self._mean + self._deviation * (self._expected(x) + self._kernel(x) @ self._weights)
        return found

    def mean_and_deviation(self, bits: object) -> tuple[Floats, Floats]:
        """The same, and how uncertain they are, noise of an evaluation left out."""
        x, s = errors_of(bits), self._scales
        k = self._kernel(x)
        before = np.full(len(x), s.smooth**2)
        for w, f in zip(_of_features(s), self._features(x), strict=True):
            before += w**2 * (f**2).sum(axis=1)
        explained = (solve_triangular(self._factor, k.T, lower=True) ** 2).sum(axis=0)
        left = np.sqrt(np.maximum(before - explained, 0.0))
        return self._mean + self._deviation * (self._expected(x) + k @ self._weights), self._deviation * left

    def improvement(self, told: Sequence[Sequence[int]]) -> Callable[[object], Floats]:
        """What policies (n, d) are expected to better the best of those told by, (n,); Jones et al., 1998."""
        best = float(self.mean(told).max())

        def function(bits: object) -> Floats:
            mean, deviation = self.mean_and_deviation(bits)
            z = (mean - best) / np.maximum(deviation, 1e-9)
            found: Floats = deviation * (z * ndtr(z) + np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi))
            return found

        return function

    def sample(self, rng: np.random.Generator) -> Callable[[object], Floats]:
        """One function that the rewards may be: from policies (n, d) to rewards (n,).

        A draw from the prior, moved onto the rewards that were told (Wilson et al., "Efficiently sampling functions
        from Gaussian process posteriors", ICML 2020).
        """
        s, d = self._scales, self._x.shape[1]
        effects = [w * rng.standard_normal(n) for w, n in zip(_of_features(s), (1, d, d, len(self._pairs)), strict=True)]
        waves, phases = rng.standard_normal((d, N_WAVES)) / s.lengths[:, None], rng.uniform(0, 2 * np.pi, N_WAVES)
        heights = s.smooth * np.sqrt(2 / N_WAVES) * rng.standard_normal(N_WAVES)

        def prior(x: Floats) -> Floats:
            found: Floats = np.cos(x @ waves + phases) @ heights
            for features, effect in zip(self._features(x), effects, strict=True):
                found += features @ effect
            return found

        missed = self._y - prior(self._x) - s.noise * rng.standard_normal(len(self._y))
        moved = cho_solve((self._factor, True), missed)

        def function(bits: object) -> Floats:
            x = errors_of(bits)
            found: Floats = self._mean + self._deviation * (self._expected(x) + prior(x) + self._kernel(x) @ moved)
            return found

        return function
