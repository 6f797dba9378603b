"""Searchers by name, and those of one's own by import path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches

from flow.decision import Decisions
from flow.errors import SettingsError
from flow.searchers.actor_critic import BlindDDPGSearcher, DDPGSearcher, SACSearcher, StrippingDDPGSearcher, TD3Searcher
from flow.searchers.evolution import EvolutionSearcher
from flow.searchers.masked_ppo import MaskablePPOSearcher
from flow.searchers.model_based import ModelBasedSearcher, UnpractisedSearcher
from flow.searchers.optuna_samplers import CMAESSearcher, NSGA2Searcher, TPESearcher
from flow.searchers.protocol import Searcher
from flow.searchers.recipes import FinnRLSearcher, HAQSearcher
from flow.searchers.sensitivity import GreedySearcher, IntegerProgramSearcher
from flow.searchers.simple import RandomSearcher, UniformSearcher
from flow.searchers.thompson import ThompsonSearcher

SearcherFactory = Callable[[Decisions, int], Searcher]

SEARCHERS: dict[str, SearcherFactory] = {
    "model-based": ModelBasedSearcher,
    "model-based-no-actor": UnpractisedSearcher,
    "ddpg": DDPGSearcher,
    "ddpg-no-weight-std": BlindDDPGSearcher,
    "ddpg-no-step-limits": StrippingDDPGSearcher,
    "td3": TD3Searcher,
    "sac": SACSearcher,
    "maskable-ppo": MaskablePPOSearcher,
    "haq": HAQSearcher,
    "finn-rl": FinnRLSearcher,
    "thompson": ThompsonSearcher,
    "tpe": TPESearcher,
    "nsga2": NSGA2Searcher,
    "cma-es": CMAESSearcher,
    "evolution": EvolutionSearcher,
    "greedy": GreedySearcher,
    "ilp": IntegerProgramSearcher,
    "uniform": UniformSearcher,
    "random": RandomSearcher,
}


def get_searcher(name: str) -> SearcherFactory:
    """What makes a searcher, by name or, with a colon in it, by import path: `package.module:Class`.

    Raises:
        SettingsError: there is none of that name, with the nearest; or it cannot be imported, or is no searcher.
    """
    if ":" in name:
        return _imported(name)
    if name not in SEARCHERS:
        near = get_close_matches(name, SEARCHERS, 1, 0.0)
        raise SettingsError(
            f"unknown searcher {name!r}; did you mean {near[0]!r}? There are {', '.join(SEARCHERS)}, and package.module:Class"
        )
    return SEARCHERS[name]


def _imported(path: str) -> SearcherFactory:
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whatever a user's module raises
        raise SettingsError(
            f"SEARCHER={path} cannot be imported ({type(error).__name__}: {error}); package.module:Class is wanted, "
            "with the package on PYTHONPATH"
        ) from error
    missing = [m for m in ("ask", "tell") if not callable(getattr(found, m, None))]
    if not isinstance(found, type) or missing:
        lacks = f"it lacks {' and '.join(missing)}" if missing else "it is no class"
        raise SettingsError(
            f"SEARCHER={path} is no searcher ({lacks}); a class with ask() and tell(policy, reward) is wanted, made from "
            "(decisions, seed); see flow.searchers.Searcher"
        )
    factory: SearcherFactory = found
    return factory


def check_searcher(name: str) -> None:
    """Raise `SettingsError`, with the nearest name, unless there is a searcher of that name or import path."""
    get_searcher(name)


def make_searcher(name: str, decisions: Decisions, seed: int) -> Searcher:
    """A new searcher.

    Args:
        name: or import path, see `get_searcher`.
        decisions: the pass over the layers.
        seed: of everything random.

    Raises:
        SettingsError: there is none, or it is not made from decisions and a seed.
    """
    factory = get_searcher(name)
    try:
        return factory(decisions, seed)
    except TypeError as error:
        if ":" not in name:
            raise
        raise SettingsError(f"SEARCHER={name} cannot be made from (decisions, seed): {error}") from error
