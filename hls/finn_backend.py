"""The one file that talks to FINN and QONNX, and keeps their habits to itself.

FINN writes environment variables, prints, and leaves results in files. Here two things come out:
`HardwareGraph`, the dataflow graph of a network as operators whose attributes are a plain dict, so
that FINN's own cost formulas run in microseconds on bits that were never exported; and
`estimate_with_flow`, FINN's whole flow on one exported network, the reference for the former.

Choices that hold everywhere: thresholds merged into the matrix-vector units, and HLS matrix-vector
units (FINN's estimate of the RTL ones counts no LUT at all).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from boards.board import Board, Resources
from hls.errors import FoldingError, GraphError
from hls.types import Estimate, Folding, NodeEstimate

BEFORE_FOLDING = (
    "step_qonnx_to_finn",
    "step_tidy_up",
    "step_streamline",
    "step_convert_to_hw",
    "step_minimize_bit_width_initial",
    "step_create_dataflow_partition",
    "step_specialize_layers",
)
HLS_MATRIX_UNITS = {"Defaults": {"preferred_impl_style": ["hls", ["MVAU"]]}}
_scratch: list[tempfile.TemporaryDirectory[str]] = []  # kept until exit: FINN holds paths into it


@cache
def _steps() -> ModuleType:
    """FINN's build steps, imported without Vivado. Takes about 5 s, once a process."""
    _scratch.append(tempfile.TemporaryDirectory(prefix="bitloop-finn-"))
    os.environ.setdefault("FINN_BUILD_DIR", _scratch[-1].name)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import finn.util.settings
        import finn.xsi

        finn.util.settings.initialize_dummy_settings()
        finn.xsi.SimEngine = None  # else the import looks for Vivado's simulator
        import finn.builder.build_dataflow_steps as steps
    for name in ("finn", "qonnx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return cast(ModuleType, steps)


def _build_config(board: Board, out: Path) -> Any:
    _steps()
    import finn.builder.build_dataflow_config as config

    specialize = out / "specialize.json"
    specialize.write_text(json.dumps(HLS_MATRIX_UNITS))
    for folder in ("report", "intermediate_models/supported_op_partitions"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    return config.DataflowBuildConfig(
        output_dir=str(out),
        synth_clk_period_ns=1000.0 / board.clock_mhz,
        fpga_part=board.fpga_part,
        board=board.finn_name,
        target_fps=1,
        specialize_layers_config_file=str(specialize),
        steps=list(BEFORE_FOLDING),
        generate_outputs=[config.DataflowOutputType.ESTIMATE_REPORTS],
        enable_build_pdb_debug=False,
        verbose=False,
        save_intermediate_models=False,
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _run_step(name: str, model: Any, config: Any) -> Any:
    try:
        return getattr(_steps(), name)(model, config)
    except Exception as error:
        raise GraphError(f"FINN's {name} failed: {type(error).__name__}: {error}") from error


def _keep_bipolar(model: Any) -> None:
    """Undo FINN's widening of one-bit weights behind wide inputs to INT2, which doubles their memory."""
    import numpy as np
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        if node.op_type.startswith("MVAU"):
            op, weights = getCustomOp(node), model.get_initializer(node.input[1])
            if not op.get_nodeattr("binaryXnorMode") and set(np.unique(weights)) <= {-1.0, 1.0}:
                op.set_nodeattr("weightDataType", "BIPOLAR")
                model.set_tensor_datatype(node.input[1], DataType["BIPOLAR"])


def _feed_integers(model: Any) -> None:
    """Let the accelerator read the image as integers: its quantizer becomes a mere scale.

    What the host sends is the quantizer's integers (for bitloop's networks a pixel less 128); FINN
    would send floats, four times the traffic, and compare each with every threshold: 100,000 LUT for TFC.
    """
    from onnx import helper
    from qonnx.core.datatype import DataType
    from qonnx.util.basic import get_by_name

    node = model.graph.node[0]
    while node.op_type in ("Flatten", "Reshape"):
        node = model.find_consumer(node.output[0])
    if node.op_type != "Quant":
        raise GraphError(f"the network starts with {node.op_type}; bitloop's networks start with the image's quantizer")
    zero, bits = (float(model.get_initializer(i)) for i in node.input[2:4])
    narrow, signed = (get_by_name(node.attribute, name).i for name in ("narrow", "signed"))
    if zero or narrow:
        raise GraphError(f"the image's quantizer has zero point {zero} and narrow={narrow}; 0 and 0 are wanted")
    index = list(model.graph.node).index(node)
    model.graph.node.remove(node)
    model.graph.node.insert(index, helper.make_node("Mul", [node.input[0], node.input[1]], [node.output[0]]))
    for tensor in {model.graph.input[0].name, node.input[0]}:
        model.set_tensor_datatype(tensor, DataType[f"{'' if signed else 'U'}INT{bits:.0f}"])


def _dataflow_model(onnx: Path, board: Board, out: Path) -> tuple[Any, Any]:
    """FINN's dataflow graph of a QONNX file before folding, and the build configuration."""
    _steps()
    from qonnx.core.modelwrapper import ModelWrapper

    config = _build_config(board, out)
    try:
        model = ModelWrapper(str(onnx))
    except Exception as error:  # protobuf's own
        raise GraphError(f"{onnx} cannot be read as ONNX ({error}); export it anew") from error
    _feed_integers(model)
    for name in BEFORE_FOLDING:
        model = _run_step(name, model, config)
        if name == "step_minimize_bit_width_initial":
            _keep_bipolar(model)
    return model, config


@cache
def _dict_backed(cls: type[Any]) -> type[Any]:
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
    """A network's dataflow graph, a chain of operators that can be re-typed and re-folded.

    Attributes:
        ops: FINN's operators, dict-backed, in the order of the data.
        fpga_part: what their cost is asked for.
    """

    ops: list[Any]
    fpga_part: str

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


@cache
def stream_luts(out_bits: int, in_bits: int, fifo_depth: int, fpga_part: str) -> float:
    """LUT of a stream from a node that hands on `out_bits` a cycle to one that reads `in_bits`.

    FINN puts a FIFO between nodes of one width, and FIFO, width converter, FIFO between nodes of two
    (finn/transformation/fpgadataflow/insert_dwc.py, insert_fifo.py); its own operators count both.
    """
    _steps()
    from finn.custom_op.fpgadataflow.rtl.streamingdatawidthconverter_rtl import StreamingDataWidthConverter_rtl
    from finn.custom_op.fpgadataflow.rtl.streamingfifo_rtl import StreamingFIFO_rtl

    def fifo(bits: int) -> float:
        attributes = {"depth": fifo_depth, "folded_shape": [1, bits], "dataType": "BINARY", "ram_style": "auto"}
        return float(_dict_backed(StreamingFIFO_rtl)("fifo", attributes).lut_estimation(fpga_part))

    if out_bits == in_bits:
        return fifo(out_bits)
    converter = _dict_backed(StreamingDataWidthConverter_rtl)("converter", {"inWidth": out_bits, "outWidth": in_bits})
    return fifo(out_bits) + float(converter.lut_estimation(fpga_part)) + fifo(in_bits)


def hardware_graph(onnx: Path, board: Board) -> HardwareGraph:
    """FINN's dataflow graph of a QONNX file. About 12 s the first time in a process, 6 s after.

    Raises:
        GraphError: FINN cannot convert it, or the graph is not a chain.
    """
    with tempfile.TemporaryDirectory(prefix="bitloop-graph-") as out, _quiet():
        model, _ = _dataflow_model(onnx, board, Path(out))
        from qonnx.custom_op.registry import getCustomOp

        ops = []
        for node in model.graph.node:
            if len(model.find_direct_successors(node) or []) > 1:
                raise GraphError(f"node {node.name} feeds several nodes; only chains can be costed so far")
            op = getCustomOp(node)
            attributes = {}
            for name in op.get_nodeattr_types():
                with contextlib.suppress(Exception):  # FINN raises a plain Exception for an optional one unset
                    attributes[name] = op.get_nodeattr(name)
            ops.append(_dict_backed(type(op))(node.name, attributes))  # type: ignore[arg-type]  # a class is hashable
        return HardwareGraph(ops, board.fpga_part)


FOLDING_ATTRIBUTES = ("PE", "SIMD", "parallel_window", "ram_style", "resType")


def _folding_of(model: Any) -> dict[str, dict[str, int | str]]:
    """The folding attributes of every node of a dataflow graph."""
    from qonnx.custom_op.registry import getCustomOp

    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    return {
        name: {k: op.get_nodeattr(k) for k in FOLDING_ATTRIBUTES if k in op.get_nodeattr_types()} for name, op in ops.items()
    }


def set_foldings(onnx: Path, board: Board, targets_fps: Sequence[int], weight_streams_bits: Sequence[int]) -> list[Folding]:
    """The foldings that FINN's own SetFolding picks for every target and every limit on weight streams.

    About 7 s for the graph and 50 ms a folding.

    Raises:
        GraphError: FINN cannot convert the network.
    """
    with tempfile.TemporaryDirectory(prefix="bitloop-sweep-") as folder, _quiet():
        model, config = _dataflow_model(onnx, board, Path(folder))
        found: list[Folding] = []
        for bits in weight_streams_bits:
            for target in targets_fps:
                config.target_fps, config.mvau_wwidth_max = target, bits
                model = _run_step("step_target_fps_parallelization", model, config)
                found.append(_folding_of(model))
    return found


def estimate_with_flow(
    onnx: Path, board: Board, folding: Folding | None = None, target_fps: int | None = None,
    weight_stream_bits: int = 36, layer_of: Mapping[str, str] | None = None,
) -> Estimate:  # fmt: skip
    """FINN's whole estimate flow on one exported network, its real weights included.

    Args:
        onnx: a QONNX file.
        board: gives part and clock.
        folding: applied through FINN's `folding_config_file`; or None for FINN's own choice.
        target_fps: then the frame rate FINN's SetFolding aims at.
        weight_stream_bits: then its limit on a weight stream's width (`mvau_wwidth_max`).
        layer_of: node name to layer name; the node's own name without it.

    Raises:
        GraphError: FINN cannot convert the network.
        FoldingError: neither or both of folding and target given, or FINN refuses the folding.
    """
    if (folding is None) == (target_fps is None):
        raise FoldingError("give either a folding or a target frame rate, not both and not neither")
    with tempfile.TemporaryDirectory(prefix="bitloop-flow-") as folder, _quiet():
        out = Path(folder)
        model, config = _dataflow_model(onnx, board, out)
        from finn.analysis.fpgadataflow.exp_cycles_per_layer import exp_cycles_per_layer
        from finn.analysis.fpgadataflow.res_estimation import res_estimation

        if folding is not None:
            path = out / "folding.json"
            path.write_text(json.dumps({"Defaults": {}, **{n: dict(f) for n, f in folding.items()}}))
            config.target_fps = None
            config.folding_config_file = str(path)
            model = _run_step("step_apply_folding_config", model, config)
        else:
            config.target_fps = target_fps
            config.mvau_wwidth_max = weight_stream_bits
            model = _run_step("step_target_fps_parallelization", model, config)
        model = _run_step("step_minimize_bit_width", model, config)
        _keep_bipolar(model)
        try:
            cycles = model.analysis(exp_cycles_per_layer)
            used = res_estimation(model, board.fpga_part)
        except Exception as error:
            raise FoldingError(f"FINN cannot estimate this folding: {type(error).__name__}: {error}") from error
        nodes, chosen = [], _folding_of(model)
        for node in model.graph.node:
            r = used[node.name]
            nodes.append(
                NodeEstimate(
                    node=node.name,
                    op_type=node.op_type,
                    layer=(layer_of or {}).get(node.name, node.name),
                    cycles=int(cycles[node.name]),
                    resources=Resources(lut=float(r["LUT"]), bram18=float(r["BRAM_18K"]), dsp=float(r["DSP"])),
                    folding=chosen[node.name],
                )
            )
    return Estimate(tuple(nodes), board.clock_mhz, "FINN's whole flow on the exported network")
