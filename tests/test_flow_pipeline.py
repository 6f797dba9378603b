"""A tiny whole search, for real: FINN's tables, real training, everything written."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import optuna
import pytest
import torch
from PIL import Image
from torch import Tensor

from boards.registry import get_board
from flow import evaluator as evaluator_module
from flow import halving, handover, pipeline
from flow.config import SearchSettings
from flow.constraint import Constraint
from flow.errors import RunDirectoryError
from flow.evaluator import Evaluator, Score
from flow.objective import Objective
from flow.report import Outcome
from flow.run_directory import RunDirectory, versions
from flow.store import TrialStore
from flow.trial import Trial
from flow.verification import verify_run
from hls.types import Estimate
from models.augmentation import Augmentation
from models.convergence import Effort, converge
from models.data import ImageSet, Splits, load_splits
from models.errors import TrainingError
from models.policy import BitPolicy, LayerBits
from models.registry import get_model
from models.spec import LayerSpec
from models.train import Recipe, accuracy
from models.weights import Pretrained, read_pretrained, write_pretrained
from tests.flow_fakes import estimate_of, tables_without_finn
from tests.tiny import equal

N_TRIALS = 3
MIN_FPS = 100_000.0


class GuardedSplits(Splits):
    """Splits whose test images must not be touched before the final retraining is over."""

    unlocked = False
    n_touched = 0

    def __getattribute__(self, name: str) -> Any:
        if name == "test":
            assert GuardedSplits.unlocked, "the search touched the test split"
            GuardedSplits.n_touched += 1
        return super().__getattribute__(name)


def guarded(name: str, data_dir: Path, shape: tuple[int, int, int], progress: Callable[[int, int], None]) -> Splits:
    return GuardedSplits(**vars(load_splits(name, data_dir, shape, progress)))


@dataclass
class RecordingListener:
    """Writes down what it is told, and unlocks the test split once the final retraining is over."""

    notes: list[str] = field(default_factory=list)
    works: dict[str, list[tuple[int, int, str]]] = field(default_factory=dict)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
        self.works.setdefault(work, []).append((done, total, detail))
        GuardedSplits.unlocked = work == "final retraining" and done == total


@dataclass(frozen=True)
class Whole:
    """A finished search and all that it left."""

    settings: SearchSettings
    found: Outcome
    listener: RecordingListener
    n_touched: int

    @property
    def folder(self) -> Path:
        return self.settings.directory

    def trials(self) -> list[tuple[object, ...]]:
        """The trials, but for how long they took."""
        stored = TrialStore(self.folder / "trials.db", "tfc-pynq-z2").trials()
        return [(t.number, t.policy, t.estimate, t.accuracy, t.reward, t.seed) for t in stored]


def search(folder: Path, n_trials: int = N_TRIALS) -> Whole:
    settings = SearchSettings(
        model="tfc", dataset="digits", data_dir=folder / "nowhere", run_dir=folder, n_trials=n_trials, seed=4, min_fps=MIN_FPS,
        retrain_images=256, final_images=1024, threads=1,
    )  # fmt: skip
    listener = RecordingListener()
    GuardedSplits.unlocked, GuardedSplits.n_touched = False, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "load_splits", guarded)
        found = pipeline.search(settings, listener)
    return Whole(settings, found, listener, GuardedSplits.n_touched)


@pytest.fixture(scope="module")
def finn_once() -> Iterator[None]:
    """FINN converts the network once for its tables; a second search takes the same graph with its own weights."""
    tables: list[Any] = []
    real = evaluator_module.tabulate

    def tabulate(specs: Sequence[LayerSpec], export: Any, integer_weights: Any, board: Any, top_k: int) -> Any:
        if not tables:
            tables.append(real(specs, export, integer_weights, board, top_k))
        return tables[0].with_weights(integer_weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator_module, "tabulate", tabulate)
        yield


@pytest.fixture(scope="module")
def whole(finn_once: None, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return search(tmp_path_factory.mktemp("run"))


@pytest.fixture
def document(whole: Whole) -> dict[str, Any]:
    return json.loads((whole.folder / "policy.json").read_text())


# --- retraining and verification of a finished run -----------------------------------------------------------------


def test_every_stage_is_the_network_that_was_trained(whole: Whole) -> None:
    found = verify_run(whole.folder, 4)
    assert [v.stage for v in found] == ["QONNX file", "streamlined graph", "hardware layers"]
    assert all(v.agrees and v.n_images == 4 and v.wrong_classes == 0 for v in found)


def test_a_weight_that_is_not_the_trained_one_is_found(whole: Whole, tmp_path: Path) -> None:
    """One weight of the second layer in the QONNX file has another sign."""
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    model = onnx.load(str(run / "model.onnx"))
    quantizer = [n for n in model.graph.node if n.op_type in ("Quant", "BipolarQuant")]
    matrices = {t.name: t for t in model.graph.initializer if len(t.dims) == 2}
    name = [n.input[0] for n in quantizer if n.input[0] in matrices][1]
    values = onnx.numpy_helper.to_array(matrices[name]).copy()
    values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= -1
    matrices[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    onnx.save(model, str(run / "model.onnx"))
    assert not verify_run(run, 4)[0].agrees


def test_a_damaged_golden_set_is_named(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    (run / "golden.npz").write_bytes((run / "golden.npz").read_bytes()[:-200])
    with pytest.raises(RunDirectoryError, match=r"golden\.npz is no golden set .*make retrain RUN="):
        verify_run(run, 4)


def test_a_run_is_retrained_to_convergence(whole: Whole, tmp_path: Path) -> None:
    """Interrupted after the first epoch it goes on from there, and the files are those of the new weights."""
    run = tmp_path / "run"
    shutil.copytree(whole.folder, run)
    told = SearchSettings(data_dir=tmp_path / "nowhere", threads=1)

    class Interrupting(RecordingListener):
        def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
            super().advance(work, done, total, detail)
            if work == "retraining":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.retrain(run, Effort(4, 4), told, Interrupting())
    assert list(run.glob("retraining-*.pt"))
    listener = RecordingListener()
    document, ended = pipeline.retrain(run, Effort(4, 4), told, listener)
    assert [done for done, _, _ in listener.works["retraining"]] == [2, 3, 4]
    assert not list(run.glob("retraining-*.pt"))
    assert json.loads(json.dumps(document)) == json.loads((run / "policy.json").read_text())
    assert document["retraining"] == {"epochs": 4, "best_epoch": ended.best_epoch, "max_epochs": 4, "patience_epochs": 4}
    assert document["accuracy"]["final_search"] == ended.accuracy
    before = json.loads((whole.folder / "policy.json").read_text())
    assert document["policy"] == before["policy"]
    assert document["accuracy"]["trial_search"] == before["accuracy"]["trial_search"]
    assert all(v.agrees for v in verify_run(run, 2))


def test_what_is_no_run_cannot_be_retrained(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no run; make search begins one"):
        pipeline.retrain(tmp_path, Effort(1, 1), SearchSettings(), RecordingListener())
    assert not list(tmp_path.iterdir())


# --- what a search leaves ----------------------------------------------------------------------------------------


def test_everything_is_written_and_nothing_else(whole: Whole) -> None:
    assert sorted(p.name for p in whole.folder.iterdir()) == [
        "golden.npz", "model.onnx", "pareto.json", "policy.json", "pretrained.pt", "run.json", "summary.md", "tensorboard",
        "trials.db", "weights.pt",
    ]  # fmt: skip


def test_the_estimate_meets_the_constraint(whole: Whole, document: dict[str, Any]) -> None:
    constraint = Constraint(get_board("pynq-z2"), MIN_FPS, 0.85)
    assert document["estimate"]["meets_constraint"] is True
    assert document["estimate"]["fps"] >= MIN_FPS
    for name, used in document["estimate"]["resources"].items():
        assert used <= getattr(constraint.limits, name)
    assert all(constraint.violation(estimate) <= 0 for _, _, estimate, *_ in whole.trials())  # type: ignore[arg-type]


def test_finns_own_estimate_agrees_with_the_tables_but_for_the_weights(whole: Whole) -> None:
    final, trial = whole.found.estimate, whole.found.best.estimate
    assert final.method == "FINN's whole flow on the exported network"
    assert [n.layer for n in final.nodes] == [n.layer for n in trial.nodes]
    assert {c.reason for c in final.corrections} == {c.reason for c in trial.corrections}
    assert final.resources.lut == pytest.approx(trial.resources.lut, rel=0.1)


def test_policy_json_says_what_was_done(whole: Whole, document: dict[str, Any]) -> None:
    best = whole.found.best
    assert (document["model"], document["dataset"], document["board"], document["seed"]) == ("tfc", "digits", "pynq-z2", 4)
    assert BitPolicy.from_dict(document["policy"]) == best.policy
    assert list(document["folding"]) == [n["node"] for n in document["estimate"]["nodes"]]
    assert document["n_trials"] == N_TRIALS
    assert document["accuracy"]["trial_search"] == best.accuracy
    assert document["objective"] == {"goal": "accuracy", "min_accuracy": None}
    assert 0.5 < document["accuracy"]["final_test"] <= 1
    assert document["versions"] == versions()


def test_the_weights_are_those_that_were_scored(whole: Whole, document: dict[str, Any]) -> None:
    content = torch.load(whole.folder / "weights.pt", weights_only=True)
    policy = BitPolicy.from_json(content["policy"])
    network = get_model("tfc").build(policy)
    network.load_state_dict(content["state"])
    splits = load_splits("digits", Path("nowhere"), get_model("tfc").input_shape)
    assert policy == whole.found.best.policy
    assert accuracy(network, splits.test) == document["accuracy"]["final_test"]
    assert accuracy(network, splits.search) == document["accuracy"]["final_search"]


def test_the_model_is_qonnx_with_the_policys_bits(whole: Whole) -> None:
    model = onnx.load(whole.folder / "model.onnx")
    ops = [n.op_type for n in model.graph.node]
    assert ops.count("MatMul") == len(whole.found.best.policy)
    assert {"Quant", "BipolarQuant"} & set(ops)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 28, 28]


def test_the_trials_open_in_optuna(whole: Whole) -> None:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{whole.folder / 'trials.db'}")
    assert [t.number for t in study.trials] == list(range(N_TRIALS))
    assert study.best_value == max(t[3] for t in whole.trials())


def test_the_answer_is_the_finalist_that_did_best_with_other_seeds(whole: Whole, document: dict[str, Any]) -> None:
    finalists = document["finalists"]
    assert 2 <= len(finalists) <= N_TRIALS
    assert [f["mean"] for f in finalists] == sorted((f["mean"] for f in finalists), reverse=True)
    assert finalists[0]["policy_digest"] == document["policy_digest"] == whole.found.best.policy.digest
    assert all(set(f["again"]) == {"5", "6"} for f in finalists)


def test_the_pareto_front_is_of_all_trials(whole: Whole) -> None:
    front = json.loads((whole.folder / "pareto.json").read_text())["front"]
    assert front[0]["accuracy"] == max(t[3] for t in whole.trials())


def test_the_summary_compares_with_uniform_bits(whole: Whole) -> None:
    text = (whole.folder / "summary.md").read_text()
    for name in ("found by the search", "uniform 8 bits", "uniform 4 bits", "uniform 2 bits"):
        assert f"| {name} |" in text
    assert f"{whole.found.test_accuracy:.2%}" in text
    assert "TRIALS=3" in text
    assert "Sought was the highest accuracy." in text
    assert f"| {whole.found.best.number} | {whole.found.best.policy.digest} |" in text


def test_the_run_json_says_what_the_run_is(whole: Whole) -> None:
    identity = json.loads((whole.folder / "run.json").read_text())
    assert (identity["MODEL"], identity["DATASET"], identity["SEED"], identity["MIN_FPS"]) == ("tfc", "digits", 4, MIN_FPS)


def test_the_pretrained_weights_are_kept(whole: Whole) -> None:
    weights = read_pretrained(whole.folder / "pretrained.pt")
    assert (weights.model, weights.dataset, weights.seed) == ("tfc", "digits", 4)
    assert weights.search_accuracy > 0.9


# --- how it got there --------------------------------------------------------------------------------------------


def test_the_test_split_is_touched_once_at_the_very_end(whole: Whole) -> None:
    assert whole.n_touched == 1


def test_progress_is_told_from_the_first_piece_to_the_last(whole: Whole) -> None:
    works = whole.listener.works
    assert list(works) == ["pretraining", "trials", "finalists", "uniform policies", "final retraining"]
    assert [(done, total) for done, total, _ in works["trials"]] == [(n, N_TRIALS) for n in range(1, N_TRIALS + 1)]
    assert all("best " in detail and " fps" in detail for _, _, detail in works["trials"])
    for told in works.values():
        assert told[-1][0] == told[-1][1]


def test_the_same_command_and_seed_give_the_same_trials(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "estimate_with_flow", lambda *_, **__: whole.found.estimate)
    torch.rand(5)
    again = search(tmp_path)
    assert again.trials() == whole.trials()
    assert again.found.test_accuracy == whole.found.test_accuracy
    assert (tmp_path / "run.json").read_bytes() == (whole.folder / "run.json").read_bytes()


def test_a_finished_run_takes_up_more_trials(whole: Whole, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In a copy; what was trained before is not trained again, and float weights are found."""
    shutil.copytree(whole.folder, tmp_path / "copy")
    monkeypatch.setattr(handover, "estimate_with_flow", lambda *_, **__: whole.found.estimate)
    monkeypatch.setattr(pipeline, "pretrain", None)
    longer = search(tmp_path / "copy", N_TRIALS + 1)
    assert longer.trials()[:N_TRIALS] == whole.trials()
    assert len(longer.trials()) == N_TRIALS + 1


