"""The search as it is used: CNV on CIFAR-10 for a PYNQ-Z2 at 1,000 frames a second, under the board's real limits.

    python -W ignore -m benchmarks.bench_board --device cuda                 (10 minutes with 16 processes on one GPU)
    python -W ignore -m benchmarks.bench_board --searchers model-based,random --seeds 0,1      a part of it
    python -W ignore -m benchmarks.bench_board --against-uniform             the best mixed policies beside the best uniform one
    python -W ignore -m benchmarks.bench_board --against-uniform --part 2/4  the second of four shares of it
    python -W ignore -m benchmarks.bench_board --report                      the tables of what was measured

Every searcher has the same number of trials, each a retraining as `make search` does one. Each search ends as `make search`
does, with finalists retrained with other seeds. What is compared is its answer, retrained for three epochs with three seeds
that no search has seen, on the test split, which no search has seen either. `uniform` tries the same bits everywhere and then
policies near them, so its answer need not be uniform. With `--against-uniform` the answers of one searcher are retrained beside
the best policy that is: of all pairs of bits that meet the constraint in every layer, the one with the highest accuracy after
a trial's retraining.

One process does one search after another; several with other searchers or seeds write to the same file.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.kept import add_line, add_part_option, is_kept, part_of, read_lines
from benchmarks.task import Quiet, Task, percent, spread
from flow.config import SearchSettings
from flow.evaluator import DISTILLATION, RETRAINING
from flow.finalists import confirm
from flow.searchers import make_searcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import InProcess
from models.device import prepare_process
from models.policy import BitPolicy
from models.train import accuracy, fitted, train
from models.weights import read_pretrained, shipped_weights

KEPT = Path(__file__).with_name("measured") / "board.jsonl"
KEPT_UNIFORM = KEPT.with_name("board-uniform.jsonl")
MODEL, DATASET, MIN_FPS = "cnv", "cifar10", 1000.0
SEARCHERS = ("model-based", "thompson", "ddpg", "tpe", "random", "uniform")
N_TRIALS = 50
TRUTH_EPOCHS, TRUTH_SEEDS = 3, (101, 102, 103)
BUDGETS = (10, 25, 50)


def task_of(seed: int, device: str) -> Task:
    """The task with a seed, on a device."""
    named = {"model": MODEL, "dataset": DATASET, "seed": seed, "min_fps": MIN_FPS, "device": device}
    return Task(SearchSettings.model_validate(named))


def float_accuracy() -> float:
    """Of the float network that every policy starts from, on the search split; figures are compared from the same one only."""
    shipped = shipped_weights(MODEL, DATASET)
    if shipped is None:
        raise SystemExit(f"there are no weights of {MODEL} on {DATASET}; make them with `make pretrain`")
    return round(read_pretrained(shipped).search_accuracy, 5)


def test_accuracy(task: Task, policy: BitPolicy, epochs: int, seed: int) -> float:
    """Of a policy after long retraining."""
    train_split = task.whole.train
    recipe = fitted(replace(RETRAINING, n_images=epochs * len(train_split)), task.whole.for_search(), epochs)
    network = task.evaluator.quantized(policy)
    teacher = task.weights.network().eval().to(task.device)
    train(network, train_split, replace(recipe, distillation=DISTILLATION), seed, teacher=teacher)
    return round(accuracy(network, task.whole.test), 5)


def best_uniform(task: Task) -> BitPolicy:
    """Of all pairs of bits that meet the constraint in every layer the one that has the highest accuracy after a trial.

    Whether they do is asked of the estimate: some of them no search may choose (`hls.reach`).
    """
    constraint = task.settings.constraint.of_a_trial
    pairs = [BitPolicy.uniform(task.evaluator.specs, w, a) for w in range(1, 9) for a in range(1, 9)]
    fit = [p for p in pairs if constraint.violation(task.evaluator.estimate(p)) <= 0]
    return max(fit, key=lambda p: task.evaluator.score(p).accuracy)


def measure(name: str, seed: int, n_trials: int, device: str, kept: Path) -> dict[str, Any]:
    """One search, and the answer's accuracy; kept before and after the latter."""
    task = task_of(seed, device)
    evaluator = task.evaluator
    searcher = make_searcher(name, task.decisions, seed)
    begun, cpu_begun = time.monotonic(), time.process_time()
    with TemporaryDirectory(prefix="bitloop-board-") as folder:
        store = TrialStore(Path(folder) / "trials.db", "s")
        trials: list[Trial] = []

        def on_trial(so_far: list[Trial]) -> None:
            trials[:] = so_far
            took_s = time.monotonic() - begun
            print(f"{name} {seed}: trial {len(trials)}, {trials[-1].accuracy:.4f}, {took_s:.0f} s", flush=True)

        run_trials(searcher, evaluator, InProcess(evaluator), store, n_trials, on_trial)
        finalists = confirm(trials, searcher, evaluator, store, task.settings.finalists, Quiet())
        answer = finalists[0].trial if finalists else max(trials, key=lambda t: t.reward)
    row = {
        "searcher": name, "seed": seed, "n_trials": n_trials, "device": str(task.device),
        "float": float_accuracy(),
        "wall_s": round(time.monotonic() - begun), "cpu_s": round(time.process_time() - cpu_begun),
        "accuracies": [round(t.accuracy, 5) for t in trials], "fps": round(answer.estimate.fps, 1),
        "searched": round(answer.accuracy, 5), "policy": json.loads(answer.policy.to_json()),
    }  # fmt: skip
    add_line(kept, row)
    row["test"] = [test_accuracy(task, answer.policy, TRUTH_EPOCHS, s) for s in TRUTH_SEEDS]
    add_line(kept, row)
    return row


