"""Where trials are kept: an Optuna study in an SQLite file that is only ever added to."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.distributions import IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError

from flow.constraint import Constraint
from flow.errors import StoreError
from flow.trial import Trial
from hls.types import Estimate
from models.errors import PolicyError
from models.policy import MAX_BITS, MIN_BITS, BitPolicy


def study_name(model: str, constraint: Constraint) -> str:
    """What the study of a run is called."""
    return f"{model}-{constraint.board.name}"


CARRIED, BEYOND, RUN = "trials carried over", "accuracies of policies beyond the constraint", "run"
BITS = IntDistribution(MIN_BITS, MAX_BITS)
# The last two: Optuna reads what it keeps as JSON, which in a damaged file it is not, or is nested too deeply.
STORAGE_ERRORS: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, ValueError, RecursionError)


@dataclass(frozen=True)
class Elsewhere(Trial):
    """A trial that another run of a shared study did (`flow.exchange`).

    Attributes:
        number: of this run, below 0, as it is none that this run's searcher asked for.
        run: that did it.
        searcher: of that run.
        number_there: the trial's in that run.
    """

    run: str = ""
    searcher: str = ""
    number_there: int = 0


class Again(Protocol):
    """Keeps what policies had when they were retrained once more, for other runs, too."""

    def add_again(self, policy: BitPolicy, n_images: int, seed: int, accuracy: float) -> None:
        """See `TrialStore.add_again`."""
        ...

    def again(self, policy: BitPolicy, n_images: int, seed: int) -> float | None:
        """See `TrialStore.again`."""
        ...


class TrialStore:
    """The finished trials of a run, in `trials.db`; Optuna's own tools open it.

    A trial's bits are its parameters (`conv0.weight`, `conv0.act`, …), its reward is the value, the
    rest are attributes. A trial is written in one transaction when it is finished, so a search that
    is killed loses the trial it was at and nothing else.

    Args:
        path: of the SQLite file, made if it is not there.
        study: the study's name.

    Attributes:
        shared: where other runs of the same study look, if it is a shared one.

    Raises:
        StoreError: the file cannot be read or written as an Optuna storage, here or in any method.
    """

    shared: Again | None = None

    def __init__(self, path: Path, study: str) -> None:
        self.path = path
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._translated((*STORAGE_ERRORS, RuntimeError)):  # the last for a file of another version of Optuna
            self._storage = optuna.storages.RDBStorage("sqlite:///trials.db", engine_kwargs={"creator": self._connect})
            self._study = optuna.create_study(
                storage=self._storage, study_name=study, direction="maximize", load_if_exists=True
            )

    def _connect(self) -> sqlite3.Connection:
        """To the file itself: SQLAlchemy's URLs do not take every path."""
        return sqlite3.connect(self.path, check_same_thread=False)

    @contextlib.contextmanager
    def _translated(self, errors: tuple[type[Exception], ...] = STORAGE_ERRORS) -> Iterator[None]:
        try:
            yield
        except errors as error:
            root: BaseException = error
            while root.__cause__ is not None:  # Optuna wraps SQLAlchemy, SQLAlchemy wraps SQLite
                root = root.__cause__
            reason = (str(root) or type(root).__name__).splitlines()[0]
            raise StoreError(
                f"the store of trials {self.path} cannot be used ({reason}); "
                f"free some space if the disk is full, or move the file away to begin anew"
            ) from error

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Say which run this store is of, as its `run.json` has it; one that is known already must be the same.

        Of trials that were written before stores said so only the seeds can be looked at.

        Raises:
            StoreError: it is another run's, and the text names the first difference; or it holds other studies only.
        """
        wanted = json.loads(json.dumps(identity))
        with self._translated():
            known = self._study.user_attrs.get(RUN)
            others = sorted({*optuna.get_all_study_names(self._storage)} - {self._study.study_name})
        if known is None:
            trials = self.trials()
            if others and not trials:
                raise StoreError(
                    f"{self.path} holds trials of {', '.join(others)} and none of {self._study.study_name}; "
                    "move the file away to begin anew"
                )
            said = {**wanted, **({"SEED": trials[0].seed} if trials else {})}
        else:
            said = known
        for name in {**wanted, **said}:
            if said.get(name) != wanted.get(name):
                raise StoreError(
                    f"{self.path} holds trials of a run with {name}={said.get(name)}, this one has {name}={wanted.get(name)}; "
                    "put back the file that belongs here, or move it away to begin anew"
                )
        if known is None:
            with self._translated():
                self._study.set_user_attr(RUN, wanted)

    def add(self, trial: Trial) -> None:
        """Write one finished trial."""
        params = params_of(trial.policy)
        with self._translated():
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=params,
                    distributions=dict.fromkeys(params, BITS),
                    value=trial.reward,
                    user_attrs=attributes_of(trial),
                )
            )

    def trials(self) -> list[Trial]:
        """All finished trials, in the order in which they came to their end or, of those done elsewhere, were heard of."""
        with self._translated():
            found = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return [trial_of(frozen, str(self.path)) for frozen in sorted(found, key=lambda frozen: frozen.number)]

    @property
    def n_carried(self) -> int | None:
        """How many of the first trials were carried over from earlier runs; None where that was not settled."""
        with self._translated():
            found = self._study.user_attrs.get(CARRIED)
        return None if found is None else int(found)

    @n_carried.setter
    def n_carried(self, n: int) -> None:
        with self._translated():
            self._study.set_user_attr(CARRIED, n)

    @property
    def beyond(self) -> list[tuple[BitPolicy, float]]:
        """Policies of earlier runs that cannot meet this run's constraint, and their accuracies, 0..1.

        Raises:
            StoreError: bitloop did not write them.
        """
        with self._translated():
            found = self._study.user_attrs.get(BEYOND, [])
        try:
            return [(BitPolicy.from_json(policy), float(accuracy)) for policy, accuracy in found]
        except (TypeError, ValueError, AttributeError, RecursionError, PolicyError) as error:
            raise StoreError(
                f"what {self.path} keeps of earlier runs is not as bitloop writes it ({type(error).__name__}: "
                f"{' '.join(str(error).split())}); move the file away to begin anew"
            ) from error

    @beyond.setter
    def beyond(self, accuracies: list[tuple[BitPolicy, float]]) -> None:
        with self._translated():
            self._study.set_user_attr(BEYOND, [(policy.to_json(), accuracy) for policy, accuracy in accuracies])

    def add_again(self, policy: BitPolicy, n_images: int, seed: int, accuracy: float) -> None:
        """Write what a policy had when it was retrained once more, on so many images, with another seed."""
        with self._translated():
            self._study.set_user_attr(again_name(policy, n_images, seed), accuracy)
        if self.shared is not None:
            self.shared.add_again(policy, n_images, seed, accuracy)

    def again(self, policy: BitPolicy, n_images: int, seed: int) -> float | None:
        """What `add_again` was told, here or by another run of a shared study; None where there is nothing."""
        with self._translated():
            found = self._study.user_attrs.get(again_name(policy, n_images, seed))
        if found is None and self.shared is not None:
            return self.shared.again(policy, n_images, seed)
        return None if found is None else float(found)


def params_of(policy: BitPolicy) -> dict[str, int]:
    """The bits of a policy as an Optuna trial's parameters."""
    params = {}
    for name, bits in policy.items():
        params[f"{name}.weight"] = bits.weight
        if bits.act is not None:
            params[f"{name}.act"] = bits.act
    return params