# --- parts of it -------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Evaluator:
    """An evaluator with made-up costs."""
    monkeypatch.setattr(evaluator_module, "tabulate", tables_without_finn)
    model = get_model("tfc")
    splits = load_splits("digits", Path("nowhere"), model.input_shape).for_search()
    torch.manual_seed(0)
    weights = Pretrained("tfc", "digits", 10, 0, 0.1, model.build(None).state_dict())
    return Evaluator(weights, splits, Constraint(get_board("pynq-z2"), MIN_FPS, 0.85), retrain_images=256, seed=1)


def counted(monkeypatch: pytest.MonkeyPatch, train: Callable[..., None]) -> list[int]:
    calls: list[int] = []

    def counting(*arguments: Any, **named: Any) -> None:
        calls.append(1)
        train(*arguments, **named)

    monkeypatch.setattr(evaluator_module, "train", counting)
    return calls


def test_a_policy_is_retrained_once(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch, evaluator_module.train)
    policy = BitPolicy.uniform(quick.specs, 4, 4)
    assert quick.score(policy) is quick.score(policy)
    assert len(calls) == 1


def test_the_same_policy_has_the_same_score_whatever_came_before(quick: Evaluator) -> None:
    four, two = (BitPolicy.uniform(quick.specs, bits, bits) for bits in (4, 2))
    first = quick.score(four)
    quick._scores.clear()
    quick.score(two)
    torch.rand(3)
    assert quick.score(four) == first


