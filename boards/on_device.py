"""Runs on the board, from inside a deployment package: checks the accelerator on the golden set, and measures it.

    sudo bash -c 'source /etc/profile.d/pynq_venv.sh && python on_device.py'

Besides it classifies a test set (--test-set), runs given frames (--infer), looks at the board without touching its FPGA
(--check) and brings the FPGA back after a hang (--reset). Prints one JSON object and nothing else on standard output. Exit
codes: 0 all is well, 1 the golden set came out wrong, 2 refused or failed, with the reason under `error`, one of refused, hang,
busy, ended and error under `kind`, and what had been measured by then, if anything, under `measured`, 3 measured, but there is
no golden set (`golden` is null) and so nobody knows whether the answers are right. Who ends it (Ctrl-C, SIGTERM, SIGHUP) ends
the accelerator with it, and has the answer, too. For Python 3.10, numpy 1.21 and pynq 3.0 to 3.1, as PYNQ's images 3.0 and 3.1
have them: nothing of bitloop is imported, and pynq and the driver only once they are asked for something. An older Python
(image 2.7 has 3.8) gets as far as being told so.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import math
import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

try:
    import numpy as np
except ImportError:  # --check says so
    np = None  # type: ignore[assignment]

WELL, WRONG, REFUSED, UNCHECKED = 0, 1, 2, 3
SCHEMA = 2
BATCH_SIZES = (1, 10, 100, 1000)
N_REPEATS = 5
TIMEOUT_S = 120.0
PYTHON = (3, 10)  # that finn-plus-driver is written for
LOCK = "bitloop-fpga.lock"  # in the folder for temporary files; held while the FPGA is used
FRAMES_AT_ONCE, BYTES_AT_ONCE = 1000, 16 << 20  # of a test set, or of --infer; a PYNQ-Z2 has 128 MiB for DMA in all
POWER_S = 2.0  # that rails are watched for
COUNTERS_S = 30  # that the counters count for at most
AGAIN_S = 5.0  # after which a time limit speaks up again: pynq swallows it where it says `except:`
FIRMWARE = Path("/lib/firmware")  # where the kernel reads bitfiles from
LOAD_S = 240.0  # to load a bitfile and its weights; pynq reads a .hwh file for half a minute on a slow board
# Parts by the names that PYNQ's images give their boards, without speed grade (finn.util.basic.pynq_part_map)
PARTS = {
    "pynqz1": "xc7z020clg400", "pynqz2": "xc7z020clg400", "ultra96": "xczu3eg-sbva484", "ultra96v2": "xczu3eg-sbva484",
    "zcu102": "xczu9eg-ffvb1156", "zcu104": "xczu7ev-ffvc1156", "zcu111": "xczu28dr-ffvg1517", "rfsoc2x2": "xczu28dr-ffvg1517",
    "rfsoc4x2": "xczu48dr-ffvg1517", "kv260": "xck26-sfvc784",
}  # fmt: skip


SO_FAR = "bitloop has measured so far: "  # before a line of standard error, for who loses the connection


class OnDeviceError(Exception):
    """Something that is said in one line. `kind` is for programs."""

    kind = "error"


class RefusalError(OnDeviceError):
    """This cannot be done here; the text says what to do."""

    kind = "refused"


class BusyError(OnDeviceError):
    """Somebody else uses the FPGA."""

    kind = "busy"


class HangError(OnDeviceError):
    """The accelerator did not finish."""

    kind = "hang"


class EndedError(OnDeviceError):
    """Somebody wants this program to end."""

    kind = "ended"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is asked for; see the module."""
    parser = argparse.ArgumentParser(description="Check an accelerator on its golden set and measure it.")
    parser.add_argument("--package", type=Path, default=Path(__file__).resolve().parent, help="the package's folder")
    parser.add_argument("--batch-sizes", default=",".join(map(str, BATCH_SIZES)), help="frames a call, such as 1,10,1000")
    parser.add_argument("--repeats", type=int, default=N_REPEATS, help="calls of every batch size; the median counts")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, help="seconds for one call and as many again for every 100 frames of it"
    )
    parser.add_argument("--test-set", type=Path, help="npz of inputs and labels, to be classified besides")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--infer", type=Path, help="npy of frames; runs these and measures nothing")
    other.add_argument("--check", action="store_true", help="look at the board, load nothing")
    other.add_argument("--reset", action="store_true", help="bring the FPGA back after a hang")
    parser.add_argument("--out", type=Path, help="npy, where the answers to --infer go")
    asked = parser.parse_args(arguments)
    if (asked.infer is None) != (asked.out is None):
        parser.error("--infer and --out go together")
    try:
        with _standard_output_to_error(), _ended_by_signals():
            if asked.check:
                found = check()
            elif asked.reset:
                found = reset(asked.package)
            elif asked.infer:
                found = infer(asked.package, asked.infer, asked.out, asked.timeout)
            else:
                found = measure(asked.package, _numbers(asked.batch_sizes), asked.repeats, asked.timeout, asked.test_set)
    except Exception as error:  # whatever the driver raises is for the one who reads the JSON
        said = str(error) if isinstance(error, OnDeviceError) else f"{type(error).__name__}: {error}"
        found = {"error": " ".join(said.split()), "kind": getattr(error, "kind", "error")}
        if hasattr(error, "measured"):
            found["measured"] = error.measured
    print(json.dumps(found))
    if "error" in found:
        return REFUSED
    if "golden" not in found:
        return WELL
    if found["golden"] is None:
        return UNCHECKED
    return WELL if found["golden"]["n_wrong"] == 0 else WRONG


