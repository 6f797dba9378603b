"""Runs on the board, sent along: looks after the packages on its card. Python 3.8 or later, nothing but its library.

    python3 -I -c CARD look NAME SHA256        is this package there, whole?
    python3 -I -c CARD tidy KEEP [NAME…]       remove all but the KEEP packages used last; those named stay and do not count
    python3 -I -c CARD forget NAME             remove a folder that files were exchanged in

Works in the folder `bitloop` of where it is started, and touches nothing there that is not bitloop's own: a package's folder
bears the first digits of its manifest's hash; what was begun and not finished is removed once it is a day old. Prints one JSON
object.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

FOLDER = "bitloop"
MANIFEST = "manifest.json"
N_DIGITS = 16
REMAINS = re.compile(rf"\.[0-9a-f]{{{N_DIGITS}}}\.(part|old)|exchange-[0-9a-f]{{{N_DIGITS}}}")
OLD_S = 24 * 3600.0  # what is younger may be somebody's work
SKEW_S = 60.0  # that a clock may be set back while somebody works


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; see the module."""
    what, rest = arguments[0], arguments[1:]
    if what == "look":
        found = look(Path(FOLDER, rest[0]), rest[1])
    elif what == "tidy":
        found = tidy(Path(FOLDER), int(rest[0]), rest[1:])
    else:
        found = forget(Path(FOLDER, rest[0]))
    print(json.dumps(found))  # noqa: T201 a program of its own
    return 0


def look(package: Path, sha256: str) -> dict[str, object]:
    """Whether a package is there with every file of its manifest, and if not, what is wrong: `whole` and `why`."""
    if package.is_symlink() or not package.is_dir():
        return {"whole": False, "why": "it is not there"}
    manifest = package / MANIFEST
    if not manifest.is_file() or _sha256(manifest) != sha256:
        return {"whole": False, "why": f"{MANIFEST} is missing or another one"}
    for name, wanted in json.loads(manifest.read_text(encoding="utf-8"))["files"].items():
        path = package / name
        if not path.is_file() or _sha256(path) != wanted:
            return {"whole": False, "why": f"{name} is missing or damaged"}
    _use(package)
    return {"whole": True, "why": ""}


def tidy(folder: Path, n_kept: int, names: Sequence[str] = ()) -> dict[str, object]:
    """Remove old packages and what broken transfers have left: names of what was removed, and of what could not be."""
    packages: list[Path] = []
    condemned: list[Path] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_symlink() or not path.is_dir() or path.name in names:
            continue
        if _is_package(path):
            packages.append(path)
        elif REMAINS.fullmatch(path.name) and not -SKEW_S <= time.time() - path.stat().st_mtime <= OLD_S:
            condemned.append(path)  # also what is of the future: a board without a battery forgets the time
    packages.sort(key=lambda path: path.stat().st_mtime)
    condemned += packages[: max(0, len(packages) - n_kept)]
    removed: list[str] = []
    left: list[str] = []
    for path in condemned:
        shutil.rmtree(path, ignore_errors=True)
        (left if path.exists() else removed).append(path.name)
    return {"removed": removed, "left": left}


def forget(exchange: Path) -> dict[str, object]:
    """Remove a folder that files were exchanged in: `left` says whether it could not be."""
    if REMAINS.fullmatch(exchange.name) and not exchange.is_symlink():
        shutil.rmtree(exchange, ignore_errors=True)
    return {"left": exchange.exists()}


def _use(package: Path) -> None:
    """Have a package be the one used last, also where the clock has gone back since: few boards have a battery for it."""
    latest = max(path.stat().st_mtime for path in package.parent.iterdir())
    now = max(time.time(), latest + 1)
    os.utime(package, (now, now))


def _is_package(path: Path) -> bool:
    """Whether a folder is a package that bitloop has put there: its name is the hash of the manifest in it."""
    manifest = path / MANIFEST
    return len(path.name) == N_DIGITS and manifest.is_file() and _sha256(manifest).startswith(path.name)


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
