"""Runs that share a study in a store on a server: who is at which policy, and what came of it."""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import DBAPIError, OperationalError

from flow.errors import SettingsError, StoreError
from flow.run_directory import write_json
from flow.storage_url import StorageUrl
from flow.store import BITS, STORAGE_ERRORS, Elsewhere, again_name, attributes_of, params_of, trial_of
from flow.trial import Trial
from models.files import read_json
from models.policy import BitPolicy

BEAT_S = 15.0
GRACE_S = 90.0  # without a beat, after which who is at a policy is taken for dead
PATIENCE_S = 60.0  # that a server may be away
POLL_S = 2.0
RUN_FILE = "sharing.json"
_SPACE = "space"
_AT_ONCE = ("already exists", "duplicate key", "UNIQUE constraint")  # what databases say of tables that two make at once
_OPEN, _DONE = TrialState.RUNNING, TrialState.COMPLETE
_T = TypeVar("_T")


@dataclass(frozen=True)
class SharedStorage:
    """Optuna's storage, and what closes the connections it keeps; it opens new ones where it is used again."""

    storage: BaseStorage
    release: Callable[[], None]


class StudyExchange:
    """One run's part in a shared study.

    Every policy that a run is about to evaluate is there as a running trial, its claim, which only one run can have: of two the
    one that came first. While it evaluates, it changes an attribute of the claim, the beat, every few seconds. A claim whose
    beat does not change is taken over by whom wants the policy; no clock of another machine matters for that. When the trial
    is done, the claim becomes the trial. One that failed counts for its own run alone.

    A server that is away is waited for, up to `patience_s`; after that it is an error, and what was found is in the run's own
    `trials.db`, from where it comes into the study as soon as the run goes on.

    Args:
        storage: where the study is.
        url: of it, as messages call it.
        study: the study's name.
        space: of this run, variable name to value: what must be equal for results to be comparable.
        run: a name of this run that no other one has.
        searcher: of this run.
        warn: told of a server that is away.
        beat_s, grace_s, patience_s, poll_s: in seconds.

    Raises:
        SettingsError: the study is of another space.
        StoreError: the store cannot be used, here or in any method.
    """

    def __init__(
        self, storage: SharedStorage, url: StorageUrl, study: str, space: Mapping[str, Any], run: str, searcher: str,
        warn: Callable[[str], None] = lambda text: None,
        beat_s: float = BEAT_S, grace_s: float = GRACE_S, patience_s: float = PATIENCE_S, poll_s: float = POLL_S,
    ) -> None:  # fmt: skip
        self._storage, self._release = storage.storage, storage.release
        self._url, self._name, self._run, self._searcher, self._warn = url, study, run, searcher, warn
        self._beat_s, self._grace_s, self._patience_s, self._poll_s = beat_s, grace_s, patience_s, poll_s
        self._known: set[BitPolicy] = set()
        self._claims: dict[BitPolicy, int] = {}
        self._seen: dict[int, tuple[Any, float]] = {}  # trial to its last beat, and when that was new
        self._ended = threading.Event()
        self._lock = threading.Lock()
        with ExitStack() as on_error:
            on_error.callback(self._release)
            with _translated(url):
                optuna.create_study(storage=self._storage, study_name=study, direction="maximize", load_if_exists=True)
                self._study_id = self._storage.get_study_id_from_name(study)
                self._check_space(dict(space))
            on_error.pop_all()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def close(self) -> None:
        """Give claims back that no trial came of, and beat no more; what is kept is still there to be asked for."""
        self._ended.set()
        self._heart.join(self._beat_s)
        for trial in self._claims.values():
            with suppress(*STORAGE_ERRORS, UpdateFinishedTrialError, StoreError):
                self._storage.set_trial_state_values(trial, TrialState.FAIL)
        self._claims = {}
        self._release()

    def counts(self) -> tuple[int, int]:
        """How many finished trials there are, and of how many runs."""
        found = self._patiently(lambda: self._trials(_DONE))
        return len(found), len({t.user_attrs.get("run") for t in found})

    def begin(self, trials: Sequence[Trial]) -> None:
        """Say what this run has: its trials become the study's, where that has no such policy, and old claims end."""
        self._known |= {trial.policy for trial in trials}
        self._patiently(self._fail_old_claims)
        done = {_policy_text(t) for t in self._patiently(lambda: self._trials(_DONE))}
        for trial in trials:
            if trial.policy.to_json() not in done and not isinstance(trial, Elsewhere):
                self.publish(trial)
                done.add(trial.policy.to_json())

    def _fail_old_claims(self) -> None:
        for trial in self._trials(_OPEN):
            if trial.user_attrs.get("run") == self._run:  # of a process that was killed: nothing of this run is under way yet
                self._fail(trial._trial_id)

    def claim(self, number: int, policy: BitPolicy) -> bool:
        """Whether a policy is this run's to evaluate; else another run is at it, or has done it, which `news` tells of."""
        return self._patiently(lambda: self._claim(number, policy))

    def _claim(self, number: int, policy: BitPolicy) -> bool:
        text = policy.to_json()
        mine = self._claims.get(policy)
        if mine is None:
            holder = self._holder(text)
            if holder is not None and holder.user_attrs.get("run") == self._run and holder.state == _OPEN:
                mine = holder._trial_id  # made before the connection broke
            elif holder is not None and not (holder.state == _OPEN and self._is_dead(holder)):
                return False
            else:
                if holder is not None:
                    self._fail(holder._trial_id)
                mine = self._storage.create_new_trial(self._study_id, self._claim_of(number, policy, text))
                first = self._holder(text)
                if first is not None and first._trial_id != mine:  # another one was faster
                    self._fail(mine)
                    return False
            with self._lock:
                self._claims[policy] = mine
        return True

    def _holder(self, text: str) -> FrozenTrial | None:
        """The trial, open or done, that was the first with a policy; a done one before any that is open."""
        of = [t for t in self._trials(_OPEN, _DONE) if _policy_text(t) == text]
        return min(of, key=lambda t: (t.state == _OPEN, t._trial_id), default=None)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        beat, now_s = trial.user_attrs.get("beat"), time.monotonic()
        last, since_s = self._seen.get(trial._trial_id, (None, now_s))
        if trial._trial_id not in self._seen or beat != last:
            self._seen[trial._trial_id] = beat, now_s
            return False
        return now_s - since_s > self._grace_s

    def _claim_of(self, number: int, policy: BitPolicy, text: str) -> FrozenTrial:
        params = params_of(policy)
        told = {"run": self._run, "searcher": self._searcher, "number": number, "policy": text, "beat": self._new_beat()}
        return create_trial(state=_OPEN, params=params, distributions=dict.fromkeys(params, BITS), user_attrs=told)

    def _fail(self, trial: int) -> None:
        with suppress(UpdateFinishedTrialError):
            self._storage.set_trial_state_values(trial, TrialState.FAIL)

    def publish(self, trial: Trial) -> None:
        """Hand on a trial of this run that has come to its end and is in its own store."""
        self._known.add(trial.policy)
        with self._lock:
            claim = self._claims.pop(trial.policy, None)
        self._patiently(lambda: self._publish(trial, claim))

    def _publish(self, trial: Trial, claim: int | None) -> None:
        text = trial.policy.to_json()
        if trial.failure:
            if claim is not None:
                self._fail(claim)
            return
        holder = self._holder(text)
        if holder is not None and holder.state == _DONE:
            if claim is not None:
                self._fail(claim)
            return
        attributes = {**attributes_of(trial), "run": self._run, "searcher": self._searcher}
        if claim is None and holder is not None and holder.user_attrs.get("run") == self._run:
            claim = holder._trial_id
        if claim is not None:
            with suppress(UpdateFinishedTrialError):  # it was taken over meanwhile
                there = self._storage.get_trial(claim).user_attrs
                for name, value in attributes.items():
                    if name not in there or there[name] != value:
                        self._storage.set_trial_user_attr(claim, name, value)
                self._storage.set_trial_state_values(claim, _DONE, [trial.reward])
                return
        params = params_of(trial.policy)
        done = create_trial(params=params, distributions=dict.fromkeys(params, BITS), value=trial.reward, user_attrs=attributes)
        self._storage.create_new_trial(self._study_id, done)

    def news(self) -> list[Elsewhere]:
        """Trials that came to their end elsewhere since this was last asked, of policies that this run has no trial of."""
        found = []
        for frozen in self._patiently(lambda: self._trials(_DONE)):
            trial = trial_of(frozen, self._url.shown)
            if not isinstance(trial, Elsewhere):
                raise StoreError(
                    f"trial {frozen.number} of the study {self._name} in {self._url.shown} does not say of which run it is; "
                    "name another STUDY, which bitloop begins"
                )
            if trial.policy not in self._known:
                self._known.add(trial.policy)
                found.append(trial)
        return found

    def wait(self) -> None:
        """Wait a moment for news."""
        time.sleep(self._poll_s)

    def add_again(self, policy: BitPolicy, n_images: int, seed: int, accuracy: float) -> None:
        """See `flow.store.Again`."""
        name = again_name(policy, n_images, seed)
        self._patiently(lambda: self._storage.set_study_user_attr(self._study_id, name, accuracy))

    def again(self, policy: BitPolicy, n_images: int, seed: int) -> float | None:
        """See `flow.store.Again`."""
        found = self._patiently(lambda: self._storage.get_study_user_attrs(self._study_id))
        told = found.get(again_name(policy, n_images, seed))
        return None if told is None else float(told)

    def _check_space(self, space: dict[str, Any]) -> None:
        there = self._storage.get_study_user_attrs(self._study_id).get(_SPACE)
        if there is None:
            if self._trials(*TrialState):
                raise SettingsError(
                    f"the study {self._name} in {self._url.shown} was not begun by a shared search; name another STUDY"
                )
            self._storage.set_study_user_attr(self._study_id, _SPACE, json.dumps(space))
            there = self._storage.get_study_user_attrs(self._study_id)[_SPACE]  # of two that begin at once the last one's
        theirs = json.loads(there)
        for name in space | theirs:
            if space.get(name) != theirs.get(name):
                more = " (copy pretrained.pt of a run that shares it into RUN)" if name == "WEIGHTS" else ""
                raise SettingsError(
                    f"the study {self._name} in {self._url.shown} is of searches with {name}={theirs.get(name)}, this one has "
                    f"{name}={space.get(name)}; make them the same{more}, or name another STUDY"
                )

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study_id, deepcopy=False, states=states)

    def _new_beat(self) -> str:
        return secrets.token_hex(4)

    def _beat(self) -> None:
        while not self._ended.wait(self._beat_s):
            with self._lock:
                claims = list(self._claims.values())
            for trial in claims:
                with suppress(*STORAGE_ERRORS, UpdateFinishedTrialError):  # a server that is away will be noticed elsewhere
                    self._storage.set_trial_user_attr(trial, "beat", self._new_beat())

    def _patiently(self, call: Callable[[], _T]) -> _T:
        """Do something that may be done again, and again while the server is away."""
        ends_s, pause_s = time.monotonic() + self._patience_s, 0.5
        while True:
            try:
                with _translated(self._url):
                    return call()
            except StoreError as error:
                if not _is_away(error) or time.monotonic() + pause_s > ends_s:
                    raise
                if pause_s == 0.5:
                    self._warn(f"{self._url.shown} does not answer; trying again for {self._patience_s:.0f} s")
            finally:
                if self._ended.is_set():
                    self._release()
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 10.0)


