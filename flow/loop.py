"""The loop in one command: search, build, measure, calibrate, and search again with what was learned: `bitloop loop`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from rich.box import SIMPLE
from rich.table import Table

from boards.measurement import Measurement
from boards.measurements import Measurements
from boards.package import Package
from boards.registry import get_board
from boards.runner import Effort, Runner
from boards.simulated_options import is_simulated
from flow.bitstream import build, build_simulated
from flow.build_source import source_of_policy
from flow.calibration import calibrate, read_calibration
from flow.config import SearchSettings
from flow.constraint import Constraint
from flow.errors import RunDirectoryError, SettingsError
from flow.measuring import measure
from flow.pipeline import search
from flow.progress import Listener
from flow.run_directory import write_json, write_text
from flow.store import TrialStore, study_name
from flow.trial import Trial
from flow.warm_start import hand_on_weights
from models.files import read_json
from models.registry import get_model

STATE, FORMAT, TABLE = "loop.json", 1, "loop.md"
Fps = Annotated[float, Field(gt=0, allow_inf_nan=False)]
CLOSE = 0.03  # relative; what was found is so near to what was predicted that another round has nothing to learn


@dataclass(frozen=True)
class Round:
    """One round: what was predicted of its policy, and what the board said.

    Attributes:
        number: from 1.
        policy: digest.
        accuracy: on the test split after the final retraining, 0..1.
        calibration: digest of the calibration it was searched with; None in a first round without one.
        estimated_fps: without any calibration.
        predicted_fps: with it; equal where there was none.
        found_fps: on the board.
        holds: whether that is at least MIN_FPS.
        package: sha256 of what was measured.
    """

    number: int
    policy: str
    accuracy: float
    calibration: str | None
    estimated_fps: Fps
    predicted_fps: Fps
    found_fps: Fps
    holds: bool
    package: str

    @property
    def is_settled(self) -> bool:
        """Whether another round has nothing to learn: it holds, and it was predicted."""
        return self.holds and abs(self.found_fps / self.predicted_fps - 1) <= CLOSE


_ROUNDS: TypeAdapter[list[Round]] = TypeAdapter(list[Round])


class Loop:
    """Rounds in a directory, `round-1/`, `build-1/`, `calibration-1.json`, …; interrupted, the same call goes on.

    Args:
        path: made if it is not there.
        settings: of every search; its `run_dir` is not used.
        host: as given to HOST.
        environment: where the tools of a build for a real board are looked for.

    Raises:
        RunDirectoryError: the directory holds another loop, or is none.
        Any of `SearchSettings.check`.
    """

    def __init__(self, path: Path, settings: SearchSettings, host: str, environment: Mapping[str, str]) -> None:
        settings.check()
        self.path = path
        self.settings = settings
        self.host = host
        self.environment = environment
        self.board = get_board(settings.board)
        model = get_model(settings.model)
        min_fps = model.min_fps if settings.min_fps is None else settings.min_fps
        self.constraint = Constraint(self.board, min_fps, settings.max_utilisation)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise RunDirectoryError(f"LOOP={path} is not a directory; name another one") from error
        self._identity = {
            "MODEL": settings.model, "BOARD": settings.board, "DATASET": settings.dataset, "SEED": settings.seed,
            "MIN_FPS": min_fps, "MAX_UTIL": settings.max_utilisation, "HOST": host,
        }  # fmt: skip
        self.rounds = self._read()

    def _read(self) -> list[Round]:
        file = self.path / STATE
        if not file.exists():
            return []
        try:
            raw = read_json(file)
            if raw["format"] != FORMAT:
                raise ValueError(f"it has format {raw['format']!r}, this bitloop reads {FORMAT}")
            identity: dict[str, Any] = dict(raw["loop"])
            rounds = _ROUNDS.validate_json(json.dumps(raw["rounds"]), strict=True)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise RunDirectoryError(f"{file} cannot be read ({reason}); name another LOOP or remove {self.path}") from error
        for name, value in self._identity.items():
            if identity.get(name) != value:
                raise RunDirectoryError(
                    f"{self.path} holds a loop with {name}={identity.get(name)}, this one has {name}={value}; name another "
                    f"LOOP, or remove {self.path} to begin anew"
                )
        return rounds

    def run(
        self, n_rounds: int, connect: Callable[[], AbstractContextManager[Runner]], measurements: Measurements, effort: Effort,
        n_images: int, listener: Listener,
    ) -> list[Round]:  # fmt: skip
        """Do the rounds that are left, at most until one holds as it was predicted.

        Args:
            n_rounds: in all, 1 or more.
            connect: gives the board.
            measurements: where to keep what is measured.
            effort: of measuring.
            n_images: of the golden set that a build is verified on.
            listener: is told how it gets on.

        Raises:
            SettingsError: less than one round.
            MissingToolError: a real board, and no Vivado: the hand-over package is made, and the same call goes on with its
                results.
            Any other of `flow.errors.BITLOOP_ERRORS`; what was finished is kept.
        """
        if n_rounds < 1:
            raise SettingsError(f"ROUNDS is {n_rounds}; a whole number of 1 or more is wanted")
        if self._is_over(n_rounds):
            return self.rounds
        with connect() as runner:  # before hours of search: a slip in HOST, a password that is asked for, a board that is off
            unready = [f"{line.subject}: {line.found}; {line.remedy}" for line in runner.check() if not line.is_well]
            listener.note(
                f"{runner.host} answers" + "".join(f"; to be done by the time it measures: {line}" for line in unready)
            )
        while not self._is_over(n_rounds):
            number = len(self.rounds) + 1
            listener.note(f"round {number} of {n_rounds}")
            self.rounds.append(self._round(number, connect, measurements, effort, n_images, listener))
            write_json(
                self.path / STATE, {"format": FORMAT, "loop": self._identity, "rounds": [asdict(r) for r in self.rounds]}
            )
            write_text(self.path / TABLE, self.document())
            listener.note(self.sentence(self.rounds[-1]))
        return self.rounds

    def _is_over(self, n_rounds: int) -> bool:
        """Whether so many rounds are done, or another one has nothing to learn."""
        return len(self.rounds) >= n_rounds or bool(self.rounds and self.rounds[-1].is_settled)

    def _round(
        self, number: int, connect: Callable[[], AbstractContextManager[Runner]], measurements: Measurements, effort: Effort,
        n_images: int, listener: Listener,
    ) -> Round:  # fmt: skip
        before = self._calibration(number - 1)
        run = self.path / f"round-{number}"
        told = {"run_dir": run, "calibration": str(before) if number > 1 else self.settings.calibration}
        hand_on_weights(self.path / "round-1", run)
        outcome = search(self.settings.model_copy(update=told), listener, self._earlier(number))
        source = source_of_policy(run / "policy.json")
        simulated = is_simulated(self.host)
        package = self._package(number, simulated, n_images, listener)
        found = self._kept(measurements, package, effort)
        if found is None:
            with connect() as runner:  # not before: a build may take hours
                found = measure(runner, package, measurements, effort, listener).measurement
        made = calibrate(measurements, self.board.name, self.host if simulated else None, self._calibration(number))
        listener.note(f"calibration {made.calibration.digest} from {made.calibration.n_records} records: {made.path}")
        estimate = source.estimate or outcome.estimate
        fps = found.fps or 0.0
        return Round(
            number=number,
            policy=outcome.best.policy.digest,
            accuracy=outcome.test_accuracy or 0.0,
            calibration=read_calibration(before, self.board.name).digest if number > 1 else None,
            estimated_fps=estimate.uncalibrated.fps,
            predicted_fps=estimate.fps,
            found_fps=fps,
            holds=fps >= self.constraint.min_fps,
            package=package.sha256,
        )

    def _calibration(self, number: int) -> Path:
        """The calibration that a round leaves."""
        return self.path / f"calibration-{number}.json"

    def _earlier(self, number: int) -> list[Trial]:
        """The trials of the rounds before."""
        study = study_name(get_model(self.settings.model).name, self.settings.constraint)
        return [t for n in range(1, number) for t in TrialStore(self.path / f"round-{n}" / "trials.db", study).trials()]

    def _package(self, number: int, simulated: bool, n_images: int, listener: Listener) -> Package:
        """The package of a round's best policy."""
        source = source_of_policy(self.path / f"round-{number}" / "policy.json")
        out = self.path / f"build-{number}"
        if simulated:
            return build_simulated(source, out, n_images, listener, instrumented=False)
        return build(source, out, n_images, False, self.environment, listener).package

    def _kept(self, measurements: Measurements, package: Package, effort: Effort) -> Measurement | None:
        """What was measured of a package on this board before an interruption, if that was all there is to measure."""
        for kept in reversed(measurements.records(board=self.board.name)):
            r = kept.record
            if not isinstance(r, Measurement) or (r.package, r.host) != (package.sha256, self.host):
                continue
            if {t.batch_size for t in r.throughput} >= set(effort.batch_sizes):  # and not what a hang has left
                return r
        return None

    def best(self) -> Round | None:
        """The round with the highest accuracy whose policy holds on the board."""
        return max((r for r in self.rounds if r.holds), key=lambda r: (r.accuracy, -r.number), default=None)

    def sentence(self, r: Round) -> str:
        """What a round came to."""
        verdict = "holds" if r.holds else "does not hold"
        return (
            f"round {r.number}: {r.predicted_fps:,.0f} fps predicted, {r.found_fps:,.0f} found, at least "
            f"{self.constraint.min_fps:,.0f} wanted: the policy {verdict}"
        )

    def document(self) -> str:
        """The content of `loop.md`."""
        simulated = is_simulated(self.host)
        where = f"the simulated {self.board.title} ({self.host}), which is no board" if simulated else f"{self.host}"
        head = ["round", "policy", "calibration", "accuracy", "estimated fps", "predicted fps", f"fps on {where}", ""]
        rows = [
            [
                str(r.number), r.policy, r.calibration or "none", f"{r.accuracy:.2%}", f"{r.estimated_fps:,.0f}",
                f"{r.predicted_fps:,.0f}", f"{r.found_fps:,.0f}", "holds" if r.holds else "does not hold",
            ]
            for r in self.rounds
        ]  # fmt: skip
        best = self.best()
        verdict = (
            f"Best is round {best.number}: `round-{best.number}/policy.json`."
            if best
            else "None of these policies holds; more rounds (ROUNDS=…) or a lower MIN_FPS may."
        )
        lines = [
            f"# {self.settings.model} on {where}: {len(self.rounds)} rounds",
            "",
            f"Wanted are {self.constraint.min_fps:,.0f} fps within {self.constraint.max_utilisation:.0%} of the board. "
            "Estimated is without calibration, predicted with the calibration of the round before, on the safe side by its "
            "margin; accuracy is on the test split after the final retraining.",
            "",
            "| " + " | ".join(head) + " |",
            "|" + " --- |" * len(head),
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            verdict,
            "",
        ]
        return "\n".join(lines)


def loop_table(loop: Loop) -> Table:
    """The rounds of a loop."""
    table = Table(box=SIMPLE)
    table.add_column("round")
    for head in ("accuracy", "estimated fps", "predicted fps", "found fps"):
        table.add_column(head, justify="right")
    table.add_column("on the board")
    for r in loop.rounds:
        table.add_row(
            str(r.number), f"{r.accuracy:.2%}", f"{r.estimated_fps:,.0f}", f"{r.predicted_fps:,.0f}", f"{r.found_fps:,.0f}",
            "holds" if r.holds else "does not hold",
        )  # fmt: skip
    return table
