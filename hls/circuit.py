"""Writes an accelerator as data: the circuit that a simulated board computes with (`boards.simulated_board.circuit`).

What the kinds of operations are. Shapes are those of one frame; "shape" is the one in which an operation reads its input, which
it may have in another shape with as many elements.

| kind | reads, its facts | hands on |
|---|---|---|
| pad | (height, width, channels); padding: top, left, bottom, right | the frame in a border of zeros |
| windows | (height, width, channels); kernel, stride, dilation: of rows and columns | (rows, columns, positions × channels) |
| matrix | (…, inputs); weights (inputs, outputs); counts | products; with counts, how many places are alike |
| depthwise | (…, positions × channels); weights (positions, channels); counts | the same, channel by channel |
| thresholds | (…, channels); thresholds (channels or 1, steps); lowest, step | lowest and step times those reached |
| pool | (…, positions × channels); positions; function: max or sum; shift | maximum, or sum less so many bits |
| sum | (…, channels) | the sum over everything before the channels |
| elementwise | (…) and another tensor, or constant; function: add, subtract or multiply; float | numbers of the first's shape |
| choose | (…, classes); best | numbers of the best classes, the best first |

Matrix and depthwise may have thresholds, too, of their products.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.simulated_board.circuit import FORMAT, Stream, read_circuit
from hls.errors import GraphError
from hls.types import Estimate


@dataclass(frozen=True)
class Operation:
    """One step of an accelerator.

    Attributes:
        kind: see above.
        inputs: names of the tensors it reads; "reads" is what goes into the accelerator.
        output: name of what it hands on.
        facts: numbers and words, by name.
        arrays: integers, or floats of FLOAT32, by name.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    facts: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def circuit_bytes(
    reads: Stream, hands_on: Stream, operations: Sequence[Operation], estimate: Estimate, instrumented: bool = False
) -> bytes:
    """The circuit, the same for the same accelerator.

    Args:
        reads: what goes into the accelerator.
        hands_on: what comes out of it.
        operations: every one behind those that it reads; the last one hands on what comes out.
        estimate: of the accelerator, for its cycles.
        instrumented: whether it has FINN's counters of cycles.

    Raises:
        GraphError: it cannot be computed exactly.
    """
    arrays: dict[str, NDArray[Any]] = {}
    steps = []
    for number, operation in enumerate(operations):
        named = {name: f"{number}.{name}" for name in operation.arrays}
        arrays |= {named[name]: _narrow(array) for name, array in operation.arrays.items()}
        steps.append(
            {"kind": operation.kind, "inputs": list(operation.inputs), "output": operation.output, **operation.facts, **named}
        )
    document = {
        "format": FORMAT, "reads": asdict(reads), "hands_on": asdict(hands_on),
        "interval_cycles": estimate.bottleneck_cycles, "latency_cycles": estimate.latency_cycles,
        "instrumented": instrumented, "operations": steps,
    }  # fmt: skip
    arrays["circuit"] = np.frombuffer(json.dumps(document).encode("utf-8"), np.uint8)
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)  # type: ignore[arg-type]  # its one option is no array
    raw = target.getvalue()
    try:
        read_circuit(raw)
    except ValueError as error:
        raise GraphError(f"the accelerator cannot be simulated: {error}") from error
    return raw


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    """The array in the narrowest type that holds it."""
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    ends = (int(array.min()), int(array.max()))
    return array.astype(np.result_type(*(np.min_scalar_type(end) for end in ends)))
