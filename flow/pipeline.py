"""The main jobs, end to end: `search`, `retrain` and `pretrain_weights`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from boards.registry import get_board
from flow.calibration import AUTO, OF_A_RUN, calibration_for, default_path, is_newer
from flow.config import SearchSettings
from flow.constraint import Constraint, reach_under
from flow.decision import Decisions
from flow.errors import ConstraintError, RunDirectoryError, SettingsError
from flow.evaluator import Evaluator
from flow.handover import HandedOver, hand_over
from flow.policy_file import read_policy
from flow.progress import Listener
from flow.report import Outcome, UniformResult, estimate_document, policy_document, summary
from flow.run_directory import IDENTITY_FILE, RunDirectory, versions, write_json, write_text
from flow.searchers import make_searcher
from flow.store import TrialStore
from flow.study import run_trials
from flow.trial import Trial, best_trial
from hls.calibrate import Calibration
from hls.types import Estimate
from models.convergence import Converged, Effort
from models.data import SearchSplits, Splits, load_splits
from models.device import prepare_process, resolve_device
from models.download import choose_dataset
from models.policy import BitPolicy
from models.registry import ModelInfo, get_model
from models.train import accuracy
from models.weights import (
    Pretrained,
    pretrain,
    read_pretrained,
    shipped_path,
    shipped_weights,
    write_pretrained,
)

UNIFORM_BITS = (8, 4, 2)
PRETRAINED = "pretrained.pt"


def find_splits(model: ModelInfo, dataset: str, data_dir: Path, listener: Listener) -> Splits:
    """The splits of a data set by name, path or "auto", as `choose_dataset` explains it."""
    choice = choose_dataset(dataset, model.dataset, data_dir)
    if choice.note:
        listener.note(choice.note)
    return load_splits(
        choice.name, data_dir, model.input_shape, lambda done, total: listener.advance("reading images", done, total)
    )


def find_weights(model: ModelInfo, splits: SearchSplits, own: Path | None, seed: int) -> Pretrained | None:
    """Float weights for a search: those that ship, else those a run of this seed left in `own`, else None."""
    shipped = shipped_weights(model.name, splits.dataset)
    for path in (p for p in (shipped, own) if p is not None and p.exists()):
        weights = read_pretrained(path)
        fits = (weights.model, weights.dataset, weights.n_classes) == (model.name, splits.dataset, splits.n_classes)
        if fits and (path == shipped or weights.seed == seed):
            return weights
    return None


def _pretrain(model: ModelInfo, splits: SearchSplits, settings: SearchSettings, path: Path, listener: Listener) -> Pretrained:
    """Train float weights into a file, or go on with it where it was interrupted."""
    checkpoint = path.with_name(f"{path.stem}.pretraining.pt")
    path.parent.mkdir(parents=True, exist_ok=True)

    def progress(done: int, total: int, loss: float) -> None:
        listener.advance("pretraining", done, total, f"loss {loss:.3f}")

    weights = pretrain(model, splits, settings.seed, progress, resolve_device(settings.device), checkpoint)
    write_pretrained(weights, path)
    checkpoint.unlink(missing_ok=True)
    return weights


def untrained(model: ModelInfo, splits: SearchSplits, seed: int) -> Pretrained:
    """Weights as a pretraining begins with: good enough to see whether a constraint can be met at all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = model.build(None, splits.n_classes).state_dict()
    return Pretrained(model.name, splits.dataset, splits.n_classes, seed, 1 / splits.n_classes, state)


def pretrain_weights(settings: SearchSettings, out: Path | None, listener: Listener) -> tuple[Path, Pretrained, float]:
    """Pretrain a model on a data set and keep the weights in a file, unless named the one that ships.

    Returns:
        The file, the weights, and the float network's accuracy on the test split, 0..1.
    """
    settings.check()
    prepare_process(settings.n_threads)
    model = get_model(settings.model)
    model.check_dataset(settings.dataset)
    splits = find_splits(model, settings.dataset, settings.data_dir, listener)
    path = out or shipped_path(model.name, splits.dataset)
    if path.is_dir():
        raise SettingsError(f"OUT={path} is a directory; name a file in it")
    weights = _pretrain(model, splits.for_search(), settings, path, listener)
    return path, weights, accuracy(weights.network(), splits.test)


