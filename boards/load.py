"""What is copied to a board: a file, or a folder with all in it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from boards.errors import BoardError, NoSpaceError

BLOCK = 4096  # bytes; what a file takes of a card is a multiple of it
SPARE = 1 << 20  # bytes; for whatever else the board writes meanwhile

Progress = Callable[[int, int], None]
"""Is told of bytes done and in all."""


@dataclass(frozen=True)
class Load:
    """What is to be copied.

    Attributes:
        folders: below the target, parents first; the first is the target itself. Empty where one file is copied.
        files: below the target, where each comes from, and its size in bytes.
    """

    folders: tuple[PurePosixPath, ...]
    files: tuple[tuple[PurePosixPath, Path, int], ...]

    @property
    def n_bytes(self) -> int:
        """Of all files."""
        return sum(size for _, _, size in self.files)

    def check_space(self, n_free: int, where: str) -> None:
        """Look whether a card has room.

        Args:
            n_free: bytes on the card.
            where: whose card it is.

        Raises:
            NoSpaceError: it has not.
        """
        wanted = sum(-(-size // BLOCK) * BLOCK for _, _, size in self.files) + BLOCK * len(self.folders) + SPARE
        if wanted > n_free:
            raise NoSpaceError(
                f"the card of {where} has {n_free / 1e6:.1f} MB free and {wanted / 1e6:.1f} MB are wanted; remove what is not "
                "needed from it, such as old notebooks, or take a larger card"
            )


def load_of(source: Path) -> Load:
    """A file, or a folder with all in it.

    Raises:
        BoardError: nothing is there, something in it is a link or no plain file, or a name cannot be printed.
    """
    top = PurePosixPath()
    if source.is_file() and not source.is_symlink():
        return Load((), ((top, source, source.stat().st_size),))
    if not source.is_dir() or source.is_symlink():
        raise BoardError(f"{source} is no file and no folder; there is nothing to copy to a board")
    folders, files = [], []
    for base, below, names in os.walk(source):
        below.sort()
        folders.append(top / Path(base).relative_to(source).as_posix())
        for name in sorted((*below, *names)):
            path = Path(base, name)
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise BoardError(f"{path} is a link or no plain file, and is not copied to a board; copy what it leads to")
            if not name.isprintable():  # nor bytes that are no UTF-8
                raise BoardError(f"{str(path)!r} has characters in its name that cannot be printed; give it another name")
            if stat.S_ISREG(kind):
                files.append((folders[-1] / name, path, path.stat().st_size))
    return Load(tuple(folders), tuple(files))


def check_target(target: PurePosixPath) -> None:
    """Look whether a path on a board can be written to.

    Raises:
        BoardError: it leads upwards, is the home itself, or has characters that cannot be printed.
    """
    if not target.name or ".." in target.parts or not str(target).isprintable():
        raise BoardError(f"{str(target)!r} is no path to copy to; a file or folder below the user's home is wanted, without ..")


def part_of(target: PurePosixPath) -> PurePosixPath:
    """Where a target is until it is whole."""
    return target.with_name(f".{target.name}.part")


def old_of(target: PurePosixPath) -> PurePosixPath:
    """Where what a target replaces is until it is removed."""
    return target.with_name(f".{target.name}.old")


@contextlib.contextmanager
def plain_file(path: Path) -> Iterator[BinaryIO]:
    """A file to read, which is no link: whoever may write beside it does not choose what goes to a board."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        yield file
