"""The Gymnasium environment of the search, `flow/Bitwidth-v0`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from flow.decision import Decisions
from models.policy import BitPolicy, LayerBits


class BitwidthEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """An agent gives every layer of a network its bits, then the network is retrained and scored.

    After Wang et al., "Reinforcement Learning Based Quantization Strategy Optimal Assignment Algorithm
    for Mixed Precision", CMC 79(1), 2024, doi 10.32604/cmc.2024.047108.

    ## Description
    An episode is one pass over the network's layers, front to back; a step decides the bits of one.

    ## Action space
    `Box(-1, 1, (2,))`: bits of the layer's weights, bits of the activations it hands on. Each value
    picks from the widths that can still meet the constraint, in equal shares (-1 the fewest, 1 the most);
    there is no action that leads out of the constraint. The last layer hands on no activations; its
    second value means nothing.

    ## Observation space
    `Box(0, 1, (14,))`, each value explained at `flow.decision.Decisions.observe`:

    | index | value |
    |---|---|
    | 0..7 | layer index, type, channels in and out, kernel, input size, parameters, multiply-accumulates |
    | 8 | standard deviation of the layer's float weights |
    | 9, 10 | weight and activation bits of the layer before |
    | 11, 12, 13 | share of the LUT, block RAM and DSP limits left if all layers to come take the cheapest bits |

    ## Rewards
    0 until the last layer; then what `evaluate` gives: the accuracy on the search split after retraining, 0..1.

    ## Starting state
    No layer decided. It is always the same.

    ## Episode end
    Terminated with the last layer's decision; never truncated. The last step's info holds `policy`, as
    `BitPolicy.to_json` writes it: what copies or pickles infos takes plain values.

    ## Arguments
    `decisions`: the pass over the layers of one network under one constraint.
    `evaluate`: from a policy to its reward.

    ## Version history
    v0: first version.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(self, decisions: Decisions, evaluate: Callable[[BitPolicy], float]) -> None:
        self.decisions = decisions
        self.evaluate = evaluate
        self.observation_space = spaces.Box(0.0, 1.0, (decisions.n_features,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._prefix: list[LayerBits] | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode; `options` are not used."""
        super().reset(seed=seed, options=options)
        self._prefix = []
        return self.decisions.observe(()), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Decide the next layer's bits.

        Raises:
            ResetNeeded: there is no episode, or it has ended.
        """
        if self._prefix is None:
            raise ResetNeeded("the episode has ended or not begun; call reset() first")
        self._prefix.append(self.decisions.choose(self._prefix, action))
        seen = self.decisions.observe(self._prefix)
        if len(self._prefix) < self.decisions.n_layers:
            return seen, 0.0, False, False, {}
        policy = self.decisions.policy(self._prefix)
        self._prefix = None
        return seen, float(self.evaluate(policy)), True, False, {"policy": policy.to_json()}
