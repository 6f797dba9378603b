"""The answer of a search: which policies are retrained again, that it is done once, and which one is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flow.finalists import MOST_ROUNDS, N_OTHER_SEEDS, Finalist, confirm, in_order, unconfirmed
from flow.objective import Goal, Objective
from flow.searchers import RandomSearcher
from flow.store import TrialStore
from flow.trial import Trial
from models.errors import TrainingError
from models.policy import BitPolicy
from tests.flow_fakes import CONSTRAINT, SimulatedEvaluator, decisions, estimate_of, policy_of

SEED = SimulatedEvaluator.seed
POLICIES = [policy_of((w, 2), (3, 1), (2, None)) for w in (4, 3, 2, 1, 5)]
LUCK = {POLICIES[2]: 0.3}  # what its trial had too much


def trials() -> list[Trial]:
    evaluator = SimulatedEvaluator()
    return [
        Trial(i, p, estimate_of(), evaluator.score(p).accuracy + LUCK.get(p, 0.0), 0.0, SEED, 1.0)
        for i, p in enumerate(POLICIES)
    ]


class Listener:
    def __init__(self) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, work: str, done: int, total: int, _: str = "") -> None:
        self.told.append((work, done, total))


class Opinionated(RandomSearcher):
    """Thinks most of one policy, then of one that was never tried."""

    def shortlist(self, n: int) -> list[BitPolicy]:
        return [POLICIES[3], policy_of((8, 8), (8, 8), (8, None))][:n]


class Contrary(RandomSearcher):
    """Thinks most of what had the lowest rewards."""

    def shortlist(self, n: int) -> list[BitPolicy]:
        return [t.policy for t in sorted(trials(), key=lambda t: t.accuracy)][:n]


def final(path: Path, evaluator: SimulatedEvaluator, n: int, listener: Listener | None = None) -> tuple[Finalist, ...]:
    searcher = RandomSearcher(decisions(), 0)
    return confirm(trials(), searcher, evaluator, TrialStore(path, "s"), n, listener or Listener())  # type: ignore[arg-type]


def test_the_luckiest_trial_is_not_the_answer(tmp_path: Path) -> None:
    evaluator, listener = SimulatedEvaluator(), Listener()
    found = final(tmp_path / "t.db", evaluator, 3, listener)
    assert max(trials(), key=lambda t: t.accuracy).policy == POLICIES[2]
    assert [f.trial.policy for f in found] == [POLICIES[4], POLICIES[0], POLICIES[2]]
    assert [set(f.accuracies) for f in found] == [{SEED + 1, SEED + 2}] * 3
    assert found[0].accuracy == pytest.approx(evaluator.score(POLICIES[4]).accuracy - (SEED + 1.5) / 10_000)
    assert listener.told == [("finalists", n, 3) for n in (1, 2, 3)]
    assert listener.notes == []


def test_what_was_retrained_is_not_retrained_when_it_is_gone_on_with(tmp_path: Path) -> None:
    first = SimulatedEvaluator()
    found = final(tmp_path / "t.db", first, 3)
    assert len(first.again) == 3 * N_OTHER_SEEDS
    assert {n for _, n, _ in first.again} == {first.whole_images}
    second = SimulatedEvaluator()
    assert final(tmp_path / "t.db", second, 3) == found
    assert second.again == []
    final(tmp_path / "t.db", second, 4)
    assert len(second.again) == N_OTHER_SEEDS


def test_with_one_there_is_nothing_to_choose(tmp_path: Path) -> None:
    evaluator = SimulatedEvaluator()
    assert final(tmp_path / "t.db", evaluator, 1) == ()
    one = confirm(trials()[:1], RandomSearcher(decisions(), 0), evaluator, TrialStore(tmp_path / "t.db", "s"), 4, Listener())  # type: ignore[arg-type]
    assert one == ()
    assert evaluator.again == []


def test_a_searchers_opinion_comes_first_and_stopped_trials_come_last() -> None:
    evaluator = SimulatedEvaluator()
    stopped = [replace(t, stopped_at="quantized") if t.number == 2 else t for t in trials()]
    order = in_order([*stopped, replace(stopped[0], number=9)], Opinionated(decisions(), 0), evaluator, 2)  # type: ignore[arg-type]
    assert [t.number for t in order] == [3, 4, 0, 1, 2]


def test_what_failed_is_no_finalist_unless_all_did() -> None:
    searcher, evaluator = Opinionated(decisions(), 0), SimulatedEvaluator()
    failed = [replace(t, failure="its retraining diverged") if t.number == 3 else t for t in trials()]
    assert 3 not in [t.number for t in in_order(failed, searcher, evaluator, 4)]  # type: ignore[arg-type]
    all_failed = [replace(t, failure="its retraining diverged") for t in trials()]
    assert len(in_order(all_failed, searcher, evaluator, 4)) == len(POLICIES)  # type: ignore[arg-type]


def test_half_of_the_finalists_are_of_the_searchers_choice_and_half_have_the_best_rewards() -> None:
    order = in_order(trials(), Contrary(decisions(), 0), SimulatedEvaluator(), 4)  # type: ignore[arg-type]
    best = sorted(range(len(POLICIES)), key=lambda i: -trials()[i].accuracy)
    assert [t.number for t in order[:4]] == [best[-1], best[0], best[-2], best[1]]
    assert sorted(t.number for t in order) == sorted(best)


def test_more_are_looked_at_where_none_is_accurate_enough(tmp_path: Path) -> None:
    def rounds(floor: float) -> SimulatedEvaluator:
        evaluator = SimulatedEvaluator(CONSTRAINT, Objective(Goal.FPS, floor))
        final(tmp_path / f"{floor}.db", evaluator, 2)
        return evaluator

    reached = SimulatedEvaluator().score(POLICIES[0]).accuracy
    assert len(rounds(0.01).again) == 2 * N_OTHER_SEEDS
    assert len(rounds(0.99).again) == min(len(POLICIES), 2 * MOST_ROUNDS) * N_OTHER_SEEDS
    assert 0.01 < reached < 0.99


def test_a_retraining_that_diverges_counts_as_nothing_and_is_told_of(tmp_path: Path) -> None:
    class Diverging(SimulatedEvaluator):
        def accuracy_again(self, policy: BitPolicy, n_images: int, seed: int) -> float:
            if (policy, seed) == (POLICIES[4], SEED + 2):
                raise TrainingError("layer fc1 gave nan")
            return super().accuracy_again(policy, n_images, seed)

    listener = Listener()
    found = final(tmp_path / "t.db", Diverging(), 3, listener)
    assert found[-1].trial.policy == POLICIES[4]
    assert found[-1].accuracies[SEED + 2] == 0
    number = found[-1].trial.number
    said = f"trial {number}, retrained with seed {SEED + 2}, diverged and counts as 0 with it: layer fc1 gave nan"
    assert listener.notes == [said]


def test_what_nothing_is_retrained_for_is_the_searchers_choice_where_the_accuracy_is_sought() -> None:
    def answer(searcher: RandomSearcher, objective: Objective) -> BitPolicy:
        return unconfirmed(trials(), searcher, SimulatedEvaluator(CONSTRAINT, objective)).policy  # type: ignore[arg-type]

    worst, *_, best = sorted(trials(), key=lambda t: t.accuracy)
    fastest = [replace(t, estimate=estimate_of(9000.0 if t.number == 1 else 5000.0)) for t in trials()]
    contrary = Contrary(decisions(), 0)
    assert answer(RandomSearcher(decisions(), 0), Objective()) == best.policy
    assert answer(contrary, Objective()) == worst.policy
    sought = SimulatedEvaluator(CONSTRAINT, Objective(Goal.FPS, 0.01))
    assert unconfirmed(fastest, contrary, sought).number == 1  # type: ignore[arg-type]


def test_policy_json_says_what_was_found() -> None:
    found = Finalist(trials()[0], {8: 0.5, 9: 0.75}).to_dict()
    assert (found["again"], found["mean"], found["trial"]) == ({"8": 0.5, "9": 0.75}, 0.625, 0)
    assert found["policy_digest"] == POLICIES[0].digest
