"""Random traffic on a simulated clock: every request ends once, with its own answer; nobody starves; order holds."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.runtime.call import All, Call, Work
from saccade.runtime.errors import DeadlineExceeded, EngineError, QueueFull, Superseded
from tests.runtime.scheduling.conftest import World, ask, expected, handle

POISON = 13.0
GRAPHS = (handle("one"), handle("two"))


@dataclass
class Sent:
    """What is known of a request from outside."""

    value: float
    kind: str
    future: object
    ends: list
    closed: list
    stream: str = ""
    sent: float = 0.0


def call(graph, value, rows=1):
    return Call(GRAPHS[graph], {"x": np.full((rows, 2), value, np.float32)})


def first(outputs):
    return float(outputs["y"][0, 0])


def twice(value):
    return first((yield call(1, value)))


def chain(value):
    value = first((yield call(0, value)))
    return first((yield call(1, (yield Work(lambda: value)))))


def several(value):
    a, b, c, d = yield All(call(0, value), twice(value), Work(float, value), All(call(1, value, rows=2), twice(value)))
    return (yield from twice(first(a) + b + c + first(d[0]) + d[1]))


def careful(value):
    try:
        return first((yield call(0, POISON)))
    except EngineError:
        return first((yield call(0, value)))


def poisoned(value):
    yield call(1, value)
    yield All(call(0, POISON), twice(value))


def shared(value):
    x = np.full((1, 2), value % 3, np.float32)
    out = yield Call(GRAPHS[0], {"x": x}, key=x.tobytes)
    return first(out) - expected(value % 3) + value


KINDS = {
    "once": (twice, expected),
    "chain": (chain, lambda v: expected(v, 2)),
    "several": (several, lambda v: expected(4 * expected(v) + v)),
    "careful": (careful, expected),
    "poisoned": (poisoned, None),
    "shared": (shared, lambda v: v),
}

PLAN = st.lists(
    st.fixed_dictionaries(
        {
            "gap": st.sampled_from([0.0, 0.0, 0.001, 0.004, 0.03]),
            "kind": st.sampled_from(sorted(KINDS)),
            "priority": st.integers(-1, 2),
            "deadline_ms": st.sampled_from([None, None, None, 2.0, 15.0, 60.0]),
            "stream": st.sampled_from(["", "", "", "a", "b"]),
            "cancel": st.sampled_from([None, None, None, 0.0, 0.005, 0.02]),
        }
    ),
    max_size=40,
)
POLICY = st.fixed_dictionaries(
    {
        "merge": st.booleans(),
        "max_batch": st.sampled_from([1, 3, 32]),
        "max_delay_ms": st.sampled_from([0.0, 3.0]),
        "max_open": st.sampled_from([4, 1000]),
        "workers": st.sampled_from([1, 2]),
    }
)


def watched(pipeline, closed):
    """A pipeline that notes when it is closed or ends."""
    try:
        return (yield from pipeline)
    finally:
        closed.append(True)


def fault(inputs):
    if (inputs["x"] == POISON).any():
        raise EngineError("[fake] poisoned", hint="h")


def play(world, scheduler, plan):
    """Send what the plan says, when it says; everything there is to know of each request, and how many were refused."""
    sent, refused, now = [], [0], 0.0
    for number, step in enumerate(plan):
        now += step["gap"]
        world.at(now, lambda step=step, number=number: send(step, number))

    def send(step, number):
        value, closed, ends = float(number + 20), [], []
        # A stream belongs to one method: `watched` here.
        made = watched(KINDS[step["kind"]][0](value), closed)
        try:
            future = scheduler.submit(
                made, priority=step["priority"], deadline_ms=step["deadline_ms"], stream=step["stream"]
            )
        except QueueFull:
            refused[0] += 1
            return
        future.add_done_callback(lambda f: ends.append(world.now))
        sent.append(Sent(value, step["kind"], future, ends, closed, step["stream"], world.now))
        if step["cancel"] is not None:
            world.at(world.now + step["cancel"], future.cancel)

    world.run(scheduler)
    return sent, refused[0]


@settings(max_examples=60, deadline=None)
@given(PLAN, POLICY)
def test_every_request_ends_once_and_with_its_own_answer(plan, policy):
    world = World()
    world.fault = fault
    world.service = lambda rows: 0.004 + 0.001 * rows
    scheduler = world.scheduler(**policy)
    sent, refused = play(world, scheduler, plan)
    seen = dict.fromkeys(("result", "error", "cancelled", "superseded", "expired"), 0)
    for one in sent:
        assert len(one.ends) == 1
        how = one.future.ended
        seen[how] += 1
        if one.closed or how == "result":
            assert one.closed == [True]  # a pipeline that has begun is closed, once
        if how == "result":
            assert one.future.result(0) == KINDS[one.kind][1](one.value)
        elif how == "error":
            assert one.kind == "poisoned"
            with pytest.raises(EngineError, match="poisoned"):
                one.future.result(0)
        elif how == "cancelled":
            assert one.future.cancelled()
        else:
            with pytest.raises(Superseded if how == "superseded" else DeadlineExceeded):
                one.future.result(0)
    counts = scheduler.journal.counts()
    assert {how: counts[how] for how in seen} == seen
    assert (counts["sent"], counts["refused"], counts["open"]) == (len(sent), refused, 0)
    assert len(sent) + refused == len(plan)
    for lane in scheduler._board.lanes.values():
        assert lane.flights.empty
        assert all(group.line.count == group.line.rows == 0 for group in lane.groups)
    assert not scheduler._board.running
    if policy["merge"] is False or policy["max_batch"] == 1:
        assert all(rows <= 2 for _, rows in world.runs)  # calls of two rows are never cut


@settings(max_examples=30, deadline=None)
@given(PLAN)
def test_results_of_a_stream_come_in_order_and_are_fresh(plan):
    world = World()
    scheduler = world.scheduler()
    for step in plan:
        step.update(stream=step["stream"] or "c", deadline_ms=None, cancel=None, kind="once", priority=0)
    sent, _ = play(world, scheduler, plan)
    for stream in "abc":
        ends = [one.ends[0] for one in sent if one.stream == stream and one.future.ended == "result"]
        assert ends == sorted(ends)
        of_stream = [one for one in sent if one.stream == stream]
        assert not of_stream or of_stream[-1].future.ended == "result"  # the newest is always answered
        for one, newer in pairwise(of_stream):
            assert one.future.ended in ("result", "superseded")
            if one.future.ended == "superseded":
                assert one.ends[0] == newer.sent  # told at once


@pytest.mark.parametrize("merge", [True, False])
def test_nobody_starves_while_urgent_requests_saturate(world, merge):
    world.service = lambda rows: 0.01 * rows
    scheduler = world.scheduler(merge=merge, patience_ms=100, max_open=10_000)
    slow, urgent, ends = [], [], {}

    def send(priority, into):
        future = scheduler.submit(ask(GRAPHS[0], 1.0), priority=priority)
        into.append((world.now, future))
        future.add_done_callback(lambda f: ends.setdefault(f.number, world.now))

    for i in range(400):  # urgent ones alone need all the time there is
        world.at(i * 0.01, lambda: send(0, urgent))
    for i in range(20):
        world.at(i * 0.1, lambda: send(1, slow))
    world.run(scheduler)
    waits = [ends[f.number] - sent for sent, f in slow]
    assert max(waits) < 1.0  # the worth of a step, and the backlog before it
    first_urgent = [ends[f.number] - sent for sent, f in urgent[:10]]
    assert max(first_urgent) <= (
        0.05 if merge else 0.021
    )  # nobody of lower priority came before, but the run under way


def test_streams_take_turns_whatever_their_rate(world):
    world.service = lambda rows: 0.01 * rows
    scheduler = world.scheduler(merge=False)
    done = {"fast": 0, "slow": 0, "slower": 0}

    def send(name):
        future = scheduler.submit(ask(GRAPHS[0], 1.0), stream=name)
        future.add_done_callback(lambda f: done.update({name: done[name] + (f.exception() is None)}))

    for name, rate in (("fast", 500), ("slow", 100), ("slower", 70)):
        for i in range(2 * rate):
            world.at(i / rate, lambda name=name: send(name))
    world.run(scheduler)
    assert max(done.values()) - min(done.values()) <= 3
    assert sum(done.values()) >= 198  # and the engine was never idle


def test_earliest_deadline_first_within_a_priority(world):
    order = []
    scheduler = world.scheduler(merge=False)
    scheduler.submit(ask(GRAPHS[0], 0.0))  # something that runs while the others come

    def send():
        for name, priority, deadline_ms in (("d", 1, 500), ("c", 0, 900), ("b", 0, 700), ("a", -1, 800)):
            future = scheduler.submit(ask(GRAPHS[0], 1.0), priority=priority, deadline_ms=deadline_ms)
            future.add_done_callback(lambda f, name=name: order.append(name))

    world.at(0.001, send)
    world.run(scheduler)
    assert order == ["a", "b", "c", "d"]


def test_overload_keeps_the_engine_useful_and_the_queue_flat(world):
    """Twice what can be done, each due in 100 ms: as many in time as the engine can do, and none late."""
    world.service = lambda rows: 0.004 + 0.001 * rows  # 32 at once: 889/s
    scheduler = world.scheduler(max_open=100_000)
    most, late, futures = [0], [0], []

    def send():
        sent = world.now
        future = scheduler.submit(ask(GRAPHS[0], 1.0), deadline_ms=100)
        future.add_done_callback(
            lambda f: late.__setitem__(0, late[0] + (not f.exception() and world.now > sent + 0.1))
        )
        futures.append(future)
        most[0] = max(most[0], scheduler.journal.open)

    for i in range(6000):
        world.at(i / 1778, send)
    world.run(scheduler)
    good = sum(f.exception() is None for f in futures)
    assert good >= 0.95 * 889 * 6000 / 1778
    assert late == [0]
    assert most[0] <= 1778 * 0.1 + 64


@pytest.mark.parametrize("steps", range(9))
def test_cancel_at_each_yield(world, steps):
    """Cancelled after any number of turns: the pipeline is closed at once and once, and nothing of it stays."""
    scheduler, closed = world.scheduler(), []
    other = scheduler.submit(ask(GRAPHS[0], 5.0, stages=3))
    future = scheduler.submit(watched(several(3.0), closed))
    for _ in range(steps):
        scheduler.turn()
    ended = future.done()
    assert future.cancel() is (not ended)
    assert closed == [True]
    assert future.cancel() is (not ended)
    world.run(scheduler)
    assert other.result(0) == expected(5.0, 3)
    assert scheduler.journal.counts()["cancelled"] == (not ended)
