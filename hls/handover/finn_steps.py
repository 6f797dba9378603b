"""FINN's steps one at a time, from model file to model file; the one module of this package that imports finn."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def set_up() -> dict[str, Path]:
    """Prepare FINN in this process, whose environment says where it builds.

    Returns:
        What generated Tcl looks for in the environment or on the disk: FINN_RTLLIB, FINN_CUSTOM_HLS and FINN_DEPS.
    """
    import finn.util.settings
    import finn.xsi

    finn.util.settings.initialize_dummy_settings()
    finn.xsi.SimEngine = None  # no step here simulates; without this FINN builds its simulator's library on import
    import finn.builder.build_dataflow_steps  # seconds that no step should be charged for

    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(levelname)s: %(message)s", force=True)
    logging.captureWarnings(True)
    settings = finn.util.settings.get_settings()
    return {
        "FINN_RTLLIB": Path(settings.finn_rtllib),
        "FINN_CUSTOM_HLS": Path(settings.finn_custom_hls),
        "FINN_DEPS": Path(settings.finn_deps),
    }


def build_config(plan: Mapping[str, Any], work: Path) -> Any:
    """FINN's configuration of a plan."""
    import finn.builder.build_dataflow_config as finn_config

    outputs = finn_config.DataflowOutputType
    board = plan["board"]
    return finn_config.DataflowBuildConfig(
        output_dir=str(work),
        synth_clk_period_ns=1000.0 / board["clock_mhz"],
        board=board["finn_name"],
        fpga_part=board["fpga_part"],
        shell_flow_type=finn_config.ShellFlowType.VIVADO_ZYNQ,
        # The checkpoint's nodes say how deep the FIFOs around them are; this has FINN take them at their word.
        auto_fifo_depths=True,
        auto_fifo_strategy=finn_config.AutoFIFOSizingMethod.FORCE_MINIMAL_FIFOS,
        generate_outputs=[
            outputs.ESTIMATE_REPORTS, outputs.STITCHED_IP, outputs.OOC_SYNTH, outputs.BITFILE, outputs.PYNQ_DRIVER,
            outputs.DEPLOYMENT_PACKAGE,
        ],
        enable_instrumentation=plan["instrumented"],
        enable_build_pdb_debug=False,
    )  # fmt: skip


def run_step(name: str, config: Any, source: Path, target: Path) -> None:
    """Run one step of FINN's on a model file and write the model it gives, whole or not at all."""
    from finn.builder.build_dataflow_steps import build_dataflow_step_lookup
    from qonnx.core.modelwrapper import ModelWrapper

    model = build_dataflow_step_lookup[name](ModelWrapper(str(source)), config)
    part = target.with_suffix(".part")
    model.save(str(part))
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(target)
