"""Runs that share a study: claims, news, machines that die, servers that go away; in SQLite and on a real PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import optuna
import pytest

from flow.errors import SettingsError, StoreError
from flow.exchange import StudyExchange, open_storage, run_name
from flow.searchers import RandomSearcher, make_searcher
from flow.searchers.registry import SEARCHERS
from flow.storage_url import parse_storage
from flow.store import Elsewhere, TrialStore
from flow.study import run_trials
from flow.trial import Trial
from flow.workers import Alone, Exchange, InProcess, SharedWorkers
from models.policy import BitPolicy
from tests.flow_fakes import SimulatedEvaluator, decisions, estimate_of, made_up_accuracy, policy_of
from tests.postgres import PASSWORD, Postgres, running

ROOT = Path(__file__).parents[1]
A, B, C = (policy_of((w, 2), (3, 1), (2, None)) for w in (1, 2, 3))
SPACE = {"MODEL": "tiny", "SEED": 7}
Join = Callable[..., StudyExchange]


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    return str(request.getfixturevalue("postgres").url(f"of {tmp_path.name}"))


@pytest.fixture
def join(url: str) -> Iterator[Join]:
    """Joins the study as a run of some name; what is opened is closed."""
    with ExitStack() as stack:

        def as_run(run: str, **more: object) -> StudyExchange:
            told = {"space": SPACE, "searcher": "random", "beat_s": 0.2, "grace_s": 60.0, "poll_s": 0.02, "patience_s": 0.0}
            parsed = parse_storage(url)
            exchange = StudyExchange(open_storage(parsed), parsed, "tiny", run=run, **{**told, **more})  # type: ignore[arg-type]
            stack.callback(exchange.close)
            return exchange

        yield as_run


def trial(number: int, policy: BitPolicy, accuracy: float = 0.5) -> Trial:
    return Trial(number, policy, estimate_of(), accuracy, accuracy, seed=7, duration_s=1.5)


@contextmanager
def opened(url: str) -> Iterator[optuna.storages.BaseStorage]:
    shared = open_storage(parse_storage(url))
    yield shared.storage
    shared.release()


def states(url: str) -> list[str]:
    with opened(url) as storage:
        study = optuna.load_study(study_name="tiny", storage=storage)
        return [t.state.name for t in study.get_trials(deepcopy=False)]


# --- claims and news -----------------------------------------------------------------------------------------------------


def test_of_two_runs_one_has_a_policy_and_the_other_hears_of_it(join: Join) -> None:
    one, other = join("one"), join("other")
    assert one.claim(0, A)
    assert not other.claim(5, A)
    assert other.news() == []
    one.publish(trial(0, A))
    assert not other.claim(5, A)
    (heard,) = other.news()
    assert (heard.policy, heard.accuracy, heard.run, heard.searcher, heard.number_there) == (A, 0.5, "one", "random", 0)
    assert heard.estimate == estimate_of()
    assert other.news() == one.news() == []
    assert other.counts() == (1, 1)


def test_two_threads_that_want_the_same_at_once_do_not_both_get_it(join: Join, url: str) -> None:
    runs = [join(f"run {i}") for i in range(4)]
    policies = [policy_of((w, a), (3, 1), (2, None)) for w in range(1, 5) for a in range(1, 3)]
    got: list[BitPolicy] = []

    def want(exchange: StudyExchange) -> None:
        got.extend(p for i, p in enumerate(policies) if exchange.claim(i, p))

    threads = [threading.Thread(target=want, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(got) == Counter(policies)
    assert states(url).count("RUNNING") == len(policies)


def test_a_run_that_ends_gives_back_what_nothing_came_of(join: Join, url: str) -> None:
    one, other = join("one"), join("other")
    assert one.claim(0, A)
    one.close()
    assert other.claim(0, A)
    assert states(url) == ["FAIL", "RUNNING"]


def test_a_run_that_dies_is_found_out_and_one_that_is_only_slow_is_not(join: Join) -> None:
    dead, slow, third = join("dead", beat_s=1e6), join("slow"), join("third", grace_s=1.5)
    assert dead.claim(0, A)
    assert slow.claim(0, B)
    assert not third.claim(0, A)
    begun = time.monotonic()
    while not third.claim(0, A):
        assert not third.claim(1, B)
        assert time.monotonic() - begun < 60
        time.sleep(0.05)
    assert not third.claim(1, B)
    third.publish(trial(0, A, 0.75))
    dead.publish(trial(0, A, 0.25))  # it was not dead after all: the study keeps what was first
    (heard,) = slow.news()
    assert (heard.run, heard.accuracy) == ("third", 0.75)


def test_a_run_that_goes_on_ends_its_own_old_claims_and_hands_on_what_it_had_not(join: Join, url: str) -> None:
    killed, other = join("one", beat_s=1e6), join("other")
    assert killed.claim(0, A)
    assert killed.claim(1, B)
    again = join("one")
    again.begin([trial(0, A)])  # it had been kept, and not handed on
    assert [t.policy for t in other.news()] == [A]
    assert other.claim(1, B)
    assert sorted(states(url)) == ["COMPLETE", "FAIL", "FAIL", "RUNNING"]


def test_a_failure_counts_for_its_own_run_alone(join: Join) -> None:
    one, other = join("one"), join("other")
    assert one.claim(0, A)
    one.publish(replace(trial(0, A, 0.0), failure="memory ran out: 8 bytes"))
    assert other.news() == []
    assert other.claim(0, A)


def test_retrainings_of_finalists_are_shared(join: Join) -> None:
    one, other = join("one"), join("other")
    one.close()  # finalists come after the trials
    one.add_again(A, 64, 5, 0.625)
    assert other.again(A, 64, 5) == 0.625
    assert other.again(A, 64, 6) is None


def test_a_study_of_another_space_is_refused_by_name(join: Join, url: str) -> None:
    join("one")
    with pytest.raises(SettingsError) as caught:
        join("other", space={**SPACE, "SEED": 8})
    assert str(caught.value) == (
        f"the study tiny in {parse_storage(url).shown} is of searches with SEED=7, this one has SEED=8; make them the same, "
        "or name another STUDY"
    )
    with pytest.raises(SettingsError, match="is of searches with NETWORK=None, this one has NETWORK=ab12"):
        join("other", space={**SPACE, "NETWORK": "ab12"})


def test_a_study_that_is_not_bitloops_is_refused(join: Join, url: str) -> None:
    with opened(url) as storage:
        study = optuna.create_study(study_name="tiny", storage=storage, direction="maximize")
        study.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(SettingsError, match="was not begun by a shared search; name another STUDY"):
        join("one")


def test_a_trial_that_somebody_else_put_into_the_study_is_refused(join: Join, url: str) -> None:
    one = join("one")
    with opened(url) as storage:
        optuna.load_study(study_name="tiny", storage=storage).add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(StoreError, match="is not as bitloop writes them"):
        one.news()


def test_a_run_directory_that_was_copied_is_another_run(tmp_path: Path) -> None:
    one, copy = tmp_path / "one", tmp_path / "copy"
    for folder in (one, copy):
        folder.mkdir()
    name = run_name(one)
    assert run_name(one) == name
    (copy / "sharing.json").write_bytes((one / "sharing.json").read_bytes())
    assert run_name(copy) != name
    (copy / "sharing.json").write_text("{")
    with pytest.raises(StoreError, match=r"sharing\.json cannot be read"):
        run_name(copy)


# --- searches ------------------------------------------------------------------------------------------------------------


@dataclass
class Counted(SimulatedEvaluator):
    """Counts what really is evaluated, in all runs together."""

    evaluated: list[BitPolicy] = field(default_factory=list)
    takes_s: float = 0.0

    def __post_init__(self) -> None:
        super().__init__()

    def score(self, policy: BitPolicy) -> object:
        self.evaluated.append(policy)
        time.sleep(self.takes_s)
        return super().score(policy)


def search(exchange: Exchange, store: TrialStore, name: str, n: int, evaluated: list[BitPolicy], takes_s: float) -> list[Trial]:
    evaluator = SimulatedEvaluator()
    workers = SharedWorkers(InProcess(Counted(evaluated, takes_s)), exchange)  # type: ignore[arg-type]
    return run_trials(make_searcher(name, decisions(), 5), evaluator, workers, store, n, lambda _: None)  # type: ignore[arg-type]


def own(trials: list[Trial]) -> list[BitPolicy]:
    return [t.policy for t in sorted(trials, key=lambda t: t.number) if not isinstance(t, Elsewhere)]


def at_once(join: Join, folder: Path, names: tuple[str, ...], n: int) -> tuple[list[list[Trial]], list[BitPolicy]]:
    """Searches beside each other: the trials of each, and all that was evaluated."""
    evaluated: list[BitPolicy] = []
    found: dict[int, list[Trial]] = {}
    runs = [join(f"run {i}", searcher=name) for i, name in enumerate(names)]

    def one(i: int) -> None:
        found[i] = search(runs[i], TrialStore(folder / f"{i}.db", "s"), names[i], n, evaluated, 0.02)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(names))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[i] for i in range(len(names))], evaluated


def test_runs_that_do_not_adapt_give_what_each_gives_alone_and_share_the_work(join: Join, tmp_path: Path) -> None:
    n = 10
    trials, evaluated = at_once(join, tmp_path, ("random", "random"), n)
    lone = RandomSearcher(decisions(), 5)
    wanted = [lone.ask() for _ in range(n)]
    assert own(trials[0]) == own(trials[1]) == wanted
    assert Counter(evaluated) == Counter(dict.fromkeys(wanted, 1))
    assert all(t.accuracy == made_up_accuracy(t.policy) for of in trials for t in of)


def test_different_searchers_learn_from_each_other_and_nothing_is_evaluated_twice(join: Join, tmp_path: Path) -> None:
    n = 10
    names = ("model-based", "evolution", "ddpg")
    trials, evaluated = at_once(join, tmp_path, names, n)
    assert max(Counter(evaluated).values()) == 1
    for i, of in enumerate(trials):
        assert len(own(of)) == n
        foreign = [t for t in of if isinstance(t, Elsewhere)]
        assert foreign
        assert {t.searcher for t in foreign} <= {name for j, name in enumerate(names) if j != i}
        assert sorted(t.number for t in foreign) == list(range(-len(foreign), 0))
        assert TrialStore(tmp_path / f"{i}.db", "s").trials() == of


class Scripted(Alone):
    """Others who do a few trials, and are at nothing."""

    def __init__(self, policies: list[BitPolicy]) -> None:
        self._left = policies

    def begin(self, trials: Sequence[Trial]) -> None:
        known = {t.policy for t in trials}
        self._left = [p for p in self._left if p not in known]

    def news(self) -> list[Elsewhere]:
        found, self._left = self._left[:2], self._left[2:]
        estimate, score = SimulatedEvaluator().estimate, made_up_accuracy
        return [Elsewhere(i, p, estimate(p), score(p), score(p), 7, 1.0, run="other") for i, p in enumerate(found)]


@pytest.mark.parametrize("name", sorted(SEARCHERS))
def test_every_searcher_takes_what_others_did_and_goes_on_as_it_was(name: str, tmp_path: Path) -> None:
    lone = RandomSearcher(decisions(), 11)
    others = list(dict.fromkeys(lone.ask() for _ in range(6)))
    store, evaluated = TrialStore(tmp_path / "t.db", "s"), list[BitPolicy]()
    trials = search(Scripted(others), store, name, 8, evaluated, 0.0)
    assert [t.policy for t in trials if isinstance(t, Elsewhere)] == others
    assert not set(others) & set(evaluated)
    again = search(Scripted(others), store, name, 10, evaluated, 0.0)
    assert again[: len(trials)] == trials
    assert max(Counter(evaluated).values()) == 1


HOST = """
import os, signal, sys, time
from pathlib import Path
import torch
from flow.exchange import StudyExchange, open_storage
from flow.searchers import RandomSearcher
from flow.storage_url import parse_storage
from flow.store import TrialStore
from flow.study import run_trials
from flow.workers import Alone, Exchange, InProcess, SharedWorkers
from tests.flow_fakes import SimulatedEvaluator, decisions

