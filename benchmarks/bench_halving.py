"""Does successive halving of the retraining find better policies in the same time? For a PYNQ-Z2.

    python -W ignore -m benchmarks.bench_halving --seeds 0,1,2,3,4                       TFC: a quarter of an hour on one core
    python -W ignore -m benchmarks.bench_halving --task cnv:0.25 --seeds 0,1,2,3,4       CNV, quarter width: an hour

For every seed a search of so many whole trials says how much CPU time there is. Searches with halving, and with a reward
that is free of training, have as much. Each ends as `make search` does, with finalists retrained with other seeds on top of
that time; what is compared is the answer, retrained on four times the images with three seeds that no search has seen. It goes
on where it stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
from itertools import product
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.kept import add_line, is_kept, read_lines, rows_of
from benchmarks.task import Quiet, Task, percent
from flow.config import SearchSettings
from flow.evaluator import RETRAINING
from flow.finalists import confirm
from flow.searchers import make_searcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import InProcess
from models.device import prepare_process

KEPT = Path(__file__).with_name("measured") / "halving.jsonl"
WAYS: dict[str, dict[str, object]] = {"whole": {}, "halving": {"halving": True}, "free of training": {"retrain_images": 0}}
TASKS: dict[str, dict[str, object]] = {
    "tfc": {"model": "tfc", "dataset": "mnist", "min_fps": 1_000_000.0},
    "cnv:0.25": {"model": "cnv:0.25", "dataset": "cifar10", "min_fps": 25_000.0},
}
N_TRIALS, MOST_TRIALS = 30, 400
TRUTH_IMAGES, TRUTH_SEEDS = 4 * RETRAINING.n_images, (101, 102, 103)


def measure(name: str, way: str, seed: int, budget_s: float | None) -> dict[str, Any]:
    """One search until its CPU time is up, or of `N_TRIALS` trials where there is no limit on it."""
    task = Task(SearchSettings.model_validate({**TASKS[name], **WAYS[way], "seed": seed, "device": "cpu"}))
    evaluator, settings = task.evaluator, task.settings
    task.decisions.feasible(())  # what only the first question takes is no part of the search
    searcher = make_searcher(settings.searcher, task.decisions, seed)
    with TemporaryDirectory(prefix="bitloop-halving-") as folder:
        store, begun = TrialStore(Path(folder) / "trials.db", "s"), time.process_time()
        trials: list[Trial] = []

        def on_trial(so_far: list[Trial]) -> None:
            trials[:] = so_far
            if budget_s is not None and time.process_time() - begun >= budget_s:
                raise TimeoutError

        with contextlib.suppress(TimeoutError):
            run_trials(
                searcher, evaluator, InProcess(evaluator), store, N_TRIALS if budget_s is None else MOST_TRIALS, on_trial
            )
        cpu_s = time.process_time() - begun
        answer = confirm(trials, searcher, evaluator, store, settings.finalists, Quiet())[0].trial
        again_s = time.process_time() - begun - cpu_s
    accuracies = [evaluator.accuracy_again(answer.policy, TRUTH_IMAGES, s) for s in TRUTH_SEEDS]
    return {
        "task": name, "way": way, "seed": seed, "cpu_s": round(cpu_s, 1), "finalists_cpu_s": round(again_s, 1),
        "trials": len(trials), "whole": sum(t.stopped_at is None for t in trials),
        "policy": json.loads(answer.policy.to_json()), "accuracy": round(fmean(accuracies), 5),
    }  # fmt: skip


def report(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = ["| task | reward | seeds | CPU s | trials | of these whole | answer, % |", "|---|---|---|---|---|---|---|"]
    for name, way in product(TASKS, WAYS):
        runs = [r for r in rows if (r["task"], r["way"]) == (name, way)]
        if runs:
            means = (fmean(r[k] for r in runs) for k in ("cpu_s", "trials", "whole"))
            cells = [name, way, str(len(runs)), *(f"{m:.0f}" for m in means), percent([r["accuracy"] for r in runs])]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", choices=TASKS, default="tfc")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    arguments = parser.parse_args()
    prepare_process(1)
    rows = read_lines(KEPT)
    for seed, way in product(map(int, arguments.seeds.split(",")), WAYS):
        cell = {"task": arguments.task, "way": way, "seed": seed}
        if not is_kept(cell, rows):
            budget = next((r["cpu_s"] for r in rows_of(cell | {"way": "whole"}, rows)), None)
            rows.append(measure(arguments.task, way, seed, budget))
            add_line(KEPT, rows[-1])
            print(rows[-1], flush=True)
    print(report(rows))


if __name__ == "__main__":
    main()
