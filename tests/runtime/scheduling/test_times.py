"""Measured times, and the batch size that follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saccade.runtime.scheduling.times import Times


def settle(times, seconds_of, waiting, runs=200):
    """Run what `best` says, over and over; the sizes it came to."""
    sizes = []
    for _ in range(runs):
        size = times.best(waiting)
        times.add(size, seconds_of(size))
        sizes.append(size)
    return sizes


@pytest.mark.parametrize(
    ("seconds_of", "size"),
    [
        (lambda rows: 0.010 + 0.001 * rows, 32),  # much the same for many: merge all
        (lambda rows: 0.100 * rows, 1),  # nothing gained: the first would wait for the last
        (lambda rows: 0.100 * rows if rows <= 4 else 0.2 * rows, 1),
        (lambda rows: 0.06 + 0.04 * rows if rows <= 4 else 0.15 * rows, 4),  # a cache that overflows
        (lambda rows: 0.0001 * rows + (0.0005 if rows > 1 else 0), 1),
        (lambda rows: 0.00002 * rows + (0.0001 if 1 < rows <= 4 else 0.00004), 32),  # two do not pay, many do
    ],
)
def test_it_comes_to_the_size_that_takes_least_a_row(seconds_of, size):
    sizes = settle(Times(32), seconds_of, 100)
    assert sizes[-20:].count(size) >= 18
    slower = [s for s in sizes[40:] if seconds_of(s) / s > 1.05 * seconds_of(1)]
    assert len(slower) <= len(sizes) // 40  # a size that did not pay is tried again now and then


@pytest.mark.parametrize("alone", [3, 6, 8, 20, 40])
def test_calls_of_several_rows_merge_as_well(alone):
    """Nothing smaller than one call can be run, so nothing smaller need be known."""
    times, taken = Times(32), []
    for _ in range(100):
        want = times.best(1000, alone)
        rows = max(alone, want // alone * alone)  # whole calls
        times.add(rows, 0.01 + 0.001 * rows)
        taken.append(rows)
    assert taken[-1] == max(alone, 32 // alone * alone)


def test_a_size_that_did_not_pay_is_tried_again():
    times = Times(32)
    settle(times, lambda rows: 0.1 * rows, 100)
    assert max(settle(times, lambda rows: 0.1 + 0.001 * rows, 100, 400)) == 32


@given(st.integers(1, 100), st.integers(1, 70))
def test_never_more_than_wait_nor_than_the_cap(waiting, cap):
    times = Times(cap)
    for _ in range(20):
        size = times.best(waiting)
        assert 1 <= size <= min(waiting, cap)
        times.add(size, 0.001)


def test_a_failed_size_is_not_tried_again():
    times = Times(32)
    settle(times, lambda rows: 0.01, 100)
    times.fail(32)
    assert max(settle(times, lambda rows: 0.01, 100)) == 16
    times.fail(1)
    assert times.best(100) == 1


def test_what_to_expect():
    times = Times(8)
    assert times.expected(1) is None
    times.add(2, 0.5)  # the first run touches memory
    times.add(2, 0.2)
    for rows, seconds in ((2, 0.2), (1, 0.1), (4, 0.4), (64, 6.4)):
        least, safe = times.expected(rows)
        assert least == pytest.approx(seconds)
        assert safe >= least
    for _ in range(50):
        times.add(1, 0.05)
        times.add(1, 0.15)
    least, safe = times.expected(1)
    assert 0.045 <= least <= 0.06
    assert safe > 0.15
    times.add(100, 1.0)  # a call larger than any level: not an error
