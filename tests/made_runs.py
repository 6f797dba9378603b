"""A run directory as a search leaves it, without a search: TFC with made-up weights, every kind of unit in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from boards.registry import get_board
from flow.constraint import Constraint
from flow.golden import golden_set, write_golden
from flow.report import estimate_document
from flow.run_directory import write_json
from hls.finn_backend import estimate_with_flow
from hls.finn_operators import finn_steps
from hls.types import Implementation
from models.export import write_qonnx
from models.policy import BitPolicy, LayerBits
from tests.networks import Network

BOARD = get_board("pynq-z2")
# An RTL unit; one-bit weights behind two-bit inputs, which FINN would widen; a unit that counts (XNOR); thresholds apart.
POLICY = BitPolicy(
    {"fc0": LayerBits(3, 2), "fc1": LayerBits(1, 1), "fc2": LayerBits(1, 2), "fc3": LayerBits(2, None)},
)
BUILT = (Implementation.RTL, Implementation.HLS, Implementation.HLS_APART, Implementation.HLS)
LAYER_OF = {
    "MVAU_rtl_0": "fc0", "Thresholding_rtl_0": "fc0", "MVAU_hls_0": "fc1", "MVAU_hls_1": "fc2", "Thresholding_rtl_1": "fc2",
    "MVAU_hls_2": "fc3", "ElementwiseMul_hls_0": "fc3",
}  # fmt: skip
N_GOLDEN = 4


def made_run(folder: Path, target_fps: int = 20_000) -> Path:
    """Write `policy.json`, `model.onnx` and `golden.npz`. About 15 s, most of it FINN's."""
    folder.mkdir(parents=True, exist_ok=True)
    tfc = Network("tfc")
    network = tfc.quantized(POLICY)
    write_qonnx(network, tfc.info.input_shape, folder / "model.onnx")
    write_golden(golden_set(network, tfc.images, N_GOLDEN), folder / "golden.npz")
    estimate = estimate_with_flow(
        folder / "model.onnx", BOARD, target_fps=target_fps, implementations=BUILT, layer_of=LAYER_OF
    )  # fmt: skip
    constraint = Constraint(BOARD, 1000.0, 0.85)
    document = {
        "format": 1, "model": "tfc", "dataset": "digits", "board": BOARD.name,
        "constraint": {"min_fps": constraint.min_fps, "max_utilisation": constraint.max_utilisation},
        "policy": {name: {"weight": b.weight, "act": b.act} for name, b in POLICY.items()},
        **estimate_document(estimate, constraint, POLICY),
    }  # fmt: skip
    write_json(folder / "policy.json", document)
    return folder


def nodes_of(path: Path) -> dict[str, Any]:
    """FINN's operators of a model file, by name."""
    finn_steps()
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.custom_op.registry import getCustomOp

    model = ModelWrapper(str(path))
    return {node.name: getCustomOp(node) for node in model.graph.node}
