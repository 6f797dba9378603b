"""What a finished retraining leaves: weights, QONNX file, golden set, and the estimate of the network as it is now."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from flow.evaluator import Evaluator
from flow.golden import golden_set, write_golden
from flow.run_directory import RunDirectory
from hls.finn_backend import estimate_with_flow
from hls.types import Estimate
from models.data import Splits
from models.policy import BitPolicy
from models.state_file import write_state
from models.train import accuracy


@dataclass(frozen=True)
class HandedOver:
    """A retrained network beside its files.

    Attributes:
        estimate: FINN's own of the exported network, with corrections.
        search_accuracy, test_accuracy: 0..1.
    """

    estimate: Estimate
    search_accuracy: float
    test_accuracy: float


def hand_over(run: RunDirectory, splits: Splits, evaluator: Evaluator, policy: BitPolicy, network: nn.Module) -> HandedOver:
    """Write `weights.pt`, `model.onnx` and `golden.npz`, score the network and estimate it by FINN's whole flow."""
    write_state({"policy": policy.to_json(), "state": network.state_dict()}, run / "weights.pt")
    evaluator.export(network, run / "model.onnx")
    test = splits.test
    write_golden(golden_set(network, test), run / "golden.npz")
    refolded = evaluator.refold(policy, network)
    layer_of = {n.node: n.layer for n in refolded.nodes}
    checked = estimate_with_flow(
        run / "model.onnx", evaluator.constraint.board, folding=refolded.folding,
        implementations=refolded.implementations, layer_of=layer_of, top_k=evaluator.top_k,
    )  # fmt: skip
    estimate = replace(checked, corrections=refolded.corrections, factors=refolded.factors)
    return HandedOver(estimate, accuracy(network, splits.search), accuracy(network, test))
