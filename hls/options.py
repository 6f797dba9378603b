"""The words of the cost tables: what a layer's hardware depends on, and the foldings a step may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from models.policy import BitPolicy

Folding = Mapping[str, int | str]

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
    bits = list(policy.values())
    before = [None, *(b.act for b in bits[:-1])]
    return [LayerKey(b.weight, a, b.act) for b, a in zip(bits, before, strict=True)]


@dataclass(frozen=True)
class Options:
    """The foldings one step of the pipeline may take, in order of cycles; arrays of one length.

    A step is a node, or a depthwise window with the pool it feeds, which share their folding.

    Attributes:
        nodes: positions of the step's nodes in the graph.
        cycles: a frame.
        lut, bram18, dsp: FINN's figures with the corrections.
        reads, hands_on: elements of the streams into and out of the step, a cycle.
        read_bits, handed_on_bits: of one such element.
        foldings: for every option, the folding of each node.
    """

    nodes: tuple[int, ...]
    cycles: NDArray[np.int64]
    lut: NDArray[np.float64]
    bram18: NDArray[np.int64]
    dsp: NDArray[np.int64]
    reads: NDArray[np.int64]
    hands_on: NDArray[np.int64]
    read_bits: int
    handed_on_bits: int
    foldings: tuple[tuple[Folding, ...], ...]

    @cached_property
    def by_width(self) -> ByWidth:
        """The options in the order of their stream widths, then block RAM, then LUT."""
        order = np.lexsort((self.lut, self.bram18, self.hands_on, self.reads))
        entries, entry = np.unique(self.reads[order], return_inverse=True)
        exits, exit_ = np.unique(self.hands_on[order], return_inverse=True)
        return ByWidth(order, entry, exit_, entries, exits)


@dataclass(frozen=True)
class ByWidth:
    """Options ordered by stream width.

    Attributes:
        order: positions in `Options`.
        entry, exit: of each in this order, the position of its stream width in `entries` and `exits`.
        entries, exits: the stream widths that occur, in elements a cycle, ascending.
    """

    order: NDArray[np.int64]
    entry: NDArray[np.int64]
    exit: NDArray[np.int64]
    entries: NDArray[np.int64]
    exits: NDArray[np.int64]


@cache
def divisors(n: int) -> tuple[int, ...]:
    """The divisors of n, in order."""
    return tuple(d for d in range(1, n + 1) if n % d == 0)


def act_type(bits: int | None, weight_bits: int) -> str:
    """QONNX type of the activations a layer with weights of `weight_bits` reads."""
    if bits is None:
        return "INT8"
    if bits == 1:  # against one-bit weights FINN counts matching bits instead of multiplying
        return "BINARY" if weight_bits == 1 else "BIPOLAR"
    return f"UINT{bits}"
