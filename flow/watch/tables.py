"""The tables of a run, once for all that show them: the report, its CSV files and the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from boards.board import Resources
from boards.measurement import Measurement, Simulation
from flow.constraint import ROUNDING
from flow.pareto import pareto_front, utilisation
from flow.trial import Trial
from flow.watch.run_view import Record, RunView
from hls.calibrate import observations

Value = str | float | None
NONE = "–"
RESOURCES = {"LUT": "lut", "BRAM18": "bram18", "DSP": "dsp"}
"""What FINN estimates: as people write it, to its name."""


@dataclass(frozen=True)
class Column:
    """A column: its head, and how numbers in it are written; text where that is empty."""

    head: str
    form: str = ""

    def text(self, value: Value) -> str:
        """A value as people read it."""
        if value is None:
            return NONE
        return format(value, self.form) if self.form and not isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of a file that it is written to, without suffix.
        title: a few words.
        columns: from left to right.
        rows: values, as many as there are columns.
        marked: numbers of the rows that stand out.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    marked: frozenset[int] = frozenset()


def described(trial: Trial) -> str:
    """A trial's policy on one line."""
    return " ".join(f"{name}={bits}" for name, bits in trial.policy.items())


def layers_table(view: RunView) -> Table:
    """The best policy, layer by layer; the slowest one is marked."""
    columns = (
        Column("layer"), Column("weight bits", "d"), Column("activation bits", "d"), Column("parameters", ",d"),
        Column("MACs", ",d"), Column("unit"), Column("PE", "d"), Column("SIMD", "d"), Column("cycles a frame", ",d"),
        Column("LUT", ",.0f"), Column("BRAM18", ",.0f"), Column("DSP", ",.0f"),
    )  # fmt: skip
    rows = [
        (
            v.name, v.weight_bits, v.act_bits, v.n_params, v.n_macs, v.unit, v.pe, v.simd, v.cycles,
            v.resources.lut, v.resources.bram18, v.resources.dsp,
        )
        for v in view.layers
    ]  # fmt: skip
    marked = (i for i, layer in enumerate(view.layers) if layer.cycles == view.slowest.cycles)
    return Table("layers", "The best policy, layer by layer", columns, tuple(rows), frozenset(marked))


def resources_table(view: RunView) -> Table:
    """What is used of the board, beside what may be used."""
    used, limits, capacity = view.estimate.resources, view.constraint.limits, view.board.capacity
    share = used.share_of(capacity)
    rows = tuple(
        (label, getattr(used, name), getattr(limits, name), getattr(capacity, name), share[name])
        for label, name in RESOURCES.items()
    )
    over = frozenset(i for i, (_, count, limit, *_rest) in enumerate(rows) if count > limit)
    columns = (
        Column("resource"), Column("estimated", ",.0f"), Column("may be used", ",.0f"), Column("there is", ",.0f"),
        Column("used", ".1%"),
    )  # fmt: skip
    return Table("resources", "Resources of the board", columns, rows, over)


def _trial_columns(with_front: bool) -> tuple[Column, ...]:
    head = (Column("trial", "d"), Column("searcher"))
    figures = (
        Column("accuracy", ".2%"), Column("fps", ",.0f"), Column("utilisation", ".1%"), Column("latency ms", ".3g"),
        Column("LUT", ",.0f"), Column("BRAM18", ",.0f"), Column("DSP", ",.0f"), Column("s", ",.1f"), Column("stopped at"),
    )  # fmt: skip
    return (*head, *figures, *((Column("on the front"),) if with_front else ()), Column("policy"))


def _trial_row(searcher: str, t: Trial, capacity: Resources, *on_front: str) -> tuple[Value, ...]:
    used = t.estimate.resources
    share = utilisation(used, capacity)
    return (
        t.number, searcher, t.accuracy, t.estimate.fps, share, t.estimate.latency_ms, used.lut, used.bram18, used.dsp,
        t.duration_s, t.stopped_at, *on_front, described(t),
    )  # fmt: skip