def against_uniform(name: str, epochs: int, device: str, part: str, uniform: str | None) -> None:
    """Retrain the answers of a searcher and a uniform policy, the best or a given one, alike; goes on where it stopped."""
    task = task_of(0, device)
    rows = read_lines(KEPT_UNIFORM)
    now = float_accuracy()
    policies = {f"{name} {r['seed']}": r["policy"] for r in latest(read_lines(KEPT))
                if (r["searcher"], r["float"]) == (name, now)}  # fmt: skip
    kept = next((r["policy"] for r in rows if (r["of"], r["float"]) == ("uniform", now)), None)
    if uniform is not None:
        kept = json.loads(BitPolicy.uniform(task.evaluator.specs, *map(int, uniform.split("/"))).to_json())
    policies["uniform"] = kept or json.loads(best_uniform(task).to_json())
    cells = [
        {"of": of, "policy": policy, "seed": seed, "epochs": epochs, "float": now}
        for seed in TRUTH_SEEDS
        for of, policy in policies.items()
    ]
    for cell in part_of(cells, part):
        if is_kept(cell, rows):
            continue
        policy = BitPolicy.from_json(json.dumps(cell["policy"]))
        row = cell | {
            "device": str(task.device), "fps": round(task.evaluator.estimate(policy).fps, 1),
            "test": test_accuracy(task, policy, epochs, cell["seed"]),
        }  # fmt: skip
        add_line(KEPT_UNIFORM, row)
        print(row, flush=True)


def report_uniform(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = ["| policy (weight/activation bits) | fps | epochs | seeds | test split |", "|---|---|---|---|---|"]
    for policy, epochs in dict.fromkeys((json.dumps(r["policy"]), r["epochs"]) for r in rows):
        runs = [r for r in rows if (json.dumps(r["policy"]), r["epochs"]) == (policy, epochs)]
        bits = " ".join(f"{b['weight']}/{b['act'] or '-'}" for b in runs[0]["policy"].values())
        found = percent([r["test"] for r in runs])
        lines.append(f"| {runs[0]['of']}: {bits} | {runs[0]['fps']:,.0f} | {epochs} | {len(runs)} | {found} |")
    return "\n".join(lines)


def latest(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each search the last line."""
    return list({(r["searcher"], r["seed"], r["n_trials"], r["float"]): r for r in rows}.values())


def report(rows: list[dict[str, Any]]) -> str:
    """A table in Markdown."""
    lines = [
        "| searcher | seeds | " + " | ".join(f"best of {n}" for n in BUDGETS) + " | answer, test split | fps |",
        "|---|---|" + "---|" * len(BUDGETS) + "---|---|",
    ]
    for name in SEARCHERS:
        runs = [r for r in rows if r["searcher"] == name and "test" in r]
        if not runs:
            continue
        best = [[100 * max(r["accuracies"][:n]) for r in runs] for n in BUDGETS]
        answers = [100 * fmean(r["test"]) for r in runs]
        cells = [name, str(len(runs)), *map(spread, best), spread(answers), spread([r["fps"] for r in runs], ",.0f")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what the file does not hold yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--searchers", default=",".join(SEARCHERS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--kept", type=Path, default=KEPT)
    parser.add_argument("--against-uniform", action="store_true")
    parser.add_argument("--uniform", metavar="W/A", help="these bits everywhere instead, as 3/3")
    parser.add_argument("--epochs", type=int, default=TRUTH_EPOCHS, help="of the retraining beside a uniform policy")
    parser.add_argument("--report", action="store_true")
    add_part_option(parser)
    arguments = parser.parse_args()
    prepare_process(1)
    if arguments.against_uniform:
        against_uniform(SEARCHERS[0], arguments.epochs, arguments.device, arguments.part, arguments.uniform)
        print(report_uniform(read_lines(KEPT_UNIFORM)))
        return
    now = float_accuracy()
    rows = [r for r in latest(read_lines(arguments.kept)) if r["float"] == now]
    for seed in () if arguments.report else map(int, arguments.seeds.split(",")):
        for name in arguments.searchers.split(","):
            cell = {"searcher": name, "seed": seed, "n_trials": arguments.trials}
            if not is_kept(cell, [r for r in rows if "test" in r]):
                rows.append(measure(name, seed, arguments.trials, arguments.device, arguments.kept))
    print(f"{report(latest(rows))}\n\n{report_uniform(read_lines(KEPT_UNIFORM))}")


if __name__ == "__main__":
    main()
