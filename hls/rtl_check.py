"""Whether an accelerator's RTL answers, bit for bit, what its hardware layers do; and which node is the first that does not."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hls.finn_rtl import Accelerator
from hls.rtlsim import MismatchError, Simulator
from hls.rtlsim.simulator import Feed

_MOST_FRAMES = 3  # that are recorded, the wrong one last


def check_answers(
    accelerator: Accelerator, simulator: Simulator, frames: NDArray[Any], answers: NDArray[Any], feed: Feed | None = None,
    depths: Mapping[str, int] | None = None,
) -> None:  # fmt: skip
    """Hold what came out of a simulation against the integer circuit.

    Args:
        accelerator: what was simulated.
        simulator: that it was simulated with; asked again where something is wrong, to find the node.
        frames: (n, …) that went in.
        answers: (n, …) that came out.
        feed: as it was simulated.
        depths: of its FIFOs, as they were simulated.

    Raises:
        MismatchError: a word differs; the text names frame, word and node.
    """
    wanted = accelerator.circuit.run(frames).reshape(len(frames), -1)
    answers = answers.reshape(len(frames), -1)
    if np.array_equal(answers, wanted):
        return
    frame, word = map(int, np.argwhere(answers != wanted)[0])
    node, told = _first_wrong_node(accelerator, simulator, frames, frame, feed, depths)
    where = f"the first node that is wrong is {node}: {told}" if node else "no node alone is wrong, so FIFOs or converters are"
    n_wrong = int((answers != wanted).any(axis=1).sum())
    raise MismatchError(
        f"the RTL answers {answers[frame, word]:g} in word {word} of frame {frame} where {wanted[frame, word]:g} is right "
        f"({n_wrong} of {len(frames)} frames are wrong); {where}; look into that node's RTL, or build it otherwise (HLS, RTL)",
        frame,
        word,
        node,
    )


def _first_wrong_node(
    accelerator: Accelerator, simulator: Simulator, frames: NDArray[Any], frame: int, feed: Feed | None,
    depths: Mapping[str, int] | None,
) -> tuple[str, str]:  # fmt: skip
    """The first node whose stream holds a wrong word, and that word; two empty texts where none does."""
    few = frames[: frame + 1]
    if feed is None or not (feed.gaps or feed.back_pressure):
        few = few[-_MOST_FRAMES:]  # what is drawn must come as it came; else the frames just before will do
    with tempfile.TemporaryDirectory(prefix="bitloop-records-") as folder:
        records = Path(folder)
        simulator.run(few, feed, depths, records=records)
        for operation in accelerator.operations:
            name = accelerator.streams.get(operation.output)
            stream = simulator.netlist.streams.get(name) if name else None
            if stream is None or name is None:
                continue
            found = simulator.words_of(name, records)
            wanted = accelerator.expected(operation.output, few).reshape(-1, stream.lanes)
            n = min(len(found), len(wanted))
            wrong = np.argwhere((found[:n] != wanted[:n]).any(axis=1))
            if len(wrong):
                at = int(wrong[0, 0])
                return stream.source, f"word {at % stream.words} of a frame is {_told(found[at])} and not {_told(wanted[at])}"
            if len(found) < len(wanted):  # more are no fault: padding sends the next frame's border as soon as it can
                return stream.source, f"it hands on {len(found):,} words and not {len(wanted):,}"
    return "", ""


def _told(values: NDArray[Any]) -> str:
    few = ", ".join(f"{value:g}" for value in values[:8])
    return f"({few}{', …' if len(values) > 8 else ''})" if len(values) > 1 else few
