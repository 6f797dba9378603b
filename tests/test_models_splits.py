"""Splits: a partition, every class in its share, groups whole, the same on every machine."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from models.data import SPLIT_SEED
from models.splits import class_quotas, grouped_split, stratified_split

seeds = st.integers(0, 2**32 - 1)
counts = st.lists(st.integers(1, 40), min_size=1, max_size=8).map(np.array)
label_lists = st.lists(st.integers(0, 4), min_size=2, max_size=120).map(lambda y: np.array(y, np.uint8))


def is_partition(n: int, kept: np.ndarray, held: np.ndarray) -> bool:
    return sorted([*kept, *held]) == list(range(n))


# --- by classes --------------------------------------------------------------------------------------------------


@given(counts, st.data())
def test_quotas_are_the_exact_shares_rounded_to_a_neighbour(n_per_class: np.ndarray, draw: st.DataObject) -> None:
    n = int(n_per_class.sum())
    n_held = draw.draw(st.integers(0, n))
    quotas = class_quotas(n_per_class, n_held)
    assert (abs(quotas * n - n_held * n_per_class) < n).all()  # within one image
    assert abs(int(quotas.sum()) - n_held) < len(n_per_class)
    if 0 < n_held < n:
        assert (quotas[n_per_class > 1] > 0).all()
        assert (quotas < n_per_class).all()


@given(st.lists(st.integers(20, 40), min_size=1, max_size=8).map(np.array), st.floats(0.1, 0.9))
def test_quotas_of_classes_that_are_not_rare_add_up(n_per_class: np.ndarray, share: float) -> None:
    n_held = round(share * int(n_per_class.sum()))
    assert class_quotas(n_per_class, n_held).sum() == n_held


def test_quotas_by_hand() -> None:
    # Shares of 7 among 10, 20, 5: 2, 4, 1. Of 8: 2.29, 4.57, 1.14; the largest remainder is the second's.
    assert class_quotas(np.array([10, 20, 5]), 7).tolist() == [2, 4, 1]
    assert class_quotas(np.array([10, 20, 5]), 8).tolist() == [2, 5, 1]
    assert class_quotas(np.array([10, 10]), 3).tolist() == [2, 1]  # equal remainders: by label
    assert class_quotas(np.array([90, 2, 1]), 3).tolist() == [2, 1, 0]  # one of the rare, none of the single
    assert class_quotas(np.array([5, 5]), 0).tolist() == [0, 0]
    assert class_quotas(np.array([5, 5]), 10).tolist() == [5, 5]


@given(label_lists, st.data(), seeds)
def test_a_stratified_split_is_a_partition_with_every_class_in_its_share(y: np.ndarray, draw: st.DataObject, seed: int) -> None:
    n_held = draw.draw(st.integers(0, len(y)))
    kept, held = stratified_split(y, n_held, seed)
    assert is_partition(len(y), kept, held)
    for label, count in zip(*np.unique(y, return_counts=True), strict=True):
        assert abs(np.count_nonzero(y[held] == label) - n_held * count / len(y)) < 1
    again = stratified_split(y.astype(np.int64), n_held, seed)
    assert np.array_equal(kept, again[0])
    assert np.array_equal(held, again[1])


@given(label_lists, seeds, st.integers(0, 5))
def test_one_more_image_or_class_is_no_harm(y: np.ndarray, seed: int, label: int) -> None:
    more = np.append(y, np.uint8(label))
    kept, held = stratified_split(more, len(more) // 3, seed)
    assert is_partition(len(more), kept, held)


def test_splits_of_sorted_labels_are_fair_in_every_prefix() -> None:
    y = np.repeat(np.arange(10), 600)
    kept, held = stratified_split(y, 1000, SPLIT_SEED)
    assert np.bincount(y[held]).tolist() == [100] * 10
    for part in (kept, held):
        for n in (500, 1000):
            assert np.bincount(y[part[:n]], minlength=10).min() > 0.6 * n / 10
            assert np.bincount(y[part[:n]], minlength=10).max() < 1.4 * n / 10


def test_the_split_of_a_data_set_never_changes() -> None:
    # Recorded with numpy 2.4.6: another split would put images that shipped weights were trained on into the search.
    kept, held = stratified_split(np.tile(np.arange(10, dtype=np.uint8), 5000), 5000, SPLIT_SEED)
    assert held[:5].tolist() == [45983, 29579, 43407, 34898, 21282]
    assert kept[:5].tolist() == [5290, 30021, 49345, 33518, 16978]


# --- by groups ---------------------------------------------------------------------------------------------------


@st.composite
def tracks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of one class each, at least two a class, shuffled."""
    sizes = draw(st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=9), min_size=1, max_size=4))
    y = np.concatenate([np.full(n, label) for label, groups in enumerate(sizes) for n in groups])
    group = np.repeat(np.arange(sum(map(len, sizes))), [n for groups in sizes for n in groups])
    order = np.random.default_rng(draw(seeds)).permutation(len(y))
    return y[order], group[order]


@given(tracks(), st.floats(0.05, 0.95), seeds)
def test_groups_never_straddle_and_every_class_is_on_both_sides(
    made: tuple[np.ndarray, np.ndarray], share: float, seed: int
) -> None:
    y, group = made
    n_held = max(1, round(share * len(y)))
    assume(n_held < len(y))
    kept, held = grouped_split(y, group, n_held, seed)
    assert is_partition(len(y), kept, held)
    assert not set(group[kept]) & set(group[held])
    assert set(y[kept]) == set(y[held]) == set(y)
    for label, count in zip(*np.unique(y, return_counts=True), strict=True):
        largest = np.bincount(group[y == label]).max()
        n_groups = len(np.unique(group[y == label]))
        if n_groups > 2:  # of two, one goes
            assert abs(np.count_nonzero(y[held] == label) - n_held * count / len(y)) <= 1 + largest
    # What groups are called says nothing but their order.
    again = grouped_split(y, np.array([f"track {g:04}" for g in group]), n_held, seed)
    assert np.array_equal(kept, again[0])
    assert np.array_equal(held, again[1])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 12)), min_size=1, max_size=80),
    st.data(),
    seeds,
)
def test_groups_of_several_classes_do_not_straddle_either(rows: list[tuple[int, int]], draw: st.DataObject, seed: int) -> None:
    y, group = np.array(rows).T
    kept, held = grouped_split(y, group, draw.draw(st.integers(0, len(y))), seed)
    assert is_partition(len(y), kept, held)
    assert not set(group[kept]) & set(group[held])
    assert set(y[kept]) == set(y)  # what is kept has every class


@given(tracks(), seeds)
def test_groups_are_left_for_another_split(made: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    y, group = made
    kept, _ = grouped_split(y, group, len(y) // 2, seed, n_left=2)
    for label in np.unique(y):
        assert len(np.unique(group[kept][y[kept] == label])) >= 2


def test_equal_tracks_are_held_out_in_their_share() -> None:
    y = np.repeat(np.arange(3), 1000)
    group = np.arange(3000) // 10
    _, held = grouped_split(y, group, 600, seed=1)
    assert np.bincount(y[held]).tolist() == [200, 200, 200]
    assert np.bincount(y[held[:150]]).min() > 30  # in random order
