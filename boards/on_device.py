"""Runs on the board, from inside a deployment package: checks the accelerator on the golden set, and measures it.

    sudo bash -c 'source /etc/profile.d/pynq_venv.sh && python on_device.py'

Prints one JSON object and nothing else on standard output. Exit codes: 0 all is well, 1 the golden set came out wrong, 2
refused or failed, with the reason under `error`, 3 measured, but there is no golden set (`golden` is null) and so nobody
knows whether the answers are right. For Python 3.10, numpy 1.21 and pynq 3.0 to 3.1, as PYNQ's images 3.0 and 3.1 have
them: nothing of bitloop is imported, and pynq and the driver only once they are asked for something. An older Python
(image 2.7 has 3.8) gets as far as being told so.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

WELL, WRONG, REFUSED, UNCHECKED = 0, 1, 2, 3
SCHEMA = 2
BATCH_SIZES = (1, 10, 100, 1000)
N_REPEATS = 5
TIMEOUT_S = 120.0
PYTHON = (3, 10)  # that finn-plus-driver is written for


class RefusalError(Exception):
    """This cannot be done here; the text is one line that says what to do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check and measure; see the module."""
    parser = argparse.ArgumentParser(description="Check an accelerator on its golden set and measure it.")
    parser.add_argument("--package", type=Path, default=Path(__file__).resolve().parent, help="the package's folder")
    parser.add_argument("--batch-sizes", default=",".join(map(str, BATCH_SIZES)), help="frames a call, such as 1,10,1000")
    parser.add_argument("--repeats", type=int, default=N_REPEATS, help="calls of every batch size; the median counts")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, help="seconds for one call and as many again for every 100 frames of it"
    )
    asked = parser.parse_args(arguments)
    try:
        with _standard_output_to_error():
            found = measure(asked.package, _numbers(asked.batch_sizes), asked.repeats, asked.timeout)
    except Exception as error:  # whatever the driver raises is for the one who reads the JSON
        said = str(error) if isinstance(error, RefusalError) else f"{type(error).__name__}: {error}"
        found = {"error": " ".join(said.split())}
    print(json.dumps(found))
    if "error" in found:
        return REFUSED
    if found["golden"] is None:
        return UNCHECKED
    return WELL if found["golden"]["n_wrong"] == 0 else WRONG


def measure(package: Path, batch_sizes: Sequence[int], n_repeats: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Load a package's accelerator, check it and measure it.

    Args:
        package: the package's folder.
        batch_sizes: frames a call, 1 or more each.
        n_repeats: calls of every batch size, 1 or more.
        timeout_s: for one call of the accelerator, and as much again for every 100 frames of it.

    Returns:
        As JSON takes it: `golden` (None where there is none), `throughput` by batch
        size, `clock_mhz`, `pynq`, `package` (the manifest's sha256).

    Raises:
        RefusalError: a file is not what the manifest says, or this board or its pynq cannot run it.
    """
    if n_repeats < 1 or not batch_sizes or min(batch_sizes) < 1 or not timeout_s > 0:
        raise RefusalError("batch sizes and repeats are whole numbers of 1 or more, and the timeout is more than 0 s")
    check_python(sys.version_info[:2])
    manifest = read_manifest(package)
    sys.dont_write_bytecode = True  # else the driver's __pycache__ comes into the package, which is then not what it was
    sys.path[:0] = [str(package / "driver")]
    sys.path.append(str(package / "driver" / "stand_ins"))  # behind what the image has
    version = pynq_version()
    check_pynq(version, manifest["board"]["family"])
    accelerator = load(package, manifest)
    return {
        "schema_version": SCHEMA,
        "name": manifest["name"],
        "board": manifest["board"]["name"],
        "package": _sha256(package / "manifest.json"),
        "pynq": version,
        "clock_mhz": float(accelerator.fclk_mhz_actual),
        "golden": check_golden(accelerator, package, manifest["golden"], timeout_s),
        "throughput": [throughput(accelerator, n, n_repeats, timeout_s) for n in batch_sizes],
    }


