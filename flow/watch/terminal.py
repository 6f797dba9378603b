"""Runs on a terminal: the summary of one, and two or more side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.box import SIMPLE
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from flow.watch import tables
from flow.watch.run_view import RunView
from flow.watch.sections import cards, subtitle
from flow.watch.tables import NONE, Table, Value

STANDS_OUT = "bold yellow"


def as_rich(table: Table) -> RenderableType:
    """A table for a terminal; nothing in it is taken for markup."""
    made = RichTable(box=SIMPLE)
    for column in table.columns:
        made.add_column(Text(column.head), justify="right" if column.form else "left", overflow="fold")
    for i, row in enumerate(table.rows):
        cells = [Text(c.text(value)) for c, value in zip(table.columns, row, strict=True)]
        made.add_row(*cells, style=STANDS_OUT if i in table.marked else None)
    return _titled(table.title, made)


def _titled(title: str, table: RichTable) -> RenderableType:
    """A table below its title; rich would fold the title of a narrow table."""
    return Group(Text(title, style="bold"), table)


def summary_of(view: RunView) -> list[RenderableType]:
    """The summary of a run, piece by piece."""
    head = RichTable(box=None, show_header=False, padding=(0, 2, 0, 0))
    for card in cards(view):
        tone = {"good": "green", "bad": "red"}.get(card.tone, "bold")
        head.add_row(Text(card.label), Text(card.value, style=tone, justify="right"), Text(card.note, style="dim"))
    pieces: list[RenderableType] = [Text(view.title, style="bold"), Text(subtitle(view)), Text(""), head]
    shown = [tables.layers_table(view), tables.resources_table(view)]
    if view.document.uniform:
        shown.append(tables.uniform_table(view))
    shown.append(tables.front_table(view))
    gaps = tables.gap_table(view)
    if gaps.rows:
        shown.append(gaps)
    return [*pieces, *(as_rich(t) for t in shown)]


def comparison_of(views: Sequence[RunView]) -> list[RenderableType]:
    """Runs side by side: figures, bits layer by layer, and what differs in how they were begun and made."""
    heads = _heads(views)
    tables_of = [_figures(views, heads), _bits(views, heads)]
    begun = _differing("begun with", heads, [v.identity for v in views])
    made = _differing("made by", heads, [v.document.versions for v in views])
    return [*tables_of, *(table for table in (begun, made) if table is not None)]


def _heads(views: Sequence[RunView]) -> list[str]:
    """Names of the directories, or their paths where two have the same."""
    names = [v.path.resolve().name for v in views]
    return names if len(set(names)) == len(names) else [str(v.path) for v in views]


def _side_by_side(first: str, heads: Sequence[str]) -> RichTable:
    made = RichTable(box=SIMPLE)
    made.add_column(Text(first), overflow="fold")
    for head in heads:
        made.add_column(Text(head), justify="right", overflow="fold")
    return made


def _figures(views: Sequence[RunView], heads: Sequence[str]) -> RenderableType:
    made = _side_by_side("", heads)

    def row(what: str, form: str, value: Callable[[RunView], Value]) -> None:
        values = [value(v) for v in views]
        texts = [NONE if x is None else x if isinstance(x, str) else format(x, form) for x in values]
        made.add_row(Text(what), *map(Text, texts), style=STANDS_OUT if len(set(texts)) > 1 else None)

    row("network, board, data set", "", lambda v: v.title)
    row("policy", "", lambda v: v.policy.digest)
    row("constraint", "", lambda v: v.constraint.describe(v.estimate))
    row("accuracy, test split", ".2%", lambda v: v.document.accuracy.final_test)
    row("accuracy, search split, finally retrained", ".2%", lambda v: v.document.accuracy.final_search)
    row("accuracy, search split, of the trial", ".2%", lambda v: v.document.accuracy.trial_search)
    row("accuracy, search split, float network", ".2%", lambda v: v.document.accuracy.float_search)
    row("frames a second", ",.0f", lambda v: v.estimate.fps)
    row("ms of the first frame", ".3g", lambda v: v.estimate.latency_ms)
    for label, name in tables.RESOURCES.items():
        row(label, ",.0f", lambda v, name=name: float(getattr(v.estimate.resources, name)))  # type: ignore[misc]
        row(f"{label} of the board", ".1%", lambda v, name=name: _share(v, name))  # type: ignore[misc]
    row("bits a weight", ".2f", lambda v: v.mean_weight_bits)
    row("trials", ",d", lambda v: len(v.trials))
    row("time of the trials, s", ",.0f", lambda v: sum(t.duration_s for t in v.trials))
    return _titled("The best policies; speed and resources are estimated", made)


def _share(view: RunView, name: str) -> float:
    return view.estimate.resources.share_of(view.board.capacity)[name]


def _bits(views: Sequence[RunView], heads: Sequence[str]) -> RenderableType:
    made = _side_by_side("layer", heads)
    for name in dict.fromkeys(name for v in views for name in v.policy):
        texts = [str(v.policy[name]) if name in v.policy else NONE for v in views]
        made.add_row(Text(name), *map(Text, texts), style=STANDS_OUT if len(set(texts)) > 1 else None)
    return _titled("Bits of weights (W) and activations (A)", made)


def _differing(title: str, heads: Sequence[str], facts: Sequence[Mapping[str, object]]) -> RenderableType | None:
    """The facts that are not the same everywhere; None where all are."""
    names = dict.fromkeys(name for of in facts for name in of)
    rows = {name: [str(of.get(name, NONE)) for of in facts] for name in names}
    differing = {name: texts for name, texts in rows.items() if len(set(texts)) > 1}
    if not differing:
        return None
    made = _side_by_side("", heads)
    for name, texts in differing.items():
        made.add_row(Text(name), *map(Text, texts))
    return _titled(f"What differs: {title}", made)