def front_table(view: RunView) -> Table:
    """The Pareto front; the best policy is marked."""
    capacity = view.board.capacity
    searcher_of = {id(t): s for s, trials in view.searches.items() for t in trials}
    front = pareto_front(view.trials, capacity)
    rows = tuple(_trial_row(searcher_of[id(t)], t, capacity) for t in front)
    best = frozenset(i for i, t in enumerate(front) if t.policy == view.policy)
    return Table("pareto-front", "The Pareto front", _trial_columns(False), rows, best)


def trials_table(view: RunView) -> Table:
    """Every trial; the best policy is marked."""
    capacity = view.board.capacity
    front = {id(t) for t in pareto_front(view.trials, capacity)}
    all_of = [(searcher, t) for searcher, trials in view.searches.items() for t in trials]
    rows = tuple(_trial_row(s, t, capacity, "yes" if id(t) in front else "no") for s, t in all_of)
    best = frozenset(i for i, (_, t) in enumerate(all_of) if t.policy == view.policy)
    return Table("trials", "Every trial", _trial_columns(True), rows, best)


def uniform_table(view: RunView) -> Table:
    """The best policy beside uniform ones, all retrained as briefly as a trial."""
    columns = (
        Column("policy"), Column("accuracy", ".2%"), Column("fps", ",.0f"), Column("latency ms", ".3g"), Column("LUT", ",.0f"),
        Column("BRAM18", ",.0f"), Column("DSP", ",.0f"), Column("constraint"),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    if view.best is not None:
        e = view.best.estimate
        r = e.resources
        rows.append(
            (
                "found by the search",
                view.best.accuracy,
                e.fps,
                e.latency_ms,
                r.lut,
                r.bram18,
                r.dsp,
                view.constraint.describe(e),
            )
        )
    for u in view.document.uniform:
        too_slow = u.fps < view.constraint.min_fps * (1 - ROUNDING)
        verdict = "fits" if u.meets_constraint else "too slow" if too_slow else "does not fit"
        used = u.resources
        rows.append((f"uniform {u.bits} bits", u.accuracy, u.fps, u.latency_ms, used.lut, used.bram18, used.dsp, verdict))
    return Table("uniform", "Beside uniform bits, under the same constraint", columns, tuple(rows), frozenset({0}))


def finalists_table(view: RunView) -> Table:
    """The trials whose policies were retrained with other seeds; that of the best policy is marked."""
    finalists = view.document.finalists
    seeds = list(dict.fromkeys(seed for f in finalists for seed in f.again))
    columns = (
        Column("trial", "d"), Column("accuracy it was chosen for", ".2%"), *(Column(f"seed {seed}", ".2%") for seed in seeds),
        Column("mean", ".2%"),
    )  # fmt: skip
    rows = tuple((f.trial, f.trial_search, *(f.again.get(seed) for seed in seeds), f.mean) for f in finalists)
    chosen = frozenset(i for i, f in enumerate(finalists) if f.trial == view.document.trial)
    return Table("finalists", "Finalists, retrained with other seeds", columns, rows, chosen)


def source_of(record: Record) -> str:
    """Who says what a record says; the simulated board is never called a board."""
    if isinstance(record, Simulation):
        return f"RTL simulation, FIFOs {record.fifos}"
    if isinstance(record, Measurement):
        return f"simulated board ({record.host}), no board" if record.simulated else f"board {record.host}"
    return f"synthesis, Vivado {record.vivado}"


def gap_table(view: RunView) -> Table:
    """Estimated and found, quantity by quantity; no rows where nothing was measured."""
    columns = (
        Column("quantity"), Column("found by"), Column("at"), Column("estimated", ",.0f"), Column("found", ",.0f"),
        Column("found / estimated", ".3f"),
    )  # fmt: skip
    rows = tuple(
        (quantity_of(o.quantity), source_of(r), f"{r.at:%Y-%m-%d %H:%M %Z}", o.estimated, o.found, o.found / o.estimated)
        for r in view.records
        for o in observations(r)
    )
    return Table("gaps", "Estimated and found", columns, rows)


def quantity_of(name: str) -> str:
    """A quantity of a calibration in words."""
    words = {"lut": "LUT", "bram18": "BRAM18", "dsp": "DSP", "interval_cycles": "cycles a frame"}
    plain = name.removeprefix("rtl_")
    return words.get(plain, "cycles of the first frame" if plain == "latency_cycles" else plain.replace("_", " "))
