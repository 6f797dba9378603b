"""What benchmarks of whole searches share: a task put together as `make search` does it, and how its figures are told."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev

from flow.config import SearchSettings
from flow.constraint import reach_under
from flow.decision import Decisions
from flow.evaluator import Evaluator
from flow.pipeline import find_splits, find_weights
from models.device import resolve_device
from models.own_network import plain_name
from models.registry import get_model
from models.weights import read_pretrained

MEASURED = Path(__file__).with_name("measured")


class Quiet:
    """Is told how things get on, and says nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def advance(self, work: str, done: int, total: int, detail: str = "") -> None:
        """Nothing."""


class Task:
    """A search with the float weights that ship, or that benchmarks keep, ready for a searcher.

    Args:
        settings: of the search, as `make search` takes them.

    Attributes:
        whole: the splits, test split included; a search sees `whole.for_search()`.
        weights: the float network.
        evaluator: of trials.

    Raises:
        SystemExit: there are no weights of the model on the data set.
    """

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        model = get_model(settings.model)
        self.whole = find_splits(model, settings.dataset, settings.data_dir, Quiet())
        splits = self.whole.for_search()
        weights, kept = (
            find_weights(model, splits, None, settings.seed),
            MEASURED / f"{plain_name(model.name)}-{splits.dataset}.pt",
        )
        if weights is None and kept.exists():
            weights = read_pretrained(kept)
        if weights is None:
            raise SystemExit(f"there are no weights of {settings.model} on {splits.dataset}; make them with `make pretrain`")
        self.weights, self.device = weights, resolve_device(settings.device)
        self.evaluator = Evaluator(
            weights, splits, settings.constraint, settings.retrain_images, settings.seed, self.device, halving=settings.halving
        )

    @cached_property
    def decisions(self) -> Decisions:
        """The pass over the layers, limited by the board."""
        return Decisions(self.evaluator.specs, reach_under(self.settings.constraint.of_a_trial, self.evaluator.tables))


def spread(values: list[float], form: str = ".2f") -> str:
    """Mean and standard deviation."""
    return f"{fmean(values):{form}} ± {stdev(values):{form}}" if len(values) > 1 else f"{values[0]:{form}}"


def percent(shares: list[float]) -> str:
    """Mean and standard deviation of shares, in percent without its sign."""
    return spread([100 * s for s in shares])