torch.set_num_threads(1)
decisions().observe(())
scenario, url, folder, n = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])

class Logged(SimulatedEvaluator):
    def __init__(self, run):
        super().__init__()
        self.log = folder / f"{run}.log"

    def score(self, policy):
        time.sleep(0.05)
        with self.log.open("a") as file:
            file.write(policy.to_json() + "\\n")
        return super().score(policy)

def start(run):
    child = os.fork()
    if not child:
        status = 1
        try:
            parsed, evaluator = parse_storage(url), SimulatedEvaluator()
            space = {"MODEL": "tiny", "SEED": 7}
            exchange = StudyExchange(
                open_storage(parsed), parsed, "tiny", space, run, "random", beat_s=0.2, grace_s=3, poll_s=0.05
            )
            workers = SharedWorkers(InProcess(Logged(run)), exchange)
            store = TrialStore(folder / f"{run}.db", "s")
            run_trials(RandomSearcher(decisions(), 5), evaluator, workers, store, n, lambda _: None)
            exchange.close()
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return child

def ended(*children):
    for child in children:
        assert os.waitpid(child, 0)[1] == 0

if scenario == "at once":
    ended(*[start(f"run{i}") for i in range(3)])
else:
    killed, other = start("killed"), start("other")
    log = folder / "killed.log"
    while not log.exists() or len(log.read_text().splitlines()) < 3:
        assert os.waitpid(killed, os.WNOHANG) == (0, 0)
        time.sleep(0.01)
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    ended(other)
    (folder / "killed.db").rename(folder / "before.db")
    (folder / "killed.db").write_bytes((folder / "before.db").read_bytes())
    ended(start("killed"))
