"""One process at a time in a directory; and a process that ends when the one that started it does."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .progress import WrongPackageError

LOCK = ".lock"
GRACE_S = 20  # Vivado takes a while to end


@contextlib.contextmanager
def alone_in(directory: Path) -> Iterator[IO[str]]:
    """As the only one that builds in a directory; a process that ends, however, leaves it.

    Yields:
        The lock: whoever inherits its descriptor holds it, too.

    Raises:
        WrongPackageError: another process builds in it, or it cannot be written to.
    """
    try:
        opened = (directory / LOCK).open("a+", encoding="utf-8")  # not "w", which would wipe what the other one wrote
    except OSError as error:
        raise WrongPackageError(f"{directory} cannot be built in ({error.strerror}); see that it can be written to") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            number = lock.read(20).strip()
            who = f" (process {number})" if number.isdigit() else ""
            raise WrongPackageError(f"another process builds in {directory}{who}; wait for it, or end it") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield lock


def end_with_standard_input() -> None:
    """End this process' group once standard input does: the one that started it is gone, killed perhaps.

    From here on standard input is empty, for this process and all that it starts: the pipe is for this alone.
    """
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(os.getpgrp(), number)
            time.sleep(GRACE_S)

    threading.Thread(target=watch, daemon=True).start()
