"""The inner loops of the search for foldings, compiled: paths through a trellis, and the search that leaves none out.

A trellis (`hls.trellis`) is a list of rows, each from one set of stream widths to another: either the
options of a step (every option from the width it reads to the width it hands on) or a stream (every
width to every width, some through a converter that takes cycles, too). A path takes LUT, block RAM and
DSP slices. A *direction* prices the latter two in LUT; for each direction the cheapest way from every
width to the end is found at once. A price gives a lower bound on what any path needs (Lagrange; see
E. K. P. Chong and S. H. Żak, "An Introduction to Optimization", ch. 20, or any text on the constrained
shortest path), and the path it is found with a design.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

STREAM, STEP = 0, 1  # kinds of rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_LABELS = 1_000_000  # a search that has more gives up

# How a search ended: every path looked at or ruled out; a design within the limits found; too many paths.
EXHAUSTED, FOUND, GAVE_UP = 0, 1, 2


@njit(cache=True)
def _relax(
    used: Floats, i: int, j: int, cycles_ok: bool, lut: float, bram18: float, dsp: float, prices: Floats
) -> None:  # fmt: skip
    """Go from width i over an edge to width j where that is cheaper, in every direction."""
    if not cycles_ok:
        return
    for k in range(prices.shape[1]):
        score = used[0, j, k] + lut + prices[0, k] * bram18 + prices[1, k] * dsp
        if score < used[0, i, k]:
            used[0, i, k] = score
            used[1, i, k] = used[1, j, k] + lut
            used[2, i, k] = used[2, j, k] + bram18
            used[3, i, k] = used[3, j, k] + dsp


@njit(cache=True)
def sweep(
    rows: Ints, offsets: Ints, costs: Floats, ends: Ints, streams: Floats, max_cycles: float, prices: Floats,
    used: Floats, forwards: bool,
) -> None:  # fmt: skip
    """The cheapest way between every width and one end of a trellis, in every direction.

    Args:
        rows: (n, 5): kind, first option and the one behind the last (of a stream: first cost, columns), set it
            leaves, set it enters.
        offsets: (sets + 1): where each set's widths begin.
        costs: (options, 4): cycles, LUT, block RAM, DSP.
        ends: (options, 2): the width each reads and hands on, counted in its set.
        streams: (n, 2): LUT and cycles.
        max_cycles: options and streams with more are left out.
        prices: (2, directions): of a block RAM and a DSP slice, in LUT.
        used: (4, widths, directions): priced sum, LUT, block RAM, DSP; infinite but at the end to start from.
        forwards: from the first set on; else from the last one back.
    """
    n = rows.shape[0]
    for step in range(n):
        r = step if forwards else n - 1 - step
        kind, first, last, src, dst = rows[r, 0], rows[r, 1], rows[r, 2], offsets[rows[r, 3]], offsets[rows[r, 4]]
        if kind == STEP:
            for o in range(first, last):
                i, j = src + ends[o, 0], dst + ends[o, 1]
                if forwards:
                    i, j = j, i
                _relax(used, i, j, costs[o, 0] <= max_cycles, costs[o, 1], costs[o, 2], costs[o, 3], prices)
        else:
            for a in range(offsets[rows[r, 3] + 1] - src):
                for b in range(last):
                    i, j = src + a, dst + b
                    if forwards:
                        i, j = j, i
                    s = first + a * last + b
                    _relax(used, i, j, streams[s, 1] <= max_cycles, streams[s, 0], 0.0, 0.0, prices)


@njit(cache=True)
def passed(front: Floats, through: Floats) -> Floats:
    """The cheapest ways to the widths behind a layer, (4, widths, directions).

    Args:
        front: the cheapest ways to the widths before it, the same.
        through: those from each width before to each behind, (4, widths, widths, directions).
    """
    _, n_before, n_behind, n_directions = through.shape
    out = np.full((4, n_behind, n_directions), np.inf)
    for i in range(n_before):
        for j in range(n_behind):
            for k in range(n_directions):
                score = front[0, i, k] + through[0, i, j, k]
                if score < out[0, j, k]:
                    for r in range(4):
                        out[r, j, k] = front[r, i, k] + through[r, i, j, k]
    return out


@njit(cache=True)
def follow(
    rows: Ints, offsets: Ints, costs: Floats, ends: Ints, streams: Floats, max_cycles: float, prices: Floats,
    used: Floats, at_set: int, at_width: int, k: int,
) -> Ints:  # fmt: skip
    """The rows and items of the cheapest way from a width to the end, as `sweep` went backwards, in direction k.

    Returns:
        (steps, 2): row, and the option or the width entered.
    """
    path = np.empty((rows.shape[0], 2), np.int64)
    n = 0
    final = offsets.shape[0] - 2
    while at_set != final:
        best, best_row, best_item, best_width = np.inf, -1, -1, -1
        for r in range(rows.shape[0] - 1, -1, -1):  # as `sweep` went, so that of ways that cost the same it is the same one
            if rows[r, 3] != at_set:
                continue
            first, last, dst = rows[r, 1], rows[r, 2], offsets[rows[r, 4]]
            if rows[r, 0] == STEP:
                for o in range(first, last):
                    if ends[o, 0] == at_width and costs[o, 0] <= max_cycles:
                        j = dst + ends[o, 1]
                        score = used[0, j, k] + costs[o, 1] + prices[0, k] * costs[o, 2] + prices[1, k] * costs[o, 3]
                        if score < best:
                            best, best_row, best_item, best_width = score, r, o, ends[o, 1]
            else:
                for b in range(last):
                    s = first + at_width * last + b
                    score = used[0, dst + b, k] + streams[s, 0]
                    if score < best and streams[s, 1] <= max_cycles:
                        best, best_row, best_item, best_width = score, r, b, b
        if best_row < 0:
            break
        path[n, 0], path[n, 1] = best_row, best_item
        n += 1
        at_set, at_width = rows[best_row, 4], best_width
    return path[:n]


@njit(cache=True)
def share(lut: float, bram18: float, dsp: float, limits: Floats) -> float:
    """The largest share of a limit; infinite where something is used of which there is none."""
    largest = 0.0
    for amount, limit in ((lut, limits[0]), (bram18, limits[1]), (dsp, limits[2])):
        if amount > 0:
            largest = max(largest, amount / limit if limit > 0 else np.inf)
    return largest


@njit(cache=True)
def _thinned(head: Ints, following: Ints, amounts: Floats, bounds: Floats, node: int, beam: int, slack: Floats) -> bool:
    """Leave a width's labels that no other is at least as good as in everything, and of those the most promising.

    Returns:
        Whether labels were left out that might lead to the best path.
    """
    n = 0
    label = head[node]
    while label >= 0:
        n += 1
        label = following[label]
    if n < 2:
        return False
    labels, promise = np.empty(n, np.int64), np.empty(n)
    label = head[node]
    for i in range(n):
        labels[i], promise[i] = label, bounds[label]
        label = following[label]
    kept = np.empty(n, np.int64)
    m = 0
    left_out = False
    for i in np.argsort(promise, kind="mergesort"):
        label = labels[i]
        beaten = False
        for q in range(m):
            other = kept[q]
            if (
                amounts[other, 0] <= amounts[label, 0] + slack[0]
                and amounts[other, 1] <= amounts[label, 1] + slack[1]
                and amounts[other, 2] <= amounts[label, 2] + slack[2]
            ):
                beaten = True
                break
        if beaten:
            left_out |= slack.max() > 0
            continue
        if m == beam:
            left_out = True
            break
        kept[m] = label
        m += 1
    head[node] = kept[0]
    for q in range(m):
        following[kept[q]] = kept[q + 1] if q + 1 < m else -1
    return left_out


@njit(cache=True)
def search(
    rows: Ints, offsets: Ints, costs: Floats, ends: Ints, streams: Floats, max_cycles: float, prices: Floats,
    used: Floats, limits: Floats, around: Floats, best: float, only_within: bool, beam: int,
    slack: Floats,
) -> tuple[int, float, int, int, int, Ints]:  # fmt: skip
    """Every path that the bounds do not rule out: the one with the smallest largest share of the limits.

    A path grows row by row, as a label at the width it has come to. Where more labels than `beam` come to a
    width the most promising are gone on with, and what is found is not known to be the best.

    Args:
        rows: this and what follows up to the prices see `sweep`.
        offsets: the same.
        costs: the same.
        ends: the same.
        streams: the same.
        max_cycles: the same.
        prices: the same.
        used: what `sweep` found backwards.
        limits: LUT, block RAM, DSP.
        around: of these, taken by what is not in the trellis.
        best: the share to be beaten.
        only_within: stop at the first path within the limits, and do not look for others.
        beam: see above.
        slack: LUT, block RAM and DSP within which two labels at a width are as good as each other; 0 for a proof.

    Returns:
        How it ended, the share, the label and the direction of the path found (-1 where `best` was not beaten),
        the label's width counted over all sets, and for every label its parent, row and item.
    """
    n_nodes = offsets[-1]
    head, following = np.full(n_nodes, -1), np.empty(MOST_LABELS, np.int64)
    amounts, origin = np.empty((MOST_LABELS, 3)), np.empty((MOST_LABELS, 3), np.int64)
    bounds = np.empty(MOST_LABELS)
    given_up = False
    totals = np.maximum(limits[0] + prices[0] * limits[1] + prices[1] * limits[2], 1e-9)
    done = np.zeros(offsets.shape[0], np.bool_)
    amounts[0] = 0.0
    origin[0] = -1
    head[0], following[0] = 0, -1
    n = 1
    found, found_k, found_node = -1, -1, -1
    for r in range(rows.shape[0]):
        kind, first, last = rows[r, 0], rows[r, 1], rows[r, 2]
        src, src_end, dst = offsets[rows[r, 3]], offsets[rows[r, 3] + 1], offsets[rows[r, 4]]
        if not done[rows[r, 3]]:
            done[rows[r, 3]] = True
            for node in range(src, src_end):
                given_up |= _thinned(head, following, amounts, bounds, node, beam, slack)
        n_items = last - first if kind == STEP else (src_end - src) * last
        for item in range(n_items):
            if kind == STEP:
                o = first + item
                if costs[o, 0] > max_cycles:
                    continue
                i, j, lut, bram18, dsp, name = src + ends[o, 0], dst + ends[o, 1], costs[o, 1], costs[o, 2], costs[o, 3], o
            else:
                if streams[first + item, 1] > max_cycles:
                    continue
                i, j, lut, bram18, dsp, name = (
                    src + item // last,
                    dst + item % last,
                    streams[first + item, 0],
                    0.0,
                    0.0,
                    item % last,
                )
            label = head[i]
            while label >= 0:
                a, b, c = amounts[label, 0] + lut, amounts[label, 1] + bram18, amounts[label, 2] + dsp
                ruled_out = False
                highest = 0.0
                for k in range(prices.shape[1]):
                    own = a + around[0] + prices[0, k] * (b + around[1]) + prices[1, k] * (c + around[2])
                    bound = (own + used[0, j, k]) / totals[k]
                    if (bound > 1 + 1e-12) if only_within else (bound >= best * (1 - 1e-9)):
                        ruled_out = True
                        break
                    highest = max(highest, bound)
                if not ruled_out:
                    if n == MOST_LABELS:
                        return GAVE_UP, best, found, found_k, found_node, origin[:n]
                    amounts[n, 0], amounts[n, 1], amounts[n, 2] = a, b, c
                    origin[n, 0], origin[n, 1], origin[n, 2] = label, r, name
                    following[n], head[j], bounds[n] = head[j], n, highest
                    for k in range(prices.shape[1]):
                        whole = share(
                            a + around[0] + used[1, j, k], b + around[1] + used[2, j, k], c + around[2] + used[3, j, k], limits
                        )
                        if whole < best:
                            best, found, found_k, found_node = whole, n, k, j
                    n += 1
                    if only_within and best <= 1:
                        return FOUND, best, found, found_k, found_node, origin[:n]
                label = following[label]
    return GAVE_UP if given_up else EXHAUSTED, best, found, found_k, found_node, origin[:n]


@njit(cache=True)
def within(front: Floats, rest: Floats, prices: Floats, limits: Floats, largest: Floats) -> None:
    """For every choice of what follows, the smallest largest share of the limits over the directions.

    In each direction the cheapest way over all widths is taken, so that a choice that was within the limits
    stays so when the way it was found with is followed.

    Args:
        front: (4, widths, directions): ways from the start to the widths.
        rest: (choices, 4, widths, directions): ways from the widths to the end.
        prices: (2, directions).
        limits: LUT, block RAM, DSP.
        largest: (choices, directions): filled in.
    """
    for c in range(rest.shape[0]):
        for k in range(prices.shape[1]):
            best, at = np.inf, -1
            for w in range(front.shape[1]):
                score = front[0, w, k] + rest[c, 0, w, k]
                if score < best:
                    best, at = score, w
            largest[c, k] = np.inf
            if at >= 0:
                largest[c, k] = share(
                    front[1, at, k] + rest[c, 1, at, k], front[2, at, k] + rest[c, 2, at, k],
                    front[3, at, k] + rest[c, 3, at, k], limits,
                )  # fmt: skip
