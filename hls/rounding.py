"""Values so near to the middle of two integers that single precision decides which of them it becomes.

A QONNX file is run in single precision. The input of a quantizer is there a sum of products, scaled and shifted, and each of
these operations errs by up to 2⁻²⁴ of its result. How far that adds up was measured on CNV at a quarter of its width with 8
bits everywhere (sums of 27 to 576 products) against the same in double precision: by at most 1.4e-4 of a step, which is 11 ×
2⁻²⁴ of the largest input of that quantizer. FINN computes its thresholds in single precision too. `NEAR` is six times that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NEAR = 64 * 2.0**-24  # of the largest input of a quantizer
NEAREST_STEP = 1e-3  # and never more than that of a step, however large the inputs


def tolerance_steps(inputs: NDArray[np.float64]) -> float:
    """How far single precision may be off, in steps.

    Args:
        inputs: of one quantizer for one image, in steps.
    """
    return min(NEAR * float(np.abs(inputs).max(initial=0)), NEAREST_STEP)


def on_boundary(
    inputs: NDArray[np.float64], here: NDArray[np.int64], there: NDArray[np.int64], unit: int, tolerance: float
) -> NDArray[np.bool_]:
    """The values that differ, by one step, and lie in the middle between both as nearly as single precision can say.

    Args:
        inputs: of the quantizer, in steps.
        here: what they became.
        there: what they became in another stage.
        unit: between integers that follow on each other: 1, or 2 for bipolar values of -1 and 1.
        tolerance: in steps.
    """
    return np.asarray((np.abs(here - there) == unit) & (np.abs(inputs - (here + there) / 2) <= tolerance))


def near_middle(inputs: NDArray[np.float64], integers: NDArray[np.int64], unit: int, tolerance: float) -> list[tuple[int, int]]:
    """A quantizer's values on a rounding boundary, the nearest to it first; what is cut off is none.

    Args:
        inputs: of the quantizer, in steps.
        integers: what they became.
        unit: as for `on_boundary`.
        tolerance: in steps.

    Returns:
        Where they are, flat, and the integer on the other side.
    """
    flat, here = inputs.reshape(-1), integers.reshape(-1)
    there = -here if unit == 2 else here + np.where(flat < here, -1, 1)
    apart = np.abs(flat - (here + there) / 2)
    return [(int(i), int(there[i])) for i in np.argsort(apart, kind="stable") if apart[i] <= tolerance]


def layouts(a: NDArray[np.int64], shape: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Activations as they are and, where that has the shape wanted, (images, C, H, W) as (images, H, W, C).

    Of as many channels as rows and columns the shape does not say which it is.
    """
    turned = [a.transpose(0, 2, 3, 1)] if a.ndim == 4 and a.transpose(0, 2, 3, 1).shape == shape else []
    return [a, *turned] if a.shape == shape or not turned else turned


def places(here: NDArray[np.int64], there: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """Where in one stage's activations of an image (flat) those of another are, in that one's shape.

    None where there are not as many.
    """
    if here.size != there.size:
        return None
    flat = here.reshape(-1)
    found = [p.reshape(there.shape) for p in layouts(np.arange(here.size).reshape(1, *here.shape), (1, *there.shape))]
    return min(found, key=lambda p: int(np.count_nonzero(flat[p] != there)))
