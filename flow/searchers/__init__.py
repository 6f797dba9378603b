"""Searchers: what proposes the next policy and learns from how the last ones did."""

from __future__ import annotations

from flow.searchers.actor_critic import BlindDDPGSearcher, DDPGSearcher, SACSearcher, StrippingDDPGSearcher, TD3Searcher
from flow.searchers.model_based import ModelBasedSearcher
from flow.searchers.protocol import Searcher, Shortlisting
from flow.searchers.registry import SEARCHERS, check_searcher, make_searcher
from flow.searchers.simple import RandomSearcher, UniformSearcher

__all__ = [
    "SEARCHERS",
    "BlindDDPGSearcher",
    "DDPGSearcher",
    "ModelBasedSearcher",
    "RandomSearcher",
    "SACSearcher",
    "Searcher",
    "Shortlisting",
    "StrippingDDPGSearcher",
    "TD3Searcher",
    "UniformSearcher",
    "check_searcher",
    "make_searcher",
]
