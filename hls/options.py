"""The words of the cost tables: what a layer's hardware depends on, and the foldings a step may take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hls.legal import NodeFolding

IntegerWeights = Callable[[str, int], NDArray[np.float64]]
"""Layer name and weight bits to its integer weights, shaped (fan-in, outputs)."""


@dataclass(frozen=True)
class LayerKey:
    """All that a layer's hardware depends on.

    Attributes:
        weight: bits of a weight.
        act_in: bits of the activations it reads; None for the image, signed 8-bit integers.
        act_out: bits of the activations it hands on; None for what its unit gives.
        addend: bits of its unit's output where that is added to another, signed; None where it is not.
        past: bits of the activations that are added to it past a skip; None without one.
        summed: pixels that a mean adds up before the layer reads them; 1 without a mean.
    """

    weight: int
    act_in: int | None
    act_out: int | None
    addend: int | None = None
    past: int | None = None
    summed: int = 1

    @property
    def read_type(self) -> str:
        """QONNX type of what its unit reads."""
        if self.act_in is None:
            return "INT8"
        if self.act_in == 1:  # against one-bit weights FINN counts matching bits instead of multiplying
            return "BINARY" if self.weight == 1 else "BIPOLAR"
        return f"UINT{((2**self.act_in - 1) * self.summed).bit_length()}"

    @property
    def unit_type(self) -> str | None:
        """QONNX type of what its unit, with its thresholds, hands on; None for the accumulator."""
        if self.addend is not None:
            return f"INT{self.addend}"
        return None if self.act_out is None else handed_on_type(self.act_out)


def handed_on_type(act_bits: int) -> str:
    """QONNX type of activations of so many bits."""
    return "BIPOLAR" if act_bits == 1 else f"UINT{act_bits}"


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
        n_read: elements that the step reads a frame, of each of its streams; 0 where width converters are to cost no cycles.
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
    n_read: int = 0

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


class Place(StrEnum):
    """What a section is in the way of the data.

    At a *fork* the stream is copied. The branch that is followed first keeps to that order; where the other one
    *turns* off, it reads what the fork handed on. At a *join* what both branches hand on is read.
    """

    ALONG = "along"
    FORK = "fork"
    TURN = "turn"
    JOIN = "join"


@dataclass(frozen=True)
class Section:
    """A part of the pipeline that can be built in several ways, each a run of steps; all read and hand on the same.

    Attributes:
        ways: the steps of each.
        place: in the way of the data.
        other_bits: of a join, bits of an element of the other stream it reads.
    """

    ways: Sequence[Sequence[Options]]
    place: Place = Place.ALONG
    other_bits: int = 0


def steps_of(sections: Iterable[Section]) -> list[Options]:
    """Every step of some sections, in all the ways they can be built."""
    return [options for section in sections for way in section.ways for options in way]
