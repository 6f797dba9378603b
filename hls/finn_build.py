"""bitloop's own part of a build: a QONNX file becomes the checkpoint that FINN's steps for a board begin with.

It is what `hls.finn_backend.estimate_with_flow` runs, on the same file with the same folding, so that what is built is what
was estimated; FIFO depths come on top. FINN's later steps, which do without step_minimize_bit_width, change neither types
nor folding of a node (`tests/test_hls_finn_build.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from boards.board import Board, Resources
from hls.build_plan import BuildPlan
from hls.corrections import FIFO_DEPTH
from hls.errors import BuildError, FoldingError, GraphError
from hls.finn_backend import dataflow_model, estimated_nodes, first_operation, fold, naming, quiet, read_model
from hls.finn_operators import finn_steps
from hls.pace import Pace
from hls.steps import held_by
from hls.types import Estimate, NodeEstimate
from models.files import whole_file


@dataclass(frozen=True)
class BuiltNode(NodeEstimate):
    """A hardware node of a checkpoint, as FINN estimates it; its layer is not known.

    Attributes:
        types: attribute to QONNX type, of those that say what the node reads, holds and hands on.
    """

    types: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> BuiltNode:
        """Read what `to_dict` gave."""
        pace = Pace.from_dict(raw["pace"]) if raw.get("pace") else None
        read = {"resources": Resources(**raw["resources"]), "sources": tuple(raw["sources"]), "pace": pace}
        return cls(**{**raw, **read})


@dataclass(frozen=True)
class Stream:
    """What goes into an accelerator or comes out of it: the shape of one frame, a one before it, and a QONNX type."""

    shape: tuple[int, ...]
    datatype: str


@dataclass(frozen=True)
class Checkpoint:
    """A prepared graph beside its file: nodes in FINN's order, and what it reads and hands on."""

    nodes: tuple[BuiltNode, ...]
    reads: Stream
    hands_on: Stream

    def estimate(self, clock_mhz: float) -> Estimate:
        """What FINN estimates of it."""
        return Estimate(self.nodes, clock_mhz, "FINN's estimate of the checkpoint")


@dataclass(frozen=True)
class Image:
    """What a network's first quantizer makes of an image.

    Attributes:
        shape: (C, H, W), or whatever the file says behind the one for the frame.
        step: what an integer is worth.
        bits, signed: of the integers.
    """

    shape: tuple[int, ...]
    step: float
    bits: int
    signed: bool

    @property
    def is_pixels(self) -> bool:
        """Whether it reads as bitloop's networks do: a pixel less 128, over 128."""
        return len(self.shape) == 3 and (self.step, self.bits, self.signed) == (1 / 128, 8, True)

    def __str__(self) -> str:
        kind = "INT" if self.signed else "UINT"
        return f"{kind}{self.bits} in steps of {self.step:.6g}, shape {'x'.join(map(str, self.shape))}"


def image_of(onnx: Path) -> Image:
    """What a QONNX file reads.

    Raises:
        GraphError: it cannot be read, or does not begin with the image's quantizer.
    """
    from qonnx.util.basic import get_by_name

    model = read_model(onnx)
    with naming(onnx):
        node = first_operation(model)
        if node.op_type != "Quant":
            raise GraphError(
                f"{onnx} begins with {node.op_type}; a Quant of the image is wanted, as Brevitas' QuantIdentity exports it"
            )
        step, _, bits = (float(model.get_initializer(name)) for name in node.input[1:4])
        shape = tuple(model.get_tensor_shape(model.graph.input[0].name)[1:])
        return Image(shape, step, int(bits), bool(get_by_name(node.attribute, "signed").i))


def finn_parts() -> dict[str, str]:
    """FINN's boards with PYNQ, name to part."""
    finn_steps()
    from finn.util.basic import pynq_part_map

    return dict(pynq_part_map)


def prepare(plan: BuildPlan, board: Board, onnx: Path, target: Path) -> Checkpoint:
    """Write the checkpoint of a plan. About 12 s the first time in a process, 6 s after.

    Args:
        plan: what to build.
        board: of the plan.
        onnx: the plan's QONNX file.
        target: the checkpoint's file; written whole or not at all.

    Raises:
        GraphError: FINN cannot convert the network.
        FoldingError: FINN refuses the folding.
        BuildError: an accumulator would wrap, or the network has more than one stream in or out.
    """
    with tempfile.TemporaryDirectory(prefix="bitloop-build-") as folder, quiet(), naming(onnx):
        model, config = dataflow_model(onnx, board, Path(folder), plan.implementations, plan.top_k)
        model = fold(model, config, plan.folding, plan.target_fps, plan.implementations)
        _check_folding(model)
        _check_accumulators(model)
        found = Checkpoint(_nodes(model, board), *_ends(model))
        _size_fifos(model, plan.fifo_depths)
        with whole_file(target) as part:
            model.save(str(part))
    return found


