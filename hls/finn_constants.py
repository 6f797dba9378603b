"""Constants of a QONNX file that nothing can be built of, looked at before FINN computes with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hls.errors import GraphError
from hls.finn_backend import naming, read_model


def check_constants(onnx: Path) -> None:
    """Look whether every constant of a QONNX file is finite: with others FINN's streamlining may never come to an end.

    Raises:
        GraphError: the file cannot be read, or a constant is infinite or no number; the text names it.
    """
    model = read_model(onnx)
    with naming(onnx):
        for constant in model.graph.initializer:
            values = model.get_initializer(constant.name)
            if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
                raise GraphError(
                    f"{onnx} has a constant that is not finite, {constant.name}; it has to be trained and exported anew"
                )