def _identity(settings: SearchSettings, dataset: str, constraint: Constraint) -> dict[str, object]:
    return {
        "MODEL": settings.model,
        "BOARD": settings.board,
        "DATASET": dataset,
        "SEED": settings.seed,
        "MIN_FPS": constraint.min_fps,
        "MAX_UTIL": constraint.max_utilisation,
        "SEARCHER": settings.searcher,
        "RETRAIN_IMAGES": settings.retrain_images,
        "TOP_K": settings.top_k_of(get_model(settings.model)),
    }


def search(settings: SearchSettings, listener: Listener, earlier: Sequence[Trial] = ()) -> Outcome:
    """Search for the best policy, retrain it, and leave everything in the run directory.

    A run that was interrupted goes on where it stopped; a finished one with more trials asked for
    takes those up.

    Args:
        settings: what to search.
        listener: is told how it gets on.
        earlier: trials of searches that differ in calibration alone. Those that still can meet the constraint become the
            first trials of this one, with the accuracy they had; they come on top of `n_trials`.

    Raises:
        Any of `flow.errors.BITLOOP_ERRORS`; trials finished before it stay in the store.
    """
    settings.check()
    prepare_process(settings.n_threads)
    model = get_model(settings.model)
    min_fps = model.min_fps if settings.min_fps is None else settings.min_fps
    constraint = Constraint(get_board(settings.board), min_fps, settings.max_utilisation)
    run = RunDirectory(settings.directory)
    dataset = settings.dataset
    if dataset == "auto" and run.identity.get("MODEL") == model.name:
        dataset = str(run.identity.get("DATASET", dataset))  # what "auto" came to when the run began
    run.check(_identity(settings, dataset, constraint))
    calibration = calibration_for(settings.calibration, constraint.board.name, run.path, bool(run.identity))
    _note_calibration(calibration, run, constraint.board.name, listener)
    model.check_dataset(dataset)
    splits = find_splits(model, dataset, settings.data_dir, listener)
    identity = _identity(settings, splits.dataset if dataset == "auto" else dataset, constraint)
    if splits.dataset != identity["DATASET"]:
        identity["DATA"] = splits.dataset  # a user's own, whose content may change while its path does not
    if model.digest:
        identity["NETWORK"] = model.digest  # of a user's own, whose file may change while its path does not
    run.check(identity)

    seen = splits.for_search()
    weights = find_weights(model, seen, run / PRETRAINED, settings.seed)
    if weights is None:
        listener.note(f"no pretrained weights of {model.name} on {splits.dataset}; pretraining them, once for this run")
        check_before_pretraining(untrained(model, seen, settings.seed), seen, constraint, settings.top_k_of(model), calibration)
        weights = _pretrain(model, seen, settings, run / PRETRAINED, listener)
    listener.note(f"{model.name} on {splits.dataset}: the float network has {weights.search_accuracy:.2%} on the search split")
    listener.note(f"asking FINN what {model.name} costs on a {constraint.board.title}")
    device = resolve_device(settings.device)
    evaluator = Evaluator(
        weights, seen, constraint, settings.retrain_images, settings.seed, device, settings.top_k_of(model), calibration
    )
    decisions = Decisions(evaluator.specs, reach_under(constraint, evaluator.tables, calibration))
    if not run.identity:
        (run / OF_A_RUN).unlink(missing_ok=True)
        if calibration:
            write_text(run / OF_A_RUN, calibration.to_json())
    run.claim(identity)
    searcher = make_searcher(settings.searcher, decisions, settings.seed)
    store = TrialStore(run / "trials.db", f"{model.name}-{constraint.board.name}")

    data = {"classes": list(splits.classes), "preparation": splits.preparation and splits.preparation.to_dict()}

    def outcome(trials: list[Trial]) -> Outcome:
        best = best_trial(trials)
        return Outcome(
            run.identity, settings.final_images, versions(), evaluator.specs, constraint,
            len(trials), best, best.estimate, weights.search_accuracy, data=data, calibration=calibration,
        )  # fmt: skip

    def on_trial(trials: list[Trial]) -> None:
        now = outcome(trials)
        if not _holds(run / "policy.json", now.best):
            write_json(run / "policy.json", policy_document(now))
        detail = f"best {now.best.accuracy:.2%} at {now.best.estimate.fps:,.0f} fps, last {trials[-1].accuracy:.2%}"
        listener.advance("trials", len(trials), max(settings.n_trials + n_carried, len(trials)), detail)

    n_carried = carry_over(earlier, decisions, evaluator, store)
    trials = run_trials(searcher, evaluator, store, settings.n_trials + n_carried, on_trial)
    return _finish(settings, run, splits, evaluator, outcome(trials), listener)


