"""Searchers: what proposes the next policy and learns from how the last ones did."""

from __future__ import annotations

from flow.searchers.actor_critic import BlindDDPGSearcher, DDPGSearcher, SACSearcher, StrippingDDPGSearcher, TD3Searcher
from flow.searchers.evolution import EvolutionSearcher
from flow.searchers.masked_ppo import MaskablePPOSearcher
from flow.searchers.model_based import ModelBasedSearcher, UnpractisedSearcher
from flow.searchers.optuna_samplers import CMAESSearcher, NSGA2Searcher, TPESearcher
from flow.searchers.protocol import Aiming, Informed, Searcher, Shortlisting
from flow.searchers.recipes import FinnRLSearcher, HAQSearcher
from flow.searchers.registry import SEARCHERS, check_searcher, get_searcher, make_searcher
from flow.searchers.sensitivity import GreedySearcher, IntegerProgramSearcher
from flow.searchers.simple import RandomSearcher, UniformSearcher
from flow.searchers.thompson import ThompsonSearcher

__all__ = [
    "SEARCHERS",
    "Aiming",
    "BlindDDPGSearcher",
    "CMAESSearcher",
    "DDPGSearcher",
    "EvolutionSearcher",
    "FinnRLSearcher",
    "GreedySearcher",
    "HAQSearcher",
    "Informed",
    "IntegerProgramSearcher",
    "MaskablePPOSearcher",
    "ModelBasedSearcher",
    "NSGA2Searcher",
    "RandomSearcher",
    "SACSearcher",
    "Searcher",
    "Shortlisting",
    "StrippingDDPGSearcher",
    "TD3Searcher",
    "TPESearcher",
    "ThompsonSearcher",
    "UniformSearcher",
    "UnpractisedSearcher",
    "check_searcher",
    "get_searcher",
    "make_searcher",
]
