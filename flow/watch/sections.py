"""What a run's page says: headline figures, and its parts with charts and tables."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from boards.measurement import Measurement, Simulation
from flow.constraint import ROUNDING
from flow.watch import figures, tables
from flow.watch.figures import Figure
from flow.watch.run_view import RunView
from flow.watch.tables import Table

GOALS = {
    "accuracy": "the highest accuracy", "fps": "the highest frame rate", "latency": "the shortest time of the first frame",
    "utilisation": "the smallest share of the scarcest resource",
}  # fmt: skip
"""What `flow.objective.Goal` calls them, in words."""


@dataclass(frozen=True)
class Card:
    """A headline figure.

    Attributes:
        label, value, note: what it is, the figure, what to know beside it.
        tone: "good", "bad" or empty.
        meter: a share that is shown as a bar, 0..1; None for none.
        limit: a mark on that bar.
    """

    label: str
    value: str
    note: str
    tone: str = ""
    meter: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: of the element.
        title: a few words.
        lead: what there is to see, in a sentence or two.
        figure: None for none.
        tables: with whether they are open from the start.
    """

    name: str
    title: str
    lead: str
    figure: Figure | None = None
    tables: tuple[tuple[Table, bool], ...] = ()


def subtitle(view: RunView) -> str:
    """What was asked for."""
    document, n = view.document, len(view.trials)
    sought = document.objective
    goal = "" if sought is None else f"Sought: {GOALS.get(sought.goal, sought.goal)}. "
    if sought is not None and sought.min_accuracy is not None:
        goal = f"{goal[:-2]} with an accuracy of {sought.min_accuracy:.2%} or more. "
    return (
        f"{goal}{view.constraint.in_words}; {n} "
        f"{'trial' if n == 1 else 'trials'}, searcher {', '.join(view.searches)}, seed {document.seed}."
    )


def _duration(ms: float) -> str:
    return f"{ms:.3g} ms" if ms >= 0.1 else f"{1e3 * ms:.3g} µs"


def _percent(share: float | None) -> str:
    return tables.NONE if share is None else f"{share:.2%}"


def cards(view: RunView) -> list[Card]:
    """The headline figures."""
    e, c = view.estimate, view.constraint
    fits = c.violation(e) <= 0
    found = [
        Card(
            "constraint", "met" if fits else "missed", "frame rate and every resource" if fits else c.describe(e),
            "good" if fits else "bad",
        ),
        _accuracy_card(view),
        Card(
            "frames a second, estimated", f"{e.fps:,.0f}",
            f"{e.fps / c.min_fps:.3g} × what is wanted" if view.constraint.wants_fps else "as fast as it may be",
            "good" if e.fps >= c.min_fps * (1 - ROUNDING) else "bad",
        ),
        Card("first frame, estimated", _duration(e.latency_ms), f"{e.latency_cycles:,} cycles at {e.clock_mhz:g} MHz"),
        *(_resource_card(view, label, name) for label, name in tables.RESOURCES.items() if getattr(view.board.capacity, name)),
    ]  # fmt: skip
    if view.mean_weight_bits is not None:
        found.append(Card("bits a weight", f"{view.mean_weight_bits:.2f}", "mean over all weights"))
    return found + _measured_cards(view)


def _accuracy_card(view: RunView) -> Card:
    """The accuracy on the test split, or before the final retraining that of the trial."""
    scores = view.document.accuracy
    if scores.final_test is None:
        note = "of its trial; the final retraining is still to come"
        return Card("accuracy, search split", _percent(scores.trial_search), note)
    note = f"search split {_percent(scores.final_search)}, float network there {_percent(scores.float_search)}"
    return Card("accuracy, test split", _percent(scores.final_test), note)


def _resource_card(view: RunView, label: str, name: str) -> Card:
    capacity, limit = view.board.capacity, view.constraint.max_utilisation
    share, used = view.estimate.resources.share_of(capacity)[name], getattr(view.estimate.resources, name)
    tone = "bad" if share > limit * (1 + ROUNDING) else ""
    note = f"{used:,.0f} of {getattr(capacity, name):,.0f}"
    return Card(f"{label}, estimated", f"{share:.0%}", note, tone, min(share, 1.0), limit)


