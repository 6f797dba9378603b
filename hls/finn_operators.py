"""FINN's operators without FINN's graphs: attributes in a plain dict, formulas unchanged.

An operator of FINN reads its attributes from a protobuf node; here it reads them from a dict, so
that its cost formulas run in microseconds on bits and foldings that were never exported.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import warnings
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, cast

from boards.board import Resources
from hls.finn_xnor import hold_every_count

_scratch: list[tempfile.TemporaryDirectory[str]] = []  # kept until exit: FINN holds paths into it


@cache
def finn_steps() -> ModuleType:
    """FINN's build steps, imported without Vivado. Takes about 5 s, once a process."""
    _scratch.append(tempfile.TemporaryDirectory(prefix="bitloop-finn-"))
    os.environ.setdefault("FINN_BUILD_DIR", _scratch[-1].name)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import finn.util.settings
        import finn.xsi
        import qonnx.core.datatype

        # a type is made anew from its name a million times while tables are filled; it never changes
        qonnx.core.datatype.resolve_datatype = cache(qonnx.core.datatype.resolve_datatype)
        finn.util.settings.initialize_dummy_settings()
        finn.xsi.SimEngine = None  # else the import looks for Vivado's simulator
        import finn.builder.build_dataflow_steps as steps

        hold_every_count()
    for name in ("finn", "qonnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return cast(ModuleType, steps)


@cache
def dict_backed(cls: type[Any]) -> type[Any]:
    """A subclass of a FINN operator whose attributes live in a plain dict: FINN's formulas, no protobuf."""

    def get_nodeattr(self: Any, name: str) -> Any:
        try:
            return self.attributes[name]
        except KeyError:
            raise AttributeError(f"{self.name} has no attribute {name!r}") from None

    return type(
        cls.__name__,
        (cls,),
        {
            "__init__": lambda self, name, attributes: self.__dict__.update(name=name, attributes=attributes),
            "get_nodeattr": get_nodeattr,
            "set_nodeattr": lambda self, name, value: self.attributes.__setitem__(name, value),
            "onnx_node": property(lambda self: self),
            "name": None,  # an instance attribute shadows it
            "op_type": cls.__name__,
        },
    )


@dataclass
class HardwareGraph:
    """A network's dataflow graph: operators that can be re-typed and re-folded.

    Attributes:
        ops: FINN's operators, dict-backed, every one behind those it reads.
        fpga_part: what their cost is asked for.
        sources: of every operator, the positions of those it reads; none for the host. A chain without it.
    """

    ops: list[Any]
    fpga_part: str
    sources: list[tuple[int, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.sources:
            self.sources = [(i - 1,) if i else () for i in range(len(self.ops))]

    def readers(self, index: int) -> list[int]:
        """Positions of the operators that read one, in order."""
        return [i for i, read in enumerate(self.sources) if index in read]

    @property
    def dsp_block(self) -> str:
        """FINN's name of the part's kind of DSP slice."""
        from finn.util.basic import get_dsp_block

        return str(get_dsp_block(self.fpga_part))

    def with_attributes(self, index: int, attributes: dict[str, Any]) -> Any:
        """Operator `index` with other attributes; the graph keeps its own."""
        op = self.ops[index]
        return type(op)(op.name, attributes)

    def luts_of(self, op: Any) -> float:
        """What FINN says an operator takes in LUT alone."""
        return float(op.lut_estimation(self.fpga_part))

    def resources_of(self, op: Any) -> Resources:
        """What FINN says an operator takes with its present attributes."""
        return Resources(
            lut=self.luts_of(op),
            bram18=float(op.bram_estimation(self.fpga_part)),
            dsp=float(op.dsp_estimation(self.fpga_part)),
        )


def operator(op_type: str, name: str, attributes: dict[str, Any]) -> Any:
    """An operator of FINN with some attributes, the others at FINN's defaults.

    Args:
        op_type: FINN's class of an HLS or an RTL operator.
        name: of the node.
        attributes: what differs from the defaults.
    """
    finn_steps()
    from finn.custom_op.fpgadataflow import hls, rtl

    cls = dict_backed((hls.custom_op | rtl.custom_op)[op_type])
    op = cls(name, {})
    # an attribute is (kind, required, default, allowed values where they are few)
    op.attributes.update({key: facts[2] for key, facts in op.get_nodeattr_types().items() if len(facts) > 2})
    op.attributes.update({key: value for key, value in attributes.items() if key in op.attributes})
    return op


@cache
def stream_luts(out_bits: int, in_bits: int, fifo_depth: int, fpga_part: str) -> float:
    """LUT of a stream from a node that hands on `out_bits` a cycle to one that reads `in_bits`.

    FINN puts a FIFO between nodes of one width, and FIFO, width converter, FIFO between nodes of two
    (finn/transformation/fpgadataflow/insert_dwc.py, insert_fifo.py); its own operators count both.
    """

    def fifo(bits: int) -> float:
        return fifo_resources(fifo_depth, bits, fpga_part).lut

    if out_bits == in_bits:
        return fifo(out_bits)
    converter = operator("StreamingDataWidthConverter_rtl", "converter", {"inWidth": out_bits, "outWidth": in_bits})
    return fifo(out_bits) + float(converter.lut_estimation(fpga_part)) + fifo(in_bits)


@cache
def fifo_resources(depth: int, bits: int, fpga_part: str) -> Resources:
    """What FINN says a FIFO takes that holds so many words of so many bits."""
    folded = {"depth": depth, "folded_shape": [1, bits], "dataType": "BINARY", "ram_style": "auto"}
    op = operator("StreamingFIFO_rtl", "fifo", folded)
    return Resources(lut=float(op.lut_estimation(fpga_part)), bram18=float(op.bram_estimation(fpga_part)))


def threshold_type(compared: str) -> str:
    """QONNX type of thresholds of their own for what they are compared with: one bit wider, see `hls.finn_backend`."""
    kind, bits = compared.rstrip("0123456789"), compared.lstrip("UINT")
    return f"{kind}{int(bits) + 1}"
