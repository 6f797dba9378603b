"""The first frame against simulations of RTL and against a reference word by word, and what width converters add."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import cache
from math import prod
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boards.board import Resources
from hls.first_frame import FIFO_CYCLES, first_frame
from hls.pace import Pace, converter_cycles
from hls.types import Estimate, NodeEstimate
from models.policy import BitPolicy

# Network, bits (None: of the policy drawn with the seed), frame rate its leanest folding is for; FINN's cycles of the first
# frame, those simulated with FIFOs that hold everything, and the simulated interval: benchmarks/measured/sim.jsonl.
SIMULATED = [
    ("tfc", 2, 20_000, 9_930, 9_778, 4_096),
    ("tfc", 1, 100_000, 2_522, 2_418, 784),
    ("lenet5", 2, 1_000, 239_793, 151_943, 86_400),
    pytest.param("kws", 4, 10_000, 23_724, 22_954, 8_192, marks=pytest.mark.slow),
    pytest.param("cnv:0.25", 2, 1_000, 618_826, 221_966, 82_944, marks=pytest.mark.slow),
    pytest.param("mobilenet:0.25", 4, 500, 786_987, 133_773, 110_592, marks=pytest.mark.slow),
    pytest.param("resnet8:0.25", 4, 500, 1_359_491, 251_901, 196_608, marks=pytest.mark.slow),
]


@cache
def evaluator(model: str) -> Any:
    from flow.config import SearchSettings
    from flow.estimation import estimator_of
    from flow.progress import SilentListener

    return estimator_of(SearchSettings(model=model), SilentListener())


@pytest.mark.parametrize(("model", "bits", "fps", "finn", "latency", "interval"), SIMULATED)
def test_the_first_frame_is_what_was_simulated(
    model: str, bits: int, fps: float, finn: int, latency: int, interval: int
) -> None:
    from flow.estimation import estimate_policy

    estimate = estimate_policy(evaluator(model), BitPolicy.uniform(evaluator(model).specs, bits, bits), fps)
    assert estimate.finn_latency_cycles == finn  # else it is another design than the one that was simulated
    assert estimate.bottleneck_cycles == interval
    assert estimate.latency_cycles == pytest.approx(latency, rel=0.004)
    assert Estimate.from_dict(json.loads(json.dumps(estimate.to_dict()))).latency_cycles == estimate.latency_cycles


# --- against a reference that goes word by word -----------------------------------------------------------------------

Times = list[float]


def unit(vectors: int, words: int, folds: int) -> Pace:
    """A matrix unit that reads so many words a vector and computes so many rows one after the other."""
    behind = words * (folds - 1)
    return Pace((1, vectors), (1, vectors), 1, 1, words, folds, words * folds, behind, burst=behind)


def unit_times(p: Pace, read: Times) -> Times:
    out: Times = []
    done = 0.0
    for v in range(prod(p.reads_grid)):
        for word in read[v * p.words : (v + 1) * p.words]:
            done = max(word, done + 1)
        out += [done + n * p.words + p.latency for n in range(p.elements)]
        done += (p.elements - 1) * p.words
    return out


def window(size: int, channels: int, kernel: int, stride: int) -> Pace:
    out, words = (size - kernel) // stride + 1, kernel * kernel * channels
    return Pace(
        (size, size), (out, out), 1, 1, channels, words, words, 1, window=(kernel, kernel), stride=(stride, stride)
    )  # fmt: skip


def window_times(p: Pace, read: Times) -> Times:
    size, out, done = p.reads_grid[1], [], 0.0
    for row in range(p.hands_on_grid[0]):
        for column in range(p.hands_on_grid[1]):
            for i in range(p.window[0]):
                for j in range(p.window[1]):
                    pixel = (row * p.stride[0] + i) * size + column * p.stride[1] + j
                    for word in read[pixel * p.words : (pixel + 1) * p.words]:
                        done = max(word, done + 1)
                        out.append(done + p.latency)
    return out


def border(size: int, channels: int) -> Pace:
    return Pace((size, size), (size + 2, size + 2), 1, 1, channels, channels, channels, border=(1, 1))


def border_times(p: Pace, read: Times) -> Times:
    size, out, done, words = p.reads_grid[0], [], 0.0, iter(read)
    for row in range(-1, size + 1):
        for column in range(-1, size + 1):
            inside = 0 <= row < size and 0 <= column < size
            for _ in range(p.words):
                done = max(next(words) if inside else 0.0, done + 1)
                out.append(done + p.latency)
    return out


def reference(paces: list[Pace], rules: list[Any]) -> float:
    """The time of the last word, of a chain whose streams all have a word of one element."""
    n = prod(paces[0].reads_grid) * paces[0].words
    times: Times = [float(i + 1) for i in range(n)]
    for i, (pace, rule) in enumerate(zip(paces, rules, strict=True)):
        times = rule(pace, times if i == 0 else [t + FIFO_CYCLES for t in times])
    return times[-1]


def chain(paces: list[Pace]) -> int:
    found = first_frame(paces, [[i - 1] if i else [] for i in range(len(paces))])
    assert found is not None
    return found


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[list[Pace], list[Any]]:
    """Padding, windows and units one behind the other."""
    size, channels = draw(st.integers(3, 9)), draw(st.integers(1, 3))
    paces: list[Pace] = []
    rules: list[Any] = []
    for _ in range(draw(st.integers(1, 3))):
        if size < 3 or draw(st.booleans()):
            paces.append(border(size, channels))
            rules.append(border_times)
            size += 2
        kernel = draw(st.integers(1, min(3, size)))
        paces.append(window(size, channels, kernel, draw(st.integers(1, 2))))
        rules.append(window_times)
        size = paces[-1].hands_on_grid[0]
        folds = draw(st.integers(1, 6))
        paces.append(unit(size * size, paces[-1].elements, folds))
        rules.append(unit_times)
        channels = folds
        paces[-1] = replace(paces[-1], reads_grid=(size, size), hands_on_grid=(size, size))
    return paces, rules


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_vectors_wait_for_each_other_as_words_do(made: tuple[list[Pace], list[Any]]) -> None:
    """Within a vector words are taken to come evenly; but for that it is the reference."""
    paces, rules = made
    within = sum(p.words + p.elements for p in paces)
    assert chain(paces) == pytest.approx(reference(paces, rules), abs=within)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=5), st.integers(1, 20))
def test_one_vector_through_units_is_exact_where_words_come_evenly(folds: list[int], words: int) -> None:
    """Layers that are fully connected, each as slow as the one before or faster: its words come in one by one."""
    paces = [unit(1, words, folds[0])]
    for n in folds[1:]:
        paces.append(unit(1, paces[-1].elements, n))
    assert chain(paces) == reference(paces, [unit_times] * len(paces))


@settings(max_examples=30, deadline=None)
@given(convolutions(), st.data())
def test_a_slower_node_never_makes_the_first_frame_shorter(made: tuple[list[Pace], list[Any]], data: st.DataObject) -> None:
    paces, _ = made
    i = data.draw(st.integers(0, len(paces) - 1))
    slower = [*paces]
    slower[i] = replace(paces[i], cycles=paces[i].cycles + data.draw(st.integers(1, 50)))
    assert chain(paces) <= chain(slower)
    busy = [p.cycles * p.hands_on_grid[0] * p.hands_on_grid[1] for p in paces]
    assert (
        max(busy) <= chain(paces) <= sum(busy) + sum(p.words * p.reads_grid[0] * p.reads_grid[1] for p in paces) + 9 * len(busy)
    )


def test_a_sum_waits_for_the_later_branch() -> None:
    fork, fast, slow = border(4, 1), unit(36, 1, 1), unit(36, 1, 5)
    slow = replace(slow, elements=1)
    added = Pace((1, 36), (1, 36), 1, 1, 1, 1, 1)
    both = first_frame([fork, fast, slow, added], [[], [0], [0], [1, 2]])
    assert both == first_frame([fork, slow, added], [[], [0], [1]])
    assert first_frame([fork, fast, added], [[], [0], [1]]) < both  # type: ignore[operator]


def test_what_is_not_known_is_said() -> None:
    one, two = unit(2, 1, 1), unit(3, 1, 1)
    assert first_frame([one, None], [[], [0]]) is None
    assert first_frame([one, two], [[], [0]]) is None  # three vectors are not made of two
    nodes = (
        NodeEstimate("a", "MVAU_hls", "a", 10, Resources(), {}, (), one),
        NodeEstimate("b", "Odd_hls", "b", 20, Resources(), {}, ("a",)),
    )
    estimate = Estimate(nodes, 100.0, "made up")
    assert not estimate.has_paces
    assert estimate.latency_cycles == estimate.finn_latency_cycles == 30
    known = replace(estimate, nodes=(nodes[0], replace(nodes[1], pace=one)))
    assert known.has_paces
    assert known.latency_cycles < 30 == known.finn_latency_cycles


# --- width converters -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("elements", "hands_on", "reads", "cycles"),
    [
        (784 * 576, 8, 9, 100_352),  # in front of the second convolution of CNV: docs/upstream/width-converter-rate.md
        (72, 8, 9, 16),
        (72, 9, 8, 16),
        (24, 2, 8, 12),
        (24, 8, 2, 12),
        (24, 4, 4, 0),
        (6, 2, 3, 4),
    ],
)
def test_what_a_width_converter_takes(elements: int, hands_on: int, reads: int, cycles: int) -> None:
    assert converter_cycles(elements, hands_on, reads) == cycles


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 30))
def test_a_converter_takes_at_least_the_words_of_either_side_and_less_than_both(blocks: int, a: int, b: int) -> None:
    n, found = blocks * a * b, converter_cycles(blocks * a * b, a, b)
    assert found == converter_cycles(n, b, a)
    assert found == 0 if a == b else n // min(a, b) <= found < n // a + n // b


def test_a_converter_may_be_what_limits_the_frame_rate() -> None:
    first = Pace((1, 1), (1, 1), 8, 8, 9, 72, 9)
    second = Pace((1, 1), (1, 1), 9, 9, 8, 72, 9)
    nodes = (
        NodeEstimate("a", "MVAU_hls", "one", 9, Resources(), {}, (), first),
        NodeEstimate("b", "MVAU_hls", "two", 9, Resources(), {}, ("a",), second),
    )
    found = Estimate(nodes, 100.0, "made up")
    assert found.converters == {("a", "b"): 16}
    assert (found.finn_bottleneck_cycles, found.bottleneck_cycles, found.fps) == (9, 16, 100e6 / 16)
    assert found.cycles_per_layer() == {"one": 9, "two": 16}
    assert replace(found, nodes=(nodes[0], replace(nodes[1], pace=None))).bottleneck_cycles == 9


# --- as files ---------------------------------------------------------------------------------------------------------


WRONG = (
    {"words": 0}, {"reads": 1.5}, {"window": [3]}, {"latency": -2}, {"stride": [0, 1]}, {"cycles": True},
    {"reads_grid": [1 << 20, 1 << 20]}, {"burst": 1 << 50}, {"colour": 1},
)  # fmt: skip


@pytest.mark.parametrize("changed", WRONG)
def test_what_is_no_pace_is_refused(changed: dict[str, Any]) -> None:
    good = json.loads(json.dumps(asdict(window(5, 2, 3, 1))))
    assert Pace.from_dict(good) == window(5, 2, 3, 1)
    with pytest.raises((ValueError, TypeError)):
        Pace.from_dict({**good, **changed})
