"""What a policy costs, on the spot: `bitloop estimate`, and its check against FINN's whole flow."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.box import SIMPLE
from rich.table import Table

from boards.board import Resources
from boards.registry import get_board
from flow.config import SearchSettings
from flow.constraint import ANY_FPS, Constraint
from flow.errors import SettingsError
from flow.evaluator import Evaluator
from flow.pipeline import find_splits, find_weights, untrained
from flow.progress import Listener
from hls.equality import differences
from hls.finn_backend import estimate_with_flow
from hls.types import Estimate
from models.policy import BitPolicy
from models.registry import get_model
from models.stand_in import noise_splits


def estimator_of(settings: SearchSettings, listener: Listener) -> Evaluator:
    """What estimates policies of a model on a board, from shipped weights where there are any."""
    settings.check()
    model = get_model(settings.model)
    constraint = Constraint(get_board(settings.board), settings.min_fps or ANY_FPS, settings.max_utilisation)
    if settings.dataset == "auto" and not model.dataset:
        listener.note(f"{model.name} comes without a data set: its activations are calibrated on noise")
        splits = noise_splits(model).for_search()
    else:
        splits = find_splits(model, settings.dataset, settings.data_dir, listener).for_search()
    weights = find_weights(model, splits, None, settings.seed)
    if weights is None:
        listener.note(f"no weights of {model.name} on {splits.dataset}: accumulators are sized for untrained ones")
        weights = untrained(model, splits, settings.seed)
    return Evaluator(weights, splits, constraint, settings.retrain_images, settings.seed, top_k=settings.top_k_of(model))


def estimate_policy(evaluator: Evaluator, policy: BitPolicy, min_fps: float | None = None) -> Estimate:
    """The fastest accelerator for a policy within the limits, or the leanest one that reaches a frame rate.

    Raises:
        PolicyError: the policy does not fit the network.
        SettingsError: no folding reaches the frame rate, whatever it takes.
    """
    policy.check_against(evaluator.specs)
    constraint = evaluator.constraint
    if min_fps is None:
        return evaluator.estimator.estimate(policy, constraint.limits)
    found = evaluator.foldings.leanest(policy, constraint.limits, min_fps)
    if found is None:
        raise SettingsError(f"MIN_FPS is {min_fps:g}; no folding of {policy} is that fast, whatever it takes; ask for less")
    return found


def front_of(evaluator: Evaluator, policy: BitPolicy) -> list[Estimate]:
    """Frame rate against use: every folding within the limits that none beats in both, the slowest first.

    Raises:
        PolicyError: the policy does not fit the network.
    """
    policy.check_against(evaluator.specs)
    return evaluator.foldings.front(policy, evaluator.constraint.limits)


def front_table(front: list[Estimate], capacity: Resources) -> Table:
    """A front of foldings as a table."""
    table = Table(title="frame rate against use, every folding that fits and is not beaten in both", box=SIMPLE)
    for head in ("fps", "ms, first frame", "LUT", "BRAM18", "DSP", "of the scarcest"):
        table.add_column(head, justify="right")
    for e in front:
        name, share = e.resources.scarcest(capacity)
        table.add_row(f"{e.fps:,.0f}", f"{e.latency_ms:.3g}", *_figures(e.resources), f"{share:.0%} {name.upper()}")
    return table


def check_against_flow(
    evaluator: Evaluator, n_policies: int, seed: int, on_policy: Callable[[int, BitPolicy, list[str]], None]
) -> int:
    """Hold the tables against FINN's whole flow on exported networks.

    Of every policy two designs: the fastest that fits, and one drawn from all that are legal, so that every
    implementation of a layer and foldings that no search would choose are looked at too.

    Args:
        evaluator: of the network.
        n_policies: random ones, 1 or more.
        seed: of the policies.
        on_policy: called after each with its number from 1, the policy and every difference of both.

    Returns:
        Differences found in all.
    """
    rng = random.Random(seed)
    n_differences = 0
    for number in range(1, n_policies + 1):
        policy = BitPolicy.draw(evaluator.specs, rng)
        folding, built = evaluator.tables.draw_design(policy, rng)
        with TemporaryDirectory(prefix="bitloop-check-") as folder:
            onnx = Path(folder) / "network.onnx"
            evaluator.export_untrained(policy, onnx)
            found = []
            for mine in (estimate_policy(evaluator, policy), evaluator.foldings.at(policy, folding, built)):
                finn = estimate_with_flow(
                    onnx, evaluator.constraint.board, folding=mine.folding, implementations=mine.implementations,
                    top_k=evaluator.top_k,
                )  # fmt: skip
                found += differences(mine, finn)
        n_differences += len(found)
        on_policy(number, policy, found)
    return n_differences


def estimate_table(estimate: Estimate, capacity: Resources) -> Table:
    """An estimate item by item: what FINN says of each node, what that leaves out, and both sums."""
    table = Table("item", "what", "folding", title=estimate.method, box=SIMPLE)
    for figure in ("cycles", "LUT", "BRAM18", "DSP"):
        table.add_column(figure, justify="right", no_wrap=True)
    for n in estimate.nodes:
        folding = " ".join(f"{k}={v}" for k, v in n.folding.items())
        table.add_row(n.node, f"FINN, layer {n.layer}", folding, f"{n.cycles:,}", *_figures(n.resources))
    table.add_section()
    converters = {f"{before} → {behind}": f"{cycles:,}" for (before, behind), cycles in estimate.converters.items()}
    for c in estimate.corrections:
        table.add_row(c.subject, c.reason, "", converters.get(c.subject, ""), *_figures(c.resources))
    table.add_section()
    table.add_row("FINN's sum", "", "", f"{estimate.finn_bottleneck_cycles:,}", *_figures(estimate.finn_resources))
    table.add_row("with corrections", "", "", f"{estimate.bottleneck_cycles:,}", *_figures(estimate.resources))
    shares = estimate.resources.share_of(capacity)
    table.add_row("of the board", "", "", "", *(f"{shares[k]:.0%}" for k in ("lut", "bram18", "dsp")))
    return table


def _figures(used: Resources) -> tuple[str, str, str]:
    return f"{used.lut:,.0f}", f"{used.bram18:,.0f}", f"{used.dsp:,.0f}"
