"""What the driver needs on a board, collected from what is installed here: a board of the Zynq-7000 family can install little.

pip finds no wheels of onnx, h5py and grpcio for its 32-bit processor. The path that runs an accelerator needs none of
them: it is finn-plus-driver, unmodified, with two modules of qonnx. What these import by name and never use there is in
`boards.stand_ins`. The driver's command line and its validation on data sets, which need more, are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from boards.errors import PackageError

FOLDER = "driver"
"""Of a package, that holds the bundle."""
STAND_INS = f"{FOLDER}/stand_ins"
"""Of a package, for the very end of Python's path."""

_DRIVER = "finn-plus-driver"
_LEFT_OUT = ("finn_plus_driver/validate/", "finn_plus_driver/cli.py", "finn_plus_driver/__main__.py")
_OF_QONNX = (
    "qonnx/__init__.py", "qonnx/core/__init__.py", "qonnx/core/datatype.py", "qonnx/util/__init__.py", "qonnx/util/basic.py",
)  # fmt: skip


@dataclass(frozen=True)
class DriverBundle:
    """The driver's files.

    Attributes:
        files: path in the package to the file here.
        versions: distribution to version.
    """

    files: Mapping[str, Path]
    versions: Mapping[str, str]


def collect_driver(version: str) -> DriverBundle:
    """The driver of the installed distributions.

    Args:
        version: of finn-plus, which the driver's must be equal to: `settings.json` is a contract of these two.

    Raises:
        PackageError: a distribution or a file of it is missing, or the version is another.
    """
    driver, qonnx = _distribution(_DRIVER), _distribution("qonnx")
    if driver.version != version:
        raise PackageError(f"{_DRIVER} is {driver.version} and finn-plus {version}; pip install --no-deps {_DRIVER}=={version}")
    names = [str(f) for f in driver.files or () if f.suffix == ".py" and not str(f).startswith(_LEFT_OUT)]
    wanted = {name: driver for name in names} | dict.fromkeys(_OF_QONNX, qonnx)
    licences = {str(f): d for d in (driver, qonnx) for f in d.files or () if f.name in ("METADATA", "LICENSE", "LICENSE.txt")}
    files = {f"{FOLDER}/{name}": _file(of, name) for name, of in (wanted | licences).items()}
    here = Path(__file__).parent / "stand_ins"
    files |= {f"{STAND_INS}/{p.relative_to(here)}": p for p in here.rglob("*.py") if p != here / "__init__.py"}
    if f"{FOLDER}/finn_plus_driver/overlays/dma.py" not in files:
        raise PackageError(
            f"{_DRIVER} {version} is installed without its files; pip install --force-reinstall --no-deps {_DRIVER}"
        )
    return DriverBundle(files, {_DRIVER: driver.version, "qonnx": qonnx.version})


def _distribution(name: str) -> metadata.Distribution:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise PackageError(f"{name} is not installed, whose files go to the board; make setup installs it") from None


def _file(of: metadata.Distribution, name: str) -> Path:
    path = Path(str(of.locate_file(name)))
    if not path.is_file():
        raise PackageError(f"{of.metadata['Name']} is installed without {name}; pip install --force-reinstall --no-deps it")
    return path
