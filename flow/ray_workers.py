"""Workers beside this process: Ray's actors, on this machine or on a cluster."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from flow.config import SearchSettings, keep_ray_quiet
from flow.errors import MissingExtraError, WorkersError
from flow.evaluator import Evaluator, Score
from flow.progress import Listener
from flow.sharing import exchange_of
from flow.workers import Evaluating, Finished, InProcess, SharedWorkers, Workers, evaluate, failed
from models.device import prepare_process, resolve_device
from models.policy import BitPolicy

MOST_LOSSES = 3  # of workers at the same trial, which is then given up


class RayWorkers:
    """Evaluates policies in `n` processes.

    Every worker makes its evaluator once. A worker that is lost, with its machine or for want of memory, is replaced and its
    trial handed to the new one; a trial that three workers were lost with has failed.

    Args:
        ray: the package, initialised.
        make: makes an evaluator; carried to the workers by value.
        n: processes; 1 or more.
        on_failure: gives the score of a trial that has failed, and for which reason.
        n_gpus: of a worker, may be a part of one.
        n_cpus: of a worker.
        warn: told of every worker that is lost.
    """

    def __init__(
        self, ray: Any, make: Callable[[], Evaluating], n: int, on_failure: Callable[[BitPolicy, str], Score],
        n_gpus: float = 0.0, n_cpus: float = 1.0, warn: Callable[[str], None] = lambda text: None,
    ) -> None:  # fmt: skip
        self._ray, self._n, self._on_failure, self._warn = ray, n, on_failure, warn
        self._make = ray.put(make)
        self._actor = ray.remote(num_cpus=n_cpus, num_gpus=n_gpus, max_restarts=0)(_Worker)
        self._idle: deque[Any] = deque(self._actor.remote(self._make) for _ in range(n))
        self._under_way: dict[Any, tuple[Any, int, BitPolicy]] = {}
        self._losses: dict[int, int] = {}

    @property
    def n(self) -> int:
        """See `Workers.n`."""
        return self._n

    def submit(self, number: int, policy: BitPolicy) -> None:
        """See `Workers.submit`."""
        if not self._idle:
            raise RuntimeError(f"trial {number} was handed over while all {self._n} workers had one")
        worker = self._idle.popleft()
        self._under_way[worker.evaluate.remote(number, policy)] = worker, number, policy

    def take(self) -> Finished:
        """See `Workers.take`.

        Raises:
            WorkersError: the evaluator cannot be made, or raises what is no failure of a trial.
        """
        errors = self._ray.exceptions
        while True:
            (ready, *_), _ = self._ray.wait(list(self._under_way), num_returns=1)
            worker, number, policy = self._under_way.pop(ready)
            try:
                finished: Finished = self._ray.get(ready)
            except (errors.ActorDiedError, errors.ActorUnavailableError) as error:
                if "creation task" in str(error):
                    raise WorkersError(f"a worker cannot begin: {_last_line(error)}") from error
                given_up = self._lose(number, policy)
                if given_up is not None:
                    return given_up
            except errors.RayTaskError as error:
                raise error.as_instanceof_cause() from error
            else:
                self._idle.append(worker)
                return finished

    def _lose(self, number: int, policy: BitPolicy) -> Finished | None:
        """Replace a worker that was lost and hand its trial over again; what came of it where it is given up."""
        self._losses[number] = self._losses.get(number, 0) + 1
        self._idle.append(self._actor.remote(self._make))
        if self._losses[number] >= MOST_LOSSES:
            reason = f"{MOST_LOSSES} workers were lost with it"
            self._warn(f"trial {number} is given up: {reason}; is there memory enough for {self._n} workers?")
            return Finished(number, self._on_failure(policy, reason), 0.0)
        self._warn(f"a worker was lost at trial {number}; another one does it")
        self.submit(number, policy)
        return None


class _Worker:
    """What runs in a worker's process."""

    def __init__(self, make: Callable[[], Evaluating]) -> None:
        self._evaluator = make()

    def evaluate(self, number: int, policy: BitPolicy) -> Finished:
        return evaluate(self._evaluator, number, policy)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def ray_cluster(address: str | None, n_cpus: int) -> Iterator[Any]:
    """The package `ray`, connected: to a cluster at an address, else to one of its own on this machine, ended afterwards.

    Args:
        address: as Ray takes it (`host:port`, `auto`); None for this machine.
        n_cpus: that its own cluster says it has; workers take one each.

    Raises:
        MissingExtraError: Ray is not installed.
        WorkersError: it cannot be started, or nothing answers at the address.
    """
    keep_ray_quiet()
    try:
        import ray
    except ImportError:
        raise MissingExtraError(
            "workers beside this process need Ray; install it with: pip install 'bitloop[distributed]'"
        ) from None
    options: dict[str, Any] = {"address": address} if address else {"num_cpus": n_cpus, "include_dashboard": False}
    try:
        ray.init(**options, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"at RAY_ADDRESS={address}" if address else "on this machine"
        raise WorkersError(f"Ray cannot be used {where} ({_last_line(error)}); see to that or leave WORKERS out") from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def workers_of(
    settings: SearchSettings, evaluator: Evaluator, make: Callable[[], Evaluating], listener: Listener
) -> Iterator[Workers]:
    """The workers that a search is told to have; with STORAGE they share its study with other runs.

    Args:
        settings: how many, and where.
        evaluator: of this process, which is the worker where there is one alone.
        make: makes another one in a worker's process; it is told its threads here.
        listener: told of workers that are lost.

    Raises:
        As `ray_cluster`, and `flow.sharing.exchange_of` with STORAGE.
    """
    with ExitStack() as stack:
        exchange = None if settings.storage is None else stack.enter_context(exchange_of(settings, evaluator, listener))
        workers = stack.enter_context(_own_workers(settings, evaluator, make, listener))
        yield workers if exchange is None else SharedWorkers(workers, exchange)


@contextmanager
def _own_workers(
    settings: SearchSettings, evaluator: Evaluator, make: Callable[[], Evaluating], listener: Listener
) -> Iterator[Workers]:
    if settings.workers == 1 and settings.ray_address is None:
        yield InProcess(evaluator)
        return
    n = settings.workers
    n_threads = max(1, settings.n_threads // n) if settings.threads is None else settings.threads

    def prepared() -> Evaluating:
        prepare_process(n_threads)
        return make()

    with ray_cluster(settings.ray_address, n) as ray:
        on_gpu = resolve_device(settings.device).type == "cuda"
        n_gpus = min(1.0, ray.cluster_resources().get("GPU", 0) / n) if on_gpu else 0.0
        where = f"on the Ray cluster at {settings.ray_address}" if settings.ray_address else "on this machine"
        listener.note(f"{n} workers {where}, {n_threads} threads each")
        yield RayWorkers(
            ray, prepared, n, partial(failed, evaluator), n_gpus,
            float(n_threads) if settings.ray_address else 1.0, listener.note,
        )  # fmt: skip
