"""What long work says while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text


class Listener(Protocol):
    """Is told how long work is getting on."""

    def note(self, text: str) -> None:
        """One line that stays."""
        ...

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
        """`done` of `total` pieces of `work` are done; the work begins with its first call and ends with the last piece."""
        ...


class SilentListener:
    """Says nothing."""

    def note(self, text: str) -> None:
        """See `Listener.note`."""

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
        """See `Listener.advance`."""


class ConsoleListener:
    """Bars on a terminal; where there is none, a line for every piece that took long, else now and then.

    Args:
        console: where to.
        every_s: seconds between the lines of one work where there is no terminal and pieces are short.
        long_s: seconds after which a piece of work is worth a line of its own.
        clock_s: tells the time in seconds.
        between: called whenever it is told something, that is between pieces of work; may raise to end it.
    """

    def __init__(
        self,
        console: Console,
        every_s: float = 15.0,
        long_s: float = 5.0,
        clock_s: Callable[[], float] = time.monotonic,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._console = console
        self._every_s = every_s
        self._long_s = long_s
        self._clock_s = clock_s
        self._between = between
        self._lines: dict[str, _Lines] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            _TimeLeft(clock_s),
            console=console,
        )
        self._task_of: dict[str, TaskID] = {}

    def __enter__(self) -> ConsoleListener:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def note(self, text: str) -> None:
        """See `Listener.note`."""
        self._between()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
        """See `Listener.advance`."""
        self._between()
        now_s = self._clock_s()
        first = work not in self._lines
        lines = self._lines.setdefault(work, _Lines(now_s, done, now_s, now_s))
        if self._console.is_terminal:
            if first:
                self._task_of[work] = self._bars.add_task(work, total=total, completed=done, detail="", ends_s=None)
            ends_s = now_s + lines.left_s(now_s, done, total) if lines.n_at_start < done < total else None
            self._bars.update(self._task_of[work], completed=done, total=total, detail=detail, ends_s=ends_s)
            return
        was_long, due = now_s - lines.asked_s >= self._long_s, now_s - lines.said_s >= self._every_s
        lines.asked_s = now_s
        if first or was_long or due or done >= total:
            lines.said_s = now_s
            left = f", {_duration(lines.left_s(now_s, done, total))} left" if lines.n_at_start < done < total else ""
            self.note(f"{work}: {done} of {total}{', ' + detail if detail else ''}{left}")


class _TimeLeft(ProgressColumn):
    """The time left at the pace since the work began; rich's own column forgets pieces that took longer than 30 s.

    Args:
        clock_s: tells the time in seconds.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        super().__init__()
        self._clock_s = clock_s

    def render(self, task: Task) -> Text:
        """What the column holds."""
        ends_s = task.fields["ends_s"]
        left = "" if ends_s is None else f"{_duration(max(0.0, ends_s - self._clock_s()))} left"
        return Text(left, style="progress.remaining")


@dataclass
class _Lines:
    """When one work began and with how many pieces done, when it was last told of and last spoken of."""

    begun_s: float
    n_at_start: int
    asked_s: float
    said_s: float

    def left_s(self, now_s: float, done: int, total: int) -> float:
        """Seconds left if the rest goes on at the pace so far."""
        return (now_s - self.begun_s) / (done - self.n_at_start) * (total - done)


def _duration(seconds: float) -> str:
    """Seconds below two minutes, else minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
