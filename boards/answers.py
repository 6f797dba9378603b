"""What a board's `on_device.py` says, taken at its word only where it is whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from boards.errors import (
    BoardBusyError,
    BoardError,
    BoardTimeoutError,
    OutputMismatchError,
    PackageError,
    RefusedError,
)
from boards.measurement import Design, GoldenCheck, Measurement
from boards.on_device import SO_FAR
from boards.package import Package
from boards.transport import Completed

SCHEMA = 2
KILLED = 128 + 9  # the exit code of what SIGKILL ended
KINDS: Mapping[str, type[BoardError]] = {"refused": RefusedError, "hang": BoardTimeoutError, "busy": BoardBusyError}


class Facts(BaseModel):
    """What a board says of itself: `on_device.py --check`.

    Attributes:
        image, python, pynq, numpy: of its card; None where there is none.
        board: its name, as the image has it.
        root: whether the program had root's rights.
        fpga: free, or in use by whom.
        card_free_bytes, memory_free_bytes, cma_free_bytes: what is left; CMA is what the DMA engines reach.
        problems: a line each, of what must be done before a package runs.
    """

    model_config = ConfigDict(frozen=True)

    image: str | None = None
    python: str
    pynq: str | None
    numpy: str | None
    board: str | None
    root: bool
    fpga: str
    card_free_bytes: int
    memory_free_bytes: int | None = None
    cma_free_bytes: int | None = None
    problems: tuple[str, ...] = ()


def answer_of(done: Completed, host: str) -> dict[str, Any]:
    """The object that `on_device.py` has printed.

    Raises:
        RefusedError, BoardTimeoutError, BoardBusyError: it says that it could not do it, and why.
        BoardError: that it failed, or it says nothing that can be understood.
    """
    try:
        answer = json.loads(done.output)
        if not isinstance(answer, dict):
            raise ValueError
    except (ValueError, RecursionError):
        if done.code == KILLED:
            raise BoardError(
                f"on_device.py on {host} was killed, as the kernel does where memory runs out; shut notebooks down there, "
                "which keep theirs, or give smaller batch sizes"
            ) from None
        said = (done.errors.strip() or done.output.strip() or "nothing").splitlines()[-1].strip()
        raise BoardError(
            f"on_device.py on {host} ended with code {done.code} and no answer; its last line: {said[:300]}"
        ) from None
    if "error" in answer:
        raise KINDS.get(str(answer.get("kind")), BoardError)(f"{host}: {' '.join(str(answer['error']).split())}")
    if answer.get("schema_version") != SCHEMA:
        found = answer.get("schema_version")
        raise BoardError(
            f"on_device.py on {host} answers by schema {found}, this bitloop reads {SCHEMA}; make the package again"
        )
    return answer


def facts_of(done: Completed, host: str) -> Facts:
    """What a board says of itself.

    Raises:
        BoardError: see `answer_of`; or something is missing.
    """
    answer = answer_of(done, host)
    try:
        return Facts.model_validate(answer)
    except ValidationError as error:
        raise BoardError(f"on_device.py on {host} does not say what it is asked: {_first(error)}") from error


def measurement_of(answer: dict[str, Any], package: Package, host: str, simulated: bool) -> Measurement:
    """A measurement from a board's answer.

    Args:
        answer: of `on_device.py`.
        package: that was measured.
        host: as given to HOST.
        simulated: whether that is no board.

    Raises:
        OutputMismatchError: the golden set came out wrong.
        BoardError: the answer is about another package, or it is not whole.
    """
    manifest = package.manifest
    if answer.get("package") != package.sha256:
        raise BoardError(
            f"{host} answers for the package {str(answer.get('package'))[:16]}, not for {package.sha256[:16]}; try again"
        )
    try:
        golden = None if answer["golden"] is None else GoldenCheck.model_validate(answer["golden"])
        if golden is not None and golden.n_wrong:
            raise OutputMismatchError(_mismatch(golden, manifest.name, host))
        told = {key: answer[key] for key in _ANSWERED}
        whole = {
            "at": datetime.now(UTC).isoformat(), "simulated": simulated, "host": host, "board": manifest.board.name,
            "name": manifest.name, "package": package.sha256, "plan": manifest.plan, "policy_digest": manifest.policy,
            "design": design_of(package).model_dump(), "clock_mhz": manifest.clock_mhz,
            "clock_readback_mhz": answer["clock_mhz"], "raw": answer, **told,
        }  # fmt: skip
        # strictly and from JSON: a number that came as a text is a sign of something that nobody has thought of
        return Measurement.model_validate_json(json.dumps(whole), strict=True)
    except KeyError as error:
        raise BoardError(f"on_device.py on {host} does not say what it is asked: {error.args[0]} is missing") from error
    except ValidationError as error:
        raise BoardError(f"on_device.py on {host} says what cannot be: {_first(error)}") from error


def measured_before(done: Completed, package: Package, host: str, simulated: bool) -> Measurement | None:
    """What a board had measured before something went wrong; None where that is nothing.

    Where it gave no answer any more it is what it has said in between.
    """
    between = [line.removeprefix(SO_FAR) for line in reversed(done.errors.splitlines()) if line.startswith(SO_FAR)]
    for text in (done.output, *between):  # the last line may be half of one
        with contextlib.suppress(BoardError, ValueError, KeyError, TypeError, RecursionError):
            told = json.loads(text)
            return measurement_of(dict(told["measured"] if text is done.output else told), package, host, simulated)
    return None


_ANSWERED = (
    "image", "pynq", "python", "driver", "golden", "latency_ms", "throughput", "driver_report", "counters", "power",
    "power_note", "test",
)  # fmt: skip


def design_of(package: Package) -> Design:
    """What a package says of its design.

    Raises:
        PackageError: that cannot be read.
    """
    path = package.path / package.manifest.design
    try:
        return Design.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = _first(error) if isinstance(error, ValidationError) else error.strerror
        raise PackageError(f"{path} does not describe a design ({first}); make the package again") from error


def _mismatch(golden: GoldenCheck, name: str, host: str) -> str:
    first = golden.first_wrong
    where = ""
    if first is not None:
        where = f"; the first is image {first.image}, value {first.index}: {first.got:.9g} instead of {first.wanted:.9g}"
    return (
        f"{name} answers wrongly on {host}: {golden.n_wrong} of {golden.n_images} images of the golden set{where}; nothing was "
        "measured; look whether timing was met in the build, and build again"
    )


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"