def attributes_of(trial: Trial) -> dict[str, Any]:
    """All else of a trial, as JSON has it."""
    used = trial.estimate.resources
    elsewhere = (
        {"run": trial.run, "searcher": trial.searcher, "number_there": trial.number_there}
        if isinstance(trial, Elsewhere)
        else {}
    )
    return {
        "number": trial.number,
        "accuracy": trial.accuracy,
        "fps": trial.estimate.fps,
        "latency_ms": trial.estimate.latency_ms,
        "lut": used.lut,
        "bram18": used.bram18,
        "dsp": used.dsp,
        "policy": trial.policy.to_json(),
        "estimate": json.dumps(trial.estimate.to_dict()),
        "seed": trial.seed,
        "rungs": json.dumps(dict(trial.rungs)),
        "stopped_at": trial.stopped_at,
        "duration_s": trial.duration_s,
        "n_told": trial.n_told,
        "failure": trial.failure,
        **elsewhere,
    }


def trial_of(frozen: FrozenTrial, store: str) -> Trial:
    """The trial that Optuna has.

    Raises:
        StoreError: bitloop did not write it; the text names the store.
    """
    a = frozen.user_attrs
    try:
        facts: dict[str, Any] = {
            "number": int(a["number"]),
            "policy": BitPolicy.from_json(a["policy"]),
            "estimate": Estimate.from_dict(json.loads(a["estimate"])),
            "accuracy": float(a["accuracy"]),
            "reward": float(frozen.values[0]),
            "seed": int(a["seed"]),
            "duration_s": float(a["duration_s"]),
            "rungs": json.loads(a.get("rungs", "{}")),
            "stopped_at": a.get("stopped_at"),
            "n_told": None if (n_told := a.get("n_told")) is None else int(n_told),
            "failure": str(a.get("failure", "")),
        }
        if "run" not in a:
            return Trial(**facts)
        there = int(a.get("number_there", a["number"]))
        return Elsewhere(**facts, run=str(a["run"]), searcher=str(a.get("searcher", "")), number_there=there)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError, PolicyError) as error:
        raise StoreError(
            f"trial {frozen.number} in {store} is not as bitloop writes them "
            f"({type(error).__name__}: {' '.join(str(error).split())}); "
            f"move the file away to begin anew"
        ) from error


def again_name(policy: BitPolicy, n_images: int, seed: int) -> str:
    """What the accuracy of a policy that was retrained once more is kept by."""
    return f"accuracy of {policy.digest}, {n_images} images, seed {seed}"
