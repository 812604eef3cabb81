"""Calls that share inputs run as one along their items: each gets what it would get alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.runtime.call import Call
from saccade.runtime.errors import EngineError
from saccade.runtime.spec import GraphSpec, Padding, TensorSpec
from tests.runtime.scheduling.conftest import World, handle

SPEC = GraphSpec(
    inputs=(
        TensorSpec("seen", "float32", ("B", 4)),
        TensorSpec("points", "float32", ("B", "P", "N")),
    ),
    outputs=(TensorSpec("each", "float32", ("B", "P", 2)), TensorSpec("sum", "float32", ("P", "B"))),
    batch="B",
    pads=(Padding("N", {"points": 0}), Padding("P", {"points": 0})),
    items="P",
)
G = handle("decoder", SPEC)


class Decoder:
    """An engine whose answer to each item depends on that item and on what is shared, and on nothing else."""

    def __init__(self, world):
        self.world, self.about, self.seen = world, {"precision": "fp32"}, []

    def __call__(self, *, seen, points):
        self.seen.append((len(seen), points.shape[1]))
        self.world.wait(self.world.service(seen, points))
        self.world.fault({"x": points})
        total = seen.sum(1)[:, None] * 10 + points.sum(2)
        return {"each": np.stack([total, -total], -1), "sum": np.ascontiguousarray(total.T)}


def scheduler_of(world, **policy):
    engine = Decoder(world)
    world.engine = lambda graph: engine
    world.service = lambda seen, points: 0.01 + 0.004 * len(seen) + 0.001 * points.shape[0] * points.shape[1]
    return world.scheduler(**policy), engine


def prompt(seen, value, count=1, tokens=2, rows=1):
    points = np.full((rows, count, tokens), value, np.float32) + np.arange(count, dtype=np.float32)[:, None]
    out = yield Call(G, {"seen": seen, "points": points})
    want = seen.sum(1)[:, None] * 10 + points.sum(2)
    np.testing.assert_array_equal(out["each"], np.stack([want, -want], -1))
    np.testing.assert_array_equal(out["sum"], want.T)
    assert out["each"].base is None or out["each"].flags.writeable
    return value


def picture(value):
    return np.full((1, 4), value, np.float32)


def test_users_of_one_picture_share_a_row(world):
    scheduler, engine = scheduler_of(world)
    seen = picture(1)
    made = [scheduler.submit(prompt(seen, float(n))) for n in range(64)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [float(n) for n in range(64)]
    assert all(rows == 1 for rows, _ in engine.seen)  # never a copy of what they share
    assert max(items for _, items in engine.seen) >= 16
    assert scheduler.journal.rows == 64


def test_users_of_other_pictures_meet_along_the_batch(world):
    scheduler, engine = scheduler_of(world)
    made = [scheduler.submit(prompt(picture(n), float(n))) for n in range(64)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [float(n) for n in range(64)]
    assert all(items == 1 for _, items in engine.seen)
    assert max(rows for rows, _ in engine.seen) >= 16


def test_equal_pictures_that_are_other_arrays_are_others(world):
    """By identity: equal content is for the cache to find, which gives the same arrays."""
    scheduler, engine = scheduler_of(world, max_batch=2)
    for n in range(8):
        scheduler.submit(prompt(picture(1), float(n)))
    world.run(scheduler)
    assert all(items == 1 for _, items in engine.seen)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 3), st.integers(-1, 1), st.booleans()),
        max_size=40,
    ),
    st.fixed_dictionaries({"max_batch": st.sampled_from([1, 3, 32]), "batches": st.sampled_from([(), (4,)])}),
)
def test_each_gets_its_own_whoever_is_beside_it(plan, policy):
    world = World()
    scheduler, engine = scheduler_of(world, **policy)
    pictures, made = [picture(n) for n in range(3)], []
    for number, (which, count, tokens, priority, cancel) in enumerate(plan):
        pipeline = prompt(pictures[which], float(number), count, tokens)
        future = scheduler.submit(pipeline, priority=priority, deadline_ms=None if number % 3 else 5000)
        made.append(future)
        if cancel:
            world.at(0.01 * (number % 4), future.cancel)
    world.run(scheduler)
    for number, future in enumerate(made):
        assert future.ended == "cancelled" or future.result(0) == float(number)
    if policy["batches"]:
        assert all(rows in (1, 4) for rows, _ in engine.seen)  # one shape a run: never joined
    for lane in scheduler._board.lanes.values():
        assert all(not group._mates and not group.line.count for group in lane.groups)  # nothing is kept


def test_joining_stops_where_it_does_not_pay(world):
    scheduler, engine = scheduler_of(world)
    world.service = lambda seen, points: 0.01 * points.shape[0] * points.shape[1] ** 2
    seen = picture(1)
    for n in range(200):
        scheduler.submit(prompt(seen, float(n)))
    world.run(scheduler)
    late = engine.seen[-50:]
    assert np.mean([items for _, items in late]) < 1.3


def test_merge_false_joins_nothing(world):
    scheduler, engine = scheduler_of(world, merge=False)
    seen = picture(1)
    for n in range(8):
        scheduler.submit(prompt(seen, float(n)))
    world.run(scheduler)
    assert engine.seen == [(1, 1)] * 8


def test_a_poisoned_prompt_fails_alone(world):
    scheduler, _ = scheduler_of(world)
    seen = picture(1)

    def fault(inputs):
        if (inputs["x"] == 33).any():
            raise EngineError("[fake] poisoned")

    world.fault = fault
    made = [scheduler.submit(prompt(seen, float(n))) for n in range(40)]
    world.run(scheduler)
    for n, future in enumerate(made):
        if n == 33:
            with pytest.raises(EngineError, match="poisoned"):
                future.result(0)
        else:
            assert future.result(0) == float(n)


def test_the_limits_of_the_items_hold(world):
    limited = GraphSpec(SPEC.inputs, SPEC.outputs, "B", SPEC.pads, {"P": (1, 6)}, "P")
    graph = handle("decoder", limited)
    scheduler, engine = scheduler_of(world)
    seen = picture(1)

    def ask():
        yield Call(graph, {"seen": seen, "points": np.zeros((1, 2, 2), np.float32)})

    for _ in range(40):
        scheduler.submit(ask())
    world.run(scheduler)
    assert max(items for _, items in engine.seen) == 6  # three calls of two each


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"items": "B"}, "batch axis"),
        ({"items": "N"}, "does not have N once"),
        ({"items": "Q"}, "in no input"),
        ({"items": "P", "inputs": SPEC.inputs[1:]}, "no input is without P"),
    ],
)
def test_items_that_mean_nothing_are_refused(change, says):
    fields = {"inputs": SPEC.inputs, "outputs": SPEC.outputs, "batch": "B", **change}
    with pytest.raises(ValueError, match=says):
        GraphSpec(**fields)
