"""Resources form an ordered sum; a board's shares are honest at zero."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boards.board import Resources

counts = st.integers(0, 10**6)
resources = st.builds(Resources, counts, counts, counts, counts)


@given(resources, resources, resources)
def test_addition_is_a_sum_count_by_count(a: Resources, b: Resources, c: Resources) -> None:
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Resources() == a
    assert (a + b).lut == a.lut + b.lut
    assert (a + b).ff == a.ff + b.ff
    assert (a + b).bram18 == a.bram18 + b.bram18
    assert (a + b).dsp == a.dsp + b.dsp


@given(resources, resources, resources)
def test_order_is_partial_and_agrees_with_addition(a: Resources, b: Resources, c: Resources) -> None:
    assert a <= a
    assert a <= a + b
    if a <= b:
        assert a + c <= b + c
        if b <= a:
            assert a == b
        if b <= c:
            assert a <= c


def test_one_count_too_many_does_not_fit() -> None:
    capacity = Resources(10, 10, 10, 10)
    for over in (Resources(11), Resources(0, 11), Resources(0, 0, 11), Resources(0, 0, 0, 11)):
        assert not over <= capacity
        assert not capacity <= over  # neither fits the other: the order is partial
    assert Resources(10, 10, 10, 10) <= capacity


@given(resources, resources)
def test_fits_exactly_where_no_share_exceeds_one(used: Resources, capacity: Resources) -> None:
    assert (used <= capacity) == all(share <= 1 for share in used.share_of(capacity).values())


def test_share_of_each_resource() -> None:
    shares = Resources(lut=50, ff=30, bram18=7).share_of(Resources(lut=100, ff=40, bram18=28, dsp=5))
    assert shares == {"lut": 0.5, "ff": 0.75, "bram18": 0.25, "dsp": 0.0}


def test_share_of_what_is_not_there() -> None:
    assert Resources(dsp=1).share_of(Resources())["dsp"] == math.inf
    assert Resources().share_of(Resources()) == {"lut": 0.0, "ff": 0.0, "bram18": 0.0, "dsp": 0.0}


@given(resources, resources)
def test_scarcest_is_the_largest_share(used: Resources, capacity: Resources) -> None:
    name, share = used.scarcest(capacity)
    shares = used.share_of(capacity)
    assert shares[name] == share == max(shares.values())


def test_resources_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Resources().lut = 1  # type: ignore[misc]
