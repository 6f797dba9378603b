"""The fastest folding that fits against the best of FINN's SetFolding over a sweep, on random policies.

    make bench-folding             (about 3 minutes: 20 policies, 60 targets at 3 limits on weight streams each)

Both sides pay for everything that bitloop counts: corrections, streams, the system around. Frame
rates are estimates. Designs of SetFolding that break the rule of 1,024 folds are dropped.
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
from flow.progress import SilentListener
from hls.errors import FoldingError
from hls.estimators import TABLES
from hls.finn_backend import set_foldings
from hls.folding import estimate_at
from models.policy import BitPolicy


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=20, help="random policies, weights of 1 to 3 bits, activations of 1 to 4")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    evaluator = estimator_of(SearchSettings(model="cnv"), SilentListener())
    board, limits = evaluator.constraint.board, evaluator.constraint.limits
    rng = random.Random(0)
    targets = [int(t) for t in np.geomspace(20, 8000, 60)]
    gains = []
    for number in range(1, arguments.n + 1):
        policy = BitPolicy.draw(evaluator.specs, rng, max_weight=3, max_act=4)
        mine = evaluator.estimator.estimate(policy, limits)
        best = 0.0
        with TemporaryDirectory() as folder:
            onnx = Path(folder) / "network.onnx"
            evaluator.export_untrained(policy, onnx)
            for folding in set_foldings(onnx, board, targets, (36, 80, 8191)):
                try:
                    theirs = estimate_at(evaluator.tables, policy, folding, board.clock_mhz, TABLES)
                except FoldingError:
                    continue
                if theirs.resources <= limits:
                    best = max(best, theirs.fps)
        fits = mine.resources <= limits
        fps = mine.fps if fits else 0.0
        line = f"{number:3} fastest that fits {fps:8,.0f} fps, SetFolding's {best:8,.0f} fps"
        if fits and best:
            gains.append(mine.fps / best)
            line += f", {gains[-1]:.2f} ×"
        print(line, flush=True)
    if gains:
        print(f"median gain {statistics.median(gains):.2f} × ({min(gains):.2f} to {max(gains):.2f}) over {len(gains)} policies")


if __name__ == "__main__":
    main()
