"""Instances of bitloop's own modules (`hls/rtl`) for the nodes that FINN builds with Vitis HLS alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hls.rtlsim.errors import UnsupportedNodeError
from hls.rtlsim.library import OWN
from hls.rtlsim.netlist import Instance
from hls.rtlsim.words import bits_of, is_signed

_SUM_BITS, _WEIGHT_BITS = 32, 16  # the modules' sums are Verilog's int, their weights its shortint
_OUTSIDE = ("external", "external_mem", "dynamic")


@dataclass(frozen=True)
class HlsNode:
    """A node of FINN's graph.

    Attributes:
        node, kind: FINN's name and class.
        op: FINN's operator, which is asked for attributes and shapes.
        constants: its fixed inputs by their places.
        reads, writes: its streams.
        memory: folder for the contents of its memories.
    """

    node: str
    kind: str
    op: Any
    constants: Mapping[int, NDArray[Any]]
    reads: Sequence[str]
    writes: Sequence[str]
    memory: Path

    def get(self, name: str) -> Any:
        """An attribute."""
        return self.op.get_nodeattr(name)

    def bits(self, prefix: str, datatype: str, bipolar: bool = True) -> dict[str, Any]:
        """The parameters that describe the values of a stream."""
        found: dict[str, Any] = {f"{prefix}_BITS": bits_of(datatype), f"{prefix}_SIGNED": is_signed(datatype)}
        if bipolar:
            found[f"{prefix}_BIPOLAR"] = datatype == "BIPOLAR"
        return found

    def refuse(self, why: str) -> UnsupportedNodeError:
        """What is raised for what no module does."""
        return UnsupportedNodeError(f"node {self.node} ({self.kind}) {why}, which cannot be simulated")

    def write(self, name: str, values: NDArray[Any], bits: int) -> str:
        """Write a memory's content, a hexadecimal number a line; gives the Verilog expression of its path."""
        digits = -(-bits // 4)
        path = self.memory / f"{self.node}_{name}.hex"
        mask = (1 << bits) - 1
        text = "\n".join(f"{int(v) & mask:0{digits}x}" for v in values.ravel()) + "\n"
        path.write_text(text, encoding="ascii")
        return f'"{path}"'

    def instance(self, module: str, parameters: Mapping[str, Any], **ports: Any) -> Instance:
        """An instance of a module with the usual ports."""
        told = {name: str(int(v)) if isinstance(v, bool | int | np.integer) else str(v) for name, v in parameters.items()}
        reads = {f"in{i}_V": name for i, name in enumerate(self.reads)}
        writes: dict[str, Any] = {f"out{i}_V": name for i, name in enumerate(self.writes)}
        found: dict[str, Any] = {"reads": reads, "writes": writes, **ports}
        return Instance(self.node, self.kind, module, told, cycles=int(self.op.get_exp_cycles()), **found)


def module_file(instance: Instance) -> Path:
    """The file of a module of `hls/rtl`."""
    return OWN / f"{instance.module}.sv"


def model_of(node: HlsNode) -> Instance:
    """The instance that stands for a node.

    Raises:
        UnsupportedNodeError: there is none; the text names the node.
    """
    make = _MODELS.get(node.kind.removesuffix("_hls"))
    if make is None or not node.kind.endswith("_hls"):
        raise UnsupportedNodeError(
            f"node {node.node} is a {node.kind}, for which there is no model; there are models of "
            f"{', '.join(f'{name}_hls' for name in _MODELS)}"
        )
    types = node.op.get_nodeattr_types()
    if "mem_mode" in types and node.get("mem_mode") in _OUTSIDE:
        raise node.refuse(f"has mem_mode {node.get('mem_mode')}")
    if "runtime_writeable_weights" in types and node.get("runtime_writeable_weights"):
        raise node.refuse("has weights that the host may change")
    return make(node)


def _matrix(node: HlsNode) -> Instance:
    pe, simd, mw, mh = (int(node.get(name)) for name in ("PE", "SIMD", "MW", "MH"))
    return _unit(node, {"MW": mw, "MH": mh, "PE": pe, "SIMD": simd}, _integers(node, 1).T)


def _depthwise(node: HlsNode) -> Instance:
    pe, simd, channels = (int(node.get(name)) for name in ("PE", "SIMD", "Channels"))
    positions = prod(map(int, node.get("Kernel")))
    weights = _integers(node, 1).reshape(channels // pe, pe, positions // simd, simd).transpose(0, 2, 1, 3)
    return _unit(node, {"MW": positions, "MH": channels, "PE": pe, "SIMD": simd, "DEPTHWISE": True}, weights)


def _unit(node: HlsNode, sizes: Mapping[str, Any], weights: NDArray[np.int64]) -> Instance:
    reads, held, hands_on = (str(node.get(name)) for name in ("inputDataType", "weightDataType", "outputDataType"))
    summed = hands_on if node.get("noActivation") else str(node.get("accDataType"))
    if bits_of(summed) > _SUM_BITS or bits_of(reads) > _SUM_BITS or bits_of(held) >= _WEIGHT_BITS:
        raise node.refuse(f"multiplies {reads} with {held} to {summed}")
    counts = bool(node.get("binaryXnorMode")) or (reads, held) == ("BIPOLAR", "BIPOLAR")
    parameters = {
        **sizes, **node.bits("IN", reads), "COUNTS": counts, "SUM_BITS": bits_of(summed), "SUM_SIGNED": is_signed(summed),
        "OUT_BITS": bits_of(hands_on), "WEIGHTS": node.write("weights", weights, _WEIGHT_BITS),
    }  # fmt: skip
    if not node.get("noActivation"):
        table = np.ceil(node.constants[2].astype(np.float64))
        table = np.broadcast_to(table, (sizes["MH"], table.shape[1]))
        ends = np.iinfo(np.int32)
        clipped = np.clip(table, ends.min, ends.max).astype(np.int64)
        lowest = 0 if hands_on == "BIPOLAR" else int(node.get("ActVal"))
        parameters |= {"STEPS": table.shape[1], "LOWEST": lowest, "THRESHOLDS": node.write("thresholds", clipped, 32)}
    return node.instance("bitloop_matrix", parameters)


def _integers(node: HlsNode, index: int) -> NDArray[np.int64]:
    found = node.constants.get(index)
    if found is None:
        raise node.refuse("has weights that are no constants")
    whole = np.rint(found.astype(np.float64)).astype(np.int64)
    if not np.array_equal(whole, found):
        raise node.refuse("has weights that are no integers")
    return whole


def _pool(node: HlsNode) -> Instance:
    function, positions = str(node.get("Function")), prod(map(int, node.get("KernelSize")))
    if function not in ("MaxPool", "AccPool", "QuantAvgPool"):
        raise node.refuse(f"pools with {function}")
    reads, hands_on = (node.op.get_input_datatype().name, node.op.get_output_datatype().name)
    shift = 0
    if function == "QuantAvgPool":
        shift = max(0, ((2 ** bits_of(reads) - 1) * positions).bit_length() - bits_of(hands_on))
    parameters = {
        "PE": node.get("PE"), "POSITIONS": positions, "IS_SUM": function != "MaxPool", "SHIFT": shift,
        **node.bits("IN", reads), "OUT_BITS": bits_of(hands_on),
    }  # fmt: skip
    return node.instance("bitloop_pool", parameters)


def _sum(node: HlsNode) -> Instance:
    pe = int(node.get("PE"))
    parameters = {
        "PE": pe, "FOLDS": int(node.get("NumChannels")) // pe, "PIXELS": prod(map(int, node.get("numInputVectors"))),
        **node.bits("IN", node.op.get_input_datatype().name), "OUT_BITS": bits_of(node.op.get_output_datatype().name),
    }  # fmt: skip
    return node.instance("bitloop_sum", parameters)


def _choose(node: HlsNode) -> Instance:
    reads, hands_on = (node.op.get_input_datatype().name, node.op.get_output_datatype().name)
    if bits_of(reads) > _SUM_BITS or reads == "FLOAT32":
        raise node.refuse(f"chooses among {reads}")
    parameters = {
        "LABELS": node.get("Labels"), "BEST": node.get("K"), "PE": node.get("PE"), **node.bits("IN", reads, bipolar=False),
        "OUT_BITS": bits_of(hands_on),
    }  # fmt: skip
    return node.instance("bitloop_choose", parameters)


def _fork(node: HlsNode) -> Instance:
    parameters = {"WIDTH": node.op.get_instream_width_padded(0), "COPIES": len(node.writes)}
    return node.instance("bitloop_fork", parameters, writes={"out_V": tuple(node.writes)})


def _elementwise(what: int) -> Callable[[HlsNode], Instance]:
    def instance(node: HlsNode) -> Instance:
        if len(node.constants) > 1 or (0 in node.constants and what == 1):
            raise node.refuse("has no first stream")
        fixed = next(iter(node.constants), None)
        streamed = 0 if fixed != 0 else 1
        first, second = (node.op.get_input_datatype(i).name for i in (streamed, 1 - streamed))
        hands_on = node.op.get_output_datatype().name
        if hands_on != "FLOAT32" and "FLOAT32" in (first, second):
            raise node.refuse(f"makes {hands_on} of floats")
        parameters = {
            "PE": node.get("PE"), "WHAT": what, "A_FLOAT": first == "FLOAT32", "B_FLOAT": second == "FLOAT32",
            **node.bits("A", first, bipolar=False), **node.bits("B", second, bipolar=False),
            "OUT_BITS": bits_of(hands_on), "OUT_FLOAT": hands_on == "FLOAT32",
        }  # fmt: skip
        if fixed is None:
            return node.instance("bitloop_elementwise", parameters)
        values, channels = node.constants[fixed], int(node.op.get_normal_output_shape()[-1])
        if values.size not in (1, channels) or (values.size != 1 and values.shape[-1] != channels):
            raise node.refuse(f"has constants of shape {values.shape} for {channels} channels")
        floats = second == "FLOAT32"
        raw = values.astype(np.float32).view(np.uint32) if floats else np.rint(values.astype(np.float64))
        parameters |= {"CONSTANTS": values.size, "FILE": node.write("constants", raw.astype(np.int64), 64)}
        ties = {"in1_V_TDATA": "8'b0", "in1_V_TVALID": "1'b0", "in1_V_TREADY": ""}
        return node.instance("bitloop_elementwise", parameters, ties=ties)

    return instance


_MODELS: dict[str, Callable[[HlsNode], Instance]] = {
    "MVAU": _matrix,
    "VVAU": _depthwise,
    "Pool": _pool,
    "GlobalAccPool": _sum,
    "LabelSelect": _choose,
    "DuplicateStreams": _fork,
    "ElementwiseAdd": _elementwise(0),
    "ElementwiseSub": _elementwise(1),
    "ElementwiseMul": _elementwise(2),
}
