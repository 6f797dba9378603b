"""What is a search under looser limits worth to one under tighter ones, of whose policies none would fit?

    python -m benchmarks.bench_warm_start            (twenty seeds, some minutes; goes on where it stopped)

The task is the one with 17 decisions. A search of the default has half as much again of both budgets; what it found that
does not fit the budgets of the task is told to a second one, as `WARM_START` does, and that is compared with one that is told
nothing.
Regret is that of the answer without further evaluations, in points.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.bench_search import TABLES, interval
from benchmarks.kept import add_line, is_kept, read_lines
from flow.searchers import ModelBasedSearcher
from flow.tabular import Budgets, PolicyTable
from models.device import prepare_process
from models.policy import BitPolicy

KEPT = Path(__file__).with_name("measured") / "warm-start.jsonl"
TASK = "cnv17-cifar10-fitted"
LOOSER, N_EARLIER, OTHER_SEED = 1.5, 50, 1000
BUDGETS = (5, 10, 25, 50)


def searched(
    table: PolicyTable, searcher: ModelBasedSearcher, seed: int, n_trials: int
) -> tuple[dict[BitPolicy, float], dict[str, float]]:
    """What the policies of a search had, and the regrets of its answers."""
    found: dict[BitPolicy, float] = {}
    regrets: dict[str, float] = {}
    for n in range(1, n_trials + 1):
        policy = searcher.ask()
        found[policy] = table.reward(policy, seed)
        searcher.tell(policy, found[policy])
        if n in BUDGETS:
            regrets[str(n)] = round(table.regret(searcher.shortlist(1)[0]), 4)
    return found, regrets


def measure(seed: int) -> dict[str, Any]:
    """A search that is told nothing and one that is told of an earlier one's trials that do not fit."""
    table = PolicyTable.read(TABLES / f"{TASK}.npz")
    budgets = Budgets(*(LOOSER * share for share in vars(table.budgets).values()))
    looser = replace(table, budgets=budgets)
    earlier, _ = searched(looser, ModelBasedSearcher(looser.decisions(), seed + OTHER_SEED), seed + OTHER_SEED, N_EARLIER)
    cold, warm = (ModelBasedSearcher(table.decisions(), seed) for _ in range(2))
    beyond = {p: a for p, a in earlier.items() if not meets(table, p)}
    for policy, accuracy in beyond.items():
        warm.inform(policy, accuracy)
    regrets = {name: searched(table, s, seed, max(BUDGETS))[1] for name, s in (("cold", cold), ("warm", warm))}
    return {"seed": seed, "beyond": len(beyond), **regrets}


def meets(table: PolicyTable, policy: BitPolicy) -> bool:
    """Whether a policy keeps within the budgets of a table."""
    prefix = list(policy.values())
    return all(bits in table.bounds.feasible_bits(prefix[:n]) for n, bits in enumerate(prefix))


def report(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = ["| search | seeds | " + " | ".join(f"{n} trials" for n in BUDGETS) + " |", "|---|---|" + "---|" * len(BUDGETS)]
    told = f"told of {fmean(r['beyond'] for r in rows):.0f} policies that do not fit"
    for name, title in (("cold", "told of nothing"), ("warm", told)):
        cells = ["{:.2f} ({:.2f}–{:.2f})".format(*interval([r[name][str(n)] for r in rows])) for n in BUDGETS]
        lines.append(f"| {title} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    prepare_process(1)
    rows = read_lines(KEPT)
    for seed in range(arguments.seeds):
        if not is_kept({"seed": seed}, rows):
            rows.append(measure(seed))
            add_line(KEPT, rows[-1])
            print(rows[-1], flush=True)
    print(report(rows))


if __name__ == "__main__":
    main()
