"""From a policy to its accuracy and its accelerator: the only place where a model meets `hls`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flow.constraint import Constraint
from hls.calibrate import Calibration
from hls.estimators import Estimator, TableEstimator, tabulate
from hls.types import Estimate
from models.convergence import Converged, Effort, converge
from models.data import SearchSplits
from models.errors import TrainingError
from models.export import write_qonnx
from models.policy import BitPolicy
from models.probe import probe_layers
from models.quant import integer_weights, quantized_integers
from models.registry import get_model
from models.spec import LayerSpec
from models.train import Recipe, accuracy, calibrate, fitted, train
from models.weights import Pretrained

N_CALIBRATION_IMAGES = 1000
RETRAINING = Recipe(n_images=4096, batch_size=64, lr=0.01)
# Weight of the float network's opinion in a trial's retraining. With it, and 4,096 images, policies are ranked as a long
# retraining ranks them on both networks that were measured, and with nothing that is cheaper (make bench-proxy).
DISTILLATION = 0.5
MAX_RETRAIN_EPOCHS = 2
MAX_FINAL_EPOCHS = 15


@dataclass(frozen=True)
class Score:
    """What an evaluation gives: accuracy on the search split, 0..1, and the accelerator."""

    accuracy: float
    estimate: Estimate


class Evaluator:
    """Evaluates policies of one network on one data set under one constraint.

    The same policy always gets the same score: retraining starts from the same float weights with
    the same seed.

    Args:
        weights: the float network's.
        splits: of its data set, without test images.
        constraint: on which board, and how fast.
        retrain_images: images of the brief retraining; at most two epochs are done.
        seed: of every retraining.
        device: where networks are trained and scored.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.
        calibration: that estimates are corrected by.
    """

    def __init__(
        self, weights: Pretrained, splits: SearchSplits, constraint: Constraint, retrain_images: int, seed: int,
        device: torch.device | None = None, top_k: int = 1, calibration: Calibration | None = None,
    ) -> None:  # fmt: skip
        self.calibration = calibration
        self.top_k = top_k
        self.weights = weights
        self.splits = splits
        self.constraint = constraint
        self.seed = seed
        self._device = device or torch.device("cpu")
        self._network: nn.Sequential | None = None
        self._recipe = replace(self._fitted(retrain_images, MAX_RETRAIN_EPOCHS), distillation=DISTILLATION)
        self._scores: dict[BitPolicy, Score] = {}
        self._accuracies: dict[BitPolicy, float] = {}
        self._info = get_model(weights.model)
        float_network = weights.network()
        self._teacher = weights.network().eval().to(self._device)
        self.specs: tuple[LayerSpec, ...] = probe_layers(float_network, self._info.input_shape)
        parameters = {s.name: float_network.get_submodule(s.name).get_parameter("weight").detach() for s in self.specs}
        self.tables = tabulate(
            self.specs,
            self.export_untrained,
            lambda layer, bits: as_matrix(integer_weights(parameters[layer], bits)),
            constraint.board,
            top_k,
        )
        tables = TableEstimator(self.tables, constraint.board, calibration)
        self.estimator: Estimator = tables
        self.foldings = tables.foldings

    def _fitted(self, n_images: int, max_epochs: int) -> Recipe:
        return fitted(replace(RETRAINING, n_images=n_images), self.splits, max_epochs)

    def quantized(self, policy: BitPolicy) -> nn.Sequential:
        """The calibrated network with a policy's bits, not yet retrained; a new one every time."""
        return self._calibrated(self.weights.quantized(policy).to(self._device))

    def _switched(self, policy: BitPolicy) -> nn.Sequential:
        """The same, but the one network that all trials share: its bits are changed in place."""
        if self._network is None:
            self._network = self.weights.quantized(policy).to(self._device)
        else:
            self.weights.requantize(self._network, policy)
        return self._calibrated(self._network)

    def _calibrated(self, network: nn.Sequential) -> nn.Sequential:
        calibrate(network, self.splits.train.first(N_CALIBRATION_IMAGES))
        return network

    def export_untrained(self, policy: BitPolicy, path: Path) -> None:
        """Write the calibrated network with a policy's bits as QONNX."""
        write_qonnx(self.quantized(policy), self._info.input_shape, path)

    def export(self, network: nn.Module, path: Path) -> None:
        """Write a quantized network as QONNX."""
        write_qonnx(network, self._info.input_shape, path)

    def score(self, policy: BitPolicy) -> Score:
        """Retrain a policy briefly and score it on the search split; what was asked before is remembered.

        A policy whose retraining diverges has the accuracy 0.
        """
        if policy not in self._scores:
            estimate = self.estimator.estimate(policy, self.constraint.limits)
            known = self._accuracies.get(policy)
            self.remember(policy, Score(self._briefly_retrained_accuracy(policy) if known is None else known, estimate))
        return self._scores[policy]

    def _briefly_retrained_accuracy(self, policy: BitPolicy) -> float:
        network = self._switched(policy)
        try:
            train(network, self.splits.train, self._recipe, self.seed, teacher=self._teacher)
        except TrainingError:
            return 0.0
        return accuracy(network, self.splits.search)

    def remember(self, policy: BitPolicy, score: Score) -> None:
        """Take the score of a policy from an earlier run instead of retraining it."""
        self._scores[policy] = score

    def remember_accuracy(self, policy: BitPolicy, accuracy: float) -> None:
        """Take the accuracy of a policy from a search of the same network, data and seed that estimated it otherwise."""
        self._accuracies[policy] = accuracy

    def final_effort(self, n_images: int) -> Effort:
        """Of the retraining that ends a search: so many images in whole epochs, at most fifteen, none left out."""
        n_epochs = max(1, min(MAX_FINAL_EPOCHS, round(n_images / len(self.splits.train))))
        return Effort(n_epochs, n_epochs)

    def retrain(
        self, policy: BitPolicy, effort: Effort, checkpoint: Path | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> tuple[nn.Sequential, Converged]:  # fmt: skip
        """The network with a policy's bits, retrained for long, with the weights of its best epoch on the search split.

        It goes on from a checkpoint where one is there; see `models.convergence.converge`.
        """
        network = self.quantized(policy)
        recipe = self._fitted(len(self.splits.train), MAX_FINAL_EPOCHS)
        ended = converge(network, self.splits.train, self.splits.search, recipe, effort, self.seed, checkpoint, progress)
        return network, ended

    def refold(self, policy: BitPolicy, network: nn.Module) -> Estimate:
        """The best accelerator for a retrained network: its accumulators are sized for its own weights."""
        values = dict(zip(policy, map(as_matrix, quantized_integers(network)), strict=True))
        tables = self.tables.with_weights(lambda layer, _: values[layer])
        return TableEstimator(tables, self.constraint.board, self.calibration).estimate(policy, self.constraint.limits)


def as_matrix(weights: object) -> NDArray[np.float64]:
    """Weights of a layer, a tensor (outputs, …), as a matrix (fan-in, outputs)."""
    array = np.asarray(weights, np.float64)
    return array.reshape(len(array), -1).T