"""


def acted(scenario: str, url: str, folder: Path, n: int) -> Counter[str]:
    """Processes that share a study, each with a searcher that does not adapt: what was evaluated by all, how often."""
    command = [sys.executable, "-W", "ignore", "-c", HOST, scenario, url, str(folder), str(n)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return Counter(line for log in folder.glob("*.log") for line in log.read_text().splitlines())


def test_processes_that_begin_at_once_on_an_empty_store_share_it(url: str, tmp_path: Path) -> None:
    n = 12
    evaluated = acted("at once", url, tmp_path, n)
    lone = RandomSearcher(decisions(), 5)
    wanted = [lone.ask() for _ in range(n)]
    for i in range(3):
        assert own(TrialStore(tmp_path / f"run{i}.db", "s").trials()) == wanted
    assert evaluated == Counter({p.to_json(): 1 for p in wanted})


def test_a_machine_that_is_killed_costs_the_other_nothing_and_goes_on(url: str, tmp_path: Path) -> None:
    n = 40  # so many that the other one, however much faster on a busy machine, leaves it the three that it is killed at
    evaluated = acted("killed", url, tmp_path, n)
    lone = RandomSearcher(decisions(), 5)
    wanted = [lone.ask() for _ in range(n)]
    assert own(TrialStore(tmp_path / "other.db", "s").trials()) == wanted
    before, after = (TrialStore(tmp_path / f"{name}.db", "s").trials() for name in ("before", "killed"))
    assert after[: len(before)] == before
    assert own(after) == wanted
    assert set(evaluated) == {p.to_json() for p in wanted}
    assert sum(evaluated.values()) <= n + 1  # what it was at when it was killed was done again


# --- a server that is not there ------------------------------------------------------------------------------------------


def test_a_server_that_is_down_is_an_error_of_one_line_without_the_password(postgres: Postgres) -> None:
    url = parse_storage(postgres.url("down"))
    postgres.stop()
    try:
        with pytest.raises(StoreError) as caught:
            open_storage(url)
    finally:
        postgres.start()
    text = str(caught.value)
    assert text.startswith(f"the shared store {url.shown} cannot be used (connection failed: ")
    assert "\n" not in text
    assert PASSWORD not in text


def test_a_wrong_password_is_told_without_it(postgres: Postgres) -> None:
    with pytest.raises(StoreError, match='password authentication failed for user "searcher"') as caught:
        open_storage(parse_storage(postgres.url("down", "another-Pass")))
    assert "another-Pass" not in str(caught.value)


def begun(postgres: Postgres, database: str, **more: object) -> StudyExchange:
    url = parse_storage(postgres.url(database))
    return StudyExchange(open_storage(url), url, "tiny", SPACE, "one", "random", **more)  # type: ignore[arg-type]


def test_a_server_that_is_lost_loses_no_result(postgres: Postgres, tmp_path: Path) -> None:
    """It goes away while a trial is evaluated: the trial is kept in the run, and handed on when the run goes on."""

    class Fatal(SimulatedEvaluator):
        def score(self, policy: BitPolicy) -> object:
            if len(self.retrained) == 2:
                postgres.stop()
            return super().score(policy)

    exchange = begun(postgres, "lost", patience_s=1.0)
    store, evaluator = TrialStore(tmp_path / "t.db", "s"), Fatal()
    try:
        with pytest.raises(StoreError, match=r"what this run found is in its own trials\.db: see to the store"):
            run_trials(
                RandomSearcher(decisions(), 3),
                evaluator,
                SharedWorkers(InProcess(evaluator), exchange),
                store,
                5,
                lambda _: None,
            )  # type: ignore[arg-type]
        exchange.close()
        assert [t.number for t in store.trials()] == [0, 1, 2]
        alone = run_trials(
            RandomSearcher(decisions(), 3), SimulatedEvaluator(), InProcess(SimulatedEvaluator()), store, 4, lambda _: None
        )  # type: ignore[arg-type]
        assert len(alone) == 4  # without the store it goes on, too
    finally:
        postgres.start()
    exchange, second = begun(postgres, "lost"), SimulatedEvaluator()
    trials = run_trials(
        RandomSearcher(decisions(), 3), second, SharedWorkers(InProcess(second), exchange), store, 5, lambda _: None
    )  # type: ignore[arg-type]
    exchange.close()
    lone = RandomSearcher(decisions(), 3)
    assert own(trials) == [lone.ask() for _ in range(5)]
    assert len(second.retrained) == 1
    assert exchange.counts() == (len(set(own(trials))), 1)


def test_a_server_that_comes_back_is_waited_for(postgres: Postgres) -> None:
    told: list[str] = []
    exchange = begun(postgres, "back", warn=told.append, beat_s=0.05)
    assert exchange.claim(0, A)
    postgres.stop()
    back = threading.Timer(1.5, postgres.start)
    back.start()
    exchange.publish(trial(0, A))
    back.join()
    exchange.close()
    assert exchange.counts() == (1, 1)
    assert len(told) == 1
    assert told[0].endswith("does not answer; trying again for 60 s")
    assert PASSWORD not in told[0]
