"""How busy parallel workers are kept, and what they gain.

    python -m benchmarks.bench_workers                    both parts
    python -m benchmarks.bench_workers --part cluster     32 workers whose evaluations sleep: what the scheduler costs
    python -m benchmarks.bench_workers --part machine     TFC on MNIST, really retrained, with one and with two workers

Busy: seconds of evaluation over seconds of all workers, from the first trial handed over to the last that came back, so that
the idle end is in it. A real cluster's network and the searcher's own thinking are not: the searcher is `random` here.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    """Evaluations of 1 to 3 s that take no processor."""

    def score(self, policy: BitPolicy) -> Score:
        """Sleep, then answer as the made-up evaluator does."""
        time.sleep(1 + 2 * random.Random(policy.digest).random())
        return super().score(policy)  # type: ignore[no-any-return]


def timed(workers: Workers, decided: Any, n_trials: int, seed: int) -> dict[str, float]:
    """Run random trials; how long they took, and how busy workers were."""
    with tempfile.TemporaryDirectory() as folder:
        store = TrialStore(Path(folder) / "trials.db", "bench")
        begun = time.monotonic()
        trials = run_trials(RandomSearcher(decided, seed), SimulatedEvaluator(), workers, store, n_trials, lambda _: None)
        wall_s = time.monotonic() - begun
    worked_s = sum(t.duration_s for t in trials)
    return {
        "wall_s": round(wall_s, 2),
        "busy": round(worked_s / wall_s / workers.n, 4),
        "trials_per_s": round(n_trials / wall_s, 3),
    }


def warmed(workers: RayWorkers, policy: BitPolicy) -> RayWorkers:
    """Workers of which each has evaluated something, so that none still starts."""
    for number in range(workers.n):
        workers.submit(number, policy)
    for _ in range(workers.n):
        workers.take()
    return workers


def cluster(n: int, n_trials: int, seed: int) -> dict[str, Any]:
    """Workers that sleep: they need no processors, so many of them fit on few."""
    with ray_cluster(None, n) as ray:
        pool = RayWorkers(ray, Sleeping, n, lambda policy: Score(0.0, SimulatedEvaluator().estimate(policy)))
        warmed(pool, RandomSearcher(decisions(), 0).ask())
        return {"part": "cluster", "workers": n, "trials": n_trials, "seed": seed} | timed(pool, decisions(), n_trials, seed)


def machine(n_trials: int, seed: int) -> list[dict[str, Any]]:
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
    splits = load_splits("mnist", default_data_dir(), model.input_shape).for_search()
    weights = float_weights("tfc", splits, OUT.parent)
    constraint = Constraint(get_board("pynq-z2"), model.min_fps, 0.85)

    def make() -> Evaluator:
        prepare_process(1)
        return Evaluator(weights, splits, constraint, 4096, 0)

    own = make()
    decided = Decisions(own.specs, reach_under(constraint, own.tables))
    rows: list[dict[str, Any]] = []

    def row(name: str, workers: Workers) -> None:
        rows.append(
            {"part": "machine", "workers": name, "trials": n_trials, "seed": seed} | timed(workers, decided, n_trials, seed)
        )

    row("in process", InProcess(make()))
    for n in (1, 2):
        with ray_cluster(None, n) as ray:
            pool = RayWorkers(ray, make, n, lambda policy: Score(0.0, own.estimate(policy)))
            row(str(n), warmed(pool, RandomSearcher(decided, seed + 1000).ask()))
    return rows


def main() -> None:
    """Measure, keep, and print all that was kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("cluster", "machine", "both"), default="both")
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--trials", type=int, default=320)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    parts: dict[str, Callable[[int], list[dict[str, Any]]]] = {
        "cluster": lambda seed: [cluster(arguments.workers, arguments.trials, seed)],
        "machine": lambda seed: machine(40, seed),
    }
    for name, part in parts.items():
        if arguments.part in (name, "both"):
            for seed in range(arguments.seeds):
                for found in part(seed):
                    add_line(OUT, found)
                    print(found, flush=True)
    for found in read_lines(OUT):
        print(found)


if __name__ == "__main__":
    main()
