"""How busy parallel workers are kept, and what they gain.

    python -m benchmarks.bench_workers                    both parts
    python -m benchmarks.bench_workers --part cluster     32 workers whose evaluations sleep: what the scheduler costs
    python -m benchmarks.bench_workers --part machine     TFC on MNIST, really retrained, with one and with two workers

Busy: seconds of evaluation over seconds of all workers, from the first trial handed over to the last that came back, so that
the idle end is in it. A real cluster's network and the searcher's own thinking are not: the searcher is `random` here.

Of the cluster, the scheduler is measured: one process that asks, hands over, takes back and keeps trials, and Ray between it
and as many processes as there are workers, all on this machine. They are started, and have each evaluated something, before
the clock runs; that they all import PyTorch takes minutes on two cores and says nothing. What an evaluation is, is a sleep. The
load of the machine is kept beside every figure. Workers take next to no processor time, but where others take all there is they
wait for their turn longer than anything lasts that is to be measured: with `--priority` (root alone) the cluster goes first.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from benchmarks.kept import add_line, float_weights, read_lines
from flow.evaluator import Score
from flow.ray_workers import RayWorkers, ray_cluster
from flow.searchers import RandomSearcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.workers import InProcess, Workers
from models.policy import BitPolicy
from tests.flow_fakes import SimulatedEvaluator, decisions

OUT = Path(__file__).with_name("measured") / "workers.jsonl"


class Sleeping(SimulatedEvaluator):
    """Evaluations that take no processor: half to one and a half of a mean that a file says.

    Args:
        told: the file, so that one set of workers serves several means.
    """

    def __init__(self, told: Path) -> None:
        super().__init__()
        self._told = told

    def score(self, policy: BitPolicy) -> Score:
        """Sleep, then answer as the made-up evaluator does."""
        mean_s = float(self._told.read_text(encoding="ascii"))
        time.sleep(mean_s * (0.5 + random.Random(policy.digest).random()))
        return super().score(policy)  # type: ignore[no-any-return]


def timed(workers: Workers, evaluator: Any, decided: Any, n_trials: int, seed: int) -> dict[str, float]:
    """Run random trials of an evaluator's network; how long they took, and how busy workers were."""
    with tempfile.TemporaryDirectory() as folder:
        store = TrialStore(Path(folder) / "trials.db", "bench")
        begun = time.monotonic()
        trials = run_trials(RandomSearcher(decided, seed), evaluator, workers, store, n_trials, lambda _: None)
        wall_s = time.monotonic() - begun
    worked_s = sum(t.duration_s for t in trials)
    return {
        "wall_s": round(wall_s, 2),
        "busy": round(worked_s / wall_s / workers.n, 4),
        "trials_per_s": round(n_trials / wall_s, 3),
        "load": round(os.getloadavg()[0], 2),
    }


def warmed(workers: RayWorkers, policy: BitPolicy) -> RayWorkers:
    """Workers of which each has evaluated something, so that none still starts."""
    for number in range(workers.n):
        workers.submit(number, policy)
    for _ in range(workers.n):
        workers.take()
    return workers


def go_first() -> None:
    """This process and all that it started, Ray's included, before others; Ray's workers are the last of all by themselves."""
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            process.nice(-10)
            if (group := Path("/proc", str(process.pid), "autogroup")).exists():  # Linux weighs sessions before processes
                group.write_text("-10", encoding="ascii")