def test_what_is_remembered_is_not_retrained(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = BitPolicy.uniform(quick.specs, 4, 4)
    known = quick.score(policy)
    monkeypatch.setattr(evaluator_module, "train", None)
    quick._scores.clear()
    quick.remember(policy, known)
    assert quick.score(policy) is known


def test_a_policy_whose_retraining_diverges_scores_nothing(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise TrainingError("the loss became nan at step 3: layer fc1 gave it")

    monkeypatch.setattr(evaluator_module, "train", diverge)
    policy = BitPolicy.uniform(quick.specs, 4, 4)
    score = quick.score(policy)
    assert (score.accuracy, score.failure) == (0, "its retraining diverged: the loss became nan at step 3: layer fc1 gave it")
    assert isinstance(score.estimate, Estimate)
    with pytest.raises(TrainingError, match="layer fc1 gave it"):
        quick.accuracy_again(policy, 64, 3)


def test_a_policy_that_diverges_on_a_cheap_rung_is_not_guessed_at(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise TrainingError("the loss became nan")

    halved = evaluator_like(quick, halving=True)
    monkeypatch.setattr(evaluator_module, "train", diverge)
    score = halved.score(BitPolicy.uniform(halved.specs, 4, 4))
    assert (score.accuracy, score.stopped_at) == (0, None)
    assert score.failure


def evaluator_like(quick: Evaluator, **changed: Any) -> Evaluator:
    given: dict[str, Any] = {"retrain_images": 256, "seed": 1} | changed
    return Evaluator(quick.weights, quick.splits, quick.constraint, **given)


def test_a_reward_free_of_training_trains_nothing(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    free = evaluator_like(quick, retrain_images=0)
    calls = counted(monkeypatch, evaluator_module.train)
    policy = BitPolicy.uniform(free.specs, 4, 4)
    assert free.score(policy).accuracy == accuracy(free.quantized(policy), free.splits.search)
    assert calls == []
    assert free.whole_images == evaluator_module.RETRAINING.n_images
    free.accuracy_again(policy, 64, 2)
    assert len(calls) == 1


def test_the_float_network_has_its_say_in_the_final_retraining(quick: Evaluator) -> None:
    policy, effort = BitPolicy.uniform(quick.specs, 2, 2), Effort(1, 1)
    found, _ = quick.retrain(policy, effort)
    recipe = replace(evaluator_module.RETRAINING, augmentation=quick.splits.augmentation)

    def by_hand(distillation: float) -> dict[str, Tensor]:
        network, teacher = quick.quantized(policy), quick.weights.network().eval()
        own = replace(recipe, distillation=distillation)
        converge(network, quick.splits.train, quick.splits.search, own, effort, quick.seed, teacher=teacher)
        return network.state_dict()

    assert equal(found.state_dict(), by_hand(evaluator_module.DISTILLATION))
    assert not equal(found.state_dict(), by_hand(0.0))


def test_with_another_seed_a_policy_is_retrained_otherwise(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = BitPolicy.uniform(quick.specs, 4, 4)
    assert quick.accuracy_again(policy, 256, 1) == quick.score(policy).accuracy
    seeds: list[int] = []
    monkeypatch.setattr(evaluator_module, "train", lambda *a, **_: seeds.append(a[3]))
    quick.accuracy_again(policy, 256, 7)
    assert seeds == [7]


def test_halving_stops_what_does_badly_and_remembers_it(quick: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halving, "FEW", 2)
    evaluator = evaluator_like(quick, halving=True)
    calls = counted(monkeypatch, evaluator_module.train)
    good = [BitPolicy.uniform(evaluator.specs, bits, 8) for bits in (8, 7, 6)]
    for policy in good[:2]:
        score = evaluator.score(policy)
        assert score.stopped_at is None
        assert list(score.rungs) == list(halving.PROMOTED)
    assert len(calls) == 4  # a short retraining and a whole one each
    bad = BitPolicy.uniform(evaluator.specs, 1, 1)
    monkeypatch.setitem(halving.PROMOTED, halving.QUANTIZED, 0.0)
    stopped = evaluator.score(bad)
    assert stopped.stopped_at == halving.QUANTIZED
    assert stopped.accuracy <= max(evaluator.score(p).accuracy for p in good[:2])
    assert evaluator.score(bad) is stopped
    assert len(calls) == 4
    whole = evaluator.score(bad, whole=True)
    assert whole.stopped_at is None
    assert whole.accuracy == quick.score(bad).accuracy

    monkeypatch.setitem(halving.PROMOTED, halving.QUANTIZED, 0.75)
    again = evaluator_like(quick, halving=True)  # goes on from what a store held
    for policy in (*good[:2], bad):
        again.remember(policy, stopped if policy == bad else evaluator.score(policy))
    assert again.score(good[2]) == evaluator.score(good[2])


@pytest.mark.parametrize(("floor", "stops"), [(None, True), (0.8, False), (0.99, True)])
def test_a_trial_that_may_be_accurate_enough_is_not_stopped(
    quick: Evaluator, floor: float | None, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten others are more accurate, but where accuracy is not the goal the fastest of those at the floor is the answer."""
    objective = Objective() if floor is None else Objective.named("fps", floor)
    evaluator = evaluator_like(quick, halving=True, objective=objective)
    for i, bits in enumerate((w, a) for w in (6, 7) for a in range(4, 9)):
        policy = BitPolicy.uniform(evaluator.specs, *bits)
        rungs = dict.fromkeys(halving.PROMOTED, 0.85 + i / 1000)
        evaluator.remember(policy, Score(0.9 + i / 1000, evaluator.estimate(policy), rungs))
    monkeypatch.setattr(evaluator_module, "accuracy", lambda *_: 0.82)
    score = evaluator.score(BitPolicy.uniform(evaluator.specs, 2, 2))
    assert (score.stopped_at is not None) == stops


def test_a_halved_trial_has_the_accuracy_of_one_that_was_not(quick: Evaluator) -> None:
    policy = BitPolicy.uniform(quick.specs, 3, 3)
    assert evaluator_like(quick, halving=True).score(policy).accuracy == quick.score(policy).accuracy


@pytest.mark.parametrize("goal", ["fps", "utilisation"])
def test_where_little_is_sought_the_leanest_accelerator_is_taken(quick: Evaluator, goal: str) -> None:
    sought = evaluator_like(quick, objective=Objective.named(goal, 0.5))
    policy = BitPolicy.uniform(quick.specs, 2, 2)
    fastest, found = quick.score(policy).estimate, sought.score(policy).estimate
    limits = sought.constraint.limits
    assert sought.constraint.violation(found) <= 0
    if goal == "fps":
        assert found == fastest
    else:
        assert found.resources.scarcest(limits)[1] <= fastest.resources.scarcest(limits)[1]
        assert sought.refold(policy, sought.quantized(policy)).bottleneck_cycles == found.bottleneck_cycles
    assert sought.reward(sought.score(policy)) == pytest.approx(
        sought.worth().rewards(np.array([sought.score(policy).accuracy]), np.array([sought.cost(policy)]))[0]
    )
    same = BitPolicy.uniform(quick.specs, 4, 4)
    assert sought.worth().rewards(np.array([0.9]), np.array([sought.cost(same)]))[0] == 0.5


def test_a_search_says_that_a_trial_failed_and_that_no_policy_is_accurate_enough() -> None:
    listener = RecordingListener()
    policy = BitPolicy({"fc0": LayerBits(1, 1), "fc1": LayerBits(1, None)})
    for found, failure in ((0.5, ""), (0.0, "its retraining diverged: layer fc1 gave nan")):
        trial = Trial(3, policy, estimate_of(), found, found, 0, 1.0, failure=failure)
        pipeline._note_failure(trial, listener)
        pipeline._note_floor(Objective.named("fps", 0.5), found, listener)
    assert len(listener.notes) == 2
    assert listener.notes[0].startswith("trial 3 failed: its retraining diverged: layer fc1 gave nan; BitPolicy(")
    assert listener.notes[1].startswith(
        "no policy was found that keeps MIN_ACCURACY=0.5: the best has 0.00% on the search split"
    )


def test_brief_retraining_does_at_most_two_epochs_with_the_data_sets_augmentation(quick: Evaluator) -> None:
    n = len(quick.splits.train)
    assert quick._recipe is not None
    assert quick._recipe.n_images == 256
    assert quick._fitted(10**9, 2).n_images == 2 * n
    assert quick._recipe.augmentation == Augmentation(shift_px=2)


def test_weights_become_matrices_of_fan_in_by_outputs() -> None:
    weights = torch.arange(24.0).reshape(2, 3, 2, 2)  # outputs, inputs, rows, columns
    matrix = evaluator_module.as_matrix(weights)
    assert matrix.shape == (12, 2)
    assert matrix[:, 1].tolist() == list(range(12, 24))


def own_npz(path: Path, brightest: int) -> Path:
    """A data set of one's own: noise, of two classes."""
    x = np.random.default_rng(0).integers(0, brightest, (300, 6, 6), dtype=np.uint8)
    np.savez(path, x_train=x, y_train=np.arange(300) % 2)
    return path


def test_a_data_set_of_ones_own_by_its_path(tmp_path: Path) -> None:
    path = own_npz(tmp_path / "noise.npz", 256)
    splits = pipeline.find_splits(get_model("tfc"), str(path), tmp_path / "nowhere", RecordingListener())
    assert splits.dataset.startswith("noise-")
    assert (splits.n_classes, splits.train.x.shape[1:]) == (2, (1, 28, 28))


def test_images_of_a_folder_are_counted_while_they_are_read(tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(100):
            Image.new("L", (5, 5), i).save(tmp_path / label / f"{i}.png")
    listener = RecordingListener()
    pipeline.find_splits(get_model("tfc"), str(tmp_path), tmp_path / "nowhere", listener)
    assert listener.works["reading images"][-1] == (200, 200, "")


def test_a_run_does_not_go_on_with_other_images_at_the_same_path(tmp_path: Path) -> None:
    path = own_npz(tmp_path / "noise.npz", 256)
    settings = SearchSettings(model="tfc", dataset=str(path), run_dir=tmp_path / "run", min_fps=MIN_FPS, threads=1)
    before = pipeline.find_splits(get_model("tfc"), str(path), tmp_path, RecordingListener()).dataset
    constraint = Constraint(get_board(settings.board), MIN_FPS, settings.max_utilisation)
    RunDirectory(tmp_path / "run").claim(pipeline._identity(settings, str(path), constraint) | {"DATA": before})
    own_npz(path, 255)
    with pytest.raises(RunDirectoryError, match=rf"run holds a run with DATA={before}, this one has DATA=noise-"):
        pipeline.search(settings, RecordingListener())


def test_float_weights_of_another_seed_or_network_are_not_taken(tmp_path: Path) -> None:
    model = get_model("tfc")
    images = ImageSet(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    splits = Splits(images, images, images, "digits", 10).for_search()
    own = tmp_path / "pretrained.pt"
    assert pipeline.find_weights(model, splits, own, seed=0) is None
    write_pretrained(Pretrained("tfc", "digits", 10, 0, 0.9, model.build(None).state_dict()), own)
    assert pipeline.find_weights(model, splits, own, seed=0) is not None
    assert pipeline.find_weights(model, splits, own, seed=1) is None
    assert pipeline.find_weights(get_model("cnv"), splits, own, seed=0) is None


def test_shipped_float_weights_come_first(tmp_path: Path) -> None:
    model = get_model("tfc")
    images = ImageSet(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    found = pipeline.find_weights(model, Splits(images, images, images, "mnist", 10).for_search(), tmp_path / "none", seed=99)
    assert found is not None
    assert (found.model, found.dataset) == ("tfc", "mnist")


def test_pretraining_writes_weights_and_scores_them_on_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quickly = replace(get_model("tfc"), pretraining=Recipe(n_images=2000, lr=0.1))
    monkeypatch.setattr(pipeline, "get_model", lambda _: quickly)
    settings = SearchSettings(model="tfc", dataset="digits", data_dir=tmp_path, threads=1)
    path, weights, test_accuracy = pipeline.pretrain_weights(settings, tmp_path / "new" / "w.pt", RecordingListener())
    assert path == tmp_path / "new" / "w.pt"
    assert read_pretrained(path).search_accuracy == weights.search_accuracy > 0.5
    assert 0.5 < test_accuracy <= 1


def test_pretraining_takes_as_many_epochs_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quickly = replace(get_model("tfc"), pretraining=Recipe(n_images=2000, lr=0.1, batch_size=100))
    monkeypatch.setattr(pipeline, "get_model", lambda _: quickly)
    settings = SearchSettings(model="tfc", dataset="digits", data_dir=tmp_path, threads=1)
    n_train = len(load_splits("digits", tmp_path, quickly.input_shape).train)
    for epochs, n_images in ((None, 2000), (1, n_train), (3, 3 * n_train)):
        listener = RecordingListener()
        pipeline.pretrain_weights(settings, tmp_path / f"{epochs}.pt", listener, epochs)
        assert listener.works["pretraining"][-1][1] == math.ceil(n_images / 100)
