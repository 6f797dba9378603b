"""Tables of policies: what fits budgets, what is read back, and the environment on top of them."""

from __future__ import annotations

import json
import warnings
from itertools import product
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from flow.errors import StoreError
from flow.tabular import (
    BudgetBounds,
    Budgets,
    ExhaustiveTruth,
    FittedTruth,
    PolicyTable,
    TabularBitwidthEnv,
    allowed_bits,
    to_vector,
)
from models.policy import BitPolicy, LayerBits
from tests.flow_fakes import SPECS, policy_of

LEVELS = ((1, 2, 4), (1, 2), (1, 4), (2, 3), (1, 2, 8))
BUDGETS = Budgets(0.12, 0.25)
EVERY = np.array(list(product(*LEVELS)))


def used_by_hand(vector: tuple[int, ...]) -> tuple[float, float]:
    w0, a0, w1, a1, w2 = vector
    operations = 1152 * w0 * 8 + 128 * w1 * a0 + 24 * w2 * a1
    memory = 72 * w0 + 128 * w1 + 24 * w2
    return operations / (64 * (1152 + 128 + 24)), memory / (8 * (72 + 128 + 24))


def fits(vector: tuple[int, ...]) -> bool:
    operations, memory = used_by_hand(vector)
    return operations <= BUDGETS.operations and memory <= BUDGETS.memory


def bounds() -> BudgetBounds:
    return BudgetBounds(SPECS, allowed_bits(SPECS, LEVELS), BUDGETS)


def accuracies() -> np.ndarray:
    """Of every policy with two seeds, counted in 1000 images."""
    rng = np.random.default_rng(0)
    lost = (2.0 ** (1 - EVERY)).sum(axis=1)
    return np.round(900 - 100 * lost + rng.integers(-20, 20, (2, len(EVERY)))).astype(np.int16)


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.npz")


def write(path: Path, best: tuple[int, ...] | None = None, **arrays: np.ndarray) -> Path:
    if best is None:
        mean = accuracies().mean(axis=0)
        best = max((tuple(v) for v in EVERY.tolist() if fits(tuple(v))), key=lambda v: mean[EVERY.tolist().index(list(v))])
    truth = ExhaustiveTruth(LEVELS, np.zeros((1, *map(len, LEVELS)), np.float32))
    header = PolicyTable("tiny", {"cpu_s": 1}, SPECS, LEVELS, BUDGETS, truth, best).header() | {"n_images": 1000}
    np.savez(path, **({"n_correct": accuracies()} | arrays), header=np.array(json.dumps(header)))
    return path


def test_used_is_as_by_hand() -> None:
    assert np.allclose(bounds().used(EVERY), [used_by_hand(v) for v in EVERY.tolist()])


def test_a_policy_is_reached_step_by_step_exactly_if_it_fits() -> None:
    b = bounds()
    reached: set[tuple[int, ...]] = set()

    def walk(prefix: tuple[LayerBits, ...]) -> None:
        if len(prefix) == len(SPECS):
            reached.add(tuple(n for x in prefix for n in (x.weight, x.act) if n is not None))
            return
        feasible = b.feasible_bits(prefix)
        assert feasible, "no prefix leads nowhere"
        for bits in feasible:
            walk((*prefix, bits))

    walk(())
    fitting = {tuple(v) for v in EVERY.tolist() if fits(tuple(v))}
    assert reached == fitting
    assert 10 < len(fitting) < len(EVERY) - 10


def test_what_is_left_is_of_the_budgets_with_the_fewest_bits_behind() -> None:
    b = bounds()
    cases = (
        ((), (1, 1, 1, 2, 1)),
        ((LayerBits(1, 2),), (1, 2, 1, 2, 1)),
        ((LayerBits(1, 1), LayerBits(1, 3)), (1, 1, 1, 3, 1)),
    )
    for prefix, rest in cases:
        operations, memory = used_by_hand(rest)
        left = b.leeway(prefix)
        assert left.lut == pytest.approx(1 - operations / BUDGETS.operations)
        assert left.bram18 == pytest.approx(1 - memory / BUDGETS.memory)
        assert left.dsp == 0