def measure(
    package: Path, batch_sizes: Sequence[int], n_repeats: int, timeout_s: float = TIMEOUT_S, test_set: Path | None = None
) -> dict[str, Any]:
    """Load a package's accelerator, check it and, unless its answers are wrong, measure it.

    Args:
        package: the package's folder.
        batch_sizes: frames a call, 1 or more each.
        n_repeats: calls of every batch size, 1 or more.
        timeout_s: for one call of the accelerator, and as much again for every 100 frames of it.
        test_set: npz of `inputs` (n, …) and `labels` (n,), to be classified besides.

    Returns:
        As JSON takes it, by the names of `boards.measurement.Measurement`: `package` is the
        manifest's sha256, `clock_mhz` is read back, `golden` is None where there is none.

    Raises:
        RefusalError: a file is not what the manifest says, or this board or its pynq cannot run it.
        BusyError: somebody else uses the FPGA.
        HangError: a call took longer; the FPGA has been loaded again, or the text says that it cannot be.
    """
    if n_repeats < 1 or not batch_sizes or min(batch_sizes) < 1 or not timeout_s > 0:
        raise RefusalError("batch sizes and repeats are whole numbers of 1 or more, and the timeout is more than 0 s")
    tested = None if test_set is None else _test_set(test_set)  # before anything is measured that would be lost
    with _accelerator(package) as (accelerator, manifest, found):
        found |= {"throughput": [], "latency_ms": None, "driver_report": {}, "counters": None, "counters_note": ""}
        found |= {"power": None, "power_note": "", "test": None}
        found["golden"] = check_golden(accelerator, package, manifest["golden"], timeout_s)
        if found["golden"] and found["golden"]["n_wrong"]:
            found["power_note"] = "nothing was measured: the golden set came out wrong"
            return found
        for n in batch_sizes:
            found["throughput"].append(throughput(accelerator, n, n_repeats, timeout_s))
            if n == 1:
                found["latency_ms"] = found["throughput"][-1]["median_ms"]
            print(SO_FAR + json.dumps(found), file=sys.stderr, flush=True)
        largest = max(found["throughput"], key=lambda timed: timed["batch_size"])
        found["driver_report"] = driver_report(accelerator, largest["batch_size"], timeout_s)
        found["power"], found["power_note"] = power(accelerator, manifest["board"]["title"], timeout_s)
        if hasattr(accelerator, "experiment_instrumentation"):
            found["counters"], found["counters_note"] = counters(accelerator, largest["fps"], timeout_s)
        if tested:
            found["test"] = classify(accelerator, *tested, manifest["hands_on"]["datatype"], timeout_s)
    return found


