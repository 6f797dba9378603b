"""What a run's page and tables say: read from files as a search leaves them, escaped, and without the network."""

from __future__ import annotations

import base64
import csv
import io
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from rich.console import Console

from flow.constraint import ANY_FPS
from flow.errors import BITLOOP_ERRORS, RunDirectoryError, StoreError
from flow.pareto import pareto_front
from flow.store import TrialStore
from flow.watch import figures, run_view, tables
from flow.watch.page import page, write_report
from flow.watch.run_view import RunView, read_run
from flow.watch.sections import cards, commands, sections, subtitle
from flow.watch.terminal import comparison_of, summary_of
from flow.watch.trials_file import read_trials
from tests.made_measurements import made_simulation
from tests.made_watched_run import BOARD, made_records, made_watched_run

EVIL = "<script>alert(1)</script>&\"'"
ALL_FIGURES = (
    figures.pareto_figure, figures.learning_figure, figures.bits_figure, figures.resources_figure, figures.cycles_figure,
    figures.gap_figure,
)  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_watched_run(tmp_path_factory.mktemp("runs") / "tfc-pynq-z2")


@pytest.fixture(scope="module")
def view(run: Path) -> RunView:
    return read_run(run)


@pytest.fixture(scope="module")
def measured(run: Path, view: RunView) -> RunView:
    return read_run(run, made_records(run, run.parent / "measurements.db", view.estimate, view.policy))


