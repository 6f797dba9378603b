"""How much faster the tables are than FINN's whole flow, on the same policies, in one run.

    make bench-estimate            (a few minutes; N=20 policies, FLOW=3 of them through FINN's flow too)

Printed are medians and the ratio to FINN's flow; only ratios of one run mean anything.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from flow.config import SearchSettings
from flow.constraint import Constraint
from flow.estimation import estimator_of
from flow.progress import SilentListener
from hls.finn_backend import estimate_with_flow
from hls.reach import Reach
from models.policy import BitPolicy, LayerBits
from models.registry import get_model


def seconds(call: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def import_seconds(modules: str) -> float:
    """Wall seconds of an import in a process of its own, the least of five."""
    program = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
    runs = [subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True) for _ in range(5)]
    return min(float(run.stdout) for run in runs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="cnv")
    parser.add_argument("--n", type=int, default=20, help="random policies")
    parser.add_argument("--flow", type=int, default=3, help="of these, through FINN's whole flow too")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = SearchSettings(model=arguments.model)
    evaluator = estimator_of(settings, SilentListener())
    board, tables, limits = evaluator.constraint.board, evaluator.tables, evaluator.constraint.limits
    rng = random.Random(0)
    policies = [BitPolicy.draw(evaluator.specs, rng) for _ in range(arguments.n)]

    flow = []
    with TemporaryDirectory() as folder:
        onnx = Path(folder) / "network.onnx"
        for policy in policies[: arguments.flow + 1]:  # the first one imports FINN's builder
            evaluator.export_untrained(policy, onnx)
            flow.append(seconds(lambda: estimate_with_flow(onnx, board, target_fps=1000)))
    finn = statistics.median(flow[1:])

    folding = evaluator.foldings
    folding.fastest(BitPolicy.uniform(evaluator.specs, 2, 2), limits)  # compiles the search, once on a machine
    first = [seconds(partial(folding.fastest, p, limits)) for p in policies]
    again = [seconds(partial(folding.fastest, p, limits)) for p in policies]
    keys = [(i, key) for p in policies for i, key in enumerate(tables.topology.keys(p.values()))]
    look_ups = [seconds(partial(tables.sections, i, key)) for i, key in keys]
    constraint = Constraint(board, get_model(arguments.model).min_fps, 0.85)
    reach = Reach(tables, limits, constraint.max_cycles)
    filled = seconds(reach.feasible_bits)
    for p in policies:
        reach.cost(list(p.values()))
    fixed = [seconds(partial(reach.cost, list(p.values()))) for p in policies]
    decisions = []
    for _ in range(arguments.n):
        prefix: list[LayerBits] = []
        for _ in range(reach.n_layers):
            decisions.append(seconds(partial(reach.feasible_bits, prefix)))
            prefix.append(rng.choice(reach.feasible_bits(prefix)))

    torch_s, hls_s = import_seconds("torch"), import_seconds("torch, hls.estimators, hls.reach")
    print(f"import of torch {torch_s:.2f} s, of hls beyond it {hls_s - torch_s:.2f} s")
    print(f"{arguments.model}, {arguments.n} random policies")
    print(f"FINN's whole flow on {arguments.flow} of them: {finn:.2f} s a policy")
    print(f"reach filled once: {filled:.1f} s")
    for what, times in (
        ("look-up of one layer's options", look_ups),
        ("bits a layer may take (reach)", decisions),
        ("whole policy at a fixed frame rate", fixed),
        ("fastest folding, tables filled", again),
        ("fastest folding, first time", first),
    ):
        middle, worst = statistics.median(times), statistics.quantiles(times, n=20)[-1]
        print(f"{what:40} {1e6 * middle:10,.0f} µs median {1e6 * worst:10,.0f} µs 95 %   {finn / middle:10,.0f} × faster")


if __name__ == "__main__":
    main()
