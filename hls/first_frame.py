"""Cycles of the first frame, from the paces of the nodes: `first_frame`.

FINN adds up the cycles of the nodes of the longest path, as if each began when the one before it had finished a whole frame
(`hls.types.Estimate.finn_latency_cycles`). In truth a convolution begins as soon as its first window is there. Here every
vector of every node has two times, that of its first word and that of its last one, each as early as it can be: a vector
is handed on when what it follows from has come, and when the node is done with the vector before it. FIFOs hold everything.

Exact is, but for a few cycles a node, in which order vectors wait for each other: for windows, strides, borders, pools, sums
over a frame, and streams that fork and join, of which a sum waits for the later one. Approximate are: words within a vector,
which are taken to come evenly; width converters, which delay the first word until enough elements are there, and the last by
the words still to be written; the registers of each node. What FIFOs that are too shallow cost is not in it, nor a
host that gives less than a word a cycle.

Held against RTL simulated with FIFOs that hold everything (`python -m benchmarks.latency_model`, and for some of them
tests/test_hls_first_frame.py): tfc, sfc, lfc, kws, lenet5, cnv, cnv:0.25, mobilenet:0.25, resnet8:0.25 and resnet20:0.25 of
benchmarks/measured/sim.jsonl, with units HLS and RTL and thresholds merged and apart. No board was ever asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

import numpy as np
from numba import njit

from hls.kernels import Floats, Ints
from hls.pace import Pace

FIFO_CYCLES, CONVERTER_CYCLES = 2, 1  # from in to out; around a converter there are two FIFOs (finn-rtllib/fifo, dwc)


def first_frame(paces: Sequence[Pace | None], sources: Sequence[Sequence[int]]) -> int | None:
    """Cycles from the first word of the first frame to its last answer, with a word a cycle from the host.

    None where the pace of a node is not known, or the vectors that a node reads are no whole number of those handed on to it.

    Args:
        paces: of the nodes, every one behind those it reads.
        sources: of every node, positions of those it reads; none for the host.
    """
    known = [p for p in paces if p is not None]
    if len(known) < len(paces):
        return None
    n_read, n_handed_on = [prod(p.reads_grid) for p in known], [prod(p.hands_on_grid) for p in known]
    if any(n_handed_on[s] % n for n, of_node in zip(n_read, sources, strict=True) for s in of_node):
        return None
    facts = np.array([_facts(p) for p in known], np.int64)
    begins, edges = (np.cumsum([0, *counts], dtype=np.int64) for counts in (n_handed_on, map(len, sources)))
    return ceil(_last_word(facts, begins, edges, np.array([s for of_node in sources for s in of_node], np.int64)))


def _facts(p: Pace) -> tuple[int, ...]:
    burst = -1 if p.burst is None else p.burst
    return (
        *p.reads_grid, *p.hands_on_grid, *p.window, *p.stride, *p.border, p.reads, p.hands_on, p.words, p.elements, p.cycles,
        p.behind_last, p.behind_first, p.lead, burst, p.latency,
    )  # fmt: skip


@njit(cache=True)
def _last_word(facts: Ints, begins: Ints, edges: Ints, read: Ints) -> float:
    """When the last node hands on its last word.

    Args:
        facts: (nodes, 20), see `_facts`.
        begins: (nodes + 1): where the vectors of each begin, counted over all.
        edges: (nodes + 1): where what each reads begins in `read`.
        read: nodes.
    """
    first, last = np.empty(begins[-1]), np.empty(begins[-1])
    most = 0
    for i in range(facts.shape[0]):
        most = max(most, facts[i, 0] * facts[i, 1])
    in_first, in_last = np.empty(most), np.empty(most)
    for i in range(facts.shape[0]):
        n = facts[i, 0] * facts[i, 1]
        if edges[i] == edges[i + 1]:
            for v in range(n):
                in_first[v] = v * facts[i, 12] + 1
                in_last[v] = (v + 1) * facts[i, 12]
        else:
            in_first[:n] = 0.0
            in_last[:n] = 0.0
        for e in range(edges[i], edges[i + 1]):
            s = read[e]
            _arrive(first[begins[s] : begins[s + 1]], last[begins[s] : begins[s + 1]], facts[s], facts[i], in_first, in_last)
        _hand_on(facts[i], in_first, in_last, first[begins[i] : begins[i + 1]], last[begins[i] : begins[i + 1]])
    return float(last[-1])


@njit(cache=True)
def _arrive(first: Floats, last: Floats, source: Ints, reader: Ints, in_first: Floats, in_last: Floats) -> None:
    """Bring what a node hands on to one that reads it, through FIFOs and a converter; the later of all it reads counts."""
    hands_on, reads, elements = source[11], reader[10], source[13]
    n, n_read = len(first), reader[0] * reader[1]
    together = n // n_read  # vectors that are one for the reader
    delay, cycles, waits, rest = float(FIFO_CYCLES), 0.0, 0.0, 0.0
    if hands_on != reads:
        common, other = hands_on, reads
        while other:
            common, other = other, common % other
        delay += FIFO_CYCLES + CONVERTER_CYCLES
        cycles = elements * ((hands_on + reads) // common - 1) / (hands_on * (reads // common))
        if reads > hands_on:  # a word is there with the last of its elements
            waits = min(1.0, (reads - hands_on) / max(elements - hands_on, 1))
        rest = max(hands_on // reads - 1, 0)
    done = 0.0
    for v in range(n):
        here, end = first[v], last[v]
        if hands_on != reads:
            here += waits * (end - here)
            end = max(end + rest, here + cycles - 1)
            if v:
                here, end = max(here, done + 1), max(end, done + cycles)
            done = end
        if v % together == 0:
            in_first[v // together] = max(in_first[v // together], here + delay)
        if v % together == together - 1:
            in_last[v // together] = max(in_last[v // together], end + delay)


@njit(cache=True)
def _hand_on(node: Ints, in_first: Floats, in_last: Floats, first: Floats, last: Floats) -> None:
    """The times of the vectors that a node hands on."""
    rows, columns, out_columns = node[0], node[1], node[3]
    cycles, behind_last, behind_first, lead, burst, latency = node[14], node[15], node[16], node[17], node[18], node[19]
    done = -np.inf
    for v in range(len(first)):
        row, column = v // out_columns * node[6] - node[8], v % out_columns * node[7] - node[9]
        row_end, column_end = row + node[4] - 1, column + node[5] - 1
        begin, end = 1.0, 0.0
        if row >= 0 and row_end < rows and column >= 0 and column_end < columns:
            begin = in_first[row * columns + column]
            final = row_end * columns + column_end
            end = in_last[final] + behind_last
            if behind_first:
                end = max(end, in_first[final] + behind_first)
        end = max(end, begin + cycles - 1, done + cycles)
        first[v] = (end - burst if burst >= 0 else max(begin, done + 1) + lead) + latency
        last[v] = end + latency
        done = end
