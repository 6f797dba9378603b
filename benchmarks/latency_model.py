"""Cycles of the first frame: FINN's sum over the longest path and the estimate, held against simulations.

    python -m benchmarks.latency_model         (every design of benchmarks/measured/sim.jsonl; 10 s to a minute each)

FINN adds up the cycles of all nodes of the longest path, as if each began when the one before it had finished a whole frame
(`Estimate.finn_latency_cycles`). The estimate goes by the paces of the nodes (`hls.first_frame`, `Estimate.latency_cycles`).
Simulated was with FIFOs that hold everything, and with FIFOs of sized depths.
"""

from __future__ import annotations

from typing import Any

from benchmarks.bench_sim import BOARD, KEPT, TRIPLES, Triple
from benchmarks.kept import read_lines
from flow.config import SearchSettings
from flow.estimation import estimate_policy, estimator_of
from flow.progress import SilentListener
from hls.types import Estimate


def estimate_of(triple: Triple) -> Estimate:
    """The estimate of a design that `benchmarks.bench_sim` simulates: that of its leanest folding for the frame rate."""
    evaluator = estimator_of(SearchSettings(model=triple.model, board=BOARD), SilentListener())
    return estimate_policy(evaluator, triple.bits(evaluator.specs), triple.fps)


def simulated() -> dict[Triple, dict[str, Any]]:
    """Of every design that was simulated the last row of `benchmarks.bench_sim`."""
    rows = {(r["model"], r["policy"], r["fps"]): r for r in read_lines(KEPT) if r["board"] == BOARD}
    return {t: rows[t.model, t.policy, t.fps] for t in TRIPLES if (t.model, t.policy, t.fps) in rows}


def main() -> None:
    """Print FINN's figure, the estimate and the simulations of every design."""
    head = ["network", "policy", "simulated", "FIFOs sized", "FINN", "FINN / simulated", "estimated", "estimated / simulated"]
    print("| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|")
    for triple, row in simulated().items():
        estimate = estimate_of(triple)
        found, sized = (row["simulated"][fifos]["latency"] for fifos in ("unbounded", "sized"))
        finn, mine = estimate.finn_latency_cycles, estimate.latency_cycles
        print(
            f"| {triple.model} | {triple.policy} | {found:,} | {sized:,} | {finn:,} | {finn / found:.3f} | {mine:,} | "
            f"{mine / found:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
