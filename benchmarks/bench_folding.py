"""The fastest folding that fits against the best of FINN's SetFolding over a sweep, on random policies.

    make bench-folding             (about 8 minutes: 20 policies, 60 targets at 3 limits on weight streams each)

SetFolding gets thresholds merged into HLS units, and again all of them apart with FINN's own choice between
HLS and RTL. Both sides pay for everything that bitloop counts: corrections, streams, the system around. Frame
rates are estimates. Designs of SetFolding that break the rule of 1,024 folds, or that the fault of FINN's
RTL unit would spoil, are dropped. The fastest folding is then held against HiGHS: is the next faster one
there could be impossible?
"""

from __future__ import annotations

import argparse
import random
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from flow.config import SearchSettings
from flow.estimation import estimator_of
from flow.evaluator import Evaluator
from flow.progress import SilentListener
from hls.errors import FoldingError
from hls.exact import least_share
from hls.finn_backend import set_foldings
from hls.options import steps_of
from hls.types import Estimate, Implementation
from models.policy import BitPolicy

TARGETS_FPS = [int(t) for t in np.geomspace(20, 8000, 60)]


def finns_implementations(evaluator: Evaluator, policy: BitPolicy) -> list[Implementation]:
    """What FINN picks where thresholds are apart: RTL from four bits of weights and activations on, if it can."""
    chosen = []
    for i, key in enumerate(evaluator.tables.topology.keys(policy.values())):
        wide = key.weight >= 4 and (key.act_in or 8) >= 4
        chosen.append(Implementation.RTL if wide and evaluator.tables.has_rtl(i, key) else Implementation.HLS_APART)
    return chosen


def best_of_set_folding(evaluator: Evaluator, policy: BitPolicy) -> float:
    """The highest frame rate within the limits that FINN's SetFolding finds in a sweep; 0 where it finds none."""
    board, limits, best = evaluator.constraint.board, evaluator.constraint.limits, 0.0
    with TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        evaluator.export_untrained(policy, onnx)
        for built in ([], finns_implementations(evaluator, policy)):
            for folding in set_foldings(onnx, board, TARGETS_FPS, (36, 80, 8191), built):
                try:
                    theirs = evaluator.foldings.at(policy, folding, built)
                except FoldingError:
                    continue
                if theirs.resources <= limits:
                    best = max(best, theirs.fps)
    return best


def gap(evaluator: Evaluator, policy: BitPolicy, found: Estimate, time_limit_s: float) -> str:
    """What HiGHS says of the frame rates above the one found."""
    tables, limits = evaluator.tables, evaluator.constraint.limits
    steps = [o for i, key in enumerate(tables.topology.keys(policy.values())) for o in steps_of(tables.sections(i, key))]
    faster = [c for c in np.unique(np.concatenate([o.cycles for o in steps])).tolist() if c < found.bottleneck_cycles]
    best = found.bottleneck_cycles
    for cycles in reversed(faster):
        solved = least_share(tables, policy, limits, cycles, time_limit_s)
        if solved.bound > 1:
            return "optimal" if best == found.bottleneck_cycles else f"optimum {found.bottleneck_cycles / best:.3f} × that"
        if solved.share > 1:
            return "not decided"
        best = cycles
    return "optimal"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="random policies, weights of 1 to 3 bits, activations of 1 to 4")
    parser.add_argument("--solver-s", type=float, default=30.0, help="limit of HiGHS for one question")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    evaluator = estimator_of(SearchSettings(model="cnv"), SilentListener())
    limits = evaluator.constraint.limits
    rng = random.Random(0)
    gains, gaps = [], []
    for number in range(1, arguments.n + 1):
        policy = BitPolicy.draw(evaluator.specs, rng, max_weight=3, max_act=4)
        mine = evaluator.estimator.estimate(policy, limits)
        best = best_of_set_folding(evaluator, policy)
        fits = mine.resources <= limits
        fps = mine.fps if fits else 0.0
        line = f"{number:3} fastest that fits {fps:8,.0f} fps, SetFolding's {best:8,.0f} fps"
        if fits and best:
            gains.append(mine.fps / best)
            line += f", {gains[-1]:.2f} ×"
        if fits:
            gaps.append(gap(evaluator, policy, mine, arguments.solver_s))
            line += f", HiGHS: {gaps[-1]}"
        print(line, flush=True)
    if gains:
        print(f"median gain {statistics.median(gains):.2f} × ({min(gains):.2f} to {max(gains):.2f}) over {len(gains)} policies")
    print(f"optimal by HiGHS: {gaps.count('optimal')} of {len(gaps)}")


if __name__ == "__main__":
    main()
