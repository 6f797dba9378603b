"""`report.html`: a run as one page that needs nothing beside itself, no server and no network."""

from __future__ import annotations

import base64
import csv
import io
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from flow.run_directory import write_text
from flow.watch import sections
from flow.watch.run_view import RunView
from flow.watch.tables import Table, Value

REPORT_FILE = "report.html"
HERE = Path(__file__).parent


def write_report(view: RunView, path: Path) -> None:
    """Write the page of a run, whole or not at all; about 5 MB, nearly all of it plotly.js."""
    write_text(path, page(view))


def page(view: RunView) -> str:
    """The page of a run. Names from files are escaped, wherever they stand."""
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False}
    environment.filters["data_uri"] = csv_uri
    parts = sections.sections(view)
    return environment.get_template("report.html.j2").render(
        view=view,
        subtitle=sections.subtitle(view),
        cards=sections.cards(view),
        sections=parts,
        figures={s.figure.name: {"data": s.figure.data, "layout": s.figure.layout} for s in parts if s.figure},
        commands=sections.commands(view),
        versions=view.document.versions,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "report.js").read_text(encoding="utf-8")),
        plotly=Markup(get_plotlyjs()),
    )


def csv_uri(table: Table) -> str:
    """A table as a CSV file in an address, with plain numbers."""
    text = io.StringIO()
    head = [c.head for c in table.columns]
    csv.writer(text).writerows([_cell(value) for value in row] for row in (head, *table.rows))
    return "data:text/csv;charset=utf-8;base64," + base64.b64encode(text.getvalue().encode()).decode()


def _cell(value: Value) -> Value:
    """A text that a spreadsheet would take for a formula is marked as a text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
