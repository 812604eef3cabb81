"""A line keeps order by rank, then number, whatever comes, goes and overtakes."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from saccade.runtime.scheduling.line import Line


def item(rank, number, rows=1):
    return SimpleNamespace(rank=rank, number=number, rows=rows, dead=False, taken=False)


def emptied(line):
    out = []
    while (head := line.pop()) is not None:
        out.append((head.rank, head.number))
    return out


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans())))
def test_order_is_by_rank_then_number(plan):
    line, alive = Line(), []
    for number, (rank, dies) in enumerate(plan):
        made = item(rank, number, rows=1 + number % 3)
        line.push(made)
        if dies:
            line.drop(made)
        else:
            alive.append(made)
    assert line.count == len(alive)
    assert line.rows == sum(i.rows for i in alive)
    assert emptied(line) == sorted((i.rank, i.number) for i in alive)
    assert line.count == line.rows == 0
    assert line.pop() is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1), st.integers(1, 9))
def test_take_fills_up_to_what_is_wanted_and_takes_at_least_one(plan, want):
    line = Line()
    for number, (rank, rows) in enumerate(plan):
        line.push(item(rank, number, rows))
    order, seen = sorted((rank, number) for number, (rank, _) in enumerate(plan)), []
    while line.count:
        batch = []
        line.take(want, batch)
        assert len(batch) == 1 or sum(i.rows for i in batch) <= want
        following = line.head()
        assert following is None or sum(i.rows for i in batch) + following.rows > want
        seen += [(i.rank, i.number) for i in batch]
    assert seen == order


def test_take_adds_to_a_batch_that_has_begun():
    line = Line()
    for number in range(5):
        line.push(item(0, number))
    batch = [line.pop()]
    line.take(3, batch)
    assert [i.number for i in batch] == [0, 1, 2]


def test_one_that_waits_may_be_let_forward_and_is_taken_once():
    line = Line()
    items = [item(10 + number, number) for number in range(4)]
    for one in items:
        line.push(one)
    line.promote(items[3], 1, 9)
    assert line.pop() is items[3]
    assert emptied(line) == [(10, 0), (11, 1), (12, 2)]


def test_those_that_were_dropped_do_not_pile_up():
    line = Line()
    kept = item(0, 0)
    line.push(kept)
    for number in range(1, 10_000):
        made = item(number % 7, number)
        line.push(made)
        line.drop(made)
    assert len(line._queue) + len(line._heap) < 300
    assert emptied(line) == [(0, 0)]
