"""The tables that searchers are compared on: every policy of a small space, or very many of a large one, evaluated.

    python -m benchmarks.tabulate tfc-mnist           (ten minutes on one core; goes on where it stopped)
    python -m benchmarks.tabulate cnv-cifar10         (hours on a core; `--share K/N` and `--join` spread it over processes)
    python -m benchmarks.tabulate cnv17-cifar10       (half an hour, then a quarter of one for the fit)

Accuracies are of the search split. `tfc-mnist` retrains every policy as a trial of a search does, but on 1,024 images and
with one seed, and so does `cnv-cifar10`, for every policy of a space where some decisions vary and all
others have 4 bits. `cnv17-cifar10` is free of training: quantizers are calibrated and batch norms re-estimated. It has random
policies of the whole space of 17 decisions and a Gaussian process fitted on them, which is the truth of the benchmark; how
well it predicts policies it has not seen is in the header.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from benchmarks.kept import float_weights
from flow.config import default_data_dir
from flow.evaluator import RETRAINING
from flow.tabular import BudgetBounds, Budgets, FittedTruth, allowed_bits
from models.data import Splits, load_splits
from models.device import prepare_process, resolve_device
from models.policy import BitPolicy, LayerBits
from models.probe import probe_layers
from models.registry import get_model
from models.spec import LayerSpec
from models.train import accuracy, calibrate, train

OUT = Path(__file__).with_name("tables")
MEASURED = Path(__file__).with_name("measured")
SAVED_EVERY_S = 60.0
N_CLIMBS = 60
NOISE = 0.005  # of an evaluation on the fitted truth: about what seeds of a retraining differ by


@dataclass(frozen=True)
class Job:
    """What a table is computed from.

    Attributes:
        model, dataset: names.
        levels: for every decision the bits there are.
        budgets: of the task.
        n_seeds: evaluations of every policy.
        n_images: of each retraining; 0 for none.
        n_calibration: images of calibration and norms.
        n_search: images of the search split that are used.
        n_random: random policies for a fit; 0 for every policy.
    """

    model: str
    dataset: str
    levels: tuple[tuple[int, ...], ...]
    budgets: Budgets
    n_seeds: int
    n_images: int
    n_calibration: int
    n_search: int
    n_random: int = 0


JOBS = {
    "tfc-mnist": Job(
        "tfc", "mnist", ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 4), (1, 2, 3, 4), (1, 2, 4), (1, 2, 3, 4), (2, 4)),
        Budgets(0.226, 0.255), n_seeds=1, n_images=1024, n_calibration=1000, n_search=5000,
    ),
    "cnv-cifar10": Job(
        "cnv:0.25", "cifar10",
        ((4,), (4,), (1, 2, 4), (1, 2, 4), (1, 2, 4), (1, 2, 4), (1, 2, 4), (1, 2, 4), (1, 2, 4), (4,), (4,), (4,), (1, 2),
         (4,), (4,), (4,), (4,)),
        Budgets(0.125, 0.395), n_seeds=1, n_images=1024, n_calibration=1000, n_search=5000,
    ),
    "cnv17-cifar10": Job(
        "cnv:0.25", "cifar10", (*((1, 2, 3, 4, 5, 6, 7, 8), (2, 3, 4, 5, 6, 7, 8)) * 8, (1, 2, 3, 4, 5, 6, 7, 8)),
        Budgets(0.12, 0.42), n_seeds=1, n_images=0, n_calibration=1000, n_search=2000, n_random=1800,
    ),
}  # fmt: skip


def every_policy(levels: Sequence[Sequence[int]]) -> NDArray[np.uint8]:
    """All policies (n, n_decisions), the last decision changing fastest."""
    return np.array(list(product(*levels)), np.uint8)


def random_policies(levels: Sequence[Sequence[int]], n: int) -> NDArray[np.uint8]:
    """The same ones every time: in each policy the bits are drawn up to a highest number that is drawn first."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(n):
        most = rng.integers(2, 9)
        rows.append([rng.choice([b for b in of if b <= most] or of[:1]) for of in levels])
    return np.array(rows, np.uint8)


def policy_of(specs: Sequence[LayerSpec], vector: Sequence[int]) -> BitPolicy:
    """A policy from its bits alone."""
    left = iter(int(n) for n in vector)
    return BitPolicy((s.name, LayerBits(next(left), next(left) if s.has_act else None)) for s in specs)


