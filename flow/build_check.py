"""What is looked at, bit for bit, before a tool runs; and the golden set that a board is given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flow.build_directory import BuildDirectory
from flow.build_source import BuildSource
from flow.errors import BuildError, VerificationError
from flow.golden import read_golden
from flow.progress import Listener
from flow.run_directory import write_json
from hls.finn_build import Stream, image_of
from hls.finn_execution import answers
from hls.handover.progress import sha256
from hls.verify import Verdict, verdicts
from models.files import read_json, whole_file
from models.npz_file import read_arrays

ANSWERS, VERIFIED = "answers.npz", "verified.json"
N_NOISE = 16  # frames of noise for a network without a golden set


@dataclass(frozen=True)
class Verified:
    """What was looked at.

    Attributes:
        n_images: looked at; 0 where nothing could be.
        n_wanted: of images; the same or more, where the golden set has no more.
        images: what they are: the golden set, or noise.
        stages: names of the stages that agree.
        why_not: why nothing could be looked at; empty otherwise.
        answers_sha256: of the answers that are kept for the board; empty where there are none.
    """

    n_images: int
    images: str
    stages: tuple[str, ...]
    why_not: str = ""
    answers_sha256: str = ""
    n_wanted: int = 0

    def sentence(self) -> str:
        """For a person."""
        if self.why_not:
            return f"not verified: {self.why_not}"
        return f"verified on {self.n_images} images of {self.images}, bit for bit: {', '.join(self.stages)}"


def verify_source(source: BuildSource, directory: BuildDirectory, n_images: int, listener: Listener) -> Verified:
    """Hold every stage of a network against the trained one, or where there is no golden set the stages against each other.

    What agreed is kept in the build's directory, with the frames and answers for the board, and not looked at again.

    Args:
        source: the network.
        directory: of the build.
        n_images: of the golden set, 1 or more.
        listener: is told about it.

    Raises:
        VerificationError: a stage differs; the text names the first layer that does.
        GraphError: FINN cannot run the network.
    """
    kept = _kept(directory)
    if kept is not None and (source.golden is None or max(kept.n_images, kept.n_wanted) >= n_images):
        return kept
    found = _verify(source, directory, n_images, listener)
    listener.note(found.sentence())
    write_json(directory / VERIFIED, {"plan": directory.plan.digest, **asdict(found)})
    return found


def _kept(directory: BuildDirectory) -> Verified | None:
    """What was verified before for this plan, if that can be read."""
    try:
        raw = read_json(directory / VERIFIED)
        if raw.pop("plan") != directory.plan.digest:
            return None
        if not raw["why_not"] and sha256(directory / ANSWERS) != raw["answers_sha256"]:
            return None
        return Verified(**{**raw, "stages": tuple(raw["stages"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _verify(source: BuildSource, directory: BuildDirectory, n_images: int, listener: Listener) -> Verified:
    built = directory.plan.implementations
    names = [layer.name for layer in source.layers]
    if source.golden is not None:
        golden = read_golden(source.golden).first(n_images)
        pixels, labels, trained, what = golden.pixels, golden.labels, golden.logits, "the golden set"
    else:
        image = image_of(source.onnx)
        if not image.is_pixels:
            return Verified(
                0, "", (), f"{source.onnx.name} reads {image}, and only 8-bit pixels less 128 can be fed to all stages"
            )
        pixels = np.random.default_rng(0).integers(0, 256, (N_NOISE, *image.shape), np.uint8)
        labels, trained, what = None, None, "noise, as there is no golden set"
    listener.note(f"holding every stage against each other on {len(pixels)} images of {what}")
    stages = answers(source.onnx, source.board, pixels, built, source.top_k, trained)
    n_quantizers = len(stages[0].activations)
    if n_quantizers != len(names) - 1:  # more than one a layer, or no layers known
        names = [f"quantizer {i}" for i in range(1, n_quantizers + 2)]
    try:
        found = verdicts(names, stages[0].logits if trained is None else trained, stages)
    except VerificationError as error:
        raise VerificationError(f"{source.onnx}: {error}") from error
    wrong = next((v for v in found if not v.agrees), None)
    if wrong is not None:
        raise VerificationError(_complaint(wrong, source))
    for v in found:
        if v.remark:
            listener.note(f"{v.stage}: {v.remark}")
    last = stages[-1]
    handed_on: NDArray[Any] = last.logits.astype(np.float32) if last.chosen is None else last.chosen
    clear = np.ones(len(pixels), bool) if last.chosen is None else without_ties(last.logits, last.step, last.chosen.shape[1])
    if not clear.all():
        listener.note(f"{(~clear).sum()} images have best classes that are equally good; the board is not held against those")
    _write_answers(directory / ANSWERS, pixels[clear], None if labels is None else labels[clear], handed_on[clear])
    answered = sha256(directory / ANSWERS)
    return Verified(len(pixels), what, tuple(v.stage for v in found), answers_sha256=answered, n_wanted=n_images)


def without_ties(logits: NDArray[np.float64], step: float | None, top_k: int) -> NDArray[np.bool_]:
    """The images whose best classes nobody can choose otherwise: of equal accumulators FINN's Python and hardware may differ.

    Args:
        logits: (images, classes).
        step: what a unit of the accumulator is worth in them; None where that is not known.
        top_k: numbers of the best classes that are handed on.
    """
    accumulators = np.rint(logits / step) if step else logits
    best = -np.sort(-accumulators, axis=1)[:, : top_k + 1]  # with the best one that is not handed on
    return np.asarray((np.diff(best, axis=1) != 0).all(axis=1))


def _complaint(wrong: Verdict, source: BuildSource) -> str:
    where = f", first in layer {wrong.first_layer}" if wrong.first_layer else ""
    return (
        f"the {wrong.stage} of {source.onnx} is not the network that was trained: {wrong.wrong_logits:,} accumulators differ "
        f"on {wrong.n_images} images{where}; nothing is built of it: make verify shows more, make retrain exports it anew"
    )


def _write_answers(path: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64] | None, handed_on: NDArray[Any]) -> None:
    """Keep images and what the hardware layers answer, bit for bit."""
    arrays: dict[str, Any] = {"pixels": pixels, "outputs": handed_on} | ({} if labels is None else {"labels": labels})
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def board_inputs(pixels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Images as an accelerator reads them.

    Args:
        pixels: (N, C, H, W).
        shape: of one frame, a one before it: rows and columns before channels, or all in one row as the network flattens it.
    """
    integers = (pixels.astype(np.int16) - 128).astype(np.int8)
    if len(shape) == 4:
        integers = integers.transpose(0, 2, 3, 1)
    return integers.reshape(len(integers), *shape[1:])


