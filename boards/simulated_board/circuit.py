"""An accelerator as data: what FINN's hardware layers make of frames, exact to the bit, many frames at a time.

A circuit is an .npz file: under "circuit" a JSON document as UTF-8 bytes, beside it the arrays that it names. The document says
what the accelerator reads and hands on, how many cycles it takes, and which operations it consists of, in an order in which
each finds what it reads. `hls/circuit.py` writes one, and says what every operation is.

Runs on the simulated board's interpreter: standard library and numpy (1.21 or later) alone, Python 3.10 or later.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .operations import KINDS, Array, Facts, Run, Tensor, exact, type_range

FORMAT = 1
MARK = b"bitloop-simulated-circuit\0"
"""What the configuration of a simulated bitfile begins with; behind it eight bytes of length, big-endian, and the circuit."""

MAX_BYTES = 1 << 30  # of all arrays, unpacked: those of CNV take 12 MB
_ELEMENTS_AT_ONCE = 2**21  # of the largest tensor, so that batches stay in memory and near the cache


@dataclass(frozen=True)
class Stream:
    """What goes into an accelerator or comes out of it.

    Attributes:
        shape: of one frame, a one before it.
        datatype: QONNX's name, such as INT8 or FLOAT32.
        folded_shape: as the stream has it, the elements of a cycle last.
        packed_shape: of its bytes, those of a cycle last.
    """

    shape: tuple[int, ...]
    datatype: str
    folded_shape: tuple[int, ...]
    packed_shape: tuple[int, ...]


class Circuit:
    """An accelerator.

    Attributes:
        reads, hands_on: its streams.
        interval_cycles: between two frames in the steady state.
        latency_cycles: of the first frame.
        instrumented: whether it has FINN's counters of cycles.
    """

    def __init__(self, document: Mapping[str, Any], arrays: Mapping[str, Array]) -> None:
        if document.get("format") != FORMAT:
            raise ValueError(f"the circuit has format {document.get('format')!r}, {FORMAT} is read; make the package again")
        self.reads = _stream(document, "reads")
        self.hands_on = _stream(document, "hands_on")
        self.interval_cycles = Facts(document, "the circuit").number("interval_cycles", 1)
        self.latency_cycles = Facts(document, "the circuit").number("latency_cycles", 1)
        self.instrumented = bool(document.get("instrumented", False))
        self._tensors = {"reads": Tensor(self.reads.shape[1:], type_range(self.reads.datatype, "what the circuit reads"))}
        limits = self._tensors["reads"].range
        self._kind = exact(max(map(abs, limits)), "what the circuit reads") if limits else np.float32
        self._steps: list[tuple[Run, list[str], str, list[str]]] = []  # with what is read there for the last time
        operations = document.get("operations")
        if not isinstance(operations, list):
            raise ValueError("the circuit has no list of operations")
        for i, raw in enumerate(operations):
            self._add(i, raw, arrays)
        self._finish()

    def _add(self, number: int, raw: Any, arrays: Mapping[str, Array]) -> None:
        kind = raw.get("kind") if isinstance(raw, dict) else raw
        if not isinstance(raw, dict) or not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"operation {number} of the circuit is {kind!r}; known are {', '.join(KINDS)}")
        where = f"operation {number} of the circuit, {raw['kind']},"
        facts = Facts(raw, where, arrays)
        inputs, output = raw.get("inputs"), raw.get("output")
        if not isinstance(inputs, list) or not isinstance(output, str) or not all(isinstance(name, str) for name in inputs):
            raise ValueError(f"{where} has inputs {inputs!r} and output {output!r}; a list of names and a name are wanted")
        for name in inputs:
            if name not in self._tensors:
                raise ValueError(f"{where} reads {name!r}, which nothing hands on before it")
        if output in self._tensors:
            raise ValueError(f"{where} hands on {output!r}, which is there before")
        wanted, make = KINDS[raw["kind"]]
        if len(inputs) not in wanted:
            raise ValueError(f"{where} reads {len(inputs)} tensors; {' or '.join(map(str, wanted))} are wanted")
        run, self._tensors[output] = make(facts, *(self._tensors[name] for name in inputs))
        self._steps.append((run, inputs, output, []))

    def _finish(self) -> None:
        """Look whether what comes out is what is handed on, and when tensors are no longer needed."""
        last = self._steps[-1][2] if self._steps else "reads"
        found, wanted = self._tensors[last], Tensor(self.hands_on.shape[1:], type_range(self.hands_on.datatype, "the output"))
        if found.size != wanted.size or (found.range is None) != (wanted.range is None):
            raise ValueError(f"the circuit ends in {_told(found)} where it hands on {_told(wanted)}; make the package again")
        if found.range and wanted.range and not (wanted.range[0] <= found.range[0] and found.range[1] <= wanted.range[1]):
            raise ValueError(f"the circuit ends in {_told(found)}, which {self.hands_on.datatype} does not hold")
        self._last = last
        self._frames_at_once = max(1, _ELEMENTS_AT_ONCE // max(t.size for t in self._tensors.values()))
        seen = {last}
        for _, inputs, _, over in reversed(self._steps):
            over += sorted(set(inputs) - seen)
            seen |= set(inputs)

    def run(self, frames: Array) -> Array:
        """What the accelerator answers.

        Args:
            frames: (n, …), of the shape and within the range of what it reads.

        Returns:
            (n, …) as it hands on: float32 where that is FLOAT32, else int64.

        Raises:
            ValueError: frames of another shape or out of range.
        """
        shape, limits = self.reads.shape[1:], self._tensors["reads"].range
        if frames.shape[1:] != shape:
            raise ValueError(f"the frames have shape {frames.shape[1:]}, the accelerator reads {shape}")
        if limits and frames.size and (frames.min() < limits[0] or frames.max() > limits[1]):
            raise ValueError(f"the frames hold {frames.min()} to {frames.max()}, {self.reads.datatype} is {limits}")
        kind = np.float32 if self.hands_on.datatype == "FLOAT32" else np.int64
        answers = np.empty((len(frames), *self.hands_on.shape[1:]), kind)
        for start in range(0, len(frames), self._frames_at_once):
            batch = frames[start : start + self._frames_at_once]
            answers[start : start + len(batch)] = self._batch(batch).reshape(len(batch), *self.hands_on.shape[1:])
        return answers

    def _batch(self, frames: Array) -> Array:
        there = {"reads": frames.astype(self._kind)}
        for run, inputs, output, over in self._steps:
            there[output] = run(*(there[name] for name in inputs))
            for name in over:
                del there[name]
        return there[self._last]


def read_circuit(raw: bytes) -> Circuit:
    """Read a circuit.

    Args:
        raw: content of the .npz file.

    Raises:
        ValueError: it is none, or what it describes cannot be computed; the text is one line.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > MAX_BYTES:
            raise ValueError(f"unpacked it has {n_bytes:,} bytes, {MAX_BYTES:,} are the most")
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        document = json.loads(arrays.pop("circuit").tobytes().decode("utf-8"))
    except Exception as error:  # zipfile, zlib, tokenize and numpy each have errors of their own; MemoryError, too
        told = " ".join(str(error).split())
        raise ValueError(f"this is no circuit ({type(error).__name__}: {told}); make the package again") from error
    if not isinstance(document, dict):
        raise ValueError("this is no circuit (its document is no object); make the package again")
    return Circuit(document, arrays)