def _note_calibration(calibration: Calibration | None, run: RunDirectory, board: str, listener: Listener) -> None:
    """Say which calibration a search has, and that there is a newer one."""
    if calibration:
        whose = ", of the simulated board" if calibration.simulated else ""
        listener.note(
            f"estimates are corrected by calibration {calibration.digest} from {calibration.n_records} records{whose}"
        )
    if run.identity and is_newer(board, calibration):
        listener.note(f"{default_path(board)} is newer than this run; name another RUN to search with it")


def carry_over(earlier: Sequence[Trial], decisions: Decisions, evaluator: Evaluator, store: TrialStore) -> int:
    """Make earlier trials the first ones of a store, where the policy still can meet the constraint.

    Returns:
        How many there are.
    """
    kept = {trial.policy for trial in store.trials()}
    carried: dict[BitPolicy, float] = {}
    for trial in earlier:
        try:
            decisions.replay(trial.policy)
        except ConstraintError:
            continue
        carried.setdefault(trial.policy, trial.accuracy)
    for number, (policy, known) in enumerate(carried.items()):
        evaluator.remember_accuracy(policy, known)
        if policy not in kept:
            estimate = evaluator.score(policy).estimate
            store.add(Trial(number, policy, estimate, known, known, evaluator.seed, 0.0))
    return len(carried)


def check_before_pretraining(
    untrained: Pretrained, splits: SearchSplits, constraint: Constraint, top_k: int, calibration: Calibration | None = None
) -> None:
    """Look whether a constraint can be met before minutes are spent on pretraining.

    What a policy costs depends on the weights, but only a little: they size the accumulators.

    Raises:
        ConstraintError: no policy meets it.
    """
    evaluator = Evaluator(
        untrained, splits, constraint, retrain_images=1, seed=untrained.seed, top_k=top_k, calibration=calibration
    )
    smallest = evaluator.estimator.estimate(BitPolicy.uniform(evaluator.specs, 1, 1), constraint.limits)
    if constraint.violation(smallest) > 0:  # nearly always no policy is smaller; Reach is sure, but slow
        reach_under(constraint, evaluator.tables, calibration)


