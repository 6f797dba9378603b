"""Benchmarks: the tables of the docs are of the figures that were kept, and every benchmark still runs.

The latter are slow. They measure as little as they can, into files of their own, and nothing they find is looked at.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import (
    bench_accuracy,
    bench_board,
    bench_estimate,
    bench_final,
    bench_folding,
    bench_halving,
    bench_proxy,
    bench_search,
    bench_sim,
    bench_train,
    bench_uniform,
    bench_warm_start,
    bench_workers,
    sim_anchor,
    task,
)
from benchmarks.kept import add_line, is_kept, part_of, read_lines
from models.data import Splits

DOCS = Path(__file__).parents[1] / "docs"


# --- the docs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", bench_search.TASKS)
def test_the_docs_have_the_regrets_that_were_measured(name: str) -> None:
    text = (DOCS / "benchmarks.md").read_text()
    table = bench_search.report(read_lines(bench_search.KEPT), name)
    assert table in text


@pytest.mark.parametrize(
    ("table", "page"),
    [
        (lambda: bench_board.report(bench_board.latest(read_lines(bench_board.KEPT))), "benchmarks.md"),
        (lambda: bench_halving.report(read_lines(bench_halving.KEPT)), "benchmarks.md"),
        (lambda: bench_uniform.report(read_lines(bench_uniform.KEPT)), "benchmarks.md"),
        (lambda: bench_warm_start.report(read_lines(bench_warm_start.KEPT)), "benchmarks.md"),
        (lambda: bench_final.report(read_lines(bench_final.KEPT)), "results.md"),
    ],
    ids=["board", "halving", "uniform", "warm start", "final"],
)
def test_the_docs_have_the_other_figures_that_were_measured(table: Callable[[], str], page: str) -> None:
    assert table() in (DOCS / page).read_text()


# --- what they share ---------------------------------------------------------------------------------------------


def test_shares_are_all_there_is_and_none_twice() -> None:
    shares = [part_of(list(range(7)), f"{k}/3") for k in (1, 2, 3)]
    assert shares == [[0, 3, 6], [1, 4], [2, 5]]
    for wrong in ("0/3", "4/3"):
        with pytest.raises(SystemExit, match=f"--part {wrong}: there are parts 1/3 to 3/3"):
            part_of([1], wrong)


def test_a_line_cut_short_is_measured_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    add_line(kept, {"seed": 0, "test": 0.5})
    with kept.open("a") as file:
        file.write('{"seed": 1, "te')
    rows = read_lines(kept)
    assert is_kept({"seed": 0}, rows)
    assert not is_kept({"seed": 1}, rows)


# --- every benchmark runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Smallest:
    """The least of a benchmark.

    Attributes:
        module: of the benchmark.
        arguments: of its command line.
        changed: names of the module with other values; those of files are put into a folder of the test's.
        data: files in DATA_DIR that it needs.
        says: part of what it prints.
    """

    module: ModuleType
    arguments: str
    says: str
    changed: tuple[tuple[str, Any], ...] = ()
    data: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.module.__name__.rpartition(".")[2]


BRIEFLY = replace(bench_accuracy.MNIST, n_images=512)
MNIST, CIFAR10 = ("mnist",), ("cifar10",)
CASES = (
    Smallest(bench_search, "--tasks tfc-mnist --searchers random,greedy --seeds 1 --trials 25", "| greedy | 1 |"),
    Smallest(bench_warm_start, "--seeds 1", "| told of nothing | 1 |", (("N_EARLIER", 12), ("BUDGETS", (5, 10)))),
    Smallest(bench_train, "--turns 1", "cnv: another policy"),
    Smallest(bench_accuracy, "--models tfc --bits 2/2 --seeds 0", "W2A2", (("RECIPES", {"tfc": BRIEFLY}),), MNIST),
    Smallest(
        bench_uniform, "", "| 1/1 |",
        (("UNIFORM", ((1, 1),)), ("RECIPES", {"tfc": BRIEFLY}), ("SEEDS", (0,))), MNIST,
    ),
    Smallest(bench_halving, "--seeds 0", "| tfc | halving | 1 |", (("N_TRIALS", 4),), MNIST),
    Smallest(
        bench_final, "--model tfc --dataset mnist --bits 2/2 --epochs 1 --rates 0.01 --distillations 0.5",
        "| tfc 2/2 | 1 | 0.01 |", (), MNIST,
    ),
    Smallest(
        bench_board, "--searchers random --seeds 0 --trials 2 --device cpu", "| random | 1 |", (("TRUTH_EPOCHS", 1),), CIFAR10
    ),
    Smallest(bench_proxy, "--model tfc --dataset mnist --policies 4 --seeds 1 --long 512", "quantized only", (), MNIST),
    Smallest(
        bench_workers, "--workers 2 --trials 8 --machine-trials 2 --mean-s 0.1 --seeds 1", "machine in process", (), MNIST
    ),
    Smallest(bench_estimate, "--n 2 --flow 1", "FINN's whole flow on 1 of them"),
    Smallest(bench_folding, "--n 1 --solver-s 1", "SetFolding"),
    Smallest(bench_sim, "--report", "tfc"),
    Smallest(sim_anchor, "--report", "published as"),
)  # fmt: skip


def few_images(whole: Splits) -> Splits:
    """As little of a data set as can be retrained on."""
    return replace(whole, train=whole.train.first(512), search=whole.search.first(200), test=whole.test.first(200))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
def test_it_runs(case: Smallest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.environ.get("DATA_DIR") or "data")
    for name in case.data:
        if not (folder / f"{name}.npz").is_file():
            pytest.skip(f"{folder / name}.npz is not there: {case.name} was not run")
    reports = "--report" in case.arguments
    for name in ("KEPT", "KEPT_UNIFORM", "OUT", "CURVES"):
        own = getattr(case.module, name, None)
        if own is not None and not reports:
            monkeypatch.setattr(case.module, name, tmp_path / own.name if own.suffix else tmp_path)
    for name, value in case.changed:
        monkeypatch.setattr(case.module, name, value)
    if case.module is bench_uniform:  # beside what the other benchmark has kept of the same seed
        add_line(tmp_path / "accuracy-mnist.jsonl", {"model": "tfc", "weight": 1, "act": 1, "seed": 0, "test": 0.9})
    real = task.find_splits
    monkeypatch.setattr(task, "find_splits", lambda *a: few_images(real(*a)))
    monkeypatch.setattr(sys, "argv", [case.name, *case.arguments.split()])
    case.module.main()
    assert case.says in capsys.readouterr().out
