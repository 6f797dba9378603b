"""The main jobs, end to end: `search`, `retrain` and `pretrain_weights`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from flow.calibration import AUTO, OF_A_RUN, calibration_for, default_path, is_newer
from flow.config import SearchSettings
from flow.constraint import Constraint, reach_under
from flow.decision import Decisions
from flow.errors import RunDirectoryError, SettingsError
from flow.evaluator import Evaluator
from flow.finalists import confirm, unconfirmed
from flow.finishing import checkpoint_of, document_of, finish, holds, retrained
from flow.objective import Objective
from flow.pareto import pareto_document
from flow.policy_file import read_policy
from flow.progress import Listener
from flow.provenance import provenance
from flow.ray_workers import workers_of
from flow.report import Outcome, estimate_document
from flow.run_directory import IDENTITY_FILE, TRIALS_FILE, RunDirectory, versions, write_json, write_text
from flow.run_lock import locked
from flow.searchers import Informed, make_searcher
from flow.store import TrialStore, study_name
from flow.study import n_own, run_trials
from flow.trial import Trial
from flow.warm_start import PRETRAINED, carry_over, check_earlier, earlier_trials, hand_on_weights
from flow.watch.scalars import Scalars
from hls.calibrate import Calibration
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


def _pretrain(
    model: ModelInfo, splits: SearchSplits, settings: SearchSettings, path: Path, listener: Listener, epochs: int | None = None
) -> Pretrained:
    """Train float weights into a file, or go on with it where it was interrupted."""
    checkpoint = path.with_name(f"{path.stem}.pretraining.pt")
    path.parent.mkdir(parents=True, exist_ok=True)

    def progress(done: int, total: int, loss: float) -> None:
        listener.advance("pretraining", done, total, f"loss {loss:.3f}")

    n_images = None if epochs is None else epochs * len(splits.train)
    weights = pretrain(model, splits, settings.seed, progress, resolve_device(settings.device), checkpoint, n_images)
    write_pretrained(weights, path)
    checkpoint.unlink(missing_ok=True)
    return weights


def untrained(model: ModelInfo, splits: SearchSplits, seed: int) -> Pretrained:
    """Weights as a pretraining begins with: good enough to see whether a constraint can be met at all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = model.build(None, splits.n_classes).state_dict()
    return Pretrained(model.name, splits.dataset, splits.n_classes, seed, 1 / splits.n_classes, state)


