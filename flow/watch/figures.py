"""The charts of a run, as plotly.js takes them: data and layout, without any colour of text or background.

Those are the page's, which has a light and a dark one. The colours here are told apart on both, also by most people who do not
see all of them (Okabe and Ito, https://jfly.uni-koeln.de/color/).
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import accumulate
from math import log10
from typing import Any

from boards.board import Resources, difference
from flow.pareto import pareto_front, utilisation
from flow.trial import Trial
from flow.watch.run_view import RunView
from flow.watch.tables import RESOURCES, quantity_of, source_of
from hls.calibrate import observations

BLUE, ORANGE, GREEN, SKY, PINK, GREY = "#3184c4", "#d9691a", "#0a9670", "#56b4e9", "#c9739f", "#8a9099"
SEARCHER_COLOURS = (BLUE, GREEN, PINK, SKY, ORANGE)
USE_COLOURS = ((0.0, SKY), (0.5, GREEN), (1.0, ORANGE))
LAYER_COLOURS = (BLUE, GREEN, SKY, PINK)
GROUPS = {
    "stopped early, accuracy extrapolated": ("circle-open", 8, 0.55),
    "other trials": ("circle", 8, 0.55),
    "on the front": ("circle", 12, 1.0),
    "the best policy": ("star", 20, 1.0),
}
"""Trials in the chart of the front, the lowest first: symbol, size in px, opacity."""
MOST_USED = 10.0  # where something is used that the board has none of
MANY = 14  # layers beyond which there is no room for a figure at each
LEAST_CHARTED = 0.01  # a share of a bar that is worth its name in it

Json = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A chart.

    Attributes:
        name: of the element that it is drawn in.
        data, layout: as plotly.js takes them.
        alternative: what it shows, for who does not see it.
        height_px: on a screen.
    """

    name: str
    data: list[Json]
    layout: Json
    alternative: str
    height_px: int = 420


def _text(value: object) -> str:
    """Text as plotly.js takes it, which reads some tags in it."""
    return escape(str(value), quote=False)


def _line(axis: str, at: float, label: str, colour: str = ORANGE) -> tuple[Json, Json]:
    """A dashed line across a chart at a value of an axis, and what is written beside it."""
    other = "y" if axis == "x" else "x"
    shape = {
        "type": "line", f"{axis}0": at, f"{axis}1": at, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper",
        "line": {"color": colour, "width": 1.5, "dash": "dash"},
    }  # fmt: skip
    at_the_end = {"x": 0.01, "xref": "paper", "xanchor": "left", "y": at, "yanchor": "bottom"}
    above = {"x": at, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "center"}
    note = {**(above if axis == "x" else at_the_end), "text": _text(label), "showarrow": False}
    return shape, note


def _hover(t: Trial, searcher: str, capacity: Resources) -> str:
    e = t.estimate
    bits = "<br>".join(_text(f"{name} {b}") for name, b in t.policy.items())
    return (
        f"<b>trial {t.number}</b>, {_text(searcher)}<br>{t.accuracy:.2%}, {e.fps:,.0f} fps, "
        f"{utilisation(e.resources, capacity):.0%} of the board<br>{bits}"
    )


def _points(name: str, symbol: str, size: int, fps: list[float], accuracies: list[float], used: list[float]) -> Json:
    """Points in the chart of the front, coloured by utilisation."""
    marker = {
        "symbol": symbol, "size": size, "color": used, "coloraxis": "coloraxis", "line": {"width": 1, "color": GREY},
    }  # fmt: skip
    return {
        "type": "scatter", "mode": "markers", "name": name, "legendgroup": name, "showlegend": False, "x": fps, "y": accuracies,
        "marker": marker,
    }  # fmt: skip


def _key(name: str, symbol: str, size: int) -> Json:
    """A line of the legend; plotly.js itself draws points whose colour is a figure black there, also on black."""
    marker = {"symbol": symbol, "size": min(size, 14), "color": GREY}
    return {
        "type": "scatter", "mode": "markers", "name": name, "legendgroup": name, "x": [None], "y": [None], "marker": marker,
    }  # fmt: skip


def _used(resources: Resources, capacity: Resources) -> float:
    """Utilisation, as JSON can have it."""
    return min(utilisation(resources, capacity), MOST_USED)