def infer(package: Path, inputs: Path, out: Path, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Run frames through a package's accelerator.

    Args:
        package: the package's folder.
        inputs: npy of frames, (n, …) as the accelerator reads them.
        out: npy that the answers are written to, (n, …).
        timeout_s: see `measure`.

    Raises:
        RefusalError, BusyError, HangError: see `measure`.
    """
    frames = _arrays(inputs)
    with _accelerator(package) as (accelerator, manifest, found):
        wanted = tuple(manifest["reads"]["shape"][1:])
        if frames.ndim == 0 or frames.shape[1:] != wanted or not len(frames):
            raise RefusalError(f"{inputs.name} has the shape {frames.shape}, the accelerator reads frames of {wanted}")
        answers = _execute(accelerator, frames, timeout_s)
    with out.open("wb") as file:
        np.save(file, answers, allow_pickle=False)
    return {**found, "n_images": len(answers)}


def check() -> dict[str, Any]:
    """What there is to know about the board without loading anything; `problems` are lines that say what no other fact does."""
    problems, version, device = [], None, None
    try:
        version = pynq_version()
        device = active_device()
    except RefusalError as error:
        problems.append(str(error))
    user = fpga_user()
    return {
        "schema_version": SCHEMA, "python": platform.python_version(), "numpy": np and np.__version__, "pynq": version,
        "image": image_name(device), "board": board_name(device),
        "root": os.geteuid() == 0 or is_simulated(device), "fpga": f"in use by {user}" if user else "free",
        "card_free_bytes": shutil.disk_usage(Path(__file__).parent).free, "memory_free_bytes": _meminfo("MemAvailable"),
        "cma_free_bytes": _meminfo("CmaFree"), "problems": problems,
    }  # fmt: skip


def reset(package: Path) -> dict[str, Any]:
    """Have pynq forget what it knows of the FPGA, and load a package's bitfile again, where the package is whole.

    Raises:
        RefusalError: there is no pynq, or none for this.
        BusyError: somebody else uses the FPGA.
    """
    version = pynq_version()
    note = ""
    try:
        with _accelerator(package) as (_, manifest, _):
            loaded = manifest["name"]
    except RefusalError as error:  # no bitfile for this board is to be had; what pynq remembers is forgotten all the same
        from pynq import PL

        active_device()
        with held_fpga():
            PL.reset()
        loaded, note = None, str(error)
    return {"schema_version": SCHEMA, "pynq": version, "loaded": loaded, "note": note}


@contextlib.contextmanager
def _accelerator(package: Path) -> Iterator[tuple[Any, dict[str, Any], dict[str, Any]]]:
    """A package's accelerator, loaded, its manifest, and what is known of both by then; the FPGA is held meanwhile.

    Raises:
        RefusalError, BusyError, HangError: see `measure`.
    """
    check_python(sys.version_info[:2])
    manifest = read_manifest(package)
    sys.dont_write_bytecode = True  # else the driver's __pycache__ comes into the package, which is then not what it was
    sys.path[:0] = [str(package / "driver")]
    sys.path.append(str(package / "driver" / "stand_ins"))  # behind what the image has
    version = pynq_version()
    check_pynq(version, manifest["board"]["family"])
    device = active_device()
    check_board(manifest, device)
    found = {
        "schema_version": SCHEMA, "name": manifest["name"], "board": manifest["board"]["name"],
        "package": _sha256(package / "manifest.json"), "image": image_name(device),
        "pynq": version, "python": platform.python_version(), "driver": manifest["driver"],
    }  # fmt: skip
    with held_fpga(), _no_copy_of(package / manifest["bitfile"]):
        accelerator = load(package, manifest)
        found["clock_mhz"] = clock_mhz(accelerator, package / manifest["bitfile"])
        try:
            yield accelerator, manifest, found
        except (HangError, EndedError) as error:
            try:
                if isinstance(error, HangError):
                    load(package, manifest)
                else:  # there is little time: what pynq knows of the bitfile is not worked out again
                    accelerator.download()
                after = "the FPGA was loaded again and can be used"
            except Exception as second:
                after = f"the FPGA cannot be loaded again ({second}): switch the board off and on"
            raise _with_measured(type(error)(f"{error}; {after}"), found) from error
        except Exception as error:
            _with_measured(error, found)
            raise


@contextlib.contextmanager
def _no_copy_of(bitfile: Path) -> Iterator[None]:
    """Removes the copy of a bitfile that pynq makes for the kernel: each has a name of its own, and they would fill a card."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # there is none: it was never loaded, or this is no board
            (FIRMWARE / f"{bitfile.stem}.bin").unlink()


def _with_measured(error: Exception, found: dict[str, Any]) -> Exception:
    """The error, with what had been measured before it."""
    if found.get("throughput"):
        error.measured = found  # type: ignore[attr-defined]
    return error


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
    major = int(version.split(".")[0])
    if family == "zynq-7000" and major >= 4:
        raise RefusalError(
            f"pynq {version} has dropped Zynq-7000 boards (its release notes, 4.0.0); use the PYNQ image 3.1, which has pynq 3"
        )
    if major < 3:
        raise RefusalError(f"pynq is {version}, the driver needs 3.0 or later: take the PYNQ image 3.0 or 3.1")


def active_device() -> Any:
    """The FPGA, as pynq has it.

    Raises:
        RefusalError: pynq finds none.
    """
    from pynq import Device

    try:
        return Device.active_device
    except RuntimeError as error:
        raise RefusalError(f"pynq finds no FPGA ({error}); run on the board itself, as root, with XILINX_XRT=/usr") from error


def is_simulated(device: Any) -> bool:
    """Whether what pynq has is the simulated board."""
    return str(getattr(device, "name", "")).startswith("simulated")


def check_board(manifest: dict[str, Any], device: Any) -> None:
    """Look whether a package is for this board. Where its image does not say which it is, only the FPGA itself can refuse.

    Raises:
        RefusalError: it is not.
    """
    if manifest.get("simulated", False) != is_simulated(device):
        kind, here = ("real", "a simulated one") if is_simulated(device) else ("simulated", "a real one")
        raise RefusalError(f"the package is for a {kind} board and this is {here}; build a package for this one")
    wanted, board = manifest["board"]["fpga_part"], board_name(device) or ""
    part = getattr(device, "fpga_part", None) or PARTS.get("".join(c for c in board.lower() if c.isalnum()))
    if part and _without_grade(part) != _without_grade(wanted):
        raise RefusalError(
            f"the package is for a {manifest['board']['title']} ({wanted}), this is a {board} with a {part}; build for that one"
        )


def board_name(device: Any = None, root: Path = Path("/")) -> str | None:
    """The board's name, where PYNQ's images say it: the device tree, and from that BOARD (sdbuild's boardname.sh)."""
    if is_simulated(device):
        return str(device.board_name)
    with contextlib.suppress(OSError):
        return (root / "proc/device-tree/chosen/pynq_board").read_text(encoding="utf-8").strip("\0\n ")
    return os.environ.get("BOARD")


def image_name(device: Any = None, root: Path = Path("/")) -> str | None:
    """What the card calls itself, such as "PynqLinux 3.0 (Release 2022_11_23 7faac21)"; None where it is none of PYNQ's.

    PYNQ's sdbuild writes both files; the revision tells images apart that bear the same number.
    """
    if is_simulated(device):
        return str(device.image)
    said = []
    with contextlib.suppress(OSError):
        lines = (root / "etc/lsb-release").read_text(encoding="utf-8").splitlines()
        told = dict(line.partition("=")[::2] for line in lines)
        if "pynq" in told.get("DISTRIB_ID", "").lower():
            said.append(f"{told['DISTRIB_ID']} {told.get('DISTRIB_RELEASE', '')}".strip())
    with contextlib.suppress(OSError):
        revision = (root / "home/xilinx/REVISION").read_text(encoding="utf-8").splitlines()
        said += [f"({revision[0].strip()})"] if revision else []
    return " ".join(said) or None


@contextlib.contextmanager
def held_fpga() -> Iterator[None]:
    """Hold the FPGA for this process.

    Raises:
        BusyError: another one holds it, with this lock or by having its registers mapped.
        RefusalError: the lock belongs to root, and this is not root.
    """
    path = Path(tempfile.gettempdir()) / LOCK
    try:
        try:  # not O_CREAT alone: the kernel keeps root from opening another's file in /tmp so (fs.protected_regular)
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 0o644)
    except PermissionError as error:
        raise RefusalError(f"{path} cannot be opened ({error.strerror}); root's rights are needed, run it with sudo") from error
    try:
        user = fpga_user()
        if not user:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                user = "another process"
        if user:
            raise BusyError(f"the FPGA is in use by {user}; let it end, or end it, and try again")
        os.truncate(lock, 0)
        os.write(lock, f"process {os.getpid()} ({' '.join(sys.argv)[:200]})".encode())
        yield
    finally:
        os.close(lock)


