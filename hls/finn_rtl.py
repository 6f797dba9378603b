"""From the checkpoint of a build (`hls.finn_build.prepare`) to a netlist of FINN's own RTL (`hls.rtlsim`).

Width converters and FIFOs are put in as FINN does, by its own transformations; the RTL of every node that has some is
generated from FINN's templates; for the others there are models (`hls.rtlsim.models`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boards.board import Board
from boards.simulated_board.circuit import Circuit, read_circuit
from boards.simulated_board.circuit import Stream as CircuitStream
from hls.circuit import Operation, circuit_bytes
from hls.corrections import FIFO_DEPTH
from hls.errors import GraphError
from hls.finn_backend import quiet, read_model
from hls.finn_circuit import READS, cycles_of, operations_of
from hls.finn_operators import finn_steps
from hls.rtlsim.errors import SimulationError, UnsupportedNodeError
from hls.rtlsim.models import HlsNode, model_of, module_file
from hls.rtlsim.netlist import Fifo, Instance, Netlist, Stream
from hls.types import Estimate

_LONGEST = 2**16
_RTL_DOMAIN = "finn.custom_op.fpgadataflow.rtl"
_FIFO, _CONVERTER = "StreamingFIFO_rtl", "StreamingDataWidthConverter_rtl"


@dataclass(frozen=True)
class Accelerator:
    """An accelerator as RTL, and what it is to answer.

    Attributes:
        netlist: the RTL.
        circuit: answers what the hardware layers do (`boards.simulated_board`).
        estimate: FINN's cycles of every node.
        operations: of the circuit.
        tensors: what each hands on, in one frame's shape with a one before it, and its QONNX type, by name.
        streams: tensor to the stream that carries it in the tensor's own order; not of those that carry it in another.
    """

    netlist: Netlist
    circuit: Circuit
    estimate: Estimate
    operations: tuple[Operation, ...]
    tensors: Mapping[str, tuple[tuple[int, ...], str]]
    streams: Mapping[str, str]

    def expected(self, tensor: str, frames: NDArray[Any]) -> NDArray[Any]:
        """What a tensor is to be: (frames, …)."""
        place = next(i for i, operation in enumerate(self.operations) if operation.output == tensor)
        shape, datatype = self.tensors[tensor]
        hands_on = CircuitStream(shape, datatype, (*shape, 1), (*shape, 1))
        wanted = _ancestors(self.operations[: place + 1])
        return read_circuit(circuit_bytes(self.circuit.reads, hands_on, wanted, self.estimate)).run(frames)


def _ancestors(operations: tuple[Operation, ...]) -> list[Operation]:
    """The last operation and those it follows from, in order."""
    needed, found = {operations[-1].output}, []
    for operation in reversed(operations):
        if operation.output in needed:
            needed |= set(operation.inputs)
            found.append(operation)
    return found[::-1]


def rtl_accelerator(
    checkpoint: Path, board: Board, folder: Path, sizing: bool = False, finn_fifos: bool = False
) -> Accelerator:
    """Generate the RTL of a checkpoint. About 20 s of a whole CNV.

    Args:
        checkpoint: as `hls.finn_build.prepare` writes it.
        board: gives part and clock.
        folder: for the RTL and the contents of its memories; overwritten.
        sizing: FIFOs stand where a build has them whose plan gives a depth to every node (`BuildPlan.fifo_depths`).
        finn_fifos: FIFOs are FINN's, of fixed depth, and not bitloop's, whose depth is told when a simulation starts.

    Raises:
        GraphError: the checkpoint cannot be read, or is no graph that could be computed.
        UnsupportedNodeError: a node has neither RTL nor a model.
        SimulationError: FINN cannot generate the RTL of a node.
    """
    finn_steps()
    with quiet():
        model = read_model(checkpoint)
        operations = tuple(operations_of(model))
        estimate = cycles_of(model, board.clock_mhz)
        (source,), (sink,) = model.graph.input, model.graph.output
        reads, hands_on = (_stream_of(model, tensor.name) for tensor in (source, sink))
        circuit = read_circuit(circuit_bytes(reads, hands_on, operations, estimate))
        model = _connected(model, sizing)
        netlist = _Generator(model, board, folder, finn_fifos).netlist()
    tensors = {op.output: (tuple(model.get_tensor_shape(op.output)), _type(model, op.output)) for op in operations}
    return Accelerator(netlist, circuit, estimate, operations, tensors, dict(_plain_streams(model, operations)))


def _type(model: Any, tensor: str) -> str:
    return str(model.get_tensor_datatype(tensor).name)


def _stream_of(model: Any, tensor: str) -> CircuitStream:
    shape = tuple(map(int, model.get_tensor_shape(tensor)))
    return CircuitStream(shape, _type(model, tensor), (*shape, 1), (*shape, 1))


def _plain_streams(model: Any, operations: tuple[Operation, ...]) -> Iterator[tuple[str, str]]:
    """Tensors and their streams, but for depthwise windows, whose stream is channel by channel."""
    from qonnx.custom_op.registry import getCustomOp

    for operation in operations:
        if operation.output == READS:
            continue
        op = getCustomOp(model.find_producer(operation.output))
        if "depthwise" not in op.get_nodeattr_types() or not op.get_nodeattr("depthwise"):
            yield operation.output, operation.output


def _connected(model: Any, sizing: bool) -> Any:
    """The graph with width converters and FIFOs."""
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_fifo import InsertFIFO
    from qonnx.custom_op.registry import getCustomOp

    if sizing:
        for node in model.graph.node:
            op = getCustomOp(node)
            n_streams = sum(model.get_initializer(name) is None for name in node.input)
            op.set_nodeattr("inFIFODepths", [FIFO_DEPTH] * n_streams)
            op.set_nodeattr("outFIFODepths", [FIFO_DEPTH] * len(node.output))
    model = model.transform(InsertDWC())
    model = model.transform(InsertFIFO())
    counts = {_FIFO: 0, _CONVERTER: 0}
    for node in model.graph.node:  # those of the graph keep their names: folding and depths go by them
        kind = f"{node.op_type}_rtl"
        if kind in counts:
            node.op_type, node.domain, node.name = kind, _RTL_DOMAIN, f"{kind}_{counts[kind]}"
            counts[kind] += 1
    return model


class _Generator:
    """Generates the RTL of a graph node by node."""

    def __init__(self, model: Any, board: Board, folder: Path, finn_fifos: bool) -> None:
        from qonnx.custom_op.registry import getCustomOp

        self._model, self._board, self._folder, self._finn_fifos = model, board, folder, finn_fifos
        self._ops = {node.name: getCustomOp(node) for node in model.graph.node}
        self._library = Path(_rtl_library())
        self._files: list[Path] = []
        self._streams: dict[str, Stream] = {}
        self._instances: list[Instance] = []
        self._fifos: list[Fifo] = []
        self._plumbing: set[str] = set()

    def netlist(self) -> Netlist:
        graph = self._model.graph
        memory = self._folder / "memory"
        memory.mkdir(parents=True, exist_ok=True)
        self._find_streams()
        for node in graph.node:
            reads = [name for name in node.input if name in self._streams]
            if node.op_type in (_FIFO, _CONVERTER):
                self._plumbing.add(node.name)
            if node.op_type == _FIFO:
                self._add_fifo(node)
            elif node.op_type.endswith("_rtl"):
                self._generate(node, reads)
            else:
                fixed = {i: self._model.get_initializer(name) for i, name in enumerate(node.input)}
                constants = {i: np.asarray(values) for i, values in fixed.items() if values is not None}
                own = HlsNode(node.name, node.op_type, self._ops[node.name], constants, reads, list(node.output), memory)
                self._add(model_of(own))
        return Netlist(
            tuple(self._instances), self._streams, graph.input[0].name, graph.output[0].name,
            tuple(dict.fromkeys(self._files)), tuple(self._fifos), not self._finn_fifos, frozenset(self._plumbing),
        )  # fmt: skip

    def _find_streams(self) -> None:
        for node in self._model.graph.node:
            op = self._ops[node.name]
            for i, name in enumerate(node.input):
                if self._model.get_initializer(name) is None and name not in self._streams:
                    folded = tuple(map(int, op.get_folded_input_shape(i)))
                    width = int(op.get_instream_width_padded(i))
                    self._streams[name] = Stream(
                        name, width, prod(folded[:-1]), folded[-1], str(op.get_input_datatype(i).name), "", node.name
                    )
            for i, name in enumerate(node.output):
                folded = tuple(map(int, op.get_folded_output_shape(i)))
                width = int(op.get_outstream_width_padded(i))
                reader = self._model.find_consumer(name)
                self._streams[name] = Stream(
                    name, width, prod(folded[:-1]), folded[-1], str(op.get_output_datatype(i).name), node.name,
                    "" if reader is None else reader.name,
                )  # fmt: skip

    def _add(self, instance: Instance) -> None:
        self._instances.append(instance)
        self._files.append(module_file(instance))

    def _neighbour(self, node: str, stream_end: str) -> str:
        """The node of the graph before FIFOs and converters were there, from a stream on."""
        step = self._model.find_producer if stream_end == "source" else self._model.find_consumer
        name = getattr(self._streams[node], stream_end)
        while name:
            found = next(n for n in self._model.graph.node if n.name == name)
            if found.op_type not in (_FIFO, _CONVERTER):
                return str(name)
            further = step(found.input[0] if stream_end == "source" else found.output[0])
            name = "" if further is None else further.name
        return ""

    def _add_fifo(self, node: Any) -> None:
        op = self._ops[node.name]
        depth, stream = int(op.get_nodeattr("depth")), self._streams[node.output[0]]
        behind, into = self._neighbour(node.input[0], "source"), self._neighbour(node.output[0], "reader")
        if self._finn_fifos:
            self._generate(node, [node.input[0]])
        else:
            longest = 1 << (max(depth, min(stream.words + 2, _LONGEST), 8) - 1).bit_length()
            parameters = {"WIDTH": str(stream.width), "MAX": str(longest), "ID": str(len(self._fifos))}
            self._add(
                Instance(node.name, _FIFO, "bitloop_fifo", parameters, {"in0_V": node.input[0]}, {"out0_V": node.output[0]})
            )
        self._fifos.append(Fifo(node.name, behind, into, depth, int(op.get_outstream_width()), stream.words))

    def _generate(self, node: Any, reads: list[str]) -> None:
        """An instance of FINN's own RTL, and of the memory with its weights if it has one."""
        op, kind = self._ops[node.name], node.op_type
        types = op.get_nodeattr_types()
        for name, wanted in (("mem_mode", "internal_decoupled"), ("TH", 1), ("pumpedCompute", 0), ("dynamic_mode", 0)):
            if name in types and op.get_nodeattr(name) not in (wanted, ""):
                raise UnsupportedNodeError(
                    f"node {node.name} ({kind}) has {name} {op.get_nodeattr(name)}, which cannot be simulated; {wanted} is "
                    "wanted"
                )
        folder = self._folder / "finn" / node.name
        folder.mkdir(parents=True, exist_ok=True)
        op.set_nodeattr("code_gen_dir_ipgen", str(folder))
        try:
            op.generate_hdl(self._model, self._board.fpga_part, 1000.0 / self._board.clock_mhz)
            files = [Path(name) for name in op.get_rtl_file_list(abspath=True)]
        except OSError:
            raise
        except Exception as error:
            raise SimulationError(f"FINN cannot generate the RTL of {node.name}: {type(error).__name__}: {error}") from error
        module = str(op.get_verilog_top_module_name())
        parameters: dict[str, str] = {}
        if kind == "Thresholding_rtl":
            parameters["THRESHOLDS_PATH"] = f'"{folder}/{node.name}_"'
        if kind == "MVAU_rtl":  # told for whoever looks for folds that its output queue does not bear
            parameters |= {name: str(op.get_nodeattr(name)) for name in ("MW", "SIMD")}
        ports_in = {f"in{i}_V": name for i, name in enumerate(reads)}
        if kind == "MVAU_rtl":
            ports_in["in1_V"] = self._weights(node, folder, files)
        ports_out = {f"out{i}_V": name for i, name in enumerate(node.output)}
        used = [*ports_in, *ports_out]
        cycles = 0 if kind in (_FIFO, _CONVERTER) else int(op.get_exp_cycles())
        self._files += files
        self._instances.append(
            Instance(node.name, kind, module, parameters, ports_in, ports_out, _ties(module, files, used), cycles)
        )  # fmt: skip

    def _weights(self, node: Any, folder: Path, files: list[Path]) -> str:
        """The memory that streams weights; gives the stream's name."""
        name, module = f"{node.name}/weights", f"{node.name}_memstream_wrapper"
        op = self._ops[node.name]
        sizes = [int(op.get_nodeattr(n)) for n in ("MW", "MH", "SIMD", "PE")]
        words, lanes = sizes[0] * sizes[1] // (sizes[2] * sizes[3]), sizes[2] * sizes[3]
        width = int(op.get_instream_width_padded(1))
        self._streams[name] = Stream(name, width, words, lanes, str(op.get_input_datatype(1).name), name, node.name)
        core = self._library / "memstream" / "hdl"
        mine = [folder / f"{module}.v", core / "memstream_axi.sv", core / "memstream.sv", self._library / "axi/hdl/axilite.sv"]
        files += mine
        self._plumbing.add(name)
        ties = _ties(module, mine, ["m_axis_0"])
        self._instances.append(Instance(name, "memstream", module, {}, {}, {"m_axis_0": name}, ties))
        return name


