"""The deployment package: a folder with everything a board needs, and a manifest that says what every file must be.

A package is written whole or not at all, and reading one looks at every byte of it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from boards.bitfile import check_part, read_bit_header
from boards.errors import BitfileError, PackageError

SCHEMA = 2
MANIFEST = "manifest.json"

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(_Facts):
    """What goes into an accelerator or comes out of it.

    Attributes:
        shape: of one frame, with a one before it for the frame.
        datatype: QONNX's name, such as INT8 or FLOAT32.
    """

    shape: tuple[int, ...]
    datatype: str


class BoardFacts(_Facts):
    """The board a package is for; see `boards.board.Board`."""

    name: str
    title: str
    fpga_part: str
    family: Literal["zynq-7000", "zynq-ultrascale+"]


class Manifest(_Facts):
    """What a package says of itself.

    Attributes:
        schema_version: of the manifest; `SCHEMA`.
        name: of the design.
        board: it is for.
        clock_mhz: that the accelerator was built for; what it runs at is read back on the board.
        simulated: whether the bitfile is none, but a circuit for the simulated board.
        bitfile, hwh, settings, design, golden: their paths in the package; `design` is `boards.measurement.Design`.
        plan: digest of the plan it was built by.
        policy: digest of the policy, if it came from one.
        reads, hands_on: the accelerator's streams.
        n_golden: images in the golden set; 0 where there is none.
        driver: distribution to version, of those that the driver bundle was collected from.
        tools: what built it, for people.
        files: path in the package to sha256, of every file but the manifest.
    """

    schema_version: Literal[2] = 2
    name: str
    simulated: bool = False
    board: BoardFacts
    clock_mhz: Annotated[float, Field(gt=0)]
    bitfile: str
    hwh: str
    settings: str
    design: str
    golden: str | None
    plan: str
    policy: str | None
    reads: Stream
    hands_on: Stream
    n_golden: Annotated[int, Field(ge=0)]
    driver: dict[str, str]
    tools: str
    files: dict[str, Sha256] = {}


@dataclass(frozen=True)
class Package:
    """A package whose files are all what its manifest says.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        sha256: of the manifest, and so of everything in it.
    """

    path: Path
    manifest: Manifest
    sha256: str


def write_package(folder: Path, manifest: Manifest, sources: Mapping[str, Path]) -> Package:
    """Write a package, whole or not at all; one that is there is replaced.

    Args:
        folder: where to.
        manifest: what it says of itself; `files` is filled in here.
        sources: path in the package to a file that is copied there.

    Raises:
        PackageError: a path leads out of the package, a file that the manifest names is missing, or the bitfile is none
            for the board.
    """
    part, old = folder.with_name(f".{folder.name}.part"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        files = {}
        for name, source in sorted(sources.items()):
            _check_path(name)
            target = part / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            files[name] = _sha256(target)
        whole = manifest.model_copy(update={"files": files})
        (part / MANIFEST).write_text(whole.model_dump_json(indent=2) + "\n", encoding="utf-8")
        read_package(part)
        if folder.exists():  # aside first: removing it takes a while, and for that while there would be half of it
            shutil.rmtree(old, ignore_errors=True)
            folder.replace(old)
        try:
            part.replace(folder)
        except BaseException:
            if old.exists():
                old.replace(folder)
            raise
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)
    return Package(folder, whole, _sha256(folder / MANIFEST))


def read_package(folder: Path) -> Package:
    """A package, every file of it held against its manifest.

    Raises:
        PackageError: it is none, of another schema, or a file is missing, changed, a link, or not in the manifest.
        BitfileError: the bitfile is none, or for another FPGA.
    """
    path = folder / MANIFEST
    try:
        raw = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(f"{folder} is no deployment package: {MANIFEST} cannot be read ({error})") from error
    found = re.search(r'"schema_version"\s*:\s*(\d+)', raw)
    if found and int(found[1]) != SCHEMA:
        raise PackageError(f"{folder} has schema {found[1]}, this bitloop reads {SCHEMA}; make the package again")
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise PackageError(f"{path} is no manifest: {where}: {first['msg']}; make the package again") from error
    for name in manifest.files:
        _check_path(name)
    there = set(_files(folder)) - {MANIFEST}
    for name in sorted(there ^ set(manifest.files)):
        word = "is not in its manifest" if name in there else "is missing"
        raise PackageError(f"{folder / name} {word}; copy the package again, whole")
    for name, wanted in manifest.files.items():
        if _sha256(folder / name) != wanted:
            raise PackageError(f"{folder / name} is not what the manifest says (sha256); copy the package again, whole")
    for role in (manifest.bitfile, manifest.hwh, manifest.settings, manifest.design, manifest.golden):
        if role is not None and role not in manifest.files:
            raise PackageError(f"{path} names {role}, which is not among its files; make the package again")
    header = read_bit_header(folder / manifest.bitfile)
    try:
        check_part(header, manifest.board.fpga_part)
    except BitfileError as error:
        raise BitfileError(f"{folder / manifest.bitfile}: {error}") from error
    return Package(folder, manifest, _sha256(path))


def _check_path(name: str) -> None:
    """Raise of a path that leads out of a package, or that not every system reads the same."""
    path = PurePosixPath(name)
    if (
        not name
        or path.is_absolute()
        or ".." in path.parts
        or str(path) != name
        or not re.fullmatch(r"[A-Za-z0-9_./+-]+", name)
    ):
        raise PackageError(f"{name!r} is no path inside a package; letters, digits and ._+-/ are allowed, and no ..")


def _files(folder: Path) -> list[str]:
    """The paths of all files below a folder; nothing but files and folders may be there."""
    found = []
    for base, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(base, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise PackageError(f"{path} is a link or no plain file; copy the package again, whole")
        found += [Path(base, name).relative_to(folder).as_posix() for name in names]
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
