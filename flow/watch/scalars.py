"""A search in TensorBoard: scalars of accuracy, frame rate, utilisation and reward, a step a trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from boards.board import Resources
from flow.pareto import utilisation
from flow.store import Elsewhere
from flow.trial import Trial

FOLDER = "tensorboard"
FILE_VERSION = "brain.Event:2"  # which TensorBoard looks for at the beginning of a file


class Scalars:
    """Writes the trials of a run to `tensorboard/` in its directory; nothing where TensorBoard is not installed.

    A search that goes on writes all its trials again, and TensorBoard forgets what was there before: so none is missing and
    none is there twice. Watching never ends a search: where the files cannot be written, it goes on without.

    Args:
        run: directory of the run.
        capacity: of the board.
    """

    def __init__(self, run: Path, capacity: Resources) -> None:
        self._file = run / FOLDER / f"events.out.tfevents.{time.time_ns()}"
        self._capacity = capacity
        self._best = 0.0
        self._n_written = 0
        self._gave_up = False

    def on_trial(self, trials: Sequence[Trial]) -> None:
        """Write the trials that are new.

        Args:
            trials: all that are finished, in the order of evaluation.
        """
        if self._gave_up:
            return
        try:
            self._write(trials[self._n_written :])
        except (ImportError, OSError):
            self._gave_up = True
        else:
            self._n_written = len(trials)

    def _write(self, trials: Sequence[Trial]) -> None:
        """Append trials to the file; with TensorBoard's own records, as its writers do it in a thread that cannot be caught."""
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        now_s = time.time()
        events = []
        if not self._n_written:
            begun = SessionLog(status=SessionLog.START)
            events += [Event(wall_time=now_s, file_version=FILE_VERSION), Event(wall_time=now_s, step=0, session_log=begun)]
        for trial in trials:
            if isinstance(trial, Elsewhere):  # its number is another run's
                self._best = max(self._best, trial.accuracy)
                continue
            if trial.stopped_at is None:
                self._best = max(self._best, trial.accuracy)
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in self._values(trial).items()]
            events.append(Event(wall_time=now_s, step=trial.number, summary=Summary(value=values)))
        self._file.parent.mkdir(exist_ok=True)
        with self._file.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())

    def _values(self, trial: Trial) -> dict[str, float]:
        return {
            "trial/accuracy": trial.accuracy,
            "trial/best accuracy so far": self._best,
            "trial/fps, estimated": trial.estimate.fps,
            "trial/reward": trial.reward,
            "trial/utilisation, estimated": utilisation(trial.estimate.resources, self._capacity),
            "trial/duration, s": trial.duration_s,
        }
