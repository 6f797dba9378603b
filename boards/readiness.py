"""What a board says of itself, as lines of what is well and what is to be done: `readiness`."""

from __future__ import annotations

import re
from dataclasses import replace

from boards.answers import Facts
from boards.board import Board
from boards.registry import BOARDS
from boards.runner import Readiness

CARD_BYTES = 64 << 20  # a few packages, of 4 to 30 MB each
MEMORY_BYTES = 64 << 20
CMA_BYTES = 16 << 20  # buffers of a thousand frames, in and out
PYTHON = (3, 10)  # that finn-plus-driver is written for
IMAGE = "take PYNQ's image 3.0.1 or 3.1 for this board"


def readiness(facts: Facts, simulated: bool) -> list[Readiness]:
    """Lines about a board that answers.

    Args:
        facts: what it says.
        simulated: whether it is none.
    """
    lines = [
        Readiness("image", facts.image or "does not say its name"),
        Readiness(
            "python", facts.python, f"the driver needs 3.10 or later: {IMAGE}" if _version(facts.python) < PYTHON else ""
        ),
        _pynq(facts),
        Readiness("numpy", facts.numpy or "none", "" if facts.numpy else f"the driver needs it: {IMAGE}"),
        Readiness("root", "yes" if facts.root else "no", "" if facts.root else "the FPGA's registers need it: see sudo"),
        Readiness("FPGA", facts.fpga, "" if facts.fpga == "free" else "end that program first; bitloop takes it from nobody"),
        _space("card space", facts.card_free_bytes, CARD_BYTES, "remove what is not needed, such as old notebooks"),
        _space("memory", facts.memory_free_bytes, MEMORY_BYTES, "shut notebooks down, which keep theirs, or restart it"),
        _space("memory for DMA", facts.cma_free_bytes, CMA_BYTES, "shut notebooks down, which keep theirs, or restart it"),
        Readiness("board", f"{facts.board or 'does not say its name'}{', simulated: no board' if simulated else ''}"),
    ]
    for problem in facts.problems:
        about = next((n for n, line in enumerate(lines) if _WORDS.get(line.subject, line.subject) in problem.lower()), None)
        if about is None:
            lines.append(Readiness("to do", "as it says itself", problem))
        elif lines[about].is_well:
            lines[about] = replace(lines[about], remedy=problem)
    return lines


_WORDS = {"python": "python is", "root": "not root", "FPGA": "fpga is in use", "card space": "the card has"}
"""By what words of the board's own a problem belongs to a line, where that is not the line's subject."""


def board_named(name: str | None) -> Board | None:
    """The board that an image means by its name, such as Pynq-Z2; None where it is none of bitloop's own."""
    return next((board for board in BOARDS.values() if name and _plain(board.name) == _plain(name)), None)


def _pynq(facts: Facts) -> Readiness:
    if facts.pynq is None:
        return Readiness("pynq", "none", f"{IMAGE}, and look whether /etc/profile.d/pynq_venv.sh is there")
    board = board_named(facts.board)
    if board is not None and board.family == "zynq-7000" and _version(facts.pynq) >= (4,):
        return Readiness("pynq", facts.pynq, f"pynq 4 has dropped Zynq-7000 boards (its release notes, 4.0.0): {IMAGE}")
    return Readiness("pynq", facts.pynq, f"the driver needs 3.0 or later: {IMAGE}" if _version(facts.pynq) < (3,) else "")


def _space(subject: str, n_bytes: int | None, wanted: int, remedy: str) -> Readiness:
    if n_bytes is None:
        return Readiness(subject, "not told")
    short = n_bytes < wanted
    return Readiness(subject, f"{n_bytes / 1e6:,.0f} MB free", f"{wanted / 1e6:.0f} MB are wanted: {remedy}" if short else "")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