def fpga_user(proc: Path = Path("/proc")) -> str | None:
    """Who uses the FPGA, this process aside: holds the lock, or has registers mapped that lie in the FPGA."""
    path = Path(tempfile.gettempdir()) / LOCK
    with contextlib.suppress(OSError), path.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return lock.read(300).decode(errors="replace") or "another process"
    for process in proc.iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            with contextlib.suppress(OSError):  # it has ended, or is not ours to look at
                if any(map(_is_in_fpga, (process / "maps").read_text(errors="replace").splitlines())):
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    return f"process {process.name} ({command[:200]})"
    return None


def _is_in_fpga(mapping: str) -> bool:
    """Whether a line of /proc/*/maps is of registers in the FPGA: behind the processor's master ports, or handed on by UIO."""
    fields = mapping.split(None, 5)
    if len(fields) < 6:
        return False
    at = int(fields[2], 16)  # AMD UG585 (M_AXI_GP0, GP1) and UG1085 (HPM0, HPM1, LPD)
    return fields[5].startswith("/dev/uio") or (
        fields[5] == "/dev/mem" and (0x4000_0000 <= at < 0xC000_0000 or at >= 0x4_0000_0000)
    )


def load(package: Path, manifest: dict[str, Any]) -> Any:
    """Load the bitfile and give the driver's object for it.

    Raises:
        RefusalError: the driver is not the package's own, or these are not root's rights.
        HangError: it takes longer than `LOAD_S`.
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
    try:
        with _no_longer_than(LOAD_S, 0, "loading"):  # of weights that are written by the driver, a first frame runs
            return driver(str(package / manifest["bitfile"]), **{**told, "batch_size": 1})
    except OSError as error:
        if "root permissions" in str(error).lower():  # pynq's words (pl_server/embedded_device.py)
            raise RefusalError("the FPGA's registers need root's rights; run it with sudo") from error
        raise


def clock_mhz(accelerator: Any, bitfile: Path) -> float:
    """The clock that the accelerator runs at: what its clocking wizard makes of the clock that the processor gives it."""
    from finn_plus_driver.hwh import get_clk_wiz_params_from_hwh
    from pynq.ps import Clocks

    wanted = float(get_clk_wiz_params_from_hwh(str(bitfile)).get("PRIM_IN_FREQ", 100.0))
    ratio = Clocks.fclk0_mhz / wanted
    # pynq rounds the processor's crystal: a difference that small is none
    return float(accelerator.fclk_mhz_actual) * (1.0 if abs(ratio - 1) < 1e-3 else ratio)


def check_golden(accelerator: Any, package: Path, golden: str | None, timeout_s: float = TIMEOUT_S) -> dict[str, Any] | None:
    """Run the golden set and hold what comes out against it, bit for bit; None where there is none."""
    if golden is None:
        return None
    inputs, wanted = _arrays(package / golden, "inputs", "outputs")
    given = _execute(accelerator, inputs, timeout_s)
    if given.shape != wanted.shape:
        raise RefusalError(f"the accelerator answers with the shape {given.shape}, the golden set has {wanted.shape}")
    rows = [values.astype(np.float64).reshape(len(wanted), -1) for values in (given, wanted)]
    apart = np.abs(rows[0] - rows[1])
    wrong = np.argwhere(~(apart == 0))  # a NaN is wrong, too
    first = None
    if len(wrong):
        image, index = map(int, wrong[0])
        first = {"image": image, "index": index, "got": float(rows[0][image, index]), "wanted": float(rows[1][image, index])}
    return {
        "n_images": len(wanted), "n_wrong": len(set(wrong[:, 0].tolist())),
        "largest_difference": float(apart.max(initial=0.0)), "first_wrong": first,
    }  # fmt: skip


def _test_set(path: Path) -> tuple[Any, Any]:
    """Inputs and labels of a test set."""
    inputs, labels = _arrays(path, "inputs", "labels")
    if len(inputs) != len(labels) or not len(labels):
        raise RefusalError(f"{path.name} has {len(inputs)} inputs and {len(labels)} labels; as many of both are wanted")
    return inputs, labels


def classify(accelerator: Any, inputs: Any, labels: Any, datatype: str, timeout_s: float = TIMEOUT_S) -> dict[str, int]:
    """Classify a test set.

    Args:
        accelerator: what classifies.
        inputs: (n, …) as it reads them.
        labels: (n,).
        datatype: of its answers. Numbers without a sign are those of the best classes, the best first; others are logits, and
            the class is the largest one's.
        timeout_s: see `measure`.
    """
    answers = _execute(accelerator, inputs, timeout_s).reshape(len(labels), -1)
    chosen = answers.shape[1] == 1 or datatype.startswith(("UINT", "BINARY"))
    classes = answers[:, 0] if chosen else answers.argmax(axis=1)
    return {"n_images": len(labels), "n_right": int((classes == labels.reshape(-1)).sum())}


def frames_at_once(n_bytes: int) -> int:
    """How many frames of so many bytes go into the accelerator at once, where they need not go all together."""
    return min(FRAMES_AT_ONCE, max(1, BYTES_AT_ONCE // n_bytes))


def _execute(accelerator: Any, frames: Any, timeout_s: float) -> Any:
    """What the accelerator makes of frames: (n, …)."""
    answers = []
    step = frames_at_once(frames[0].nbytes)
    for start in range(0, len(frames), step):
        some = frames[start : start + step]
        _make_room(accelerator, len(some))
        with _no_longer_than(timeout_s, len(some)):
            answers.append(np.asarray(accelerator.execute(some)))
    return np.concatenate(answers)


def _make_room(accelerator: Any, batch_size: int) -> None:
    """Have buffers for so many frames.

    Raises:
        RefusalError: there is no memory for them.
    """
    try:
        accelerator.batch_size = batch_size
    except (MemoryError, RuntimeError) as error:  # of numpy, of pynq
        free = _meminfo("CmaFree")
        room = "" if free is None else f", {free / 1e6:.0f} MB are free"
        raise RefusalError(
            f"there is no memory for buffers of {batch_size:,} frames ({' '.join(str(error).split())}{room}); give smaller "
            "--batch-sizes, or shut notebooks down, which keep theirs"
        ) from error


def throughput(accelerator: Any, batch_size: int, n_repeats: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """Time calls of one batch size, transfers by DMA included, packing in Python not; the first call does not count."""
    _make_room(accelerator, batch_size)
    seconds: list[float] = []
    for _ in range(1 + n_repeats):
        with _no_longer_than(timeout_s, batch_size):
            begun = time.perf_counter()
            accelerator.execute_on_buffers()
            seconds.append(time.perf_counter() - begun)
    del seconds[0]
    middle = statistics.median(seconds)
    return {"batch_size": batch_size, "fps": batch_size / middle, "median_ms": 1e3 * middle, "fastest_ms": 1e3 * min(seconds)}


def driver_report(accelerator: Any, batch_size: int, timeout_s: float) -> dict[str, float]:
    """What the driver's own throughput test says, its numbers."""
    _make_room(accelerator, batch_size)
    with _no_longer_than(timeout_s, batch_size):
        told = accelerator.throughput_test()
    return {name: float(value) for name, value in told.items() if isinstance(value, (int, float, np.number))}


