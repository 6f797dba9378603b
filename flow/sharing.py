"""A search that shares its study: which one, and what must be equal in all that share it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import torch

from flow.config import SearchSettings
from flow.evaluator import Evaluator
from flow.exchange import StudyExchange, open_storage, run_name
from flow.progress import Listener
from flow.provenance import data_digest
from flow.storage_url import StorageUrl, parse_storage
from flow.store import study_name
from models.registry import get_model


def check_storage(settings: SearchSettings) -> None:
    """Look whether the shared store of a search answers, before anything is loaded.

    Raises:
        StoreError: it does not.
        SettingsError, MissingExtraError: as `parse_storage`.
    """
    if settings.storage is not None:
        open_storage(_url_of(settings)).release()


@contextmanager
def exchange_of(settings: SearchSettings, evaluator: Evaluator, listener: Listener) -> Iterator[StudyExchange]:
    """A search's part in a shared study.

    Args:
        settings: which study, and where.
        evaluator: what evaluates policies here; its space must be the study's.
        listener: told whose study it is.

    Raises:
        StoreError: the store cannot be used.
        SettingsError: the study is of another space; the text names the first difference.
    """
    url = _url_of(settings)
    name = settings.study or study_name(get_model(settings.model).name, evaluator.constraint)
    exchange = StudyExchange(
        open_storage(url), url, name, space_of(settings, evaluator), run_name(settings.directory), settings.searcher,
        listener.note,
    )  # fmt: skip
    with closing(exchange):
        n_trials, n_runs = exchange.counts()
        listener.note(f"study {name} in {url.shown} is shared: {n_trials} trials of {n_runs} runs so far")
        yield exchange


def space_of(settings: SearchSettings, evaluator: Evaluator) -> dict[str, Any]:
    """What must be equal for one run's results to be another's: variable name, or what stands for it, to value.

    SEARCHER is not among them: different ones may share a study.
    """
    constraint, model = evaluator.constraint, get_model(settings.model)
    board, objective = constraint.board, settings.sought
    return {
        "MODEL": model.name,
        **({"NETWORK": model.digest} if model.digest else {}),
        "BOARD": board.name,
        "CAPACITY": _digest(repr(board)),
        "DATA": data_digest(evaluator.splits),
        "WEIGHTS": _weights_digest(evaluator.weights.state),
        "SEED": settings.seed,
        "MIN_FPS": constraint.min_fps,
        "MAX_UTIL": constraint.max_utilisation,
        "RETRAIN_IMAGES": settings.retrain_images,
        "TOP_K": evaluator.top_k,
        "OBJECTIVE": str(objective.goal),
        "MIN_ACCURACY": settings.min_accuracy,
        "CALIBRATION": evaluator.calibration.digest if evaluator.calibration else None,
    }


def _url_of(settings: SearchSettings) -> StorageUrl:
    return parse_storage(settings.storage.get_secret_value() if settings.storage else "")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _weights_digest(state: Mapping[str, torch.Tensor]) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
