"""Where trials are kept: an Optuna study in an SQLite file that is only ever added to."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

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


BITS = IntDistribution(MIN_BITS, MAX_BITS)
# The last two: Optuna reads what it keeps as JSON, which in a damaged file it is not, or is nested too deeply.
STORAGE_ERRORS: tuple[type[Exception], ...] = (SQLAlchemyError, StorageInternalError, ValueError, RecursionError)


class TrialStore:
    """The finished trials of a run, in `trials.db`; Optuna's own tools open it.

    A trial's bits are its parameters (`conv0.weight`, `conv0.act`, …), its reward is the value, the
    rest are attributes. A trial is written in one transaction when it is finished, so a search that
    is killed loses the trial it was at and nothing else.

    Args:
        path: of the SQLite file, made if it is not there.
        study: the study's name.

    Raises:
        StoreError: the file cannot be read or written as an Optuna storage, here or in any method.
    """

    def __init__(self, path: Path, study: str) -> None:
        self.path = path
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._translated((*STORAGE_ERRORS, RuntimeError)):  # the last for a file of another version of Optuna
            self._study = optuna.create_study(
                storage=f"sqlite:///{path}", study_name=study, direction="maximize", load_if_exists=True
            )

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

    def add(self, trial: Trial) -> None:
        """Write one finished trial."""
        params = {}
        for name, bits in trial.policy.items():
            params[f"{name}.weight"] = bits.weight
            if bits.act is not None:
                params[f"{name}.act"] = bits.act
        used = trial.estimate.resources
        attributes = {
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
        }
        with self._translated():
            self._study.add_trial(
                optuna.trial.create_trial(
                    params=params, distributions=dict.fromkeys(params, BITS), value=trial.reward, user_attrs=attributes
                )
            )

    def trials(self) -> list[Trial]:
        """All finished trials, in the order in which they came to their end."""
        with self._translated():
            found = self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        return [self._read(frozen) for frozen in sorted(found, key=lambda frozen: frozen.number)]

    def add_again(self, policy: BitPolicy, n_images: int, seed: int, accuracy: float) -> None:
        """Write what a policy had when it was retrained once more, on so many images, with another seed."""
        with self._translated():
            self._study.set_user_attr(_again(policy, n_images, seed), accuracy)

    def again(self, policy: BitPolicy, n_images: int, seed: int) -> float | None:
        """What `add_again` was told; None where there is nothing."""
        with self._translated():
            found = self._study.user_attrs.get(_again(policy, n_images, seed))
        return None if found is None else float(found)

    def _read(self, frozen: FrozenTrial) -> Trial:
        a = frozen.user_attrs
        try:
            return Trial(
                number=int(a["number"]),
                policy=BitPolicy.from_json(a["policy"]),
                estimate=Estimate.from_dict(json.loads(a["estimate"])),
                accuracy=float(a["accuracy"]),
                reward=float(frozen.values[0]),
                seed=int(a["seed"]),
                duration_s=float(a["duration_s"]),
                rungs=json.loads(a.get("rungs", "{}")),
                stopped_at=a.get("stopped_at"),
                n_told=None if (n_told := a.get("n_told")) is None else int(n_told),
                failure=str(a.get("failure", "")),
            )
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError, RecursionError, PolicyError) as error:
            raise StoreError(
                f"trial {frozen.number} in {self.path} is not as bitloop writes them "
                f"({type(error).__name__}: {' '.join(str(error).split())}); "
                f"move the file away to begin anew"
            ) from error


def _again(policy: BitPolicy, n_images: int, seed: int) -> str:
    return f"accuracy of {policy.digest}, {n_images} images, seed {seed}"
