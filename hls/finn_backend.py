"""FINN's flow and QONNX graphs; together with `hls.finn_operators` all of bitloop that talks to them.

FINN writes environment variables, prints, and leaves results in files. Here two things come out:
`hardware_graph`, the dataflow graph of a network as operators whose attributes are a plain dict; and
`estimate_with_flow`, FINN's whole flow on one exported network, the reference for the tables.

What a layer's unit is built as is told to FINN node by node (`hls.finn_implementations`).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boards.board import Board, Resources
from hls.errors import FoldingError, GraphError, HlsError
from hls.finn_implementations import choose_styles, keep_bipolar, take_thresholds_apart, widen_thresholds
from hls.finn_operators import HardwareGraph, dict_backed, finn_steps
from hls.finn_streamlining import needs_own_order, streamline
from hls.pace import pace_of
from hls.types import Estimate, Folding, Implementation, NodeEstimate

BEFORE_FOLDING = (
    "step_qonnx_to_finn",
    "step_tidy_up",
    "step_streamline",
    "step_convert_to_hw",
    "step_minimize_bit_width_initial",
    "step_create_dataflow_partition",
    "step_specialize_layers",
)


def _build_config(board: Board, out: Path) -> Any:
    finn_steps()
    import finn.builder.build_dataflow_config as config

    for folder in ("report", "intermediate_models/supported_op_partitions"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    return config.DataflowBuildConfig(
        output_dir=str(out),
        synth_clk_period_ns=1000.0 / board.clock_mhz,
        fpga_part=board.fpga_part,
        board=board.finn_name,
        target_fps=1,
        steps=list(BEFORE_FOLDING),
        generate_outputs=[config.DataflowOutputType.ESTIMATE_REPORTS],
        enable_build_pdb_debug=False,
        verbose=False,
        save_intermediate_models=False,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what FINN prints and warns of."""
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
        if name == "step_streamline" and needs_own_order(model):
            return streamline(model)
        return getattr(finn_steps(), name)(model, config)
    except OSError:  # a full disk is not FINN's fault
        raise
    except Exception as error:
        raise GraphError(f"FINN's {name} failed: {type(error).__name__}: {error}") from error


def first_operation(model: Any) -> Any:
    """The first node of a QONNX file that computes something: what flattens the image is passed over."""
    node = model.graph.node[0]
    while node.op_type in ("Flatten", "Reshape"):
        node = model.find_consumer(node.output[0])
    return node


def _feed_integers(model: Any) -> None:
    """Let the accelerator read the image as integers: its quantizer becomes a mere scale.

    What the host sends is the quantizer's integers (for bitloop's networks a pixel less 128); FINN
    would send floats, four times the traffic, and compare each with every threshold: 100,000 LUT for TFC.
    """
    from onnx import helper
    from qonnx.core.datatype import DataType
    from qonnx.util.basic import get_by_name

    node = first_operation(model)
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


def _with_top_k(model: Any, k: int) -> Any:
    """The graph with the choice of the best classes behind it; a positive scale before that makes no difference any more.

    Raises:
        GraphError: there are fewer classes.
    """
    from qonnx.transformation.infer_shapes import InferShapes
    from qonnx.transformation.insert_topk import InsertTopK

    n_classes = int(model.get_tensor_shape(model.graph.output[0].name)[-1])
    if not 1 <= k <= n_classes:
        raise GraphError(
            f"the best {k} of {n_classes} classes are asked for; allowed are 1 to {n_classes}, and 0 for the logits"
        )
    return model.transform(InsertTopK(k=k)).transform(InferShapes())


def read_model(onnx: Path) -> Any:
    """A QONNX file.

    Raises:
        GraphError: it cannot be read.
    """
    finn_steps()
    from qonnx.core.modelwrapper import ModelWrapper

    try:
        return ModelWrapper(str(onnx))
    except Exception as error:  # protobuf's own
        raise GraphError(f"{onnx} cannot be read as ONNX ({error}); export it anew") from error


@contextlib.contextmanager
def naming(onnx: Path) -> Iterator[None]:
    """Have whatever FINN and QONNX raise of a graph that is not whole, each by errors of its own, name the file it is from.

    Raises:
        GraphError: instead of any other error but `HlsError` and the system's; a `GraphError` gets the name if it lacks it.
    """
    try:
        yield
    except OSError:  # a full disk is not FINN's fault
        raise
    except HlsError as error:
        if type(error) is not GraphError or str(onnx) in str(error):
            raise
        raise GraphError(f"{onnx}: {error}") from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise GraphError(f"{onnx} is no graph FINN can build ({type(error).__name__}: {reason}); export it anew") from error


