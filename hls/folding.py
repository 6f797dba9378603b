"""The fastest folding that fits: an exact search over the options of every node.

For a limit on cycles a frame, every step of the pipeline takes its cheapest option that is fast
enough; cheapest in two resources, LUT and block RAM, so a dynamic program over the block RAM
spent finds the fewest LUT for every amount of block RAM. A bisection over the cycle counts that
occur finds the smallest limit that fits. Width converters and FIFOs are not counted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from hls.cost import CostTables, Options, layer_keys
from hls.types import Estimate
from models.policy import BitPolicy

Curve = NDArray[np.float64]
"""Fewest LUT for at most 0, 1, 2, … block RAMs of 18 kbit; infinite where nothing fits."""


@dataclass(frozen=True)
class Ladder:
    """The undominated options of a step at a limit on cycles: more block RAM, fewer LUT.

    `lut` falls as `bram18` rises; `index` is the option each rung stands for.
    """

    bram18: NDArray[np.int64]
    lut: NDArray[np.float64]
    index: NDArray[np.int64]


def climb(options: Options, max_cycles: float) -> Ladder:
    """The ladder of a step's options that take at most `max_cycles` a frame; empty where there is none."""
    n = int(np.searchsorted(options.cycles, max_cycles, side="right"))
    order = np.lexsort((options.cycles[:n], options.lut[:n], options.bram18[:n]))
    lut = options.lut[order]
    best_before = np.concatenate([[np.inf], np.minimum.accumulate(lut)[:-1]]) if n else lut
    rungs = order[lut < best_before]
    return Ladder(options.bram18[rungs], options.lut[rungs], rungs)


def add_ladder(curve: Curve, ladder: Ladder) -> Curve:
    """The curve of what `curve` stands for together with one more step."""
    out = np.full_like(curve, np.inf)
    for bram18, lut in zip(ladder.bram18.tolist(), ladder.lut.tolist(), strict=True):
        if bram18 < len(curve):
            np.minimum(out[bram18:], curve[: len(curve) - bram18] + lut, out=out[bram18:])
    return out


def _curves(ladders: Sequence[Ladder], max_bram18: int) -> list[Curve]:
    """The curves of the first 0, 1, 2, … steps up to an amount of block RAM."""
    curves = [np.zeros(max_bram18 + 1)]
    for ladder in ladders:
        curves.append(add_ladder(curves[-1], ladder))
    return curves


def _trace(ladders: Sequence[Ladder], curves: Sequence[Curve], bram18: int) -> list[int]:
    """The option of every step that gave the last curve its value at `bram18`."""
    chosen = []
    for ladder, before in zip(reversed(ladders), reversed(curves[:-1]), strict=True):
        fits = ladder.bram18 <= bram18
        totals = np.where(fits, before[np.where(fits, bram18 - ladder.bram18, 0)] + ladder.lut, np.inf)
        rung = int(totals.argmin())
        bram18 -= int(ladder.bram18[rung])
        chosen.append(int(ladder.index[rung]))
    return chosen[::-1]


def _fastest(steps: Sequence[Options], limits: Resources) -> list[int] | None:
    """The option of every step at the smallest limit on cycles that fits; None if none fits."""
    budget = int(limits.bram18)
    candidates = np.unique(np.concatenate([s.cycles for s in steps]))
    candidates = candidates[candidates >= max(int(s.cycles[0]) for s in steps)]
    low, high, chosen = 0, len(candidates), None
    while low < high:
        middle = (low + high) // 2
        ladders = [climb(s, candidates[middle]) for s in steps]
        curves = _curves(ladders, budget)
        if curves[-1][budget] <= limits.lut:
            high, chosen = middle, _trace(ladders, curves, budget)
        else:
            low = middle + 1
    return chosen


def _closest(steps: Sequence[Options], limits: Resources) -> list[int]:
    """The option of every step that together exceed the limits by the smallest factor."""
    ladders = [climb(s, np.inf) for s in steps]
    curves = _curves(ladders, sum(int(ladder.bram18.max()) for ladder in ladders))
    shares = np.maximum(curves[-1] / max(limits.lut, 1e-9), np.arange(len(curves[-1])) / max(limits.bram18, 1e-9))
    return _trace(ladders, curves, int(shares.argmin()))


def fastest_folding(tables: CostTables, policy: BitPolicy, limits: Resources, clock_mhz: float, method: str) -> Estimate:
    """The estimate of a policy at the folding with the highest frame rate within the limits.

    Where no folding fits, the one that exceeds the limits by the smallest factor is given, so that
    `estimate.resources <= limits` tells which it is and the estimate tells what is missing.

    Args:
        tables: of the policy's network.
        policy: the bits.
        limits: LUT and block RAM that may be used; no option uses DSP slices.
        clock_mhz: handed on to the estimate.
        method: the same.
    """
    per_layer = [tables.options(i, key) for i, key in enumerate(layer_keys(policy))]
    steps = [step for layer in per_layer for step in layer]
    chosen = iter(_fastest(steps, limits) or _closest(steps, limits))
    return Estimate(tables.nodes(policy, [[next(chosen) for _ in layer] for layer in per_layer]), clock_mhz, method)
