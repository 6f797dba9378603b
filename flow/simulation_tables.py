"""What a simulation of RTL gave, for people: estimate beside simulation, node by node, FIFO by FIFO."""

from __future__ import annotations

from collections.abc import Mapping

from rich.box import SIMPLE
from rich.table import Table

from flow.simulating import SimulatedDesign

MOSTLY_RIGHT = 1.02  # simulated over estimated, above which a word is said


def cycles_table(found: SimulatedDesign) -> Table:
    """Interval and latency, estimated and simulated."""
    r = found.record
    title = f"{r.name} for {r.board}, its RTL simulated, FIFOs {fifos_told(r.fifos)}"
    table = Table("", box=SIMPLE, title=title, title_justify="left")
    for head in ("estimated", "RTL simulated", "simulated / estimated"):
        table.add_column(head, justify="right")
    clock_hz = r.clock_mhz * 1e6
    interval, latency = r.interval_cycles, r.latency_cycles
    estimated = (found.estimated_interval_cycles, found.estimated_latency_cycles)

    def row(what: str, before: float, after: float | None, form: str) -> None:
        told = ("–", "–") if after is None else (format(after, form), f"{after / before:.3f}")
        table.add_row(what, format(before, form), *told)

    row("cycles a frame, steady state", estimated[0], interval, ",.0f")
    row("cycles of the first frame", estimated[1], latency, ",.0f")
    row(f"frames a second at {r.clock_mhz:g} MHz", clock_hz / estimated[0], r.fps, ",.0f")
    row("ms of the first frame", 1e3 * estimated[1] / clock_hz, 1e3 * latency / clock_hz, ".4g")
    return table


def fifos_told(fifos: str) -> str:
    """How deep FIFOs were, in words."""
    return {"2": "of the least depth", "estimated": "as estimated", "sized": "as sized", "unbounded": "without bound"}[fifos]


def nodes_table(found: SimulatedDesign, layer_of: Mapping[str, str]) -> Table:
    """Every node: the shares of the cycles in which it was busy, stalled and starved; the bottleneck marked.

    Args:
        found: what was simulated.
        layer_of: node to layer, where they are known.
    """
    table = Table("node", "layer", box=SIMPLE, title="shares of the last frame's cycles", title_justify="left")
    for head in ("FINN's cycles a frame", "busy", "stalled by its reader", "starved for a word"):
        table.add_column(head, justify="right")
    table.add_column("")
    bottleneck = found.simulated.bottleneck.node
    for node in found.simulated.nodes:
        table.add_row(
            node.node, layer_of.get(node.node, "–"), f"{node.cycles:,}", f"{node.busy:.1%}", f"{node.stalled:.1%}",
            f"{node.starved:.1%}", "the bottleneck" if node.node == bottleneck else "",
        )  # fmt: skip
    return table


def fifos_table(found: SimulatedDesign) -> Table:
    """Every FIFO: how many words it can hold, and the most that it held."""
    table = Table("FIFO", "filled by", "read by", box=SIMPLE, title="words in FIFOs", title_justify="left")
    for head in ("bits of a word", "depth", "held at most"):
        table.add_column(head, justify="right")
    table.add_column("")
    used = {use.node: use for use in found.simulated.fifos}
    for fifo in found.netlist.fifos:
        use = used.get(fifo.node)
        if use is None:
            continue
        unbounded = found.record.fifos == "unbounded"
        table.add_row(
            fifo.node, fifo.behind or "the host", fifo.into or "the host", str(fifo.bits),
            "–" if unbounded else f"{use.depth:,}", f"{use.most:,}", "full" if use.most >= use.depth else "",
        )  # fmt: skip
    return table


def sentences(found: SimulatedDesign) -> list[str]:
    """What there is to say beside the tables; a line each."""
    r, s = found.record, found.simulated
    said = [f"{r.n_frames} frames of {found.images}: every answer is, bit for bit, that of {found.beside}"]
    if len(s.intervals) < 2:
        said.append(f"{r.n_frames} frames do not tell whether that is the steady state; FRAMES=3 or more would")
    elif not r.is_steady:
        told = ", ".join(f"{cycles:,}" for cycles in s.intervals)
        said.append(f"it is not in its steady state yet (cycles between frames: {told}); more FRAMES would tell")
    if r.gaps or r.back_pressure:
        said.append(f"with gaps in {r.gaps:.0%} and back-pressure in {r.back_pressure:.0%} of the cycles, seed {r.seed}")
    elif r.interval_cycles is not None and r.interval_cycles > MOSTLY_RIGHT * found.estimated_interval_cycles:
        full = [use.node for use in s.fifos if use.most >= use.depth]
        if full and r.fifos in ("2", "estimated"):
            said.append(f"{len(full)} FIFOs were full at some time; SIZE_FIFOS=1 finds depths that slow nothing down")
    if found.sized is not None:
        z = found.sized
        said.append(
            f"FIFOs of {z.bits:,} bits, found in {z.n_simulations} simulations, {z.interval_cycles:,} cycles without bound; "
            "the next make bitstream takes these depths"
        )
        if r.interval_cycles is not None and r.interval_cycles > MOSTLY_RIGHT * z.interval_cycles:
            said.append("as built they are too shallow all the same; remove fifos.json if FIFOS=estimated is faster")
    said.append(f"{r.cycles:,} cycles in {r.duration_s:,.2f} s, {r.cycles / max(r.duration_s, 1e-9):,.0f} cycles a second")
    return said