def evaluation(job: Job, splits: Splits) -> tuple[tuple[LayerSpec, ...], Callable[[BitPolicy, int], int]]:
    """The layers, and what gives the correct answers of a policy with a seed."""
    info = get_model(job.model)
    weights = float_weights(job.model, splits, MEASURED)
    teacher = weights.network().eval()
    specs = probe_layers(teacher, info.input_shape)
    device = resolve_device()
    teacher.to(device)
    network = weights.quantized(BitPolicy.uniform(specs, 8, 8)).to(device)
    few, search = splits.train.first(job.n_calibration), splits.search.first(job.n_search)
    recipe = replace(RETRAINING, n_images=job.n_images, augmentation=splits.augmentation, distillation=0.5)

    def evaluate(policy: BitPolicy, seed: int) -> int:
        weights.requantize(network, policy)
        calibrate(network, few)
        if job.n_images:
            train(network, splits.train, recipe, seed, teacher=teacher)
        return round(accuracy(network, search) * len(search))

    return specs, evaluate


def best_within(vectors: NDArray[np.uint8], found: NDArray[np.floating], bounds: BudgetBounds, budgets: Budgets) -> list[int]:
    """The most accurate of policies within budgets."""
    fit: NDArray[np.bool_] = np.all(bounds.used(vectors) <= np.array([budgets.operations, budgets.memory]) + 1e-9, axis=1)
    print(f"{fit.sum():,} of {len(fit):,} policies are within the budgets; the best has {found[fit].max():.2%}")
    best: list[int] = vectors[fit][found[fit].argmax()].tolist()
    return best


def save(path: Path, header: dict[str, Any], **arrays: NDArray[Any]) -> None:
    """Write a table at once or not at all."""
    new = path.with_suffix(".new.npz")
    np.savez_compressed(new, header=np.array(json.dumps(header)), **arrays)  # type: ignore[arg-type]
    new.replace(path)


def tabulate(name: str, job: Job, share: tuple[int, int] | None = None, folder: Path = OUT) -> None:
    """Evaluate what the table does not hold yet.

    Args:
        name: of the table.
        job: what it is computed from.
        share: (k, n) for every n-th evaluation from the k-th on, into a file of its own, which `join` takes up.
        folder: where the file is.
    """
    path = folder / (f"{name}.npz" if share is None else f"{name}-{share[0]}-of-{share[1]}.npz")
    splits = load_splits(job.dataset, default_data_dir(), get_model(job.model).input_shape)
    specs, evaluate = evaluation(job, splits)
    vectors = random_policies(job.levels, job.n_random) if job.n_random else every_policy(job.levels)
    n_correct, cpu_s = np.full((job.n_seeds, len(vectors)), -1, np.int16), 0.0
    if path.exists():
        with np.load(path, allow_pickle=False) as kept:
            n_correct, cpu_s = kept["n_correct"], json.loads(str(kept["header"]))["about"]["cpu_s"]
    about = {"model": job.model, "dataset": job.dataset, "seeds": list(range(job.n_seeds)), "retrained on": job.n_images,
             "calibrated on": job.n_calibration}  # fmt: skip
    header = {"about": about, "specs": [asdict(s) for s in specs], "levels": job.levels, "budgets": asdict(job.budgets),
              "n_images": job.n_search, "best": None}  # fmt: skip
    saved = time.monotonic()
    first, every = share or (0, 1)
    for seed, i in (e for e in np.argwhere(n_correct < 0).tolist() if e[1] % every == first):
        begun = time.process_time()
        n_correct[seed, i] = evaluate(policy_of(specs, vectors[i]), seed)
        cpu_s += time.process_time() - begun
        if time.monotonic() - saved > SAVED_EVERY_S:
            about["cpu_s"] = round(cpu_s)
            save(path, header, n_correct=n_correct, vectors=vectors)
            saved = time.monotonic()
            print(f"{name}: {(n_correct >= 0).sum():,} of {n_correct.size:,} evaluations, {cpu_s:,.0f} CPU s", flush=True)
    about["cpu_s"] = round(cpu_s)
    if share is not None:
        save(path, header, n_correct=n_correct, vectors=vectors)
        return
    if job.n_random:
        save(path, header, n_correct=n_correct, vectors=vectors)
        fit(path)
        return
    bounds = BudgetBounds(specs, allowed_bits(specs, job.levels), job.budgets)
    header["best"] = best_within(vectors, n_correct.mean(axis=0) / job.n_search, bounds, job.budgets)
    save(path, header, n_correct=n_correct)