def _check_folding(model: Any) -> None:
    """Look whether every node takes its streams in whole pieces: FINN applies a folding that does not divide without a word.

    Raises:
        FoldingError: one does not.
    """
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        op = getCustomOp(node)
        try:
            pairs = [(op.get_normal_input_shape(), op.get_folded_input_shape())]
            pairs.append((op.get_normal_output_shape(), op.get_folded_output_shape()))
            divides = all(prod(map(int, normal)) == prod(map(int, folded)) for normal, folded in pairs)
        except Exception:  # FINN's assertions have no text
            divides = False
        if not divides:
            told = {name: op.get_nodeattr(name) for name in ("PE", "SIMD") if name in op.get_nodeattr_types()}
            sizes = {n: op.get_nodeattr(n) for n in ("MW", "MH", "NumChannels", "Channels") if n in op.get_nodeattr_types()}
            raise FoldingError(f"the folding of {node.name}, {told}, does not divide its sizes {sizes}; take divisors of them")


def _nodes(model: Any, board: Board) -> tuple[BuiltNode, ...]:
    from qonnx.custom_op.registry import getCustomOp

    found = []
    for node, estimate in zip(model.graph.node, estimated_nodes(model, board, {}), strict=True):
        op = getCustomOp(node)
        names = [name for name in op.get_nodeattr_types() if name.lower().endswith(("datatype", "_dtype"))]
        types = {name: str(op.get_nodeattr(name)) for name in names}
        found.append(BuiltNode(**vars(estimate), types={name: kind for name, kind in types.items() if kind}))
    return tuple(found)


def _ends(model: Any) -> tuple[Stream, Stream]:
    """What goes in and what comes out."""
    ends = []
    for tensors, which in ((model.graph.input, "reads"), (model.graph.output, "hands on")):
        if len(tensors) != 1:
            raise BuildError(f"the network {which} {len(tensors)} streams; one can be built")
        name = tensors[0].name
        ends.append(Stream(tuple(model.get_tensor_shape(name)), model.get_tensor_datatype(name).name))
    return ends[0], ends[1]


def _check_accumulators(model: Any) -> None:
    """Look whether every one-bit unit has room for every count; `hls.finn_xnor` sees to that.

    Raises:
        BuildError: one has not.
    """
    from qonnx.core.datatype import DataType
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        op = getCustomOp(node)
        if "binaryXnorMode" in op.get_nodeattr_types() and op.get_nodeattr("binaryXnorMode"):
            most = op.get_nodeattr("MW") if node.op_type.startswith("MVAU") else _window(op)
            kind = DataType[op.get_nodeattr("accDataType")]
            if kind.max() < most:
                raise BuildError(
                    f"node {node.name} counts to {most}, its accumulator {kind.name} only to {kind.max():.0f} and would wrap"
                )


def _window(op: Any) -> int:
    rows, columns = op.get_nodeattr("Kernel")
    return int(rows * columns)


def _size_fifos(model: Any, measured: Mapping[str, int]) -> None:
    """Tell every node how deep the FIFOs around it are.

    FINN gives a stream the larger of what its two ends say (finn/transformation/fpgadataflow/insert_fifo.py).

    Args:
        model: the graph.
        measured: node to words behind it, where they were measured; others are as the estimate counts them.
    """
    from qonnx.custom_op.registry import getCustomOp

    for node in model.graph.node:
        op = getCustomOp(node)
        sources = [model.find_producer(name) for name in node.input if model.get_initializer(name) is None]
        # said at both ends: a width converter between them has a FIFO on either side
        before = [FIFO_DEPTH if source is None else measured.get(source.name, FIFO_DEPTH) for source in sources]
        behind = [measured.get(node.name, FIFO_DEPTH)] * len(node.output)
        if node.op_type.startswith("DuplicateStreams") and node.name not in measured:
            behind = [max(FIFO_DEPTH, words) for words in _waiting(model, node)]
        op.set_nodeattr("inFIFODepths", before)
        op.set_nodeattr("outFIFODepths", behind)


def _waiting(model: Any, fork: Any) -> list[int]:
    """For every branch behind a fork the words that must wait in front of it while the other branch fills its windows."""
    from qonnx.custom_op.registry import getCustomOp

    op = getCustomOp(fork)
    held = [_held_pixels(model, name) for name in fork.output]
    words_of_pixel = op.get_nodeattr("NumChannels") // op.get_nodeattr("PE")
    return [max(0, max(held) - here) * words_of_pixel for here in held]


def _held_pixels(model: Any, stream: str) -> int:
    """Pixels that the windows from a stream on to where branches meet hold back, in pixels of the stream."""
    from qonnx.custom_op.registry import getCustomOp

    windows = []
    while (node := model.find_consumer(stream)) is not None:
        if sum(model.get_initializer(name) is None for name in node.input) > 1:
            break
        if node.op_type.startswith("ConvolutionInputGenerator"):
            op = getCustomOp(node)
            windows.append({name: op.get_nodeattr(name) for name in ("ConvKernelDim", "IFMDim", "Stride")})
        stream = node.output[0]
    return held_by(windows)
