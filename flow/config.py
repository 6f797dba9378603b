"""Settings of a search; the one place that reads the environment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from boards.registry import get_board
from flow.constraint import ANY_FPS, Constraint
from flow.errors import SettingsError
from flow.objective import Goal, Objective
from flow.searchers import check_searcher
from flow.storage_url import parse_storage
from models.data import dataset_info
from models.device import resolve_device
from models.own_network import plain_name
from models.registry import ModelInfo, get_model

DEFAULT_TRIALS = 30
DEFAULT_MAX_UTILISATION = 0.85
MAX_THREADS = 8  # more do not help networks of this size
MAX_SEED = 2**31 - 1  # NumPy's global generator, which stable-baselines3 seeds, ends at 2**32 - 1
MAX_STUDY = 200  # Optuna's tables hold 512
_PASSWORD = "BITLOOP_BOARD_PASSWORD"
_STORAGE = "BITLOOP_STORAGE"


def default_data_dir() -> Path:
    """Where data sets are looked for: $DATA_DIR, else `data` in the working directory."""
    return Path(os.environ.get("DATA_DIR") or "data")


def cache_dir() -> Path:
    """Where is kept what can be made again: $XDG_CACHE_HOME/bitloop, else ~/.cache/bitloop."""
    told = os.environ.get("XDG_CACHE_HOME")
    return (Path(told) if told else Path("~/.cache").expanduser()) / "bitloop"


def default_threads() -> int:
    """Threads for training: the processors this process may use, at most `MAX_THREADS`."""
    return min(len(os.sched_getaffinity(0)), MAX_THREADS)


def board_password() -> str | None:
    """The password for a board, of $BITLOOP_BOARD_PASSWORD; None where that is not set."""
    return os.environ.get(_PASSWORD)


def shared_storage() -> str | None:
    """The URL of a shared store, of $BITLOOP_STORAGE, which no list of processes shows; None where that is not set."""
    return os.environ.get(_STORAGE) or None


def environment() -> dict[str, str]:
    """The environment, for what looks for tools in it or starts them with it; without any password of bitloop's."""
    return {name: value for name, value in os.environ.items() if name not in (_PASSWORD, _STORAGE)}


