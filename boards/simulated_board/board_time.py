"""The simulated board's own time: it goes on while the board works or waits, not while this machine works something out.

Who measures with a watch on the simulated board so measures what the accelerator takes, and measures the same again: on a
fast machine, on one that is busy, and under a debugger.
"""

from __future__ import annotations

import time

ASKING_S = 1e-7
"""That asking for the time takes, so that it comes to an end if somebody does nothing but ask."""


class BoardTime:
    """A watch that begins with what this machine's shows."""

    def __init__(self) -> None:
        self._began_s = time.time()
        self._now_s = 0.0

    def now(self) -> float:
        """Seconds since the board was switched on; asking takes no time."""
        return self._now_s

    def wait_until(self, now_s: float) -> None:
        """Nothing happens before then."""
        self._now_s = max(self._now_s, now_s)

    def sleep(self, seconds: float, /) -> None:
        """What `time.sleep` does, at once."""
        self._now_s += max(seconds, 0.0)

    def perf_counter(self) -> float:
        """What `time.perf_counter` gives."""
        self._now_s += ASKING_S
        return self._now_s

    def time(self) -> float:
        """What `time.time` gives."""
        return self._began_s + self.perf_counter()

    def rule(self) -> None:
        """Be the time of every program in this interpreter, but for its alarms: those are of this machine."""
        time.perf_counter, time.time = self.perf_counter, self.time
        time.sleep = self.sleep  # type: ignore[assignment]