def _measured_cards(view: RunView) -> list[Card]:
    """The frame rate that was found last, by a real board if there was one, else by what stood in for it."""
    found = [r for r in view.records if isinstance(r, Measurement | Simulation) and r.fps]
    real = [r for r in found if isinstance(r, Measurement) and not r.simulated]
    cards = []
    for r in (real or found)[-1:]:
        fps = r.fps or 0.0
        label = "frames a second, measured" if r in real else "frames a second, simulated"
        tone = "good" if fps >= view.constraint.min_fps * (1 - ROUNDING) else "bad"
        cards.append(Card(label, f"{fps:,.0f}", tables.source_of(r), tone))
    return cards


def sections(view: RunView) -> list[Section]:
    """The parts of the page, in order."""
    return [_pareto(view), _learning(view), _bits(view), _resources(view), _cycles(view), _gaps(view)]


def _pareto(view: RunView) -> Section:
    front, best = tables.front_table(view), view.best
    n = len(front.rows)
    chosen = (
        f"The star is the policy that was chosen, trial {best.number} with {best.accuracy:.2%}."
        if best
        else "The policy that was chosen is not among the trials."
    )
    front_is = "One trial is" if n == 1 else f"{n} trials of {len(view.trials)} are"
    lead = (
        f"{chosen} {front_is} not beaten by another one in accuracy, frames a second and the largest share of a resource (the "
        "colour) together. Point at a trial for its policy. Accuracies are those of the brief retraining, speed and resources "
        "are estimated."
    )
    uniform = ((tables.uniform_table(view), True),) if view.document.uniform else ()
    return Section("pareto", "Accuracy, speed and size", lead, figures.pareto_figure(view), (*uniform, (front, False)))


def _learning(view: RunView) -> Section:
    figure = figures.learning_figure(view)
    finalists = ((tables.finalists_table(view), True),) if view.document.finalists else ()
    trials = (tables.trials_table(view), False)
    return Section("learning", "How the search went", figure.alternative, figure, (*finalists, trials))


def _bits(view: RunView) -> Section:
    counted = view.mean_weight_bits is not None
    lead = (
        "Below the bits is where the parameters and the multiply-accumulates are: bits cost most there."
        if counted
        else "The run was begun with a bitloop that did not write down how many parameters a layer has."
    )
    return Section("bits", "Bits of every layer", lead, figures.bits_figure(view), ((tables.layers_table(view), True),))


def _resources(view: RunView) -> Section:
    share = view.estimate.resources.share_of(view.board.capacity)
    scarcest = max(tables.RESOURCES, key=lambda label: share[tables.RESOURCES[label]])
    lead = (
        f"{scarcest} is the scarcest: {share[tables.RESOURCES[scarcest]]:.0%} of the board, and "
        f"{view.constraint.max_utilisation:.0%} may be used. All estimated, layer by layer, DMA engines and shell included."
    )
    return Section("resources", "Resources", lead, figures.resources_figure(view), ((tables.resources_table(view), True),))


def _cycles(view: RunView) -> Section:
    slowest, c = view.slowest, view.constraint
    lead = f"{slowest.name} is the bottleneck: {slowest.cycles:,} cycles a frame at {view.estimate.clock_mhz:g} MHz, estimated."
    if view.constraint.wants_fps:
        lead += f" {c.max_cycles:,} would still reach {c.min_fps:,.0f} frames a second."
    return Section("cycles", "Cycles a frame", lead, figures.cycles_figure(view))


def _gaps(view: RunView) -> Section:
    title, found = "Estimated and found", tables.gap_table(view)
    if found.rows:
        lead = "What boards, simulations and Vivado said of this policy, beside what was estimated."
        return Section("gaps", title, lead, figures.gap_figure(view), ((found, True),))
    lead = (
        "Nothing of this policy has been measured, simulated or synthesised: every figure above is estimated. "
        f"make measure RUN={shlex.quote(str(view.path))} HOST=user@address measures it on a board."
    )
    return Section("gaps", title, lead)


def commands(view: RunView) -> list[str]:
    """What made the run, command by command."""
    run, retrained = f"RUN={shlex.quote(str(view.path))}", view.document.retraining
    made = [view.command]
    if retrained:
        made.append(f"make retrain {run} EPOCHS={retrained.max_epochs} PATIENCE={retrained.patience_epochs}")
    hosts = dict.fromkeys(r.host for r in view.records if isinstance(r, Measurement))
    made += [f"make measure {run} HOST={shlex.quote(host)}" for host in hosts]
    return [*made, f"make report {run}"]
