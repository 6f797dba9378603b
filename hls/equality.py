"""Where an estimate of a design differs from FINN's."""

from __future__ import annotations

from hls.types import Estimate, NodeEstimate


def differences(mine: Estimate, finn: Estimate) -> list[str]:
    """Every figure in which an estimate differs from FINN's, one line each; none where they are equal.

    Compared node by node: name, class, what it reads, cycles, LUT, block RAM, DSP and folding, and the pace that follows
    from FINN's operator; of the whole FINN's cycles of the first frame. FINN's folding has more attributes than ours;
    those we chose must be there. Corrections are not compared: FINN has none.
    """
    if len(mine.nodes) != len(finn.nodes):
        return [f"{len(mine.nodes)} nodes in the estimate, {len(finn.nodes)} in FINN's flow"]
    by_name = {n.node: n for n in finn.nodes}
    lines = [f"{n.node} is not in FINN's flow" for n in mine.nodes if n.node not in by_name]
    lines += [line for n in mine.nodes if n.node in by_name for line in _node_differences(n, by_name[n.node])]
    path = (mine.finn_latency_cycles, finn.finn_latency_cycles)
    if path[0] != path[1]:  # last: a node says more
        lines.append(f"critical path: {path[0]} cycles in the estimate, {path[1]} in FINN's flow")
    return lines


def _node_differences(a: NodeEstimate, b: NodeEstimate) -> list[str]:
    out = [
        f"{a.node} {what}: {getattr(a, what)} in the estimate, {getattr(b, what)} in FINN's flow"
        for what in ("op_type", "cycles", "resources", "sources", "pace")
        if getattr(a, what) != getattr(b, what)
    ]
    for name, value in a.folding.items():
        ours, theirs = _meant(name, value), _meant(name, b.folding.get(name))
        if ours != theirs:
            out.append(f"{a.node} {name}: {ours} in the estimate, {theirs} in FINN's flow")
    return out


def _meant(name: str, value: int | str | None) -> int | str | None:
    """What FINN's estimate makes of what is left to Vivado: block RAM; the multipliers of an RTL unit are DSP slices."""
    return {"ram_style": "block", "resType": "dsp"}.get(name, value) if value == "auto" else value