def cluster(n: int, n_trials: int, n_seeds: int, means_s: list[float], priority: bool) -> Iterator[dict[str, Any]]:
    """Workers that sleep: they need no processors, so many of them fit on few."""
    with tempfile.TemporaryDirectory() as folder, ray_cluster(None, 2) as ray:
        told = Path(folder) / "mean_s"
        told.write_text("0.1", encoding="ascii")
        begun = time.monotonic()

        def sleeping() -> Any:
            return Sleeping(told)

        def lost(policy: BitPolicy, failure: str) -> Score:
            return Score(0.0, SimulatedEvaluator().estimate(policy), failure=failure)

        pool = RayWorkers(ray, sleeping, n, lost, n_cpus=2 / n)
        warmed(pool, RandomSearcher(decisions(), 0).ask())
        print(f"{n} workers took {time.monotonic() - begun:.0f} s to start, which is not measured", flush=True)
        if priority:
            go_first()
        for mean_s in means_s:
            told.write_text(str(mean_s), encoding="ascii")
            for seed in range(n_seeds):
                about = {
                    "part": "cluster",
                    "workers": n,
                    "trials": n_trials,
                    "seed": seed,
                    "mean_s": mean_s,
                    "priority": priority,
                }
                yield about | timed(pool, SimulatedEvaluator(), decisions(), n_trials, seed)


def machine(n_trials: int, seed: int, priority: bool) -> list[dict[str, Any]]:
    """One and two workers, and no Ray at all, on the same trials of TFC on MNIST."""
    from boards.registry import get_board
    from flow.config import default_data_dir
    from flow.constraint import Constraint, reach_under
    from flow.decision import Decisions
    from flow.evaluator import Evaluator
    from models.data import load_splits
    from models.device import prepare_process
    from models.registry import get_model

    prepare_process(1)
    model = get_model("tfc")
    whole = load_splits("mnist", default_data_dir(), model.input_shape)
    splits, weights = whole.for_search(), float_weights("tfc", whole, OUT.parent)
    constraint = Constraint(get_board("pynq-z2"), model.min_fps, 0.85)

    def make() -> Evaluator:
        prepare_process(1)
        return Evaluator(weights, splits, constraint, 4096, 0)

    own = make()

    def lost(policy: BitPolicy, failure: str) -> Score:
        return Score(0.0, own.estimate(policy), failure=failure)

    decided = Decisions(own.specs, reach_under(constraint.of_a_trial, own.tables))
    rows: list[dict[str, Any]] = []

    def row(name: str, workers: Workers) -> None:
        if priority:
            go_first()
        about = {"part": "machine", "workers": name, "trials": n_trials, "seed": seed, "priority": priority}
        rows.append(about | timed(workers, own, decided, n_trials, seed))

    alone = make()
    alone.score(RandomSearcher(decided, seed + 1000).ask())
    row("in process", InProcess(alone))
    for n in (1, 2):
        with ray_cluster(None, n) as ray:
            pool = RayWorkers(ray, make, n, lost)
            row(str(n), warmed(pool, RandomSearcher(decided, seed + 1000).ask()))
    return rows


def main() -> None:
    """Measure, keep, and print all that was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("cluster", "machine", "both"), default="both")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--trials", type=int, default=960, help="of the cluster")
    parser.add_argument("--machine-trials", type=int, default=40)
    parser.add_argument("--mean-s", type=float, nargs="+", default=[2.0, 8.0], help="of an evaluation of the cluster")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--priority", action="store_true", help="all that is measured goes before other work on the machine; for root"
    )
    told = parser.parse_args()
    if told.part in ("cluster", "both"):
        for found in cluster(told.workers, told.trials, told.seeds, told.mean_s, told.priority):
            add_line(OUT, found)
            print(found, flush=True)
    if told.part in ("machine", "both"):
        for seed in range(told.seeds):
            for found in machine(told.machine_trials, seed, told.priority):
                add_line(OUT, found)
                print(found, flush=True)
    summarise()


def summarise() -> None:
    """Print the median and the range of all that was kept, case by case."""
    cases: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for found in read_lines(OUT):
        cases.setdefault(
            (found["part"], found["workers"], found["trials"], found.get("mean_s", 2.0), found.get("priority")), []
        ).append(found)
    for case, rows in cases.items():
        print(*case, f"{len(rows)} runs", end=": ")
        for name in ("busy", "trials_per_s", "wall_s", "load"):
            if values := [row[name] for row in rows if name in row]:  # the first runs did not keep the load
                print(f"{name} {statistics.median(values):g} ({min(values):g} to {max(values):g})", end="  ")
        print()


if __name__ == "__main__":
    main()