def fit(path: Path) -> None:
    """Fit a Gaussian process on a table of random policies, find its best policy, and write both into the table."""
    with np.load(path, allow_pickle=False) as kept:
        header, vectors = json.loads(str(kept["header"])), kept["vectors"]
        n_correct = kept["n_correct"][0]
    found = n_correct / header["n_images"]
    held_out = np.arange(len(found)) % 5 == 0
    x = 2.0 ** (1 - vectors.astype(float))
    kernel = ConstantKernel(1.0) * RBF(np.ones(x.shape[1]), (1e-2, 1e2)) + WhiteKernel(0.01)
    process = GaussianProcessRegressor(kernel, normalize_y=True).fit(x[~held_out], found[~held_out])
    of_held_out = process.predict(x[held_out])
    error = float(np.sqrt(((of_held_out - found[held_out]) ** 2).mean()))
    header["about"] |= {
        "held out": int(held_out.sum()), "root mean square error": round(error, 5),
        "r2": round(1 - error**2 / float(found[held_out].var()), 4),
        "rank correlation": round(float(spearmanr(of_held_out, found[held_out]).statistic), 4),
    }  # fmt: skip
    print(json.dumps(header["about"]))
    # the same process with all policies
    process = GaussianProcessRegressor(process.kernel_, optimizer=None, normalize_y=True).fit(x, found)
    scales = np.asarray(process.kernel_.k1.k2.length_scale)
    weights = process.alpha_ * process.kernel_.k1.k1.constant_value * process._y_train_std
    truth = FittedTruth(vectors, weights, scales, float(process._y_train_mean), NOISE)
    specs = [LayerSpec(**s) for s in header["specs"]]
    levels, budgets = header["levels"], Budgets(**header["budgets"])
    best = best_by_climbing(truth, BudgetBounds(specs, allowed_bits(specs, levels), budgets), levels, budgets)
    header |= {"best": best, "mean": truth.mean, "noise": NOISE}
    save(path.with_name(f"{path.stem}-fitted.npz"), header, vectors=vectors, weights=weights, scales=scales)


def best_by_climbing(
    truth: FittedTruth, bounds: BudgetBounds, levels: Sequence[Sequence[int]], budgets: Budgets
) -> list[int]:  # fmt: skip
    """The best policy found by climbing from many, with steps of up to two bits in up to two decisions at once."""
    rng = np.random.default_rng(0)
    lowest, highest = np.array([min(of) for of in levels]), np.array([max(of) for of in levels])
    n = len(levels)
    steps = [d * np.eye(n, dtype=int)[i] for i in range(n) for d in (-2, -1, 1, 2)]
    moves = np.array(steps + [a + b for i, a in enumerate(steps) for b in steps[i // 4 * 4 + 4 :]])
    ends = []
    for _ in range(N_CLIMBS):
        at = lowest + rng.integers(0, 2, n)
        at = np.where((bounds.used(at[None]) <= np.array([budgets.operations, budgets.memory])).all(), at, lowest)
        value = float(truth.accuracy(at[None])[0])
        while True:
            near = at + moves
            near = near[((near >= lowest) & (near <= highest)).all(axis=1)]
            near = near[(bounds.used(near) <= np.array([budgets.operations, budgets.memory]) + 1e-9).all(axis=1)]
            values = truth.accuracy(near)
            if values.max() <= value + 1e-9:
                break
            at, value = near[values.argmax()], float(values.max())
        ends.append((value, at.tolist()))
    ends.sort(reverse=True)
    n_best = sum(e[1] == ends[0][1] for e in ends)
    print(f"{n_best} of {N_CLIMBS} climbs came to the best, {ends[0]}; the median to {ends[N_CLIMBS // 2][0]:.4f}")
    found: list[int] = ends[0][1]
    return found


def join(name: str, folder: Path) -> None:
    """Put what shares of a table hold into the table."""
    path = OUT / f"{name}.npz"
    for share in sorted(folder.glob(f"{name}-*-of-*.npz")):
        with np.load(share, allow_pickle=False) as found:
            n_correct, header, vectors = found["n_correct"], json.loads(str(found["header"])), found["vectors"]
        if path.exists():
            with np.load(path, allow_pickle=False) as kept:
                n_correct = np.maximum(n_correct, kept["n_correct"])
                header["about"]["cpu_s"] += json.loads(str(kept["header"]))["about"]["cpu_s"]
        save(path, header, n_correct=n_correct, vectors=vectors)


def main() -> None:
    """Compute a table, or a share of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=JOBS)
    parser.add_argument("--share", help="K/N: every N-th policy from the K-th, from 0, on, into a file of its own")
    parser.add_argument("--folder", type=Path, default=OUT, help="of the files of shares")
    parser.add_argument("--join", action="store_true", help="put the files of shares into the table first")
    arguments = parser.parse_args()
    prepare_process(1)
    OUT.mkdir(exist_ok=True)
    if arguments.join:
        join(arguments.table, arguments.folder)
    share = None
    if arguments.share:
        k, n = map(int, arguments.share.split("/"))
        share = k, n
    tabulate(arguments.table, JOBS[arguments.table], share, arguments.folder if share else OUT)


if __name__ == "__main__":
    main()