def keep_ray_quiet() -> None:
    """Have Ray report nothing to its makers, which it does unless told otherwise by the environment; before it is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


class SearchSettings(BaseModel):
    """What a search is asked to do.

    Attributes:
        model, board, dataset, searcher: names; `dataset` may be "auto" or a path, `board` the path of a TOML file.
        data_dir: where `<name>.npz` files are; $DATA_DIR, else `data`.
        run_dir: where results go; None for `runs/<model>-<board>`.
        n_trials: trials in all, those of an interrupted run counted; 1 or more.
        seed: of everything random; 0 to 2,147,483,647.
        objective: accuracy, fps, latency or utilisation (`flow.objective.Goal`).
        min_accuracy: on the search split, above 0 and below 1, for all objectives but the first.
        min_fps: frames a second to reach; None for the model's own, for objectives fps and latency for any.
        max_utilisation: share of each resource that may be used, above 0 and at most 1.
        top_k: numbers of the best classes that the accelerator hands on, the best first; 0 for the logits. None for one
            where it can choose, which it cannot behind a bias or a norm of the last layer.
        retrain_images: images of the brief retraining a trial. At most two epochs are done. With 0 the reward is free of
            training: the accuracy of the quantized network with its norms re-estimated.
        halving: whether the retraining of a policy that does badly is stopped early (`flow.halving`).
        finalists: policies that are retrained with two other seeds in the end, the best of which is the answer; 1 for none.
        final_images: images of the final retraining; 1 or more. At most fifteen epochs are done.
        threads: for training; None for the processors at hand.
        device: for training: auto (the GPU where there is one), cpu, cuda or cuda:<number>.
        workers: processes that evaluate trials side by side (`flow.ray_workers`); 1 for this one alone.
        ray_address: of a Ray cluster that they run on, as Ray takes it; None for this machine.
        calibration: auto for the board's own where there is one (`flow.calibration`), none, or a path.
        storage: URL of a store that several runs share a study in (`flow.sharing`), as SQLAlchemy takes it; None for none. It
            may hold a password: it is not shown, and not carried to workers.
        warm_start: directory of an earlier run of the same network, data, seed and retraining, whose trials the searcher is
            told of first (`flow.warm_start`); None for none.
        study: what the study is called there; None for `<model>-<board>`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = "cnv"
    board: str = "pynq-z2"
    dataset: str = "auto"
    searcher: str = "model-based"
    data_dir: Path = Field(default_factory=default_data_dir)
    run_dir: Path | None = None
    n_trials: int = DEFAULT_TRIALS
    seed: int = 0
    objective: str = "accuracy"
    min_accuracy: float | None = None
    min_fps: float | None = None
    max_utilisation: float = DEFAULT_MAX_UTILISATION
    top_k: int | None = None
    retrain_images: int = 4096
    halving: bool = False
    finalists: int = 4
    final_images: int = 50_000
    threads: int | None = None
    device: str = "auto"
    calibration: str = "auto"
    workers: int = 1
    ray_address: str | None = None
    storage: SecretStr | None = None
    warm_start: Path | None = None
    study: str | None = None

    def __getstate__(self) -> dict[Any, Any]:
        """What is carried to workers: all but the storage, which may hold a password."""
        state = super().__getstate__()
        return {**state, "__dict__": {**state["__dict__"], "storage": None}}

    def check(self) -> None:
        """Look at every name and range before anything is loaded.

        Raises:
            UnknownModelError, UnknownBoardError, UnknownDatasetError: a name; the text holds the nearest.
            DeviceError: no such device here.
            SettingsError: a value outside its range.
        """
        get_model(self.model)
        get_board(self.board)
        if self.dataset != "auto":
            dataset_info(self.dataset)
        check_searcher(self.searcher)
        resolve_device(self.device)
        if not 0 <= self.seed <= MAX_SEED:
            raise SettingsError(f"SEED is {self.seed}; a whole number from 0 to {MAX_SEED} is wanted")
        if self.top_k is not None and self.top_k < 0:
            raise SettingsError(
                f"TOP_K is {self.top_k}; 1 or more for the numbers of so many classes, or 0 for the logits, is wanted"
            )
        Objective.named(self.objective, self.min_accuracy)
        if self.retrain_images < 0:
            raise SettingsError(f"RETRAIN_IMAGES is {self.retrain_images}; a whole number of 0 or more is wanted")
        if not self.retrain_images and self.finalists == 1:
            raise SettingsError(
                "RETRAIN_IMAGES=0 scores trials by a proxy, and FINALISTS=1 leaves the answer to it; let 2 or more be retrained"
            )
        if self.halving and not self.retrain_images:
            raise SettingsError("HALVING=1 stops retraining early, and RETRAIN_IMAGES=0 has none; leave one of them out")
        if self.halving and self.workers > 1:
            raise SettingsError(
                f"HALVING=1 stops a trial by what all before it had, which WORKERS={self.workers} do not know of each other; "
                "leave one of them out"
            )
        if self.halving and self.storage:
            raise SettingsError(
                "HALVING=1 stops a trial by what all before it had, which runs that share a STORAGE do not know of each other; "
                "leave one of them out"
            )
        if self.warm_start and self.storage:
            raise SettingsError(
                f"WARM_START={self.warm_start} and STORAGE both bring trials of other runs, and a shared study keeps its own; "
                "leave one of them out"
            )
        if self.storage:
            parse_storage(self.storage.get_secret_value())
        elif self.study is not None:
            raise SettingsError(f"STUDY={self.study} is a study in a shared STORAGE; say which, or leave it out")
        if self.study is not None and not 0 < len(self.study) <= MAX_STUDY:
            raise SettingsError(f"STUDY has {len(self.study)} characters; 1 to {MAX_STUDY} are wanted")
        for name, value in (
            ("TRIALS", self.n_trials),
            ("FINALISTS", self.finalists),
            ("FINAL_IMAGES", self.final_images),
            ("THREADS", self.n_threads),
            ("WORKERS", self.workers),
        ):
            if value < 1:
                raise SettingsError(f"{name} is {value}; a whole number of 1 or more is wanted")

    @property
    def sought(self) -> Objective:
        """What is to be best."""
        return Objective.named(self.objective, self.min_accuracy)

    @property
    def constraint(self) -> Constraint:
        """What every policy keeps to; where the frame rate or the latency is sought it may be any unless told."""
        any_rate = self.sought.goal in (Goal.FPS, Goal.LATENCY)
        own = ANY_FPS if any_rate else get_model(self.model).min_fps
        return Constraint(get_board(self.board), own if self.min_fps is None else self.min_fps, self.max_utilisation)

    def top_k_of(self, model: ModelInfo) -> int:
        """What `top_k` comes to for a network."""
        return int(model.ends_in_layer) if self.top_k is None else self.top_k

    @property
    def n_threads(self) -> int:
        """Threads for training."""
        return default_threads() if self.threads is None else self.threads

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.run_dir or Path("runs") / f"{plain_name(self.model)}-{Path(self.board).stem}"
