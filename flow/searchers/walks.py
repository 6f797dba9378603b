"""How an agent's actions become a policy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from flow.decision import Decisions
from models.policy import BitPolicy, LayerBits


def walk(decisions: Decisions, act: Callable[[NDArray[np.float32]], NDArray[np.floating]]) -> BitPolicy:
    """One pass over the layers with an agent: observation (n_features,) to action (2,)."""
    prefix: list[LayerBits] = []
    for _ in range(decisions.n_layers):
        prefix.append(decisions.choose(prefix, act(decisions.observe(prefix))))
    return decisions.policy(prefix)


def truncated_normal(rng: np.random.Generator, mean: NDArray[np.floating], sigma: float) -> NDArray[np.floating]:
    """One draw around `mean` within -1..1, without heaping up at the ends."""
    for _ in range(100):
        draw = rng.normal(mean, sigma)
        if np.abs(draw).max() <= 1:
            return draw
    return np.clip(draw, -1, 1)
