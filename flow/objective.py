"""What a search is after: `Objective`, and how what a trial found becomes one number for the searcher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from boards.board import Resources
from flow.errors import SettingsError
from flow.trial import Trial
from hls.types import Estimate
from models.policy import BitPolicy

Floats = NDArray[np.float64]

FLOORED = "OBJECTIVE=fps, latency or utilisation"


class Goal(StrEnum):
    """What is to be best."""

    ACCURACY = "accuracy"
    FPS = "fps"
    LATENCY = "latency"
    UTILISATION = "utilisation"


@dataclass(frozen=True)
class Objective:
    """What is to be best, and how accurate a policy must be where that is something else than the accuracy.

    Attributes:
        goal: the highest accuracy, the highest frame rate, the shortest time of the first frame, or the smallest share of
            the scarcest resource. All within the constraint.
        min_accuracy: on the search split after a trial's retraining, above 0 and below 1; None for the first goal.

    Raises:
        SettingsError: no such share, or one too many or too few for the goal.
    """

    goal: Goal = Goal.ACCURACY
    min_accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.goal is Goal.ACCURACY:
            if self.min_accuracy is not None:
                raise SettingsError(
                    f"MIN_ACCURACY={self.min_accuracy:g} is for {FLOORED}; OBJECTIVE=accuracy seeks the highest there is"
                )
        elif self.min_accuracy is None:
            raise SettingsError(
                f"OBJECTIVE={self.goal} wants a MIN_ACCURACY, as 0.9 for 90 %; without it one bit everywhere would be the best"
            )
        elif not 0 < self.min_accuracy < 1:
            raise SettingsError(
                f"MIN_ACCURACY is {self.min_accuracy:g}; a share above 0 and below 1 is wanted, as 0.9 for 90 %"
            )

    @classmethod
    def named(cls, goal: str, min_accuracy: float | None) -> Objective:
        """An objective from what a user says.

        Raises:
            SettingsError: no such goal, with the nearest one, or what `Objective` says.
        """
        names = [g.value for g in Goal]
        if goal not in names:
            near = get_close_matches(goal, names, 1, 0.0)
            raise SettingsError(f"unknown objective {goal!r}; did you mean {near[0]!r}? There are {', '.join(names)}")
        return cls(Goal(goal), min_accuracy)

    @property
    def floor(self) -> float:
        """The least accuracy that will do; 0 where it is what is sought."""
        return self.min_accuracy or 0.0

    def cost(self, estimate: Estimate, limits: Resources) -> float:
        """What is to be small beside the accuracy: seconds a frame, ms of the first one, or the largest share of a limit."""
        if self.goal is Goal.LATENCY:
            return estimate.latency_ms
        if self.goal is Goal.UTILISATION:
            return estimate.resources.scarcest(limits)[1]
        return 1 / estimate.fps

    def rewards(self, accuracies: Floats, costs: Floats, reference: float) -> Floats:
        """What searchers are told, (n,).

        The accuracy itself, 0..1, where that is the goal. Else what an accuracy is short of the floor counts first: less
        than 0, and nothing of the cost. From the floor on it is the reference over the sum of reference and cost: 0..1,
        a half for a policy that costs as much as the reference.

        Args:
            accuracies: 0..1, (n,).
            costs: see `cost`, (n,).
            reference: a cost to measure others by, above 0.
        """
        if self.goal is Goal.ACCURACY:
            return accuracies
        worth: Floats = np.where(accuracies < self.floor, accuracies - self.floor, reference / (reference + costs))
        return worth

    def rank(self, trial: Trial, limits: Resources, accuracy: float | None = None) -> tuple[float, ...]:
        """What a better trial has more of.

        A trial that failed or was stopped comes behind all others, then, where it is not the accuracy that is sought, one
        short of the floor.

        Args:
            trial: that is ranked.
            limits: of the constraint.
            accuracy: of its policy, where more is known of it than the trial says.
        """
        known = trial.accuracy if accuracy is None else accuracy
        is_whole = float(accuracy is not None or (trial.stopped_at is None and not trial.failure))
        if self.goal is Goal.ACCURACY:
            return is_whole, known, trial.estimate.fps, -trial.number
        if known < self.floor:
            return is_whole, 0.0, known, trial.estimate.fps, -trial.number
        return is_whole, 1.0, -self.cost(trial.estimate, limits), known, -trial.number

    def describe(self) -> str:
        """In words, with the floor."""
        best = {
            Goal.ACCURACY: "the highest accuracy",
            Goal.FPS: "the highest frame rate",
            Goal.LATENCY: "the shortest time of the first frame",
            Goal.UTILISATION: "the smallest share of the scarcest resource",
        }[self.goal]
        return best if self.min_accuracy is None else f"{best} at {self.min_accuracy:.2%} or more on the search split"


@dataclass(frozen=True)
class Worth:
    """What a searcher is given that learns of accuracies, where something else is sought: the rest is known to it.

    Attributes:
        cost: of a policy, exact and free of any training (`Objective.cost`).
        rewards: of accuracies (n,) and costs (n,), as `Objective.rewards`.
    """

    cost: Callable[[BitPolicy], float]
    rewards: Callable[[Floats, Floats], Floats]
