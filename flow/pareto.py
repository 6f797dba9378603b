"""The trials that no other one beats in everything: `pareto_front`, and `pareto.json`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from boards.board import Board, Resources
from flow.trial import Trial

PARETO_FORMAT = 1
Objectives = tuple[float, float, float]


def utilisation(resources: Resources, capacity: Resources) -> float:
    """The largest share of any resource that is used; infinite where something is used that the capacity has none of."""
    return resources.scarcest(capacity)[1]


def pareto_front(trials: Iterable[Trial], capacity: Resources) -> tuple[Trial, ...]:
    """The trials that are not dominated in accuracy (most), frames a second (most) and utilisation (least).

    A trial dominates another if it is at least as good in all three and better in one. Of trials that are equal in all
    three the first is kept. Those that failed or were stopped early are left out: what their accuracy would have been is
    not known.

    Args:
        trials: in any order.
        capacity: of the board.

    Returns:
        From the most to the least accurate.
    """
    scored = [(_objectives(t, capacity), t) for t in trials if t.stopped_at is None and not t.failure]
    scored.sort(key=lambda item: (*(-value for value in item[0]), item[1].number))
    front: list[tuple[Objectives, Trial]] = []
    for objectives, trial in scored:  # whatever dominates a trial stands before it
        if not any(_at_least(kept, objectives) for kept, _ in front):
            front.append((objectives, trial))
    return tuple(trial for _, trial in front)


def _objectives(trial: Trial, capacity: Resources) -> Objectives:
    """What is to be large: utilisation with its sign turned."""
    return trial.accuracy, trial.estimate.fps, -utilisation(trial.estimate.resources, capacity)


def _at_least(one: Objectives, other: Objectives) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True))


def pareto_document(trials: Iterable[Trial], board: Board) -> dict[str, Any]:
    """The content of `pareto.json`: the front, from the most to the least accurate; speed and resources are estimates."""
    return {
        "format": PARETO_FORMAT,
        "board": board.name,
        "objectives": {"accuracy": "maximize", "fps": "maximize", "utilisation": "minimize"},
        "front": [_entry(trial, board.capacity) for trial in pareto_front(trials, board.capacity)],
    }


def _entry(trial: Trial, capacity: Resources) -> dict[str, Any]:
    used = trial.estimate.resources
    scarcest, share = used.scarcest(capacity)
    return {
        "trial": trial.number,
        "accuracy": trial.accuracy,
        "fps": trial.estimate.fps,
        "utilisation": share,
        "scarcest": scarcest,
        "latency_ms": trial.estimate.latency_ms,
        "resources": asdict(used),
        "policy": {name: {"weight": b.weight, "act": b.act} for name, b in trial.policy.items()},
        "policy_digest": trial.policy.digest,
    }
