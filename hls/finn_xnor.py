"""Accumulators of one-bit units with room for every count.

A unit with one-bit weights and one-bit inputs counts the places where both agree, from 0 to its number of inputs. FINN
1.6.1 sizes the accumulator as if weights of ±1 were multiplied with inputs of 0 and 1
(finn/custom_op/fpgadataflow/matrixvectoractivation.py, minimize_accumulator_width): for 576 inputs about INT10, which ends
at 511. A count of 512 wraps to -512 in hardware, and thresholds above are clipped to the end of the range
(RoundAndClipThresholds), while the Python that FINN verifies with does not wrap.
"""

from __future__ import annotations

import functools
from typing import Any


def hold_every_count() -> None:
    """Have FINN size the accumulator of such a unit for every count, in this process from here on; twice is as once."""
    from finn.custom_op.fpgadataflow.matrixvectoractivation import MVAU

    if getattr(MVAU.minimize_accumulator_width, "holds_every_count", False):
        return
    of_finn = MVAU.minimize_accumulator_width

    @functools.wraps(of_finn)
    def minimize_accumulator_width(self: Any, model: Any, datatype_only: bool = False) -> Any:
        if not self.get_nodeattr("binaryXnorMode"):
            return of_finn(self, model, datatype_only)
        return _counted(self, model)

    minimize_accumulator_width.holds_every_count = True  # type: ignore[attr-defined]
    MVAU.minimize_accumulator_width = minimize_accumulator_width


def _counted(op: Any, model: Any) -> Any:
    """Type the accumulator of a one-bit unit, and with it the output where no thresholds follow."""
    from qonnx.core.datatype import DataType

    bits = int(op.get_nodeattr("MW")).bit_length()
    if op.get_nodeattr("noActivation"):
        if model.find_direct_successors(op.onnx_node) is None:  # what leaves the graph is made whole bytes, as FINN does
            bits = -(-bits // 8) * 8
        op.set_nodeattr("outputDataType", f"UINT{bits}")
    op.set_nodeattr("accDataType", f"UINT{bits}")
    return DataType[f"UINT{bits}"]