def test_a_table_is_read_back(table_file: Path) -> None:
    table = PolicyTable.read(table_file)
    mean = accuracies().mean(axis=0) / 1000
    assert table.name == "tiny"
    assert table.specs == SPECS
    assert np.allclose(table.truth.accuracy(EVERY), mean)
    policy = policy_of((2, 1), (4, 2), (8, None))
    at = EVERY.tolist().index([2, 1, 4, 2, 8])
    assert to_vector(policy).tolist() == [2, 1, 4, 2, 8]
    rewards = {table.reward(policy, seed) for seed in range(20)}
    assert sorted(rewards) == pytest.approx(sorted(accuracies()[:, at] / 1000))
    assert table.reward(policy, 3) == table.reward(policy, 3)
    best = BitPolicy(zip((s.name for s in SPECS), policy_of_vector(table.best).values(), strict=True))
    assert table.regret(best) == 0
    assert table.regret(policy_of((1, 1), (1, 2), (1, None))) > 0


def policy_of_vector(v: tuple[int, ...]) -> BitPolicy:
    return policy_of((v[0], v[1]), (v[2], v[3]), (v[4], None))


def test_a_fitted_truth_is_the_processes_mean() -> None:
    x = EVERY[::7]
    rng = np.random.default_rng(1)
    truth = FittedTruth(x, rng.normal(size=len(x)), rng.uniform(0.5, 2, 5), 0.4, 0.01)
    a, b = 2.0 ** (1 - EVERY[3].astype(float)), 2.0 ** (1 - x.astype(float))
    by_hand = 0.4 + sum(
        w * np.exp(-0.5 * sum(((a[i] - row[i]) / truth.scales[i]) ** 2 for i in range(5)))
        for w, row in zip(truth.weights, b, strict=True)
    )
    assert truth.accuracy(EVERY[3:4])[0] == pytest.approx(by_hand)
    drawn = [truth.reward(EVERY[3], np.random.default_rng(i)) for i in range(400)]
    assert np.std(drawn) == pytest.approx(0.01, rel=0.15)
    assert np.mean(drawn) == pytest.approx(by_hand, abs=0.002)


def test_what_is_no_table_is_refused_in_one_line(tmp_path: Path, table_file: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    unfinished = accuracies()
    unfinished[1, 5:] = -1
    write(tmp_path / "unfinished.npz", n_correct=unfinished)
    objects = tmp_path / "objects.npz"
    np.savez(objects, header=np.array([{}], dtype=object))
    for name in ("text", "other", "unfinished", "objects", "missing"):
        with pytest.raises(StoreError, match=f"{name}.npz is no table of policies") as caught:
            PolicyTable.read(tmp_path / f"{name}.npz")
        assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match=f"{len(EVERY) - 5} of its policies are not evaluated yet"):
        PolicyTable.read(tmp_path / "unfinished.npz")


def test_the_registered_environment_passes_gymnasiums_check(table_file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gymnasium.make("flow:flow/TabularBitwidth-v0", table=str(table_file), seed=4)
        assert isinstance(made.unwrapped, TabularBitwidthEnv)
        check_env(made.unwrapped, skip_render_check=False)
        made.reset(seed=1)
        *_, last = [made.step(np.ones(2, np.float32)) for _ in SPECS]
    policy = BitPolicy.from_json(last[4]["policy"])
    assert last[1] == made.unwrapped.table.reward(policy, 4)
    assert fits(tuple(to_vector(policy).tolist()))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[1] / "benchmarks" / "tables").glob("*.npz")), ids=lambda p: p.stem
)
def test_the_tables_of_the_benchmark_hold_what_they_say(path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        if "vectors" in arrays and "weights" not in arrays:
            return  # the policies that another table is fitted on
    table = PolicyTable.read(path)
    best = np.array([table.best])
    bounds, rng = table.bounds, np.random.default_rng(0)
    assert (bounds.used(best)[0] <= [table.budgets.operations + 1e-9, table.budgets.memory + 1e-9]).all()
    drawn = np.stack([[rng.choice(of) for of in table.levels] for _ in range(2000)])
    within = drawn[(bounds.used(drawn) <= [table.budgets.operations, table.budgets.memory]).all(axis=1)]
    if len(within):
        assert table.truth.accuracy(within).max() <= table.truth.accuracy(best)[0] + 1e-9
