"""What HOST=simulated may add behind a colon: how the simulated board differs from the estimate, and how it misbehaves.

simulated:cycles_factor=1.3,stuck_dma
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from boards.errors import BoardError

SIMULATED = "simulated"


@dataclass(frozen=True)
class Option:
    """One thing to be said of a simulated board.

    Attributes:
        about: whom it is for: `truth` and `faults` of `board.json`, or the `way` there.
        wanted: its value, in words.
        read: makes the value of a text, and raises ValueError of another one.
        alone: the value where none is given; None where one must be.
    """

    about: str
    wanted: str
    read: Callable[[str], Any]
    alone: Any = None


def _number(at_least: float = 0.0, above: bool = False) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not math.isfinite(value) or value < at_least or (above and value == at_least):
            raise ValueError
        return value

    return read


def _count(at_least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if value < at_least:
            raise ValueError
        return value

    return read


def _version(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+){1,3}", text):
        raise ValueError
    return text


def _nothing(_: str) -> bool:
    raise ValueError


OPTIONS = {
    "cycles_factor": Option("truth", "a number above 0", _number(above=True)),
    "overhead_us": Option("truth", "a number of 0 or more", _number()),
    "stuck_dma": Option("faults", "nothing, or the frames before it", _count(0), True),
    "wrong_output": Option("faults", "nothing, or the frame, from 1 on", _count(1), 1),
    "clock_mhz": Option("faults", "a number above 0", _number(above=True)),
    "busy": Option("faults", "nothing", _nothing, True),
    "old_pynq": Option("faults", "nothing, or a version", _version, "2.7.0"),
    "new_pynq": Option("faults", "nothing, or a version", _version, "4.0.0"),
    "slowdown": Option("faults", "a number above 0", _number(above=True)),
    "unreachable": Option("way", "nothing", _nothing, True),
    "drop_connection": Option("way", "nothing, or the number of the run or copy that it ends in", _count(1), 1),
    "reboot": Option("way", "nothing, or the number of the run or copy that it happens in", _count(1), 1),
    "full_card": Option("way", "nothing, or the bytes that there is room for", _count(0), 0),
}


@dataclass(frozen=True)
class Options:
    """What HOST says of a simulated board: `truth` and `faults` go to its `board.json`, `way` is of the way to it."""

    truth: dict[str, Any] = field(default_factory=dict)
    faults: dict[str, Any] = field(default_factory=dict)
    way: dict[str, Any] = field(default_factory=dict)


def is_simulated(host: str) -> bool:
    """Whether HOST means the simulated board."""
    return host == SIMULATED or host.startswith(f"{SIMULATED}:")


def parse_options(host: str) -> Options:
    """What HOST says of the simulated board.

    Raises:
        BoardError: it means another board, an option is unknown or comes twice, or its value does not do.
    """
    if not is_simulated(host):
        raise BoardError(f"HOST is {host!r}; {SIMULATED}, or {SIMULATED}:name=value,name is wanted")
    if not host.isprintable():
        raise BoardError(f"HOST is {host!r}, which has characters in it that cannot be printed; leave them out")
    found = Options()
    told = host.removeprefix(SIMULATED).removeprefix(":")
    for word in filter(None, told.split(",")):
        name, equals, text = (part.strip() for part in word.partition("="))
        if name not in OPTIONS:
            near = get_close_matches(name, OPTIONS, 1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise BoardError(f"HOST={host}: {name!r} is no option of the simulated board; {hint}there are {', '.join(OPTIONS)}")
        option = OPTIONS[name]
        group = getattr(found, option.about)
        if name in group:
            raise BoardError(f"HOST={host}: {name} comes twice; say it once")
        try:
            if not equals and option.alone is None:
                raise ValueError
            group[name] = option.read(text) if equals else option.alone
        except ValueError:
            raise BoardError(f"HOST={host}: {name} is {text!r}; {option.wanted} is wanted") from None
    if "full_card" in found.way:  # which what runs on the board sees, too
        found.faults["full_card"] = found.way["full_card"]
    return found
