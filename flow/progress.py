"""What long work says while it runs."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


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
    """Bars on a terminal; where there is none, a line now and then.

    Args:
        console: where to.
        every_s: seconds between the lines of one work where there is no terminal.
    """

    def __init__(self, console: Console, every_s: float = 15.0) -> None:
        self._console = console
        self._every_s = every_s
        self._said_s: dict[str, float] = {}
        self._begun_s: dict[str, tuple[float, int]] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )
        self._task_of: dict[str, int] = {}

    def __enter__(self) -> ConsoleListener:
        if self._console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._bars.stop()

    def note(self, text: str) -> None:
        """See `Listener.note`."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
        """See `Listener.advance`."""
        if self._console.is_terminal:
            if work not in self._task_of:
                self._task_of[work] = self._bars.add_task(work, total=total, detail="")
            self._bars.update(self._task_of[work], completed=done, total=total, detail=detail)  # type: ignore[arg-type]
            return
        now = time.monotonic()
        begun, begun_at = self._begun_s.setdefault(work, (now, done))
        if done < total and now - self._said_s.get(work, 0.0) < self._every_s:
            return
        self._said_s[work] = now
        pace = (now - begun) / (done - begun_at) if done > begun_at else 0.0
        left = f", {pace * (total - done):.0f} s left" if done < total and pace else ""
        self.note(f"{work}: {done} of {total}{', ' + detail if detail else ''}{left}")
