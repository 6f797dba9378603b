"""Whether a network is still the same, bit for bit, at every stage of its way to hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hls.errors import VerificationError
from hls.finn_execution import Answers
from hls.rounding import layouts
from models.spec import LayerSpec


@dataclass(frozen=True)
class Verdict:
    """One stage beside the trained network.

    Attributes:
        stage: its name.
        n_images: looked at.
        wrong_logits: whose accumulator differs and should not, of all images and classes.
        largest_lsb: by which an accumulator differs, in units of its least significant bit.
        wrong_classes: images whose class differs.
        first_layer: the first layer, or sum, whose activations differ from the stage before; None where none does.
        wrong_activations: of that one, values that differ.
        largest_step: by which one of them differs.
        wrong_choices: images of which the best classes that are handed on are not those of the largest accumulators.
        n_roundings: of the QONNX file, values that it rounds otherwise than the next stage does and that lie on a rounding
            boundary, where single precision decides; they are no difference.
        n_followed: images whose accumulators differ from the trained network's by what follows from such values alone.
    """

    stage: str
    n_images: int
    wrong_logits: int
    largest_lsb: int
    wrong_classes: int
    first_layer: str | None
    wrong_activations: int
    largest_step: int
    wrong_choices: int = 0
    n_roundings: int = 0
    n_followed: int = 0

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return self.wrong_logits == 0 and self.first_layer is None and self.wrong_choices == 0

    @property
    def remark(self) -> str:
        """What single precision decided, for a person; empty where that is nothing."""
        said = []
        if self.n_roundings:
            lie = "value lies" if self.n_roundings == 1 else "values lie"
            said.append(f"{self.n_roundings:,} {lie} on a rounding boundary, where single precision decides")
        if self.n_followed:
            images = "1 image" if self.n_followed == 1 else f"{self.n_followed} images"
            said.append(f"{images} with accumulators that differ by what follows from such values alone")
        return "; ".join(said)


def quantizers(specs: Sequence[LayerSpec]) -> list[str]:
    """Names of a network's quantizers but the image's, in the order of `hls.finn_execution.Answers.activations`."""
    names: list[str] = []
    for spec in specs[:-1]:
        if spec.adds_to is None:
            names.append(spec.name)
            continue
        names.append(f"{spec.name}, addend")
        if spec.past is not None:
            names.append(f"{spec.past} past {spec.name}")
        if spec.past is not None or spec.adds_to != spec.name:
            names.append(f"{spec.adds_to}, sum")
    return names


def verdicts(names: Sequence[str], trained: NDArray[np.float64], stages: Sequence[Answers]) -> list[Verdict]:
    """Hold every stage against the trained network's logits, and its activations against those of the stage before.

    Args:
        names: of the quantizers, in order (`quantizers`).
        trained: logits of the trained network, (images, classes).
        stages: what they answer to the same images, in order.

    Raises:
        VerificationError: no stage says what the accumulator's least significant bit is worth.
    """
    steps = [s.step for s in stages if s.step]
    if not steps:
        raise VerificationError("no stage has a factor behind the last layer, so that its accumulator cannot be read")
    wanted = _in_lsb(trained, steps[-1])
    ways = _ways(stages, steps[-1])
    known = _is_one_of(wanted, ways)
    out = []
    for i, stage in enumerate(stages):
        found = _in_lsb(stage.logits, steps[-1])
        apart = np.abs(found - wanted)
        followed = (apart > 0).any(axis=1) & known & _is_one_of(found, ways)
        apart[followed] = 0
        layer, n_wrong, largest = None, 0, 0
        if i:
            layer, n_wrong, largest = _first_difference(names, stages[i - 1].activations, stage.activations)
        out.append(
            Verdict(
                stage.stage, len(trained), int((apart > 0).sum()), int(apart.max(initial=0)),
                int((stage.logits.argmax(axis=1) != trained.argmax(axis=1)).sum()), layer, n_wrong, largest,
                0 if stage.chosen is None else _wrong_choices(np.where(followed[:, None], found, wanted), stage.chosen),
                0 if stage.n_roundings is None else int(stage.n_roundings.sum()), int(followed.sum()),
            )
        )  # fmt: skip
    return out


def _in_lsb(logits: NDArray[np.float64], step: float) -> NDArray[np.float64]:
    return np.asarray(np.rint(logits / step))


def _ways(stages: Sequence[Answers], step: float) -> list[NDArray[np.float64]]:
    """Accumulators of the QONNX file as it is, and with values on a rounding boundary the other way.

    All are the same network as far as single precision can say: stages that answer as any two of them do not differ.
    """
    ways = []
    for stage in stages:
        if stage.decided is not None or stage.explained is not None:
            runs = (stage.logits, stage.decided, stage.explained)
            ways += [_in_lsb(run, step) for run in runs if run is not None]
    return ways


def _is_one_of(accumulators: NDArray[np.float64], ways: Sequence[NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Images whose accumulators are those of one of the ways."""
    found = np.zeros(len(accumulators), bool)
    for way in ways:
        found |= (accumulators == way).all(axis=1)
    return found


def _wrong_choices(accumulators: NDArray[np.float64], chosen: NDArray[np.int64]) -> int:
    """Rows of which the chosen do not have the largest accumulators, in order; of equal ones any will do."""
    largest = -np.sort(-accumulators, axis=1)[:, : chosen.shape[1]]
    return int((np.take_along_axis(accumulators, chosen, axis=1) != largest).any(axis=1).sum())


def _first_difference(
    names: Sequence[str], before: Sequence[NDArray[np.int64]], here: Sequence[NDArray[np.int64]]
) -> tuple[str | None, int, int]:
    """The first layer whose activations differ, how many of them do, and by how much at most."""
    called = [*names, *(f"quantizer {i}" for i in range(len(names), max(len(before), len(here)) + 1))]  # none is left out
    if len(before) != len(here):
        return called[min(len(before), len(here))], max(len(before), len(here)), 0
    for name, a, b in zip(called, before, here, strict=False):
        if a.size != b.size:
            return name, max(a.size, b.size), 0
        apart = min((np.abs(laid.reshape(b.shape) - b) for laid in layouts(a, b.shape)), key=np.count_nonzero)
        if apart.any():
            return name, int((apart > 0).sum()), int(apart.max())
    return None, 0, 0
