"""One process a run directory: `locked`."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flow.errors import RunDirectoryError
from flow.run_directory import make_directory

LOCKS = Path("/proc/locks")
# EBADF: network file systems lock files that are open for writing, which no directory is
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF)


@contextmanager
def locked(run: Path, warn: Callable[[str], None] = lambda text: None) -> Iterator[None]:
    """Keep every other process out of a run directory meanwhile.

    The lock is the operating system's, on the directory itself (`flock`): nothing is left of it, also not by a process that is
    killed or a machine that loses power.

    Args:
        run: the directory, made if it is not there.
        warn: told where the file system knows no such locks, as some network ones do; the run then goes on without.

    Raises:
        RunDirectoryError: another process has it, or there is no directory and none can be made.
    """
    make_directory(run)
    opened = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        whose = _holder(os.fstat(opened).st_ino)
        os.close(opened)
        raise RunDirectoryError(f"RUN={run} is in use by {whose}; wait for it or end it, or name another RUN") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(opened)
            raise
        warn(f"{run} is on a file system without locks: see to it that no other search uses it")
    try:
        yield
    finally:
        os.close(opened)


def _holder(inode: int) -> str:
    """Which process has the lock on a file, as far as the system tells."""
    try:
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except OSError:
        lines = []
    for _, kind, *_, pid, place, _, _ in (line.split() for line in lines if len(line.split()) == 8):
        if kind == "FLOCK" and place.rsplit(":", 1)[-1] == str(inode):
            return f"process {pid}"
    return "another process"