def _trial_points(view: RunView, front: set[int]) -> list[Json]:
    """The trials, each in one group; `front` has the numbers (`id`) of those on the front."""
    capacity, best = view.board.capacity, view.best
    groups: dict[str, list[tuple[str, Trial]]] = {name: [] for name in GROUPS}
    for searcher, trials in view.searches.items():
        for t in trials:
            if t is best:
                group = "the best policy"
            elif id(t) in front:
                group = "on the front"
            else:
                group = "other trials" if t.stopped_at is None else "stopped early, accuracy extrapolated"
            groups[group].append((searcher, t))
    data: list[Json] = []
    for name, of in groups.items():
        if of:
            symbol, size, opacity = GROUPS[name]
            used = [_used(t.estimate.resources, capacity) for _, t in of]
            points = _points(name, symbol, size, [t.estimate.fps for _, t in of], [t.accuracy for _, t in of], used)
            texts = [_hover(t, s, capacity) for s, t in of]
            told = {"text": texts, "hovertemplate": "%{text}<extra></extra>"}
            data += [{**points, **told, "opacity": opacity}, _key(name, symbol, size)]
    return data


def _uniform_points(view: RunView) -> list[Json]:
    """The uniform policies, with their bits; nothing where there are none."""
    uniform, name, symbol = view.document.uniform, "uniform bits", "diamond-open"
    if not uniform:
        return []
    used = [_used(Resources(**u.resources.model_dump()), view.board.capacity) for u in uniform]
    points = _points(name, symbol, 13, [u.fps for u in uniform], [u.accuracy for u in uniform], used)
    told = "uniform %{text} bits<br>%{y:.2%}, %{x:,.0f} fps, %{marker.color:.0%} of the board<extra></extra>"
    labels = {"mode": "markers+text", "text": [str(u.bits) for u in uniform], "textposition": "bottom center"}
    return [{**points, **labels, "hovertemplate": told}, _key(name, symbol, 12)]


def pareto_figure(view: RunView) -> Figure:
    """Accuracy against the frame rate, coloured by utilisation; the best policy is a star."""
    front = {id(t) for t in pareto_front(view.trials, view.board.capacity)}
    data = [*_trial_points(view, front), *_uniform_points(view)]
    speeds = [t.estimate.fps for t in view.trials] + [u.fps for u in view.document.uniform]
    is_wide = max(speeds) > 20 * min(speeds)
    layout: Json = {
        "xaxis": {"title": {"text": "frames a second, estimated"}, "type": "log" if is_wide else "linear"},
        "yaxis": {"title": {"text": "accuracy on the search split"}, "tickformat": ".1%"},
        "coloraxis": {
            "colorscale": [list(c) for c in USE_COLOURS], "cmin": 0, "cmax": view.constraint.max_utilisation,
            "colorbar": {"title": {"text": "used", "side": "top"}, "tickformat": ".0%", "thickness": 12, "len": 0.9},
        },
        "shapes": [], "annotations": [], "legend": {"orientation": "h", "y": -0.22},
    }  # fmt: skip
    if view.constraint.wants_fps:
        shape, note = _line("x", view.constraint.min_fps, f"{view.constraint.min_fps:,.0f} fps wanted")
        if is_wide:
            note["x"] = log10(view.constraint.min_fps)  # an annotation's place on such an axis, other than a shape's
        layout |= {"shapes": [shape], "annotations": [note]}
    n = len(front)
    alternative = (
        f"Accuracy against frames a second of {len(view.trials)} trials. {n} {'is' if n == 1 else 'are'} on the Pareto front; "
        "the table has their figures."
    )
    return Figure("pareto", data, layout, alternative, 460)


def learning_figure(view: RunView) -> Figure:
    """The accuracy of every trial, and the best so far of those that were not stopped, searcher by searcher."""
    data: list[Json] = []
    for i, (searcher, trials) in enumerate(view.searches.items()):
        colour = SEARCHER_COLOURS[i % len(SEARCHER_COLOURS)]
        name, whole = _text(searcher), [t for t in trials if t.stopped_at is None]
        for what, symbol, of in (
            ("a trial", "circle", whole),
            ("stopped early, extrapolated", "circle-open", [t for t in trials if t.stopped_at is not None]),
        ):
            if of:
                data.append(
                    {
                        "type": "scatter", "mode": "markers", "name": f"{name}, {what}", "x": [t.number for t in of],
                        "y": [t.accuracy for t in of], "text": [_hover(t, searcher, view.board.capacity) for t in of],
                        "hovertemplate": "%{text}<extra></extra>",
                        "marker": {"color": colour, "size": 7, "opacity": 0.6, "symbol": symbol},
                    }
                )  # fmt: skip
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": f"{name}, best so far", "x": [t.number for t in whole],
                "y": list(accumulate((t.accuracy for t in whole), max)),
                "line": {"color": colour, "width": 2.5, "shape": "hv"},
                "hovertemplate": "trial %{x}: best so far %{y:.2%}<extra></extra>",
            }
        )  # fmt: skip
    layout: Json = {
        "xaxis": {"title": {"text": "trial"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "accuracy on the search split"}, "tickformat": ".1%"},
        "legend": {"orientation": "h", "y": -0.22},
    }
    if (ceiling := view.document.accuracy.float_search) is not None:
        shape, note = _line("y", ceiling, f"float network {ceiling:.2%}", GREY)
        layout |= {"shapes": [shape], "annotations": [note]}
    whole = [t for t in view.trials if t.stopped_at is None] or view.trials
    best = max(whole, key=lambda t: t.accuracy)
    alternative = f"Accuracy trial by trial. The highest is {best.accuracy:.2%}, of trial {best.number}."
    return Figure("learning", data, layout, alternative)