def pretrain_weights(
    settings: SearchSettings, out: Path | None, listener: Listener, epochs: int | None = None
) -> tuple[Path, Pretrained, float]:
    """Pretrain a model on a data set and keep the weights in a file, unless named the one that ships.

    Args:
        settings: which model, data set, seed, threads and device.
        out: the file.
        listener: is told how it gets on.
        epochs: passes over the train split, 1 or more; None for what the model's recipe says.

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
    weights = _pretrain(model, splits.for_search(), settings, path, listener, epochs)
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
        "OBJECTIVE": settings.objective,
        **({} if settings.min_accuracy is None else {"MIN_ACCURACY": settings.min_accuracy}),
        "HALVING": int(settings.halving),
    }


def search(settings: SearchSettings, listener: Listener, earlier: Sequence[Trial] = ()) -> Outcome:
    """Search for the best policy, retrain it, and leave everything in the run directory.

    A run that was interrupted goes on where it stopped; a finished one with more trials asked for
    takes those up.

    Args:
        settings: what to search.
        listener: is told how it gets on.
        earlier: trials of searches of the same network, data, seed and retraining (see `flow.warm_start`). Those that can meet
            the constraint become the first trials of this one, with the accuracy they had; they come on top of `n_trials`.

    Raises:
        Any of `flow.errors.BITLOOP_ERRORS`; trials finished before it stay in the store.
    """
    settings.check()
    _ = settings.constraint  # a wrong one is said before there is a directory
    with locked(settings.directory, listener.note):
        return _search(settings, listener, earlier)


def _search(settings: SearchSettings, listener: Listener, earlier: Sequence[Trial]) -> Outcome:
    prepare_process(settings.n_threads)
    model = get_model(settings.model)
    constraint = settings.constraint
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
    if settings.warm_start:
        if not run.identity:
            check_earlier(settings.warm_start, identity)
            hand_on_weights(settings.warm_start, run.path)
        elif "WARM_START" not in run.identity:
            raise RunDirectoryError(f"{run.path} holds a run that began without WARM_START; leave it out, or name another RUN")
        identity["WARM_START"] = str(settings.warm_start)
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

    def make() -> Evaluator:
        return Evaluator(
            weights, seen, constraint, settings.retrain_images, settings.seed, device, settings.top_k_of(model), calibration,
            settings.sought, settings.halving,
        )  # fmt: skip

    evaluator = make()
    decisions = Decisions(evaluator.specs, reach_under(constraint.of_a_trial, evaluator.tables, calibration))
    if not run.identity:
        (run / OF_A_RUN).unlink(missing_ok=True)
        if calibration:
            write_text(run / OF_A_RUN, calibration.to_json())
    run.claim(identity)
    searcher = make_searcher(settings.searcher, decisions, settings.seed)
    store = TrialStore(run / TRIALS_FILE, study_name(model.name, constraint))
    store.claim(run.identity)

    made_by = provenance(seen)
    scalars = Scalars(run.path, constraint.board.capacity)
    data = {"classes": list(splits.classes), "preparation": splits.preparation and splits.preparation.to_dict()}

    def outcome(trials: list[Trial], best: Trial) -> Outcome:
        return Outcome(
            run.identity, settings.final_images, versions(), evaluator.specs, constraint,
            n_own(trials), best, best.estimate, weights.search_accuracy, data=data, calibration=calibration, made_by=made_by,
        )  # fmt: skip

    def on_trial(trials: list[Trial]) -> None:
        now = outcome(trials, max(trials, key=lambda t: settings.sought.rank(t, constraint.limits)))
        scalars.on_trial(trials)
        _note_failure(trials[-1], listener)
        if not holds(run / "policy.json", now):
            write_json(run / "policy.json", document_of(now, settings.sought))
        detail = f"best {now.best.accuracy:.2%} at {now.best.estimate.fps:,.0f} fps, last {trials[-1].accuracy:.2%}"
        listener.advance("trials", n_own(trials), max(settings.n_trials + n_carried, n_own(trials)), detail)

    if settings.warm_start and store.n_carried is None:
        earlier = earlier_trials(settings.warm_start, weights.search_accuracy)
    n_carried = carry_over(earlier, decisions, evaluator, store)
    if n_carried:
        listener.note(f"{n_carried} trials of earlier runs can meet the constraint: the searcher is told of them first")
    if isinstance(searcher, Informed) and (beyond := store.beyond):
        listener.note(f"{len(beyond)} others cannot: the searcher's model learns from their accuracies")
    with workers_of(settings, evaluator, make, listener) as workers:
        trials = run_trials(searcher, evaluator, workers, store, settings.n_trials + n_carried, on_trial)
    write_json(run / "pareto.json", pareto_document(trials, constraint.board))
    finalists = confirm(trials, searcher, evaluator, store, settings.finalists, listener)
    found = outcome(trials, finalists[0].trial if finalists else unconfirmed(trials, searcher, evaluator))
    _note_floor(settings.sought, found.best.accuracy if not finalists else finalists[0].accuracy, listener)
    return finish(settings, run, splits, evaluator, found, finalists, listener)


def _note_failure(trial: Trial, listener: Listener) -> None:
    """Say that a trial failed, if so."""
    if trial.failure:
        listener.note(f"trial {trial.number} failed: {trial.failure}; {trial.policy} counts as 0 and the search goes on")


def _note_floor(objective: Objective, accuracy: float, listener: Listener) -> None:
    """Say that no policy was found to be accurate enough, if so."""
    if accuracy < objective.floor:
        listener.note(
            f"no policy was found that keeps MIN_ACCURACY={objective.floor:g}: the best has {accuracy:.2%} on the search "
            f"split; set it to {accuracy:.4f} or less, raise TRIALS or RETRAIN_IMAGES, or allow a larger MAX_UTIL"
        )


def _note_calibration(calibration: Calibration | None, run: RunDirectory, board: str, listener: Listener) -> None:
    """Say which calibration a search has, and that there is a newer one."""
    if calibration:
        whose = ", of the simulated board" if calibration.simulated else ""
        listener.note(
            f"estimates are corrected by calibration {calibration.digest} from {calibration.n_records} records{whose}"
        )
    if run.identity and is_newer(board, calibration):
        listener.note(f"{default_path(board)} is newer than this run; name another RUN to search with it")


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
    smallest = evaluator.estimate(BitPolicy.uniform(evaluator.specs, 1, 1))
    if constraint.of_a_trial.violation(smallest) > 0:  # nearly always no policy is smaller; Reach is sure, but slow
        reach_under(constraint.of_a_trial, evaluator.tables, calibration)


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
    if not (path / IDENTITY_FILE).is_file():
        settings_of(path, settings)
    with locked(path, listener.note):
        return _retrain(path, effort, settings, listener)


def _retrain(path: Path, effort: Effort, settings: SearchSettings, listener: Listener) -> tuple[dict[str, Any], Converged]:
    run, settings, splits, evaluator = of_run(path, settings, listener)
    policy = read_policy(run / "policy.json")
    policy.check_against(evaluator.specs)
    left, ended = retrained(run, splits, evaluator, policy, effort, "retraining", listener)
    document = json.loads((run / "policy.json").read_text(encoding="utf-8"))
    document |= estimate_document(left.estimate, evaluator.constraint, policy)
    document["accuracy"] |= {"final_search": left.search_accuracy, "final_test": left.test_accuracy}
    document["retraining"] = {"epochs": ended.n_epochs, "best_epoch": ended.best_epoch, **asdict(effort)}
    write_json(run / "policy.json", document)
    checkpoint_of(run, policy).unlink(missing_ok=True)
    return document, ended


def of_run(path: Path, settings: SearchSettings, listener: Listener) -> tuple[RunDirectory, SearchSettings, Splits, Evaluator]:
    """A run that has begun: its directory, its settings, its data, and what evaluated its trials.

    Args:
        path: the run's directory.
        settings: where data is, on which device and how many threads; the rest is the run's.
        listener: told of every step.

    Raises:
        RunDirectoryError: there is no such run, or its weights are gone.
        Any other of `flow.errors.BITLOOP_ERRORS`.
    """
    run, settings = settings_of(path, settings)
    settings.check()
    prepare_process(settings.n_threads)
    model = get_model(settings.model)
    model.check_dataset(settings.dataset)
    splits = find_splits(model, settings.dataset, settings.data_dir, listener)
    weights = find_weights(model, splits.for_search(), run / PRETRAINED, settings.seed)
    if weights is None:
        own = run / PRETRAINED
        raise RunDirectoryError(f"{own} is not there, and no weights of {model.name} ship; run make search again")
    constraint = settings.constraint
    device = resolve_device(settings.device)
    calibration = calibration_for(AUTO, constraint.board.name, run.path, True)
    evaluator = Evaluator(
        weights, splits.for_search(), constraint, settings.retrain_images, settings.seed, device, settings.top_k_of(model),
        calibration, settings.sought,
    )  # fmt: skip
    return run, settings, splits, evaluator


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
            "objective": i.get("OBJECTIVE", "accuracy"), "min_accuracy": i.get("MIN_ACCURACY"),
            "halving": bool(i.get("HALVING", 0)),
        }  # fmt: skip
    except KeyError as error:
        raise RunDirectoryError(f"{path / IDENTITY_FILE} lacks {error}; make search begins a run anew") from error
    return run, told.model_copy(update={**begun, "run_dir": path})