def write_board_golden(answers: Path, reads: Stream, hands_on: Stream, path: Path) -> int:
    """Write a golden set as the accelerator reads and answers it.

    Args:
        answers: what `verify_source` kept.
        reads: what the accelerator reads.
        hands_on: what it answers.
        path: where to.

    Returns:
        The number of frames.

    Raises:
        BuildError: what was kept is missing or damaged.
    """
    try:
        arrays: dict[str, Any] = read_arrays(answers, ("pixels", "outputs", "labels"))
        pixels, outputs = arrays["pixels"], arrays["outputs"]
        labels = {"labels": arrays["labels"]} if "labels" in arrays else {}
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or outputs.dtype.kind not in "fiu":
            raise ValueError(f"it has {pixels.dtype} pixels {pixels.shape} and {outputs.dtype} answers {outputs.shape}")
        if not np.isfinite(outputs).all() or any(array.shape != (len(pixels),) for array in labels.values()):
            raise ValueError("it has answers that are no numbers, or labels that are not one an image")
        inputs, wanted = board_inputs(pixels, reads.shape), outputs.reshape(len(pixels), *hands_on.shape[1:])
    except (OSError, ValueError, KeyError) as error:
        raise BuildError(f"{answers} holds no answers to verify a board by ({error}); remove it and build again") from error
    with whole_file(path) as part, part.open("wb") as file:
        np.savez_compressed(file, inputs=inputs, outputs=wanted, **labels)
    return len(inputs)
