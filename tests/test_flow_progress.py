"""What long work says where there is no terminal, with a clock that the test turns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flow.progress import ConsoleListener, SilentListener


class Said:
    def __init__(self, terminal: bool = False) -> None:
        self.now_s = 1000.0
        self.out = io.StringIO()
        console = Console(file=self.out, force_terminal=terminal, width=120)
        self.listener = ConsoleListener(console, clock_s=lambda: self.now_s)

    @property
    def lines(self) -> list[str]:
        return self.out.getvalue().splitlines()

    def work(self, seconds: float, done: int, total: int, work: str = "trials") -> None:
        self.now_s += seconds
        self.listener.advance(work, done, total, f"at {done}")


def test_every_long_piece_has_its_line_with_the_time_left() -> None:
    said = Said()
    for done in range(1, 5):
        said.work(6.0, done, 4)
    assert said.lines == [
        "trials: 1 of 4, at 1",
        "trials: 2 of 4, at 2, 12 s left",
        "trials: 3 of 4, at 3, 6 s left",
        "trials: 4 of 4, at 4",
    ]


def test_short_pieces_have_a_line_now_and_then_and_a_last_one() -> None:
    said = Said()
    for done in range(1, 41):
        said.work(1.0, done, 40)
    assert said.lines == [
        "trials: 1 of 40, at 1",
        "trials: 16 of 40, at 16, 24 s left",
        "trials: 31 of 40, at 31, 9 s left",
        "trials: 40 of 40, at 40",
    ]


def test_time_left_does_not_count_what_was_done_before() -> None:
    said = Said()
    said.work(0.0, 30, 40)  # a search that goes on
    said.work(60.0, 31, 40)
    assert said.lines == ["trials: 30 of 40, at 30", "trials: 31 of 40, at 31, 9 min left"]


def test_works_are_told_apart() -> None:
    said = Said()
    said.work(1.0, 1, 9, "pretraining")
    said.work(1.0, 1, 9, "trials")
    said.work(1.0, 2, 9, "trials")
    assert said.lines == ["pretraining: 1 of 9, at 1", "trials: 1 of 9, at 1"]


def test_notes_are_lines_as_they_are() -> None:
    said = Said()
    said.listener.note("[bold]not markup[/bold] " + "long " * 60 + "end")
    assert said.lines == ["[bold]not markup[/bold] " + "long " * 60 + "end"]


def test_a_terminal_gets_bars() -> None:
    said = Said(terminal=True)
    with said.listener:
        said.work(1.0, 1, 2)
        said.work(1.0, 2, 2)
        said.listener.note("a note")
    text = said.out.getvalue()
    assert "2/2" in text
    assert "at 2" in text
    assert "a note" in text


def test_a_terminal_gets_the_time_left_of_pieces_that_take_minutes() -> None:
    said = Said(terminal=True)
    with said.listener:
        said.work(0.0, 10, 14)  # a search that goes on
        said.work(300.0, 11, 14)
    assert "15 min left" in said.out.getvalue()


def test_the_bars_end_with_an_error() -> None:
    said = Said(terminal=True)
    with pytest.raises(KeyboardInterrupt), said.listener:
        raise KeyboardInterrupt
    assert said.out.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_silence() -> None:
    listener = SilentListener()
    listener.note("x")
    listener.advance("x", 1, 2)