def bits_figure(view: RunView) -> Figure:
    """Bits of weights and activations layer by layer; below them how the parameters and MACs are spread."""
    names = [_text(v.name) for v in view.layers]
    acts = [v.act_bits for v in view.layers]
    data: list[Json] = [
        {
            "type": "bar", "name": "weight bits", "x": names, "y": [v.weight_bits for v in view.layers],
            "text": [str(v.weight_bits) for v in view.layers], "textposition": "outside", "cliponaxis": False,
            "marker": {"color": BLUE}, "hovertemplate": "%{x}: %{y} bits a weight<extra></extra>",
        },
        {
            "type": "bar", "name": "activation bits", "x": names, "y": acts,
            "text": ["" if a is None else str(a) for a in acts], "textposition": "outside", "cliponaxis": False,
            "marker": {"color": GREEN}, "hovertemplate": "%{x}: %{y} bits an activation<extra></extra>",
        },
    ]  # fmt: skip
    layout: Json = {
        "barmode": "group", "yaxis": {"title": {"text": "bits"}, "range": [0, 9.2], "tickvals": [1, 2, 4, 8]},
        "xaxis": {"type": "category"}, "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    }  # fmt: skip
    counted = {"parameters": [v.n_params for v in view.layers], "MACs": [v.n_macs for v in view.layers]}
    has_counts = all(count is not None for counts in counted.values() for count in counts)
    if has_counts:
        for (what, counts), colour in zip(counted.items(), (GREY, ORANGE), strict=True):
            whole = sum(count or 0 for count in counts) or 1
            data.append(
                {
                    "type": "bar", "name": what, "x": names, "y": [(count or 0) / whole for count in counts], "yaxis": "y2",
                    "marker": {"color": colour}, "customdata": counts,
                    "hovertemplate": f"%{{x}}: %{{customdata:,}} {what}, %{{y:.1%}} of all<extra></extra>",
                }
            )  # fmt: skip
        layout["yaxis"]["domain"] = [0.46, 1]
        layout["xaxis"]["anchor"] = "y2"
        layout["yaxis2"] = {"title": {"text": "share of all"}, "domain": [0, 0.36], "tickformat": ".0%", "rangemode": "tozero"}
    spoken = ", ".join(
        f"{v.name} {v.weight_bits} and {'none' if v.act_bits is None else v.act_bits}" for v in view.layers
    )  # fmt: skip
    alternative = f"Bits of weights and activations of every layer: {spoken}."
    return Figure("bits", data, layout, alternative, 500 if has_counts else 340)


def resources_figure(view: RunView) -> Figure:
    """What every layer takes of the board, stacked, against what there is and what may be used."""
    capacity = view.board.capacity
    kinds = [label for label, name in RESOURCES.items() if getattr(capacity, name)]
    used = [(v.name, v.resources, LAYER_COLOURS[i % len(LAYER_COLOURS)]) for i, v in enumerate(view.layers)]
    used.append(("DMA and shell", view.around, GREY))
    if view.estimate.factors:
        calibrated = difference(view.estimate.resources, view.estimate.uncalibrated.resources)
        used.append(("calibration", calibrated, ORANGE))
    data: list[Json] = []
    for name, resources, colour in used:
        counts = [getattr(resources, RESOURCES[kind]) for kind in kinds]
        shares = [resources.share_of(capacity)[RESOURCES[kind]] for kind in kinds]
        label = _text(name)
        data.append(
            {
                "type": "bar", "orientation": "h", "name": label, "y": kinds, "x": shares, "customdata": counts,
                "text": [label if share >= LEAST_CHARTED else "" for share in shares], "textposition": "inside",
                "insidetextanchor": "middle", "textangle": 0, "insidetextfont": {"color": "#ffffff"},
                "marker": {"color": colour, "line": {"width": 1 if len(used) <= MANY else 0, "color": "#ffffff"}},
                "hovertemplate": f"{label}: %{{customdata:,.0f}} %{{y}}, %{{x:.1%}} of the board<extra></extra>",
            }
        )  # fmt: skip
    share = view.estimate.resources.share_of(capacity)
    totals = {kind: share[RESOURCES[kind]] for kind in kinds}
    limit, limit_note = _line("x", view.constraint.max_utilisation, f"limit {view.constraint.max_utilisation:.0%}")
    sums: list[Json] = [
        {
            "x": total, "y": kind, "text": f"<b>{total:.0%}</b>", "showarrow": False, "xanchor": "left", "xshift": 5,
        }
        for kind, total in totals.items()
    ]  # fmt: skip
    layout: Json = {
        "barmode": "relative", "showlegend": False, "uniformtext": {"minsize": 9, "mode": "hide"},
        "xaxis": {"tickformat": ".0%", "range": [0, max(1.0, *totals.values()) * 1.04], "title": {"text": "of the board"}},
        "yaxis": {"type": "category", "autorange": "reversed", "ticklabelstandoff": 6},
        "shapes": [limit], "annotations": [limit_note, *sums],
    }  # fmt: skip
    spoken = ", ".join(f"{kind} {total:.0%}" for kind, total in totals.items())
    alternative = f"Share of the board's resources that is used: {spoken}; {view.constraint.max_utilisation:.0%} may be used."
    return Figure("resources", data, layout, alternative, 300)


def cycles_figure(view: RunView) -> Figure:
    """Cycles a frame layer by layer; the slowest layer stands out."""
    slowest = view.slowest.cycles
    cycles = [v.cycles for v in view.layers]
    data: list[Json] = [
        {
            "type": "bar", "x": [_text(v.name) for v in view.layers], "y": cycles,
            "text": [f"{c:,}" if c == slowest or len(cycles) <= MANY else "" for c in cycles], "textposition": "auto",
            "cliponaxis": False, "textangle": 0, "insidetextfont": {"color": "#ffffff"},
            "marker": {"color": [ORANGE if c == slowest else BLUE for c in cycles]},
            "hovertemplate": "%{x}: %{y:,} cycles a frame<extra></extra>",
        }
    ]  # fmt: skip
    limit = view.constraint.max_cycles
    layout: Json = {
        "showlegend": False, "xaxis": {"type": "category"}, "uniformtext": {"minsize": 8, "mode": "hide"},
        "yaxis": {"title": {"text": "cycles a frame"}, "rangemode": "tozero", "tickformat": ","},
    }  # fmt: skip
    if limit <= 4 * slowest:  # else the bars would be lost below it
        shape, note = _line("y", limit, f"{limit:,} cycles are {view.constraint.min_fps:,.0f} fps", GREY)
        layout |= {"shapes": [shape], "annotations": [note]}
    alternative = f"Cycles a frame of every layer; {view.slowest.name} is the slowest with {slowest:,}."
    return Figure("cycles", data, layout, alternative, 380)


def gap_figure(view: RunView) -> Figure | None:
    """Found over estimated, quantity by quantity and source by source; None where nothing was measured."""
    bars: dict[str, dict[str, float]] = {}
    for record in view.records:
        for o in observations(record):
            bars.setdefault(source_of(record), {})[quantity_of(o.quantity)] = o.found / o.estimated
    if not bars:
        return None
    data = [
        {
            "type": "bar", "name": _text(source), "x": list(found), "y": list(found.values()),
            "text": [f"{ratio:.2f}" for ratio in found.values()], "textposition": "outside", "cliponaxis": False,
            "marker": {"color": SEARCHER_COLOURS[i % len(SEARCHER_COLOURS)]},
            "hovertemplate": "%{x}: found is %{y:.3f} of what was estimated<extra></extra>",
        }
        for i, (source, found) in enumerate(bars.items())
    ]  # fmt: skip
    n_quantities = len({name for found in bars.values() for name in found})
    shape, note = _line("y", 1.0, "as estimated", GREY)
    layout: Json = {
        "barmode": "group", "bargap": max(0.25, 1 - n_quantities / 4),
        "yaxis": {"title": {"text": "found / estimated"}, "rangemode": "tozero"},
        "xaxis": {"type": "category"}, "shapes": [shape], "annotations": [note], "showlegend": True,
        "legend": {"orientation": "h", "y": -0.18},
    }  # fmt: skip
    alternative = "Found over estimated for every quantity that was measured; the table has the figures."
    return Figure("gaps", data, layout, alternative, 380)
