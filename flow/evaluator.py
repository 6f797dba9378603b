"""From a policy to its accuracy and its accelerator: the only place where a model meets `hls`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from flow.constraint import Constraint
from flow.frugality import Frugal
from flow.halving import NORMS, QUANTIZED, SHORT, SHORT_SHARE, Climb, Halving
from flow.objective import Goal, Objective, Worth
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
# Weight of the float network's opinion in every retraining. With it, and 4,096 images, policies are ranked as a long
# retraining ranks them on both networks that were measured, and with nothing that is cheaper (make bench-proxy). The
# retraining that ends a search comes to higher accuracies with it, too (benchmarks/bench_final.py).
DISTILLATION = 0.5
MAX_RETRAIN_EPOCHS = 2
MAX_FINAL_EPOCHS = 15
N_RUNG_IMAGES = 2000  # of the search split, that cheap evaluations are scored on


@dataclass(frozen=True)
class Score:
    """What an evaluation gives: accuracy on the search split, 0..1, and the accelerator; all as in `flow.trial.Trial`."""

    accuracy: float
    estimate: Estimate
    rungs: Mapping[str, float] = field(default_factory=dict)
    stopped_at: str | None = None
    failure: str = ""


class Evaluator:
    """Evaluates policies of one network on one data set under one constraint.

    The same policy always gets the same score: retraining starts from the same float weights with
    the same seed.

    Args:
        weights: the float network's.
        splits: of its data set, without test images.
        constraint: on which board, and how fast.
        retrain_images: images of the brief retraining, at most two epochs; 0 for a score that is free of training.
        seed: of every retraining.
        device: where networks are trained and scored.
        top_k: numbers of the best classes that the accelerator hands on; 0 for the logits.
        calibration: that estimates are corrected by.
        objective: what is sought.
        halving: whether retraining is stopped early where a policy does badly.
    """

    def __init__(
        self, weights: Pretrained, splits: SearchSplits, constraint: Constraint, retrain_images: int, seed: int,
        device: torch.device | None = None, top_k: int = 1, calibration: Calibration | None = None,
        objective: Objective | None = None, halving: bool = False,
    ) -> None:  # fmt: skip
        self.calibration = calibration
        self.objective = objective or Objective()
        self.top_k = top_k
        self.weights = weights
        self.splits = splits
        self.constraint = constraint
        self.seed = seed
        self._device = device or torch.device("cpu")
        self._network: nn.Sequential | None = None
        self._recipe = self._brief(retrain_images)
        self.whole_images = retrain_images or RETRAINING.n_images
        """Images of a retraining that ranks policies, also where trials do without."""
        floor = None if self.objective.goal is Goal.ACCURACY else self.objective.floor
        self._halving = Halving(floor) if halving and retrain_images else None
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
        self.estimator = self._sought(tables)
        self.foldings = tables.foldings

    def _sought(self, fastest: TableEstimator) -> Estimator:
        """What gives the fastest accelerator, or the leanest where that is sought."""
        return Frugal(fastest, self.constraint.min_fps) if self.objective.goal is Goal.UTILISATION else fastest

    def _brief(self, n_images: int) -> Recipe | None:
        """The recipe of a brief retraining; None for none."""
        return self._fitted(n_images, MAX_RETRAIN_EPOCHS) if n_images else None

    def _fitted(self, n_images: int, max_epochs: int) -> Recipe:
        return fitted(replace(RETRAINING, n_images=n_images, distillation=DISTILLATION), self.splits, max_epochs)

    def quantized(self, policy: BitPolicy) -> nn.Sequential:
        """The calibrated network with a policy's bits, not yet retrained; a new one every time."""
        return self._calibrated(self.weights.quantized(policy).to(self._device))

    def _switched(self, policy: BitPolicy, norms: bool = True) -> nn.Sequential:
        """The same, but the one network that all trials share: its bits are changed in place, its norms left if so told."""
        if self._network is None:
            self._network = self.weights.quantized(policy).to(self._device)
        else:
            self.weights.requantize(self._network, policy)
        return self._calibrated(self._network, norms)

    def _calibrated(self, network: nn.Sequential, norms: bool = True) -> nn.Sequential:
        calibrate(network, self.splits.train.first(N_CALIBRATION_IMAGES), norms=norms)
        return network

    def export_untrained(self, policy: BitPolicy, path: Path) -> None:
        """Write the calibrated network with a policy's bits as QONNX."""
        write_qonnx(self.quantized(policy), self._info.input_shape, path)

    def export(self, network: nn.Module, path: Path) -> None:
        """Write a quantized network as QONNX."""
        write_qonnx(network, self._info.input_shape, path)

    def estimate(self, policy: BitPolicy) -> Estimate:
        """The accelerator for a policy, before anything is retrained."""
        return self.estimator.estimate(policy, self.constraint.of_a_trial.limits)

    def score(self, policy: BitPolicy, whole: bool = False) -> Score:
        """Retrain a policy briefly and score it on the search split; what was asked before is remembered.

        A policy whose retraining diverges has the accuracy 0 and a failure, which names the layer.

        Args:
            policy: the bits.
            whole: never stop early.
        """
        found = self._scores.get(policy)
        if found is None or (whole and found.stopped_at):
            self.remember(policy, self._scored(policy, whole))
        return self._scores[policy]

    def _scored(self, policy: BitPolicy, whole: bool) -> Score:
        estimate = self.estimate(policy)
        known = self._accuracies.get(policy)
        if known is not None:
            return Score(known, estimate)
        rungs: dict[str, float] = {}
        try:
            if self._halving and not whole:
                for rung, found in self._cheaply_scored(policy):
                    rungs[rung] = found
                    if not self._halving.goes_on(rung, found):
                        return Score(self._halving.guess(rung, found), estimate, rungs, rung)
            return Score(self._briefly_retrained_accuracy(policy, self._recipe, self.seed), estimate, rungs)
        except TrainingError as error:
            return Score(0.0, estimate, rungs, failure=f"its retraining diverged: {error}")

    def _cheaply_scored(self, policy: BitPolicy) -> Iterator[tuple[str, float]]:
        """The accuracies of cheap evaluations, the cheapest first."""
        search = self.splits.search.first(N_RUNG_IMAGES)
        yield QUANTIZED, accuracy(self._switched(policy, norms=False), search)
        yield NORMS, accuracy(self._switched(policy), search)
        if self._recipe:
            n_images = max(1, round(SHORT_SHARE * self._recipe.n_images))
            yield SHORT, self._briefly_retrained_accuracy(policy, replace(self._recipe, n_images=n_images), self.seed)

    def accuracy_again(self, policy: BitPolicy, n_images: int, seed: int) -> float:
        """The accuracy of a policy that is retrained once more on so many images, 1 or more, with another seed.

        Raises:
            TrainingError: it diverges.
        """
        return self._briefly_retrained_accuracy(policy, self._brief(n_images), seed)

    def _briefly_retrained_accuracy(self, policy: BitPolicy, recipe: Recipe | None, seed: int) -> float:
        network = self._switched(policy)
        if recipe:
            train(network, self.splits.train, recipe, seed, teacher=self._teacher)
        return accuracy(network, self.splits.search)

    def remember(self, policy: BitPolicy, score: Score) -> None:
        """Take the score of a policy from an earlier run instead of retraining it."""
        if self._halving and score.rungs and not score.failure and policy not in self._scores:
            self._halving.take_in(Climb(score.rungs, None if score.stopped_at else score.accuracy))
        self._scores[policy] = score

    @cached_property
    def _reference(self) -> float:
        """What costs are measured by: that of 4 bits everywhere."""
        return self.cost(BitPolicy.uniform(self.specs, 4, 4))

    def cost(self, policy: BitPolicy) -> float:
        """What is to be small beside the accuracy (`flow.objective.Objective.cost`)."""
        return self.objective.cost(self.estimate(policy), self.constraint.limits)

    def worth(self) -> Worth:
        """What a searcher is given that learns of accuracies."""
        return Worth(self.cost, lambda accuracies, costs: self.objective.rewards(accuracies, costs, self._reference))

    def reward(self, score: Score) -> float:
        """What a searcher is told of a score."""
        if self.objective.goal is Goal.ACCURACY:
            return score.accuracy
        cost = self.objective.cost(score.estimate, self.constraint.limits)
        return float(self.objective.rewards(np.array([score.accuracy]), np.array([cost]), self._reference)[0])

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
        ended = converge(
            network, self.splits.train, self.splits.search, recipe, effort, self.seed, checkpoint, progress, self._teacher
        )
        return network, ended

    def refold(self, policy: BitPolicy, network: nn.Module) -> Estimate:
        """The best accelerator for a retrained network: its accumulators are sized for its own weights."""
        values = dict(zip(policy, map(as_matrix, quantized_integers(network)), strict=True))
        tables = self.tables.with_weights(lambda layer, _: values[layer])
        found = self._sought(TableEstimator(tables, self.constraint.board, self.calibration))
        return found.estimate(policy, self.constraint.limits)


def as_matrix(weights: object) -> NDArray[np.float64]:
    """Weights of a layer, a tensor (outputs, …), as a matrix (fan-in, outputs)."""
    array = np.asarray(weights, np.float64)
    return array.reshape(len(array), -1).T