class Page(HTMLParser):
    """Elements of a page with their attributes, and its text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data

    def all_of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def figures_in(text: str) -> Any:
    """What the page gives to plotly.js."""
    start = text.index('id="figures">') + len('id="figures">')
    return json.loads(text[start : text.index("</script>", start)])


def test_a_view_has_what_the_files_say(view: RunView, run: Path) -> None:
    document = json.loads((run / "policy.json").read_text())
    assert view.title == "tfc on PYNQ-Z2, digits"
    assert [v.name for v in view.layers] == ["conv0", "fc0", "fc1"]
    assert [v.n_params for v in view.layers] == [576, 1152, 1728]
    assert view.layers[-1].act_bits is None
    assert list(view.searches) == ["ddpg"]
    assert len(view.trials) == 9
    assert view.best is not None
    assert view.best.number == document["trial"]
    assert view.slowest.cycles == view.estimate.bottleneck_cycles
    assert [u.bits for u in view.document.uniform] == [8, 4, 2]
    bits = [b.weight for b in view.policy.values()]
    assert view.mean_weight_bits == sum(b * n for b, n in zip(bits, (576, 1152, 1728), strict=True)) / 3456


def test_nothing_is_written_by_looking(run: Path, view: RunView) -> None:
    before = {p: p.read_bytes() for p in run.iterdir()}
    page(view)
    read_run(run, run / "measurements.db")  # which is not there
    assert {p: p.read_bytes() for p in run.iterdir()} == before


def test_a_run_in_a_directory_that_is_read_only_can_be_looked_at(tmp_path: Path) -> None:
    run = made_watched_run(tmp_path / "a run, 100% #1")
    for path in (*run.iterdir(), run):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert len(read_run(run).trials) == 9
    finally:
        run.chmod(0o755)


def test_layers_and_their_surroundings_add_up(view: RunView) -> None:
    parts = [v.resources for v in view.layers] + [view.around]
    assert sum(r.lut for r in parts) == pytest.approx(view.estimate.resources.lut)
    assert sum(r.bram18 for r in parts) == pytest.approx(view.estimate.resources.bram18)


def test_every_searcher_that_used_the_store_has_its_curve(tmp_path: Path) -> None:
    view = read_run(made_watched_run(tmp_path / "run", searchers=("ddpg", "tpe")))
    assert {name: len(trials) for name, trials in view.searches.items()} == {"ddpg": 9, "tpe": 9}
    lines = [d for d in figures.learning_figure(view).data if d["mode"] == "lines"]
    assert len(lines) == 2
    for line, trials in zip(lines, view.searches.values(), strict=True):
        assert line["y"] == [max(t.accuracy for t in trials[: i + 1]) for i in range(9)]


@pytest.mark.parametrize("figure", ALL_FIGURES)
def test_plotly_takes_the_charts(figure: Any, measured: RunView) -> None:
    made = figure(measured)
    checked = go.Figure(made.data, made.layout)  # refuses properties that there are not
    assert len(checked.data) == len(made.data) > 0
    assert made.alternative


def test_the_chart_of_the_front_has_every_trial_once_with_its_policy(view: RunView) -> None:
    data = figures.pareto_figure(view).data
    shown = [point for d in data if d.get("text") and "uniform" not in d["name"] for point in d["text"]]
    assert len(shown) == len(view.trials)
    for t in view.trials:
        mine = [text for text in shown if f"<b>trial {t.number}</b>" in text]
        assert len(mine) == 1
        assert all(f"{name} {bits}" in mine[0] for name, bits in t.policy.items())
    assert [len(d["x"]) for d in data if d["name"] == "the best policy" and d["x"] != [None]] == [1]


def test_the_bottleneck_stands_out(view: RunView) -> None:
    (bars,) = figures.cycles_figure(view).data
    marked = [x for x, colour in zip(bars["x"], bars["marker"]["color"], strict=True) if colour == figures.ORANGE]
    assert marked == [view.slowest.name]
    table = tables.layers_table(view)
    assert [table.rows[i][0] for i in table.marked] == [view.slowest.name]


def test_the_bars_of_resources_end_at_what_is_used(view: RunView) -> None:
    data = figures.resources_figure(view).data
    share = view.estimate.resources.share_of(BOARD.capacity)
    for i, name in enumerate(("lut", "bram18", "dsp")):
        assert sum(d["x"][i] for d in data) == pytest.approx(share[name])


def test_the_table_of_the_front_is_the_front(view: RunView) -> None:
    front = pareto_front(view.trials, BOARD.capacity)
    assert [row[0] for row in tables.front_table(view).rows] == [t.number for t in front]
    on_front = [row[0] for row in tables.trials_table(view).rows if row[-2] == "yes"]
    assert sorted(on_front) == sorted(t.number for t in front)


def test_what_was_found_stands_beside_what_was_estimated_and_says_by_whom(measured: RunView) -> None:
    rows = tables.gap_table(measured).rows
    assert {row[1] for row in rows} == {
        "synthesis, Vivado 2024.2",
        f"RTL simulation, FIFOs {made_simulation().fifos}",
        "simulated board (simulated), no board",
        "board xilinx@192.168.2.99",
    }
    (cycles,) = [row for row in rows if row[0] == "cycles a frame" and str(row[1]).startswith("board")]
    assert cycles[3] == measured.estimate.bottleneck_cycles
    assert cycles[4] == pytest.approx(100e6 / 9000)
    assert cycles[5] == pytest.approx(100e6 / 9000 / measured.estimate.bottleneck_cycles)


def test_a_real_board_is_what_the_headline_says_where_there_is_one(measured: RunView, view: RunView) -> None:
    (card,) = [c for c in cards(measured) if c.label == "frames a second, measured"]
    assert (card.value, card.note) == ("9,000", "board xilinx@192.168.2.99")
    assert not [c for c in cards(view) if "measured" in c.label]
    assert figures.gap_figure(view) is None
    assert "every figure above is estimated" in sections(view)[-1].lead


def test_the_headline_of_a_search_that_goes_on(tmp_path: Path) -> None:
    view = read_run(made_watched_run(tmp_path / "run", ended=False, n_trials=1))
    (accuracy,) = [c for c in cards(view) if c.label.startswith("accuracy")]
    assert accuracy.label == "accuracy, search split"
    assert "still to come" in accuracy.note
    assert page(view)
    assert summary_of(view)


def test_a_search_that_wants_no_frame_rate_says_none(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    document = json.loads((other / "policy.json").read_text())
    document["constraint"]["min_fps"] = ANY_FPS
    document["objective"] = {"goal": "fps", "min_accuracy": 0.9}
    (other / "policy.json").write_text(json.dumps(document))
    view = read_run(other)
    assert subtitle(view).startswith(
        "Sought: the highest frame rate with an accuracy of 90.00% or more. Within 85% of the board's resources;"
    )
    told = subtitle(view) + "".join(s.lead for s in sections(view)) + "".join(c.note for c in cards(view))
    assert "wanted" not in told
    assert figures.pareto_figure(view).layout["shapes"] == []
    assert "shapes" not in figures.cycles_figure(view).layout


def test_what_the_board_has_none_of_still_makes_a_page(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(BOARD, capacity=replace(BOARD.capacity, dsp=0))
    monkeypatch.setattr(run_view, "get_board", lambda _: bare)
    view = read_run(run)
    assert view.estimate.resources.dsp > 0
    assert figures_in(page(view))
    assert "DSP" not in figures.resources_figure(view).data[0]["y"]
    assert summary_of(view)


def test_trials_that_were_stopped_are_told_apart(tmp_path: Path) -> None:
    run = made_watched_run(tmp_path / "run", n_trials=4)
    (trials,) = read_trials(run / "trials.db").values()
    store = TrialStore(run / "trials.db", "ddpg")
    store.add(replace(trials[0], number=4, accuracy=0.999, stopped_at="512 images"))
    view = read_run(run)
    learning = {d["name"]: d for d in figures.learning_figure(view).data}
    assert learning["ddpg, stopped early, extrapolated"]["x"] == [4]
    assert max(learning["ddpg, best so far"]["y"]) < 0.999
    assert {row[0]: row[10] for row in tables.trials_table(view).rows}[4] == "512 images"
    assert 4 not in [row[0] for row in tables.front_table(view).rows]


def test_finalists_have_a_column_a_seed(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    document = json.loads((other / "policy.json").read_text())
    document["finalists"] = [
        {"trial": document["trial"], "trial_search": 0.9, "again": {"1": 0.8, "2": 0.7}, "mean": 0.75},
        {"trial": 99, "trial_search": 0.8, "again": {"1": 0.6}, "mean": 0.6},
    ]
    (other / "policy.json").write_text(json.dumps(document))
    table = tables.finalists_table(read_run(other))
    assert [c.head for c in table.columns] == ["trial", "accuracy it was chosen for", "seed 1", "seed 2", "mean"]
    assert table.rows[1] == (99, 0.8, 0.6, None, 0.6)
    assert table.marked == {0}


def test_the_commands_that_made_it(measured: RunView) -> None:
    search, simulated, real, report = commands(measured)
    assert search.startswith("make search MODEL=tfc BOARD=pynq-z2 DATASET=digits SEED=0 ")
    assert search.endswith(f"RUN={measured.path}")
    assert simulated == f"make measure RUN={measured.path} HOST=simulated"
    assert real == f"make measure RUN={measured.path} HOST=xilinx@192.168.2.99"
    assert report == f"make report RUN={measured.path}"


def test_the_page_asks_for_nothing_from_elsewhere(measured: RunView) -> None:
    found = Page(page(measured))
    addresses = [a[name] for _, a in found.elements for name in ("src", "href", "srcset", "action", "data") if a.get(name)]
    assert addresses
    assert all(str(address).startswith(("#", "data:")) for address in addresses)
    (policy,) = [a["content"] for a in found.all_of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in str(policy)
    assert not any(name in str(policy) for name in ("http", "'self'", "*"))


def test_every_chart_says_what_it_shows_to_who_does_not_see_it(measured: RunView) -> None:
    text = page(measured)
    charts = [a for a in Page(text).all_of("div") if a.get("class") == "chart"]
    assert {str(a["id"]).removeprefix("chart-") for a in charts} == set(figures_in(text))
    assert all(a["role"] == "img" and a["aria-label"] for a in charts)


def test_tables_are_there_as_csv_with_plain_numbers(view: RunView) -> None:
    links = {a["download"]: str(a["href"]) for a in Page(page(view)).all_of("a") if a.get("download")}
    assert set(links) == {f"tfc-pynq-z2-{name}.csv" for name in ("uniform", "pareto-front", "trials", "layers", "resources")}
    text = base64.b64decode(links["tfc-pynq-z2-layers.csv"].split(",", 1)[1]).decode()
    head, first, *_ = csv.reader(io.StringIO(text))
    assert head[:5] == ["layer", "weight bits", "activation bits", "parameters", "MACs"]
    assert first[0] == "conv0"
    assert float(first[head.index("cycles a frame")]) == view.layers[0].cycles


def test_names_from_files_are_harmless(tmp_path: Path) -> None:
    names = (EVIL, "[red]=2+3[/red]", "=cmd|'/c calc'!A1")
    run = made_watched_run(tmp_path / "run", names=names, searchers=(EVIL,), model=EVIL)
    view = read_run(run)
    text = page(view)
    found = Page(text)
    assert len(found.all_of("script")) == 3
    assert EVIL in found.text  # as text, for people to read
    raw = text.replace("</script>", "")
    assert "<script>alert" not in raw
    assert "alert(1)" not in "".join(v for _, a in found.elements for k, v in a.items() if v and k.startswith("on"))
    for figure in figures_in(text).values():
        told = json.dumps(figure["data"]) + json.dumps(figure["layout"])
        assert "<script" not in told  # plotly.js reads tags in texts
        assert "&lt;script" in told or "alert" not in told
    links = {str(a["download"]): str(a["href"]) for a in found.all_of("a") if a.get("download")}
    rows = list(csv.reader(io.StringIO(base64.b64decode(links["run-layers.csv"].split(",", 1)[1]).decode())))
    assert [row[0] for row in rows[1:]] == [EVIL, "[red]=2+3[/red]", "'=cmd|'/c calc'!A1"]
    console = Console(width=400, file=io.StringIO())
    console.print(*summary_of(view), *comparison_of([view, view]), sep="\n")
    assert "[red]=2+3[/red]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_report_is_written_whole(view: RunView, tmp_path: Path) -> None:
    write_report(view, tmp_path / "report.html")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_a_run_of_a_bitloop_that_wrote_less_down(run: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(run, old)
    document = json.loads((old / "policy.json").read_text())
    del document["layers"], document["uniform"]
    (old / "policy.json").write_text(json.dumps(document))
    view = read_run(old)
    assert view.mean_weight_bits is None
    assert "yaxis2" not in figures.bits_figure(view).layout
    assert page(view)
    assert summary_of(view)


def test_side_by_side(view: RunView, tmp_path: Path) -> None:
    other = read_run(made_watched_run(tmp_path / "other", searchers=("tpe",), n_trials=4, ended=False))
    console = Console(width=150, file=io.StringIO())
    console.print(*comparison_of([view, other]), sep="\n")
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    (searcher,) = [line.split() for line in lines if line.split()[:1] == ["SEARCHER"]]
    assert searcher == ["SEARCHER", "ddpg", "tpe"]
    (test,) = [line for line in lines if "accuracy, test split" in line]
    assert test.split()[-2:] == ["94.00%", "–"]
    (conv0,) = [line.split() for line in lines if line.split()[:1] == ["conv0"]]
    assert conv0[1:] == [str(view.policy["conv0"]), str(other.policy["conv0"])]
    assert not [line for line in lines if line.split()[:1] == ["DATASET"]]  # the same in both


@pytest.mark.parametrize("what", ["no run", "no policy", "no trials"])
def test_what_is_not_there_is_named(what: str, run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    gone = {"no run": "run.json", "no policy": "policy.json", "no trials": "trials.db"}[what]
    (other / gone).unlink()
    with pytest.raises(RunDirectoryError, match="make search"):
        read_run(other)
    assert not (other / gone).exists()


def test_a_damaged_store_is_an_error_of_its_own(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    (other / "trials.db").write_bytes(b"no database, but as long as one " * 64)
    with pytest.raises(StoreError, match=r"trials\.db cannot be used"):
        read_run(other)


DAMAGE: tuple[Any, ...] = (None, [], "x", 3, {}, {"format": 1})


def test_a_damaged_policy_is_an_error_of_its_own(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    for damaged in DAMAGE:
        (other / "policy.json").write_text(json.dumps(damaged))
        with pytest.raises(RunDirectoryError, match=r"policy\.json"):
            read_run(other)


def test_a_damaged_part_of_a_policy_ends_in_an_error_or_a_page(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = read_trials(run / "trials.db")
    monkeypatch.setattr(run_view, "read_trials", lambda _: trials)  # which takes most of the time
    other = tmp_path / "other"
    shutil.copytree(run, other)
    document = json.loads((other / "policy.json").read_text())
    n_errors = 0
    for key in document:
        for damaged in DAMAGE:
            (other / "policy.json").write_text(json.dumps({**document, key: damaged}))
            try:
                view = read_run(other)
            except BITLOOP_ERRORS:
                n_errors += 1
            else:
                assert sections(view)
                assert commands(view)
                assert summary_of(view)
    assert n_errors > len(document)