def circuit_in(configuration: bytes) -> bytes:
    """The circuit in the configuration of a simulated bitfile, what lies behind its header.

    Raises:
        ValueError: there is none in it, or its end is missing.
    """
    if not configuration.startswith(MARK):
        raise ValueError("the bitfile holds no circuit that could be simulated; it is for a real board")
    start = len(MARK) + 8
    (length,) = struct.unpack(">Q", configuration[len(MARK) : start].rjust(8, b"\0"))
    if len(configuration) < start + length:
        raise ValueError(f"the bitfile says its circuit has {length:,} bytes, {len(configuration) - start:,} are there")
    return configuration[start : start + length]


def _stream(document: Mapping[str, Any], which: str) -> Stream:
    raw = document.get(which)
    if not isinstance(raw, dict) or not isinstance(raw.get("datatype"), str):
        raise ValueError(f"the circuit does not say what it {which.replace('_', ' ')}")
    facts = Facts(raw, f"what the circuit {which.replace('_', ' ')}")
    shape = facts.numbers("shape", 1)
    if shape[0] != 1 or len(shape) < 2:
        raise ValueError(f"{facts.where} has shape {shape}; a one and then the shape of a frame is wanted")
    return Stream(shape, raw["datatype"], facts.numbers("folded_shape", 1), facts.numbers("packed_shape", 1))


def _told(tensor: Tensor) -> str:
    return f"{'floats' if tensor.range is None else f'integers {tensor.range}'} of shape {tensor.shape}"