def _rtl_library() -> str:
    from finn.util.settings import get_settings

    return str(get_settings().finn_rtllib)


_PORT = re.compile(r"^\s*(input|output)\s+(?:(?:wire|logic|reg|signed)\s+)*(?:\[.*\]\s*)?(\w+)\s*,?\s*(?://.*)?$", re.MULTILINE)


def _ties(module: str, files: list[Path], used: list[str]) -> dict[str, str]:
    """What is done with the ports of a module that no stream of the accelerator is connected to.

    Raises:
        GraphError: the module is in none of the files.
    """
    for file in files:
        text = re.sub(r"\(\*.*?\*\)|/\*.*?\*/", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        found = re.search(rf"\bmodule\s+{re.escape(module)}\b(.*?)\);\s*$", text, re.DOTALL | re.MULTILINE)
        if found:
            signals = ("TDATA", "TVALID", "TREADY")
            taken = ("ap_clk", "ap_rst_n", *(f"{prefix}_{signal}" for prefix in used for signal in signals))
            taken += tuple(name.lower() for name in taken)
            ties = {}
            for way, name in _PORT.findall(found[1]):
                if name not in taken:
                    ties[name] = "ap_clk" if name == "ap_clk2x" else "'0" if way == "input" else ""
            return ties
    raise GraphError(f"FINN's RTL has no module {module}")