def counters(accelerator: Any, fps: float, timeout_s: float) -> tuple[dict[str, Any] | None, str]:
    """What an instrumented build counts by itself, over at least 1 s and some 100 frames; or why it counts nothing."""
    runtime_s = min(COUNTERS_S, max(1, math.ceil(100 / fps)))
    with tempfile.TemporaryDirectory() as folder, _no_longer_than(timeout_s + runtime_s, 0, "counting"):
        accelerator.experiment_instrumentation(runtime=runtime_s, report_dir=folder)
        raw = json.loads(Path(folder, "report_experiment_instrumentation.json").read_text(encoding="utf-8"))
        accelerator.stop_accelerator()
        accelerator.set_current_mode("dma")
    if raw["error"]:
        return None, f"the counters report an error, or no frame came through in {runtime_s} s"
    names = ("latency_cycles", "interval_cycles", "avg_interval_cycles", "min_latency_cycles")
    return {**{name: raw[name] for name in names}, "raw": raw}, ""


def power(accelerator: Any, title: str, timeout_s: float) -> tuple[dict[str, Any] | None, str]:
    """Mean power of the board's rails while the accelerator runs, with the batch size it has; or why there is none."""
    import pynq

    if is_simulated(active_device()):
        return None, "a simulated board draws no power"
    sensors = {name: rail.power for name, rail in pynq.get_rails().items() if rail.power is not None}
    if not sensors:
        return None, f"a {title} has no power sensor of its own; measure at its supply"
    seen: dict[str, list[float]] = {name: [] for name in sensors}
    broken: list[str] = []
    over = threading.Event()

    def watch() -> None:
        try:
            while not over.is_set():
                for name, sensor in sensors.items():
                    seen[name].append(float(sensor.value))
                over.wait(0.05)
        except Exception as error:  # of the kernel's driver, as a busy I2C bus: no reason to lose the rest
            broken.append(" ".join(f"{type(error).__name__}: {error}".split()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        until = time.perf_counter() + POWER_S
        while time.perf_counter() < until:
            with _no_longer_than(timeout_s, accelerator.batch_size):
                accelerator.execute_on_buffers()
    finally:
        over.set()
        watcher.join()
    if broken:
        return None, f"the sensors of the {title} cannot be read ({broken[0]}); measure at its supply"
    rails = {name: statistics.fmean(values) for name, values in seen.items()}
    total = rails.get("12V", sum(rails.values()))  # where the supply itself is measured (ZCU104), the others are part of it
    if not total > 0:
        return None, f"the sensors of the {title} read {total:g} W; measure at its supply"
    return {"rails_w": rails, "total_w": total}, ""


@contextlib.contextmanager
def _no_longer_than(timeout_s: float, n_frames: int, what: str = "") -> Iterator[None]:
    """Ends a call of the accelerator that takes longer: the driver waits for its DMA engine for ever.

    Args:
        timeout_s: for the call, and as much again for every 100 frames.
        n_frames: of the call.
        what: is done, where it is not so many frames.
    """
    limit_s = timeout_s * (1 + n_frames / 100)
    what = what or f"{n_frames} frames"

    def hang(number: int, frame: FrameType | None) -> None:
        raise HangError(
            f"the accelerator did not finish {what} within {limit_s:g} s; mostly bitfile and settings do not belong together, "
            "and --timeout gives a slow one longer"
        )

    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, limit_s, AGAIN_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Has whoever ends this program end the accelerator, too: its DMA engine would write on, where memory is others' then."""

    def end(number: int, frame: FrameType | None) -> None:
        for heard in before:
            signal.signal(heard, signal.SIG_IGN)  # once is enough
        raise EndedError(f"{signal.Signals(number).name} ended it")

    heard = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in heard if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def _arrays(path: Path, *names: str) -> Any:
    """The named arrays of an npz file, or the one of an npy file."""
    try:
        found = np.load(path, allow_pickle=False)
        if not names and isinstance(found, np.ndarray):
            return found
        with found:
            return [found[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError) as error:
        raise RefusalError(f"{path.name} does not hold {' and '.join(names) or 'one array'} ({error})") from error


def _numbers(text: str) -> list[int]:
    try:
        return [int(n) for n in text.split(",")]
    except ValueError:
        raise RefusalError(f"--batch-sizes is {text!r}; whole numbers of 1 or more are wanted, such as 1,10,1000") from None


def _meminfo(name: str) -> int | None:
    """A line of /proc/meminfo, in bytes; None where there is none, or no such memory at all."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        if name in told and not (name == "CmaFree" and int(told["CmaTotal"].split()[0]) == 0):
            return int(told[name].split()[0]) << 10
    return None


def _without_grade(part: str) -> str:
    """Device and package of a part: xc7z020clg400 of xc7z020clg400-1, xczu7ev-ffvc1156 of xczu7ev-ffvc1156-2-e."""
    return "-".join(part.split("-")[: 1 if part.startswith("xc7") else 2])


def _sha256(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            found.update(block)
    return found.hexdigest()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os.dup2(2, 1)  # what C code has printed comes when this ends
    sys.exit(code)