def read_manifest(package: Path) -> dict[str, Any]:
    """The manifest of a package, whose files are what it says.

    Raises:
        RefusalError: they are not.
    """
    try:
        manifest: dict[str, Any] = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
        schema, files = manifest["schema_version"], manifest["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RefusalError(f"{package} holds no package ({error}); copy it again, whole") from error
    if schema != SCHEMA:
        raise RefusalError(f"the package has schema {schema}, this on_device.py reads {SCHEMA}; make it again")
    for name, wanted in files.items():
        path = package / name
        if not path.is_file() or _sha256(path) != wanted:
            raise RefusalError(f"{name} is missing or not what the manifest says; copy the package again, whole")
    return manifest


def check_python(version: tuple[int, int]) -> None:
    """Look whether the driver runs in a Python.

    Raises:
        RefusalError: it does not.
    """
    if version < PYTHON:
        raise RefusalError(
            f"Python is {version[0]}.{version[1]}, the driver needs 3.10 or later: take the PYNQ image 3.0 or 3.1"
        )


def pynq_version() -> str:
    """The version of pynq.

    Raises:
        RefusalError: there is none.
    """
    # Without it pynq's server looks for no embedded device; the images set it in /etc/profile.d/xrt_setup.sh.
    os.environ.setdefault("XILINX_XRT", "/usr")
    sys.setrecursionlimit(10_000)  # pynq's parser of .hwh files goes deep
    try:
        import pynq
    except ImportError as error:
        raise RefusalError(f"pynq cannot be imported ({error}); source /etc/profile.d/pynq_venv.sh first") from error
    return str(pynq.__version__)


def check_pynq(version: str, family: str) -> None:
    """Look whether a pynq can run a board of a family.

    Raises:
        RefusalError: it cannot.
    """
    if family == "zynq-7000" and int(version.split(".")[0]) >= 4:
        raise RefusalError(
            f"pynq {version} has dropped Zynq-7000 boards (its release notes, 4.0.0); use the PYNQ image 3.1, which has pynq 3"
        )


def load(package: Path, manifest: dict[str, Any]) -> Any:
    """Load the bitfile and give the driver's object for it.

    Raises:
        RefusalError: the driver is not the package's own.
    """
    from pynq import PL

    PL.reset()  # else pynq may answer from what it remembers of another bitfile
    import finn_plus_driver

    place = Path(finn_plus_driver.__file__).resolve()
    if (package / "driver").resolve() not in place.parents:
        raise RefusalError(f"finn_plus_driver was imported from {place}, not from the package; start a new Python")
    told = json.loads((package / manifest["settings"]).read_text(encoding="utf-8"))["driver_information"]
    told["runtime_weight_dir"] = str((package / manifest["settings"]).parent / "runtime_weights")
    driver = finn_plus_driver.get_driver_class(told["driver_type"])
    return driver(str(package / manifest["bitfile"]), **{**told, "batch_size": 1})


def check_golden(accelerator: Any, package: Path, golden: str | None, timeout_s: float = TIMEOUT_S) -> dict[str, Any] | None:
    """Run the golden set and hold what comes out against it, bit for bit; None where there is none."""
    if golden is None:
        return None
    with np.load(package / golden, allow_pickle=False) as file:
        inputs, wanted = file["inputs"], file["outputs"]
    accelerator.batch_size = len(inputs)
    with _no_longer_than(timeout_s, len(inputs)):
        given = np.asarray(accelerator.execute(inputs))
    if given.shape != wanted.shape:
        raise RefusalError(f"the accelerator answers with the shape {given.shape}, the golden set has {wanted.shape}")
    apart = np.abs(given.astype(np.float64) - wanted.astype(np.float64)).reshape(len(wanted), -1).max(axis=1)
    wrong = ~(apart == 0)  # a NaN is wrong, too
    return {"n_images": len(wanted), "n_wrong": int(wrong.sum()), "largest_difference": float(apart.max(initial=0.0))}


def throughput(accelerator: Any, batch_size: int, n_repeats: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Time calls of one batch size, transfers by DMA included, packing in Python not; the first call does not count."""
    accelerator.batch_size = batch_size
    seconds: list[float] = []
    for _ in range(1 + n_repeats):
        with _no_longer_than(timeout_s, batch_size):
            begun = time.perf_counter()
            accelerator.execute_on_buffers()
            seconds.append(time.perf_counter() - begun)
    del seconds[0]
    middle = statistics.median(seconds)
    return {"batch_size": batch_size, "fps": batch_size / middle, "median_ms": 1e3 * middle, "fastest_ms": 1e3 * min(seconds)}


@contextlib.contextmanager
def _no_longer_than(timeout_s: float, n_frames: int) -> Iterator[None]:
    """Ends a call of the accelerator that takes longer: the driver waits for its DMA engine for ever.

    Args:
        timeout_s: for the call, and as much again for every 100 frames.
        n_frames: of the call.
    """
    limit_s = timeout_s * (1 + n_frames / 100)

    def hang(number: int, frame: FrameType | None) -> None:
        raise RefusalError(
            f"the accelerator did not finish {n_frames} frames within {limit_s:g} s; mostly bitfile and settings do not belong "
            "together, and --timeout gives a slow one longer"
        )

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _standard_output_to_error() -> Iterator[None]:
    """Have whatever is printed go to standard error, by pynq's C code as by Python: standard output is for the one object."""
    sys.stdout.flush()
    own = os.dup(1)
    os.dup2(2, 1)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.stdout.flush()
        os.dup2(own, 1)
        os.close(own)


def _numbers(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise RefusalError(f"--batch-sizes is {text!r}; whole numbers of 1 or more are wanted, such as 1,10,1000") from None


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
