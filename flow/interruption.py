"""Ctrl-C that does not get lost.

Python turns it into a `KeyboardInterrupt`, once, and libraries that bitloop imports swallow that with
a bare `except:`, or take it for an error of their own. So it is remembered here, and asked after
between pieces of work. A key that is held, and whoever presses it eight times, send it again while it
is being answered: what follows within a second is remembered only.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class CtrlC:
    """Remembers Ctrl-C while it is entered.

    Attributes:
        seen: whether it was pressed since.
        quiet_s: seconds after a `KeyboardInterrupt` in which another press raises none.
    """

    def __init__(self, quiet_s: float = 1.0) -> None:
        self.seen = False
        self.quiet_s = quiet_s
        self._quiet_until_s = -math.inf

    def __enter__(self) -> CtrlC:
        self.seen = False
        self._quiet_until_s = -math.inf
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        now_s = time.monotonic()
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + self.quiet_s
            raise KeyboardInterrupt

    def answered(self) -> None:
        """Raise nothing any more until this is left: all that was begun is ended, what remains is to say so."""
        self._quiet_until_s = math.inf

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
