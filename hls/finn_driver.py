"""What FINN's driver is told of an accelerator, without the Vivado that FINN makes a bitfile with.

FINN writes the driver's settings.json from a graph that has its memory access at both ends and is cut into partitions. Its
step_synthesize_bitfile brings a graph there on the way to Vivado (finn/transformation/fpgadataflow/make_zynq_proj.py,
ZynqBuild), by the transformations that are run here, unchanged and in the same order. What is left out changes no line of the
settings: FIFOs, and of an instrumented design the IP that counts.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from boards.board import Board
from hls.build_plan import planned_board
from hls.errors import GraphError
from hls.finn_backend import quiet
from hls.finn_build import finn_parts

PLAIN, INSTRUMENTED = "FINNDMAOverlay", "FINNDMAInstrumentationOverlay"  # what step_make_driver calls the driver


def driver_settings(model: Any, board: Board, instrumented: bool = False) -> dict[str, Any]:
    """The content of settings.json.

    Args:
        model: QONNX's ModelWrapper of a prepared graph (`hls.finn_build.prepare`); it is left as it is.
        board: of the build.
        instrumented: whether it has FINN's counters of cycles.

    Raises:
        GraphError: FINN cannot prepare the graph for a board.
        BuildError: FINN cannot build for the board.
    """
    planned = planned_board(board, finn_parts())
    with tempfile.TemporaryDirectory(prefix="bitloop-driver-") as folder, quiet():
        try:
            return _settings(model, planned.finn_name, planned.fpga_part, 1000.0 / planned.clock_mhz, folder, instrumented)
        except OSError:  # a full disk is not FINN's fault
            raise
        except Exception as error:
            raise GraphError(f"FINN cannot prepare the graph for {board.name}: {type(error).__name__}: {error}") from error


def _settings(model: Any, finn_name: str, part: str, period_ns: float, folder: str, instrumented: bool) -> dict[str, Any]:
    from finn.transformation.fpgadataflow.create_dataflow_partition import CreateDataflowPartition
    from finn.transformation.fpgadataflow.floorplan import Floorplan
    from finn.transformation.fpgadataflow.insert_dwc import InsertDWC
    from finn.transformation.fpgadataflow.insert_iodma import InsertIODMA
    from finn.transformation.fpgadataflow.make_driver import MakePYNQDriver
    from finn.transformation.fpgadataflow.specialize_layers import SpecializeLayers
    from finn.util.basic import pynq_native_port_width
    from qonnx.custom_op.registry import getCustomOp
    from qonnx.transformation.general import GiveReadableTensorNames, GiveUniqueNodeNames
    from qonnx.transformation.infer_data_layouts import InferDataLayouts

    model = model.transform(InferDataLayouts())
    for step in (
        InsertIODMA(pynq_native_port_width[finn_name]), InsertDWC(), SpecializeLayers(part), Floorplan(),
        CreateDataflowPartition(partition_model_dir=folder),
    ):  # fmt: skip
        for one in (step, GiveUniqueNodeNames(), GiveReadableTensorNames()):
            model = model.transform(one)
    # MakeZYNQProject, which runs Vivado, names them so: one going in, one coming out
    for node, name in ((model.graph.node[0], "idma0"), (model.graph.node[-1], "odma0")):
        getCustomOp(node).set_nodeattr("instance_name", name)
    driver = INSTRUMENTED if instrumented else PLAIN
    model = model.transform(MakePYNQDriver("zynq-iodma", driver, clk_period_ns=period_ns))
    written = Path(model.get_metadata_prop("pynq_driver_dir"))
    try:
        settings: dict[str, Any] = json.loads((written / "settings.json").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(written, ignore_errors=True)
    return settings