def dataflow_steps(
    onnx: Path, board: Board, out: Path, implementations: Sequence[Implementation] = (), top_k: int = 0
) -> Iterator[tuple[str, Any, Any]]:
    """FINN's steps from a QONNX file to its dataflow graph, one by one.

    Args:
        onnx: the file.
        board: gives part and clock.
        out: a folder for what FINN leaves behind.
        implementations: of every layer, in order; merged HLS units without it.
        top_k: numbers of the best classes that the accelerator hands on, the best first; 0 for the logits.

    Yields:
        The name of a step, the graph behind it, and the build configuration.

    Raises:
        GraphError: FINN cannot convert the network, or there are fewer classes.
    """
    config = _build_config(board, out)
    model = read_model(onnx)
    _feed_integers(model)
    for name in BEFORE_FOLDING:
        if name == "step_convert_to_hw" and implementations:
            take_thresholds_apart(model, implementations)
        if name == "step_specialize_layers":
            choose_styles(model, implementations)
        model = _run_step(name, model, config)
        if name == "step_tidy_up" and top_k:
            model = _with_top_k(model, top_k)
        if name == "step_minimize_bit_width_initial":
            keep_bipolar(model, implementations)
        if name == BEFORE_FOLDING[-1]:
            widen_thresholds(model)
            if top_k and not model.graph.node[-1].op_type.startswith("LabelSelect"):
                raise GraphError(
                    "its last layer has a bias or a norm, whose floats FINN cannot choose among, so the best "
                    f"{top_k} cannot be chosen on the accelerator; hand on the logits with TOP_K=0"
                )
        yield name, model, config


def dataflow_model(
    onnx: Path, board: Board, out: Path, implementations: Sequence[Implementation] = (), top_k: int = 0
) -> tuple[Any, Any]:
    """FINN's dataflow graph of a QONNX file before folding, and the build configuration; see `dataflow_steps`."""
    *_, (_, model, config) = dataflow_steps(onnx, board, out, implementations, top_k)
    return model, config


def hardware_graph(onnx: Path, board: Board, top_k: int = 0) -> HardwareGraph:
    """FINN's dataflow graph of a QONNX file. About 12 s the first time in a process, 6 s after.

    Args:
        onnx: the file.
        board: gives part and clock.
        top_k: see `dataflow_steps`.

    Raises:
        GraphError: FINN cannot convert it.
    """
    with tempfile.TemporaryDirectory(prefix="bitloop-graph-") as out, quiet():
        model, _ = dataflow_model(onnx, board, Path(out), top_k=top_k)
        from qonnx.custom_op.registry import getCustomOp

        ops = []
        made_by = {name: i for i, node in enumerate(model.graph.node) for name in node.output}
        sources = [tuple(made_by[name] for name in node.input if name in made_by) for node in model.graph.node]
        for node in model.graph.node:
            op = getCustomOp(node)
            attributes = {}
            for name in op.get_nodeattr_types():
                with contextlib.suppress(Exception):  # FINN raises a plain Exception for an optional one unset
                    attributes[name] = op.get_nodeattr(name)
            ops.append(dict_backed(type(op))(node.name, attributes))  # type: ignore[arg-type]  # a class is hashable
        return HardwareGraph(ops, board.fpga_part, sources)


FOLDING_ATTRIBUTES = ("PE", "SIMD", "parallel_window", "ram_style", "resType", "depth_trigger_bram", "depth_trigger_uram")


def _folding_of(model: Any) -> dict[str, dict[str, int | str]]:
    """The folding attributes of every node of a dataflow graph."""
    from qonnx.custom_op.registry import getCustomOp

    ops = {node.name: getCustomOp(node) for node in model.graph.node}
    return {
        name: {k: op.get_nodeattr(k) for k in FOLDING_ATTRIBUTES if k in op.get_nodeattr_types()} for name, op in ops.items()
    }


def set_foldings(
    onnx: Path, board: Board, targets_fps: Sequence[int], weight_streams_bits: Sequence[int],
    implementations: Sequence[Implementation] = (), top_k: int = 0,
) -> list[Folding]:  # fmt: skip
    """The foldings that FINN's own SetFolding picks for every target and every limit on weight streams.

    About 7 s for the graph and 50 ms a folding.

    Raises:
        GraphError: FINN cannot convert the network.
    """
    with tempfile.TemporaryDirectory(prefix="bitloop-sweep-") as folder, quiet():
        model, config = dataflow_model(onnx, board, Path(folder), implementations, top_k)
        found: list[Folding] = []
        for bits in weight_streams_bits:
            for target in targets_fps:
                config.target_fps, config.mvau_wwidth_max = target, bits
                model = _run_step("step_target_fps_parallelization", model, config)
                found.append(_folding_of(model))
    return found


