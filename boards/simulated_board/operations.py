"""The operations of a circuit: each looks at what its document says of it, and makes a function of whole batches.

Integers are computed in floating point, by numpy's matrix product. Every tensor has a range, which follows from the type of
what is read and from weights and thresholds; where no sum can pass 2**24 it is taken in float32, else in float64, which holds
every integer up to 2**53. Up to there no rounding ever happens, whatever the order of summation; larger sums are refused. The
scales behind the last layer are those of FINN's own Python: an integer with a float in float64, two floats in float32, and
the result rounded to float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

Array = NDArray[Any]
_FLOAT32_HOLDS, _FLOAT64_HOLDS = 2**24, 2**53
_FEW = 16  # thresholds: up to here comparing with every one is faster than searching


@dataclass(frozen=True)
class Tensor:
    """What is known of a tensor: its shape in one frame, and the least and the largest of its integers; None of floats."""

    shape: tuple[int, ...]
    range: tuple[int, int] | None

    @property
    def size(self) -> int:
        """Its elements."""
        return math.prod(self.shape)

    def integers(self, where: str) -> tuple[int, int]:
        """Its range, of a tensor that must have one; `where` says for whom."""
        if self.range is None:
            raise ValueError(f"{where} reads floats; integers are wanted")
        return self.range


Run = Callable[..., Array]
"""Tensors of a batch, (n, …), to one."""


def type_range(name: str, where: str) -> tuple[int, int] | None:
    """The least and the largest value of a QONNX type; None of FLOAT32.

    Raises:
        ValueError: it is neither an integer type nor FLOAT32.
    """
    if name == "FLOAT32":
        return None
    special = {"BIPOLAR": (-1, 1), "BINARY": (0, 1), "TERNARY": (-1, 1)}
    if name in special:
        return special[name]
    found = re.fullmatch(r"(U?)INT([1-9]\d?)", str(name))
    if not found or int(found[2]) > 53:
        raise ValueError(f"{where} has the type {name!r}; integers of up to 53 bits and FLOAT32 are known")
    bits = int(found[2])
    return (0, 2**bits - 1) if found[1] else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@dataclass(frozen=True)
class Facts:
    """Facts of an operation, each looked at.

    Whatever is not as it must be raises a ValueError of one line that names the operation, the fact and its value.

    Attributes:
        raw: the facts, by name.
        where: what they are facts of, for whom they are wrong.
        arrays: of the circuit, by name.
    """

    raw: Mapping[str, Any]
    where: str
    arrays: Mapping[str, Array] | None = None

    def number(self, name: str, least: int) -> int:
        """A whole number of `least` or more."""
        found = self.raw.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or found < least:
            raise ValueError(f"{self.where} has {name} {found!r}; a whole number of {least} or more is wanted")
        return found

    def numbers(self, name: str, least: int, n: int | None = None) -> tuple[int, ...]:
        """Whole numbers of `least` or more, one or more of them; `n` where it says so."""
        found = self.raw.get(name)
        whole = isinstance(found, list) and all(isinstance(v, int) and not isinstance(v, bool) and v >= least for v in found)
        if not whole or not found or (n is not None and len(found) != n):
            many = "" if n is None else f"{n} "
            raise ValueError(f"{self.where} has {name} {found!r}; {many}whole numbers of {least} or more are wanted")
        return tuple(found)

    def array(self, name: str, n_axes: int | None, kinds: str = "iu") -> Array:
        """An array of so many axes, if that is said: int64, or float32 where `kinds` has an f."""
        there = self.arrays or {}
        told = self.raw.get(name)
        if not isinstance(told, str) or told not in there:
            raise ValueError(f"{self.where} has {name} {told!r}; arrays are {', '.join(sorted(there)) or 'none'}")
        found = there[told]
        if found.dtype.kind not in kinds or (n_axes is not None and found.ndim != n_axes) or not found.size:
            raise ValueError(f"{self.where} has {name} of type {found.dtype} and shape {found.shape}")
        return found.astype(np.float32 if found.dtype.kind == "f" else np.int64)

    def shape(self, source: Tensor, n_axes: int | None = None) -> tuple[int, ...]:
        """The shape in which a frame is read, which may flatten it."""
        found = self.numbers("shape", 1, n_axes)
        if math.prod(found) != source.size:
            raise ValueError(f"{self.where} reads frames of shape {found} where {source.shape} is handed on")
        return found


def exact(largest: int, where: str) -> type[np.floating[Any]]:
    """The type in which sums stay exact, none of which passes `largest`.

    Raises:
        ValueError: there is none.
    """
    if largest > _FLOAT64_HOLDS:
        raise ValueError(f"{where} may add up to {largest:,}, and 2**53 is the most that is computed exactly")
    return np.float32 if largest <= _FLOAT32_HOLDS else np.float64


# --- operations -------------------------------------------------------------------------------------------------------


def _pad(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    height, width, channels = facts.shape(source, 3)
    top, left, bottom, right = facts.numbers("padding", 0, 4)
    low, high = source.integers(facts.where)
    padded = (height + top + bottom, width + left + right, channels)

    def run(x: Array) -> Array:
        out = np.zeros((len(x), *padded), x.dtype)
        out[:, top : top + height, left : left + width] = x.reshape(-1, height, width, channels)
        return out

    return run, Tensor(padded, (min(low, 0), max(high, 0)))


def _windows(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    height, width, channels = facts.shape(source, 3)
    kernel, stride, dilation = (facts.numbers(name, 1, 2) for name in ("kernel", "stride", "dilation"))
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    rows, columns = ((n - r - 1) // s + 1 for n, r, s in zip((height, width), reach, stride, strict=True))
    if rows < 1 or columns < 1:
        raise ValueError(f"{facts.where} has windows of {kernel} in frames of {height}x{width}")

    def run(x: Array) -> Array:
        x = np.ascontiguousarray(x.reshape(-1, height, width, channels))
        frame, row, column, channel = x.strides
        steps = (frame, row * stride[0], column * stride[1], row * dilation[0], column * dilation[1], channel)
        windows = as_strided(x, (len(x), rows, columns, *kernel, channels), steps, writeable=False)
        return windows.reshape(len(x), rows, columns, -1)

    return run, Tensor((rows, columns, math.prod(kernel) * channels), source.range)


def _matrix(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    shape, weights = facts.shape(source), facts.array("weights", 2)
    if shape[-1] != len(weights):
        raise ValueError(f"{facts.where} reads vectors of {shape[-1]} where its weights have {len(weights)} rows")
    factors, unit = _products(facts, source, weights)

    def run(x: Array) -> Array:
        products = x.reshape(-1, shape[-1]).astype(factors.dtype, copy=False) @ factors
        return products.reshape(len(x), *shape[:-1], factors.shape[1])

    return unit(run, (*shape[:-1], weights.shape[1]))


def _depthwise(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    shape, weights = facts.shape(source), facts.array("weights", 2)  # of (positions, channels)
    if shape[-1] != weights.size:
        raise ValueError(f"{facts.where} reads windows of {shape[-1]} where its weights are {weights.shape}")
    factors, unit = _products(facts, source, weights)

    def run(x: Array) -> Array:
        windows = x.reshape(len(x), *shape[:-1], *weights.shape).astype(factors.dtype, copy=False)
        return np.asarray(np.einsum("...pc,pc->...c", windows, factors))

    return unit(run, (*shape[:-1], weights.shape[1]))


def _products(
    facts: Facts, source: Tensor, weights: Array
) -> tuple[Array, Callable[[Run, tuple[int, ...]], tuple[Run, Tensor]]]:
    """Weights in the type that keeps their sums exact, and what makes a unit of the products with them.

    A unit may count the places where input and weight are alike, both of them 0 and 1 or both -1 and 1.
    """
    low, high = source.integers(facts.where)
    n_rows, offset, half = len(weights), np.zeros(weights.shape[1], np.int64), False
    if facts.raw.get("counts"):
        alike = {(0, 1), (-1, 1)}
        values = (int(weights.min()), int(weights.max()))
        if (low, high) not in alike or not (low <= values[0] and values[1] <= high) or (low and not weights.all()):
            raise ValueError(f"{facts.where} counts what is alike of inputs {(low, high)} and weights {values}")
        half = low < 0
        offset = np.full(weights.shape[1], n_rows) if half else n_rows - weights.sum(axis=0)
        weights = weights if half else 2 * weights - 1
    largest = int((np.abs(weights).sum(axis=0) * max(abs(low), abs(high)) + np.abs(offset)).max())
    factors = weights.astype(exact(largest, facts.where))
    ends = (
        (np.minimum(weights * low, weights * high).sum(axis=0) + offset).min(),
        (np.maximum(weights * low, weights * high).sum(axis=0) + offset).max(),
    )
    summed = (int(ends[0]) // 2, int(ends[1]) // 2) if half else (int(ends[0]), int(ends[1]))
    shift = offset.astype(factors.dtype) if offset.any() else None

    def unit(run: Run, shape: tuple[int, ...]) -> tuple[Run, Tensor]:
        def products(x: Array) -> Array:
            found = run(x)
            if shift is not None:
                found += shift
            return found * factors.dtype.type(0.5) if half else found

        products_of = Tensor(shape, summed)
        if "thresholds" not in facts.raw:
            return products, products_of
        steps, stepped = _thresholds(facts, products_of, shape)
        return (lambda x: steps(products(x))), stepped

    return factors, unit


def _thresholding(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    shape = facts.shape(source)
    steps, stepped = _thresholds(facts, source, shape)
    return (lambda x: steps(x.reshape(len(x), *shape))), stepped


def _thresholds(facts: Facts, source: Tensor, shape: tuple[int, ...]) -> tuple[Run, Tensor]:
    """How many thresholds of its channel a value reaches, times `step`, from `lowest` on."""
    found = facts.array("thresholds", 2, "iu" if source.range else "f")
    n_channels, n_steps = found.shape
    if n_channels not in (1, shape[-1]):
        raise ValueError(f"{facts.where} has thresholds for {n_channels} channels of {shape[-1]}")
    lowest, step = facts.number("lowest", -_FLOAT32_HOLDS), facts.number("step", 1)
    ends = (lowest, lowest + step * n_steps)
    kind = exact(max(map(abs, ends)), facts.where)
    result = Tensor(shape, ends)
    found = np.sort(found, axis=1)  # how many are reached does not hang on their order
    if source.range is not None:  # whatever lies outside the range is reached by all or by none
        low, high = source.range
        found = np.clip(found, low, high + 1)
        exact(max(abs(low), abs(high) + 1) * 2 * n_channels, facts.where)
    if n_steps <= _FEW or source.range is None:
        columns = found.T.astype(np.float32 if source.range is None else exact(int(np.abs(found).max()), facts.where))

        def compare(x: Array) -> Array:
            reached = np.zeros(x.shape, np.uint16)
            for column in columns:
                reached += x >= column
            return _scaled(reached, kind, step, lowest)

        return compare, result
    # All channels' thresholds make one sorted row: a channel's values and thresholds are moved beyond the one's before.
    beyond = np.arange(n_channels) * (high - low + 2) - low
    row = (found + beyond[:, None]).astype(np.float64).reshape(-1)
    first = np.arange(n_channels) * n_steps
    moves = beyond.astype(np.float64)

    def search(x: Array) -> Array:
        return _scaled(np.searchsorted(row, x + moves, side="right") - first, kind, step, lowest)

    return search, result


def _scaled(reached: Array, kind: type[np.floating[Any]], step: int, lowest: int) -> Array:
    out = reached.astype(kind)
    if step != 1:
        out *= kind(step)
    if lowest:
        out += kind(lowest)
    return out


def _pool(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    *place, both = facts.shape(source)
    positions, low_high = facts.number("positions", 1), source.integers(facts.where)
    if both % positions:
        raise ValueError(f"{facts.where} reads {both} values a window, which are no {positions} times as many")
    shape = (*place, both // positions)
    function = facts.raw.get("function")
    if function == "max":
        return (lambda x: x.reshape(len(x), *place, positions, -1).max(axis=-2)), Tensor(shape, low_high)
    if function != "sum":
        raise ValueError(f"{facts.where} has function {function!r}; known are max and sum")
    shift = facts.number("shift", 0)  # bits that a sum loses
    summed = (low_high[0] * positions, low_high[1] * positions)
    kind = exact(max(map(abs, summed)), facts.where)

    def run(x: Array) -> Array:
        total = x.reshape(len(x), *place, positions, -1).sum(axis=-2, dtype=kind)
        return np.asarray(np.floor(total / kind(2**shift))) if shift else np.asarray(total)

    return run, Tensor(shape, (summed[0] >> shift, summed[1] >> shift))


def _sum(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    *place, channels = facts.shape(source)
    low, high = (end * math.prod(place) for end in source.integers(facts.where))
    kind = exact(max(abs(low), abs(high)), facts.where)
    shape = (*(1 for _ in place), channels)
    return (lambda x: x.reshape(len(x), -1, channels).sum(axis=1, dtype=kind).reshape(len(x), *shape)), Tensor(
        shape, (low, high)
    )


_FUNCTIONS: dict[str, Callable[..., Any]] = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply}


def _elementwise(facts: Facts, source: Tensor, other: Tensor | None = None) -> tuple[Run, Tensor]:
    shape, function = facts.shape(source), _FUNCTIONS.get(str(facts.raw.get("function")))
    if function is None:
        raise ValueError(f"{facts.where} has function {facts.raw.get('function')!r}; known are {', '.join(_FUNCTIONS)}")
    constant = None if other else facts.array("constant", None, "iuf")
    if constant is not None:
        whole = constant.dtype.kind == "i"
        other = Tensor(constant.shape, (int(constant.min()), int(constant.max())) if whole else None)
        try:
            fits = np.broadcast(np.empty((1, *shape)), constant).shape == (1, *shape)
        except ValueError:
            fits = False
    else:
        assert other is not None
        fits = other.size == source.size
    if not fits:
        raise ValueError(f"{facts.where} takes {other.shape} to frames of shape {shape}, which does not fit")
    if source.range is not None and other.range is not None:
        ends = [int(function(a, b)) for a in source.range for b in other.range]
        kind = exact(max(map(abs, ends)), facts.where)
        found = Tensor(shape, None if facts.raw.get("float") else (min(ends), max(ends)))
    else:
        kind = np.float32 if source.range is None and other.range is None else np.float64
        found = Tensor(shape, None)
    fixed = None if constant is None else constant.astype(kind)

    def run(x: Array, y: Array | None = None) -> Array:
        first = x.reshape(len(x), *shape).astype(kind, copy=False)
        second = fixed if y is None else y.reshape(len(y), *shape).astype(kind, copy=False)
        result = np.asarray(function(first, second))
        return result.astype(np.float32, copy=False) if found.range is None else result

    return run, found


def _choose(facts: Facts, source: Tensor) -> tuple[Run, Tensor]:
    *place, n_classes = facts.shape(source)
    best = facts.number("best", 1)
    if best > n_classes:
        raise ValueError(f"{facts.where} chooses {best} of {n_classes} classes")

    def run(x: Array) -> Array:  # of equal ones the first
        order = np.argsort(-x.reshape(len(x), *place, n_classes), axis=-1, kind="stable")
        return order[..., :best].astype(np.float32)

    return run, Tensor((*place, best), (0, n_classes - 1))


KINDS: dict[str, tuple[Sequence[int], Callable[..., tuple[Run, Tensor]]]] = {
    "pad": ((1,), _pad),
    "windows": ((1,), _windows),
    "matrix": ((1,), _matrix),
    "depthwise": ((1,), _depthwise),
    "thresholds": ((1,), _thresholding),
    "pool": ((1,), _pool),
    "sum": ((1,), _sum),
    "elementwise": ((1, 2), _elementwise),
    "choose": ((1,), _choose),
}
"""Of every kind how many tensors it may read, and what makes it of its facts and those tensors."""
