"""Every searcher on tasks whose best policy is known: how far from it the answer is after so many trials.

    make bench-search              (hours; goes on where it stopped: benchmarks/measured/search.jsonl)
    python -m benchmarks.bench_search --tasks cnv17-cifar10-fitted --searchers model-based,random --seeds 3
    python -m benchmarks.bench_search --report             (only the tables and curves of what was measured before)

Regret is the accuracy of the best policy known less that of the answer, in points. The answer is what `make search FINALISTS=1`
would end with: the first of the searcher's own shortlist where it has one, else the policy with the highest reward.
"Confirmed" is the answer as `make search` gives it: the best of four policies evaluated twice more, with other noise, which is
eight evaluations on top of the trials. Rewards are noisy, what is compared is the truth. Intervals are of the mean over seeds,
95 %, by bootstrap. "Distinct" is how many of the policies are: whoever asks for one again has used up a trial, though
`make search` would not evaluate it again. Times are CPU time of the searcher alone.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kept import add_line, is_kept, read_lines
from flow.config import SearchSettings
from flow.finalists import N_OTHER_SEEDS, in_turn
from flow.searchers import SEARCHERS, Searcher, Shortlisting, make_searcher
from flow.tabular import PolicyTable
from models.device import prepare_process
from models.policy import BitPolicy

TABLES = Path(__file__).with_name("tables")
KEPT = Path(__file__).with_name("measured") / "search.jsonl"
CURVES = Path(__file__).parents[1] / "docs" / "img"
TASKS = ("cnv17-cifar10-fitted", "tfc-mnist", "cnv-cifar10")
CHECKPOINTS = (10, 25, 50, 75, 100, 125, 150, 175, 200)
BUDGETS = (25, 50, 100, 200)
BOOTSTRAPS = 2000
N_FINALISTS = int(SearchSettings.model_fields["finalists"].default)


def answer(searcher: Searcher, policies: Sequence[BitPolicy], rewards: Sequence[float]) -> tuple[BitPolicy, BitPolicy]:
    """What a search would end with now, and the policy with the highest reward."""
    luckiest = policies[int(np.argmax(rewards))]
    return (searcher.shortlist(1)[0] if isinstance(searcher, Shortlisting) else luckiest), luckiest


def confirmed(
    table: PolicyTable, searcher: Searcher, policies: Sequence[BitPolicy], rewards: Sequence[float], seed: int
) -> BitPolicy:
    """What a search would end with that evaluates the most promising few again (`flow.finalists`)."""
    ranked = [policies[i] for i in np.argsort(-np.array(rewards), kind="stable")]
    named = searcher.shortlist(N_FINALISTS) if isinstance(searcher, Shortlisting) else []
    few = in_turn(named, ranked)[:N_FINALISTS]
    again = [1 + seed + k for k in range(N_OTHER_SEEDS)]
    return max(few, key=lambda p: float(np.mean([table.reward(p, s) for s in again])))


def measure(table: PolicyTable, name: str, seed: int, n_trials: int) -> dict[str, Any]:
    """One search: its regrets at the checkpoints, how many of its policies are distinct, and its CPU time."""
    begun = time.process_time()
    searcher = make_searcher(name, table.decisions(), seed)
    policies: list[BitPolicy] = []
    rewards: list[float] = []
    regret: dict[str, float] = {}
    of_luckiest: dict[str, float] = {}
    of_confirmed: dict[str, float] = {}
    elsewhere_s = 0.0
    for n in range(1, n_trials + 1):
        policies.append(searcher.ask())
        paused = time.process_time()
        rewards.append(table.reward(policies[-1], seed))
        elsewhere_s += time.process_time() - paused
        searcher.tell(policies[-1], rewards[-1])
        if n in CHECKPOINTS:
            paused = time.process_time()
            regret[str(n)], of_luckiest[str(n)] = (round(table.regret(p), 4) for p in answer(searcher, policies, rewards))
            of_confirmed[str(n)] = round(table.regret(confirmed(table, searcher, policies, rewards, seed)), 4)
            elsewhere_s += time.process_time() - paused
    return {
        "task": table.name, "searcher": name, "seed": seed, "trials": n_trials, "regret": regret, "of luckiest": of_luckiest,
        "confirmed": of_confirmed,
        "distinct": len(set(policies)), "cpu_s": round(time.process_time() - begun - elsewhere_s, 2),
    }  # fmt: skip


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and bounds of its 95 % bootstrap interval."""
    x = np.array(values)
    means = x[np.random.default_rng(0).integers(len(x), size=(BOOTSTRAPS, len(x)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(x.mean()), float(low), float(high)


def report(rows: Sequence[dict[str, Any]], task: str) -> str:
    """A table in Markdown of a task, the best at the smallest budget first."""
    lines = [
        "| searcher | seeds | "
        + " | ".join([*(f"{n} trials" for n in BUDGETS), *(f"confirmed, {n}" for n in BUDGETS)])
        + " | distinct | CPU s a trial |",
        "|---|" + "---|" * (2 * len(BUDGETS) + 3),
    ]
    by_trials = sorted((r for r in rows if r["task"] == task), key=lambda r: int(r["trials"]))
    of_task = list({(r["searcher"], r["seed"]): r for r in by_trials}.values())  # of each search the longest
    found = []
    for name in dict.fromkeys(r["searcher"] for r in of_task):
        runs = [r for r in of_task if r["searcher"] == name]
        cells = []
        for kind in ("regret", "confirmed"):
            for n in BUDGETS:
                values = [r[kind][str(n)] for r in runs if str(n) in r.get(kind, {})]
                cells.append("{:.2f} ({:.2f}–{:.2f})".format(*interval(values)) if values else "")
        cells.append(f"{np.mean([r['distinct'] for r in runs]):.0f}")
        cells.append(f"{np.mean([r['cpu_s'] / r['trials'] for r in runs]):.3f}")
        order = float(np.mean([np.mean([r["regret"][str(n)] for n in BUDGETS if str(n) in r["regret"]]) for r in runs]))
        found.append((order, f"| {name} | {len(runs)} | " + " | ".join(cells) + " |"))
    return "\n".join([*lines, *(line for _, line in sorted(found))])


def draw(rows: Sequence[dict[str, Any]], task: str, path: Path) -> None:
    """Curves of a task: mean regret over trials, with its interval."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["svg.hashsalt"] = "bitloop"
    figure, axes = plt.subplots(figsize=(8, 5))
    for i, name in enumerate(n for n in SEARCHERS if any(r["searcher"] == n and r["task"] == task for r in rows)):
        runs = [r for r in rows if r["searcher"] == name and r["task"] == task]
        at = [n for n in CHECKPOINTS if all(str(n) in r["regret"] for r in runs)]
        middle = np.array([interval([r["regret"][str(n)] for r in runs]) for n in at])
        style: dict[str, Any] = {
            "color": f"C{i % 10}", "linestyle": ("-", "--")[i // 10], "linewidth": 2.5 if i == 0 else 1.2,
        }  # fmt: skip
        axes.plot(at, middle[:, 0], label=name, **style)
        if i == 0:
            axes.fill_between(at, middle[:, 1], middle[:, 2], alpha=0.2, color=style["color"])
    axes.set(xlabel="trials", ylabel="regret to the best policy known, points", title=task, yscale="symlog")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Measure what the file does not hold yet, then print the tables and draw the curves."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--searchers", default=",".join(SEARCHERS), help="names, or import paths of one's own")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=max(BUDGETS))
    parser.add_argument("--report", action="store_true", help="print only what was measured before")
    arguments = parser.parse_args()
    prepare_process(1)
    warnings.filterwarnings("ignore", module="optuna")
    rows = read_lines(KEPT)
    tasks = [t for t in arguments.tasks.split(",") if (TABLES / f"{t}.npz").exists()]
    for seed in range(arguments.seeds):
        for task in tasks if not arguments.report else ():
            table = PolicyTable.read(TABLES / f"{task}.npz")
            for name in arguments.searchers.split(","):
                cell = {"task": task, "searcher": name, "seed": seed, "trials": arguments.trials}
                if not is_kept(cell, rows):
                    rows.append(measure(table, name, seed, arguments.trials))
                    add_line(KEPT, rows[-1])
                    print(rows[-1], flush=True)
    for task in tasks:
        print(f"\n{task}: regret in points, mean over seeds (95 % interval)\n\n{report(rows, task)}")
        if any(r["task"] == task for r in rows):
            draw(rows, task, CURVES / f"search-{task}.svg")


if __name__ == "__main__":
    main()
