"""Ctrl-C that does not get lost.

Python turns it into a `KeyboardInterrupt`, once, and libraries that bitloop imports swallow that with
a bare `except:`, or take it for an error of their own. So it is remembered here, and asked after
between pieces of work.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class CtrlC:
    """Remembers Ctrl-C while it is entered.

    Attributes:
        seen: whether it was pressed since.
    """

    def __init__(self) -> None:
        self.seen = False

    def __enter__(self) -> CtrlC:
        self.seen = False
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        raise KeyboardInterrupt

    @contextmanager
    def also_on(self, *numbers: signal.Signals) -> Iterator[None]:
        """Take other signals for Ctrl-C, too; one that is ignored (nohup) stays so."""
        heard = [n for n in numbers if signal.getsignal(n) != signal.SIG_IGN]
        before = [signal.signal(n, self._on_signal) for n in heard]
        try:
            yield
        finally:
            for number, handler in zip(heard, before, strict=True):
                signal.signal(number, handler)

    def check(self) -> None:
        """Raise `KeyboardInterrupt` if it was pressed and something swallowed it."""
        if self.seen:
            raise KeyboardInterrupt


ctrl_c = CtrlC()
"""The one that the command line enters."""
