"""Ctrl-C at every line of what answers Ctrl-C: said once, and nothing of Python's own."""

from __future__ import annotations

import signal
import sys
from collections.abc import Container, Iterator
from types import FrameType
from typing import Any

import pytest

import flow.cli
from flow.interruption import CtrlC, ctrl_c

ANSWER = f"bitloop: {flow.cli.AGAIN}\n"
ANSWERING = {flow.cli.__file__, sys.modules[CtrlC.__module__].__file__}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ctrl_c, "quiet_s", ctrl_c.quiet_s)
    before, traced = signal.getsignal(signal.SIGINT), sys.gettrace()
    yield
    sys.settrace(traced)
    signal.signal(signal.SIGINT, before)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


class PressedAtLines:
    """Presses Ctrl-C in a command that runs, and again as some of the lines after it, counted from 1, are about to run."""

    def __init__(self, again: Container[int]) -> None:
        self.again = again
        self.lines = 0
        self.running = False

    def __call__(self, **_: object) -> None:
        self.running = True
        press()

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in ANSWERING:
            return None
        if event == "line" and self.running and frame.f_code.co_name != "_on_signal":
            self.lines += 1
            if self.lines in self.again:
                press()
        return self.trace


def exit_code_of(pressed: PressedAtLines, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(flow.cli, "app", pressed)
    sys.settrace(pressed.trace)
    try:
        with pytest.raises(SystemExit) as ended:
            flow.cli.entry()
    finally:
        sys.settrace(None)
    return ended.value.code


def lines_of_an_answer() -> int:
    with pytest.MonkeyPatch.context() as patched:
        pressed = PressedAtLines(())
        assert exit_code_of(pressed, patched) == flow.cli.INTERRUPTED
    return pressed.lines


def test_once_more_at_any_line_of_the_answer_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    n_lines = lines_of_an_answer()
    capsys.readouterr()
    assert n_lines > 10
    for at in range(1, n_lines + 1):
        ctrl_c.quiet_s = 0.0  # as if the first were long ago: the second is one to be raised
        pressed = PressedAtLines({at})
        assert exit_code_of(pressed, monkeypatch) == flow.cli.INTERRUPTED, at
        assert capsys.readouterr().err == ANSWER, at


def test_pressed_at_every_line_of_the_answer_it_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pressed = PressedAtLines(range(1, 10_000))
    assert exit_code_of(pressed, monkeypatch) == flow.cli.INTERRUPTED
    assert pressed.lines > 10
    assert capsys.readouterr().err == ANSWER


def test_a_command_that_ends_as_it_is_pressed_leaves_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Done(PressedAtLines):
        def __call__(self, **_: object) -> None:
            self.running = True

    monkeypatch.setattr(flow.cli, "app", done := Done(()))
    assert exit_code_of(done, monkeypatch) == 0
    for at in range(1, done.lines + 1):
        code = exit_code_of(Done({at}), monkeypatch)
        assert (code, capsys.readouterr().err) in [(0, ""), (flow.cli.INTERRUPTED, ANSWER)], at


class TestCtrlC:
    def test_the_first_raises_and_what_follows_at_once_is_remembered(self) -> None:
        with CtrlC() as pressed:
            with pytest.raises(KeyboardInterrupt):
                press()
            for _ in range(8):
                press()
            assert pressed.seen
            with pytest.raises(KeyboardInterrupt):
                pressed.check()

    def test_one_that_comes_later_raises_again(self) -> None:
        with CtrlC(quiet_s=0.0):
            for _ in range(3):
                with pytest.raises(KeyboardInterrupt):
                    press()

    def test_nothing_is_raised_once_it_is_answered_until_entered_again(self) -> None:
        pressed = CtrlC(quiet_s=0.0)
        with pressed:
            pressed.answered()
            press()
            assert pressed.seen
        with pressed:
            assert not pressed.seen
            with pytest.raises(KeyboardInterrupt):
                press()

    def test_the_handler_of_before_comes_back(self) -> None:
        before = signal.getsignal(signal.SIGINT)
        with CtrlC():
            assert signal.getsignal(signal.SIGINT) is not before
        assert signal.getsignal(signal.SIGINT) is before
