"""The words of the cost tables: what a layer's hardware depends on, and the foldings a step may take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hls.legal import NodeFolding
from models.policy import BitPolicy, LayerBits

IntegerWeights = Callable[[str, int], NDArray[np.float64]]
"""Layer name and weight bits to its integer weights, shaped (fan-in, outputs)."""


@dataclass(frozen=True)
class LayerKey:
    """All that a layer's hardware depends on.

    Attributes:
        weight: bits of a weight.
        act_in: bits of the activations it reads; None for the image, signed 8-bit integers.
        act_out: bits of the activations it hands on; None for the accumulator.
    """

    weight: int
    act_in: int | None
    act_out: int | None

    @property
    def handed_on_type(self) -> str | None:
        """QONNX type of the activations handed on; None for the accumulator."""
        if self.act_out is None:
            return None
        return "BIPOLAR" if self.act_out == 1 else f"UINT{self.act_out}"


def layer_keys(policy: BitPolicy) -> list[LayerKey]:
    """The key of every layer of a policy, in order."""
    return keys_of(list(policy.values()))


def keys_of(bits: Sequence[LayerBits]) -> list[LayerKey]:
    """The keys of layers in a row, the first of which reads the image."""
    before = [None, *(b.act for b in bits[:-1])]
    return [LayerKey(b.weight, a, b.act) for b, a in zip(bits, before, strict=True)]


@dataclass(frozen=True)
class Options:
    """The foldings one step of the pipeline may take, in order of cycles; arrays of one length.

    A step is a node, or a depthwise window with the pool it feeds, which share their folding. Foldings
    that another of the same stream widths beats or equals in everything may be left out.

    Attributes:
        cycles: a frame.
        lut, bram18, dsp: FINN's figures with the corrections.
        reads, hands_on: elements of the streams into and out of the step, a cycle.
        read_bits, handed_on_bits: of one such element.
        built: what the step can be built as: for each way, FINN's operator of each of its nodes.
        way: of each option, the position in `built`.
        foldings: for each position in `folding`, the folding of each node.
        folding: of each option, the position in `foldings`.
    """

    cycles: NDArray[np.int64]
    lut: NDArray[np.float64]
    bram18: NDArray[np.int64]
    dsp: NDArray[np.int64]
    reads: NDArray[np.int64]
    hands_on: NDArray[np.int64]
    read_bits: int
    handed_on_bits: int
    built: Sequence[Sequence[Any]]
    way: NDArray[np.int64]
    foldings: Sequence[Sequence[NodeFolding]]
    folding: NDArray[np.int64]

    def nodes_of(self, option: int) -> list[Any]:
        """FINN's operators of the step's nodes at one of the options; the same objects every time."""
        if option not in self._nodes:
            operators, foldings = self.built[self.way[option]], self.foldings[self.folding[option]]
            nodes = [type(op)(op.name, {**op.attributes, **f}) for op, f in zip(operators, foldings, strict=True)]
            self._nodes[option] = nodes
        return self._nodes[option]

    @cached_property
    def _nodes(self) -> dict[int, list[Any]]:
        return {}


Section = Sequence[Sequence[Options]]
"""A part of the pipeline that can be built in several ways, each a run of steps; all read and hand on the same."""


def steps_of(sections: Iterable[Section]) -> list[Options]:
    """Every step of some sections, in all the ways they can be built."""
    return [options for section in sections for way in section for options in way]


def act_type(bits: int | None, weight_bits: int) -> str:
    """QONNX type of the activations a layer with weights of `weight_bits` reads."""
    if bits is None:
        return "INT8"
    if bits == 1:  # against one-bit weights FINN counts matching bits instead of multiplying
        return "BINARY" if weight_bits == 1 else "BIPOLAR"
    return f"UINT{bits}"
