"""Files to a board and from it by SFTP; `sftp` is paramiko's client everywhere, and raises OSError as the board says."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path, PurePosixPath
from typing import Any

from boards.errors import BoardError
from boards.load import Load, Progress, old_of, plain_file


def put(sftp: Any, load: Load, target: PurePosixPath, progress: Progress | None) -> None:
    """Copy to a target that is not there."""
    done, total = 0, load.n_bytes
    for folder in load.folders:
        sftp.mkdir(str(target / folder), 0o755)
    for name, source, _ in load.files:

        def told(n: int, _: int, before: int = done) -> None:
            if progress:
                progress(before + n, total)

        path = str(target / name)
        with plain_file(source) as file:
            done += int(sftp.putfo(file, path, callback=told).st_size)  # which looks whether all of it has arrived
        sftp.chmod(path, 0o644)


def put_in_place(sftp: Any, part: PurePosixPath, target: PurePosixPath) -> None:
    """Give what is whole its name; what had that name before goes."""
    old = old_of(target)
    remove(sftp, old)
    with contextlib.suppress(FileNotFoundError):
        sftp.posix_rename(str(target), str(old))
    sftp.posix_rename(str(part), str(target))
    remove(sftp, old)


def make_folder(sftp: Any, folder: PurePosixPath) -> None:
    """Make a folder and those above it, where they are not there.

    Raises:
        BoardError: a file is in the way.
    """
    for path in (*reversed(folder.parents), folder):
        if not path.name:
            continue
        try:
            if not stat.S_ISDIR(sftp.stat(str(path)).st_mode):
                raise BoardError(f"{path} on the board is a file, and a folder is wanted there; move it away")
        except FileNotFoundError:
            sftp.mkdir(str(path), 0o755)


def remove(sftp: Any, path: PurePosixPath) -> None:
    """Remove a file or a folder with all in it, if it is there; links are removed and not followed."""
    try:
        kind = sftp.lstat(str(path)).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(kind):
        sftp.remove(str(path))
        return
    for entry in sftp.listdir(str(path)):
        remove(sftp, path / entry)
    sftp.rmdir(str(path))


def get(sftp: Any, source: PurePosixPath, target: Path, where: str) -> None:
    """Copy a file from a board; the target is there whole or not at all.

    Raises:
        BoardError: there is no such file.
    """
    try:
        told = sftp.stat(str(source))
    except FileNotFoundError:
        told = None
    if told is None or not stat.S_ISREG(told.st_mode):
        raise BoardError(f"{where} has no file {source}")
    part = target.with_name(f".{target.name}.part")
    try:
        with part.open("wb") as file:
            n_bytes = sftp.getfo(str(source), file)
        if n_bytes != told.st_size:
            raise BoardError(f"{source} of {where} changed while it was copied; copy it again")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
