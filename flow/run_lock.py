"""One process a run directory: `locked`."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flow.errors import RunDirectoryError

LOCK_FILE = ".lock"
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


@contextmanager
def locked(run: Path, warn: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Keep every other process out of a run directory meanwhile.

    The lock is the operating system's (`flock`): a process that is killed, or a machine that loses power, leaves none behind.
    The file stays, and says who had it last.

    Args:
        run: the directory, made if it is not there.
        warn: told where the file system knows no locks, as some network ones do; the run then goes on without.

    Raises:
        RunDirectoryError: another process has it, or there is a file in its place.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunDirectoryError(f"RUN={run} is not a directory; name another one") from error
    with (run / LOCK_FILE).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            whose = file.read(200).strip() or "another process"
            raise RunDirectoryError(f"RUN={run} is in use by {whose}; wait for it or end it, or name another RUN") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            warn(f"{run} is on a file system without locks: see to it that no other search uses it")
        else:
            file.seek(0)
            file.truncate()
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
        yield