def fold(
    model: Any, config: Any, folding: Folding | None, target_fps: int | None, implementations: Sequence[Implementation]
) -> Any:
    """A dataflow graph with a folding, its types at their narrowest but for what bitloop keeps (`hls.finn_implementations`).

    Args:
        model: as `dataflow_model` gives it.
        config: the same.
        folding: applied through FINN's `folding_config_file`; None for FINN's own choice.
        target_fps: then the frame rate it aims at.
        implementations: of every layer, in order.

    Raises:
        FoldingError: a node of the folding is not there.
        GraphError: FINN refuses the folding.
    """
    config.target_fps, config.folding_config_file = target_fps, None
    if folding is None:
        model = _run_step("step_target_fps_parallelization", model, config)
    else:
        names = [node.name for node in model.graph.node]
        unknown = sorted(set(folding) - set(names))
        if unknown:  # FINN would leave them out without a word
            raise FoldingError(f"the folding has node {unknown[0]}; nodes are {', '.join(names)}")
        path = Path(config.output_dir) / "folding.json"
        path.write_text(json.dumps({"Defaults": {}, **{n: dict(f) for n, f in folding.items()}}), encoding="utf-8")
        config.folding_config_file = str(path)
        model = _run_step("step_apply_folding_config", model, config)
    model = _run_step("step_minimize_bit_width", model, config)
    keep_bipolar(model, implementations)
    widen_thresholds(model)
    return model


def estimated_nodes(model: Any, board: Board, layer_of: Mapping[str, str]) -> list[NodeEstimate]:
    """What FINN estimates of every node of a folded graph, in its order.

    Args:
        model: the graph.
        board: gives the part.
        layer_of: node name to layer name; the node's own name where it is not there.

    Raises:
        FoldingError: FINN cannot estimate the folding.
    """
    from finn.analysis.fpgadataflow.exp_cycles_per_layer import exp_cycles_per_layer
    from finn.analysis.fpgadataflow.res_estimation import res_estimation

    try:
        cycles, used = model.analysis(exp_cycles_per_layer), res_estimation(model, board.fpga_part)
    except Exception as error:
        raise FoldingError(f"FINN cannot estimate this folding: {type(error).__name__}: {error}") from error
    from qonnx.custom_op.registry import getCustomOp

    made_by = {name: node.name for node in model.graph.node for name in node.output}
    chosen, found = _folding_of(model), []
    for node in model.graph.node:
        r = used[node.name]
        found.append(
            NodeEstimate(
                node=node.name,
                op_type=node.op_type,
                layer=layer_of.get(node.name, node.name),
                cycles=int(cycles[node.name]),
                resources=Resources(lut=float(r["LUT"]), bram18=float(r["BRAM_18K"]), dsp=float(r["DSP"])),
                folding=chosen[node.name],
                sources=tuple(made_by[name] for name in node.input if name in made_by),
                pace=pace_of(getCustomOp(node)),
            )
        )
    return found


def estimate_with_flow(
    onnx: Path, board: Board, folding: Folding | None = None, target_fps: int | None = None,
    weight_stream_bits: int = 36, implementations: Sequence[Implementation] = (), layer_of: Mapping[str, str] | None = None,
    top_k: int = 0,
) -> Estimate:  # fmt: skip
    """FINN's whole estimate flow on one exported network, its real weights included.

    Args:
        onnx: a QONNX file.
        board: gives part and clock.
        folding: applied through FINN's `folding_config_file`; or None for FINN's own choice.
        target_fps: then the frame rate FINN's SetFolding aims at.
        weight_stream_bits: then its limit on a weight stream's width (`mvau_wwidth_max`).
        implementations: of every layer, in order; merged HLS units without it.
        layer_of: node name to layer name, layer by layer; the node's own name without it.
        top_k: see `dataflow_steps`.

    Raises:
        GraphError: FINN cannot convert the network.
        FoldingError: neither or both of folding and target given, or FINN refuses the folding.
    """
    if (folding is None) == (target_fps is None):
        raise FoldingError("give either a folding or a target frame rate, not both and not neither")
    with tempfile.TemporaryDirectory(prefix="bitloop-flow-") as folder, quiet():
        out = Path(folder)
        model, config = dataflow_model(onnx, board, out, implementations, top_k)
        config.mvau_wwidth_max = weight_stream_bits
        model = fold(model, config, folding, target_fps, implementations)
        nodes = estimated_nodes(model, board, layer_of or {})
    if layer_of is not None:  # the order of the layers, of which FINN knows nothing
        place = {name: i for i, name in enumerate(layer_of)}
        nodes.sort(key=lambda n: place.get(n.node, len(place)))
    return Estimate(tuple(nodes), board.clock_mhz, "FINN's whole flow on the exported network")