def open_storage(url: StorageUrl) -> SharedStorage:
    """The storage at a URL; its tables are made where they are not there.

    Raises:
        StoreError: it cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connect = {**url.connect_args, **url.secrets}
    for is_last in (*[False] * 5, True):
        try:
            with _translated(url, RuntimeError):  # for a store of another version of Optuna
                braces = url.url.replace("{", "{{").replace("}", "}}")  # Optuna fills in a template
                backend = RDBStorage(braces, engine_kwargs={"pool_pre_ping": True, "connect_args": connect})
                return SharedStorage(optuna.storages.get_storage(backend), backend.engine.dispose)
        except StoreError as error:  # two that make the tables at once
            if is_last or not any(said in str(error) for said in _AT_ONCE):
                raise
            time.sleep(1 + secrets.randbelow(1000) / 1000)
    raise AssertionError


def run_name(directory: Path) -> str:
    """What the run in a directory is called in a shared study; another one where the directory was copied or moved.

    Raises:
        StoreError: the file that holds it cannot be read.
    """
    file, place = directory / RUN_FILE, f"{socket.gethostname()}:{directory.resolve()}"
    if file.exists():
        try:
            told = read_json(file)
            if told["place"] == place:
                return str(told["run"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{file} cannot be read ({error}); remove it, the run then has another name") from error
    name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    write_json(file, {"run": name, "place": place})
    return name


def _policy_text(trial: FrozenTrial) -> Any:
    return trial.user_attrs.get("policy")


def _is_away(error: StoreError) -> bool:
    """Whether it may be otherwise in a moment: nothing answers, or the connection broke."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OperationalError) or (isinstance(cause, DBAPIError) and cause.connection_invalidated):
            return True
        cause = cause.__cause__
    return False


@contextmanager
def _translated(url: StorageUrl, *more: type[Exception]) -> Iterator[None]:
    try:
        yield
    except (*STORAGE_ERRORS, *more) as error:
        root: BaseException = error
        while root.__cause__ is not None:  # Optuna wraps SQLAlchemy, SQLAlchemy wraps the driver
            root = root.__cause__
        reason = url.without_secrets((str(root).strip() or type(root).__name__).splitlines()[0])
        raise StoreError(
            f"the shared store {url.shown} cannot be used ({reason}); what this run found is in its own trials.db: see to the "
            "store and run the same command again, or leave STORAGE out to go on alone"
        ) from error