def _holds(policy_file: Path, trial: Trial) -> bool:
    """Whether a `policy.json` is there and about this trial."""
    try:
        document = json.loads(policy_file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(document, dict) and document.get("trial") == trial.number


def _uniform_results(evaluator: Evaluator, listener: Listener) -> tuple[UniformResult, ...]:
    results = []
    for i, bits in enumerate(UNIFORM_BITS):
        score = evaluator.score(BitPolicy.uniform(evaluator.specs, bits, bits))
        results.append(UniformResult(bits, score.accuracy, score.estimate))
        listener.advance("uniform policies", i + 1, len(UNIFORM_BITS), f"{bits} bits: {score.accuracy:.2%}")
    return tuple(results)


def _finish(
    settings: SearchSettings, run: RunDirectory, splits: Splits, evaluator: Evaluator, found: Outcome, listener: Listener
) -> Outcome:
    """Compare the best policy with uniform ones, retrain, score, export and estimate it, and write it all down.

    Where all that was done, by an earlier call with the same best trial, it is not done again.
    """
    done = _finished(settings, run, found)
    if done is not None:
        listener.note(f"nothing is left to do: {run / 'policy.json'} is of this trial, and finally retrained")
        return done
    uniform = _uniform_results(evaluator, listener)
    policy = found.best.policy
    effort = evaluator.final_effort(settings.final_images)
    left, _ = _retrained(run, splits, evaluator, policy, effort, "final retraining", listener)
    done = replace(
        found,
        estimate=left.estimate,
        search_accuracy=left.search_accuracy,
        test_accuracy=left.test_accuracy,
        uniform=uniform,
    )
    write_json(run / "policy.json", policy_document(done))
    write_text(run / "summary.md", summary(done))
    _checkpoint(run, policy).unlink(missing_ok=True)
    return done


def _finished(settings: SearchSettings, run: RunDirectory, found: Outcome) -> Outcome | None:
    """What an earlier call left of the same search, if it came to its end."""
    left = ("summary.md", "model.onnx", "golden.npz", "weights.pt")
    if not _holds(run / "policy.json", found.best) or not all((run / name).is_file() for name in left):
        return None
    document = json.loads((run / "policy.json").read_text(encoding="utf-8"))
    try:
        wanted = (found.best.policy.digest, found.n_trials, settings.final_images)
        if (document["policy_digest"], document["n_trials"], document["final_images"]) != wanted:
            return None
        scores, estimate = document["accuracy"], Estimate.from_dict(document["estimate"])
        if scores["final_test"] is None:
            return None
        search_accuracy, test_accuracy = float(scores["final_search"]), float(scores["final_test"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    return replace(found, estimate=estimate, search_accuracy=search_accuracy, test_accuracy=test_accuracy)


def _checkpoint(run: RunDirectory, policy: BitPolicy) -> Path:
    """Where the retraining of a policy is gone on from; it is of no more use when all results are written."""
    return run / f"retraining-{policy.digest}.pt"


def _retrained(
    run: RunDirectory, splits: Splits, evaluator: Evaluator, policy: BitPolicy, effort: Effort, work: str, listener: Listener
) -> tuple[HandedOver, Converged]:
    """Retrain a policy, or go on with it, and write what it leaves; `work` is what the listener is told of."""
    network, ended = evaluator.retrain(
        policy, effort, _checkpoint(run, policy), lambda done, total, detail: listener.advance(work, done, total, detail)
    )
    return hand_over(run, splits, evaluator, policy, network), ended


def retrain(path: Path, effort: Effort, settings: SearchSettings, listener: Listener) -> tuple[dict[str, Any], Converged]:
    """Retrain the best policy of a run to convergence, and leave the results in the run's files.

    Interrupted, it goes on from the last epoch when it is called again.

    Args:
        path: the run's directory.
        effort: how long.
        settings: where data is, on which device and how many threads; the rest is the run's.
        listener: told of every epoch.

    Returns:
        The content of `policy.json` as it is then, and how the retraining ended.

    Raises:
        RunDirectoryError: there is no such run.
        Any other of `flow.errors.BITLOOP_ERRORS`.
    """
    run, settings = settings_of(path, settings)
    settings.check()
    prepare_process(settings.n_threads)
    policy = read_policy(run / "policy.json")
    model = get_model(settings.model)
    model.check_dataset(settings.dataset)
    splits = find_splits(model, settings.dataset, settings.data_dir, listener)
    weights = find_weights(model, splits.for_search(), run / PRETRAINED, settings.seed)
    if weights is None:
        own = run / PRETRAINED
        raise RunDirectoryError(f"{own} is not there, and no weights of {model.name} ship; run make search again")
    constraint = Constraint(get_board(settings.board), settings.min_fps or model.min_fps, settings.max_utilisation)
    device = resolve_device(settings.device)
    calibration = calibration_for(AUTO, constraint.board.name, run.path, True)
    evaluator = Evaluator(
        weights, splits.for_search(), constraint, settings.retrain_images, settings.seed, device, settings.top_k_of(model),
        calibration,
    )  # fmt: skip
    policy.check_against(evaluator.specs)
    left, ended = _retrained(run, splits, evaluator, policy, effort, "retraining", listener)
    document = json.loads((run / "policy.json").read_text(encoding="utf-8"))
    document |= estimate_document(left.estimate, constraint, policy)
    document["accuracy"] |= {"final_search": left.search_accuracy, "final_test": left.test_accuracy}
    document["retraining"] = {"epochs": ended.n_epochs, "best_epoch": ended.best_epoch, **asdict(effort)}
    write_json(run / "policy.json", document)
    _checkpoint(run, policy).unlink(missing_ok=True)
    return document, ended


def settings_of(path: Path, told: SearchSettings) -> tuple[RunDirectory, SearchSettings]:
    """A run that has begun, and the settings it began with; where data is and on what to train is told."""
    if not (path / IDENTITY_FILE).is_file():
        raise RunDirectoryError(f"RUN={path} holds no run; make search begins one")
    run = RunDirectory(path)
    i = run.identity
    try:
        begun = {
            "model": i["MODEL"], "board": i["BOARD"], "dataset": i["DATASET"], "seed": i["SEED"], "min_fps": i["MIN_FPS"],
            "max_utilisation": i["MAX_UTIL"], "searcher": i["SEARCHER"], "retrain_images": i["RETRAIN_IMAGES"],
            "top_k": i.get("TOP_K", 0),  # runs of bitloop 0.1 handed on the logits
        }  # fmt: skip
    except KeyError as error:
        raise RunDirectoryError(f"{path / IDENTITY_FILE} lacks {error}; make search begins a run anew") from error
    return run, told.model_copy(update={**begun, "run_dir": path})
