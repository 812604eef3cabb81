"""What is shared and what never is: one question of one tenant runs once; other bytes, shapes, models, tenants miss.

serving.md rows S14 to S17 at library level.
"""

import threading
import time

import numpy as np
import pytest

import saccade
from saccade.runtime.cache import Cache
from saccade.runtime.call import Call
from saccade.runtime.errors import InputError
from saccade.runtime.memory import Memory
from saccade.runtime.scheduler import Scheduler
from saccade.runtime.spec import GraphSpec, TensorSpec
from tests.runtime.scheduling.conftest import World, ask, handle

FREE = GraphSpec((TensorSpec("x", "float32", ("B", "H", "W")),), (TensorSpec("y", "float32", ("B", "H", "W")),), "B")
G, OTHER = handle("g", FREE), handle("g", FREE)


def keyed(graph, x):
    return (yield Call(graph, {"x": x}, key=x.tobytes))["y"]


def rows(world):
    return sum(count for _, count in world.runs)


@pytest.fixture
def waiting():
    """A world whose engine is busy, so that what is submitted waits side by side; and its scheduler."""
    world = World()
    scheduler = world.scheduler(merge=False)
    yield world, scheduler
    scheduler.close(drain=False)


@pytest.mark.parametrize(
    ("other", "runs"),
    [
        ({}, 1),
        ({"tenant": "b"}, 2),
        ({"graph": OTHER}, 2),  # another version of the model
        ({"shape": (1, 3, 2)}, 2),  # 30 x 150 against 150 x 30 of the same bytes
        ({"value": 2.0}, 2),
    ],
)
def test_only_the_same_question_of_the_same_tenant_shares_a_run(waiting, other, runs):
    world, scheduler = waiting
    made = []
    for more in ({}, other, {}, other):
        x = np.full(more.get("shape", (1, 2, 3)), more.get("value", 1.0), np.float32)
        made.append(scheduler.submit(keyed(more.get("graph", G), x), tenant=more.get("tenant", "a")))
    world.run(scheduler)
    for future, more in zip(made, ({}, other, {}, other), strict=True):
        assert future.result(0).shape == more.get("shape", (1, 2, 3))
        assert (future.result(0) == more.get("value", 1.0) * 2 + 1).all()
    assert rows(world) == runs


def test_a_stream_is_its_tenants_own(waiting):
    world, scheduler = waiting
    g = handle()
    made = [scheduler.submit(ask(g, 1.0), stream="camera0", tenant=tenant) for tenant in ("a", "b", "a", "b")]
    world.run(scheduler)
    assert [f.ended for f in made] == ["superseded", "superseded", "result", "result"]


def test_a_tenant_is_a_name(waiting):
    with pytest.raises(InputError, match="tenant"):
        waiting[1].submit(keyed(G, np.zeros((1, 1, 1), np.float32)), tenant=7)


@pytest.fixture
def cached(clip_bundle):
    with saccade.load(clip_bundle, cache_bytes=1 << 20) as clip, Scheduler(clip) as scheduler:
        yield clip, scheduler


def test_a_models_cache_is_the_schedulers(cached, pictures):
    clip, scheduler = cached
    first = scheduler.submit(clip.pipeline.encode_image(pictures[0])).result(60)
    runs = scheduler.journal.runs
    for take in (
        lambda p: scheduler.submit(p).result(60),
        lambda p: scheduler.submit(p).result(),
        scheduler.call,
        clip.run,
    ):
        np.testing.assert_array_equal(take(clip.pipeline.encode_image(pictures[0])).vectors, first.vectors)
    assert scheduler.journal.runs == runs
    assert clip.cache.counts.hits == 4


@pytest.mark.parametrize("turn", range(3))
def test_identical_requests_at_once_and_later_run_once(cached, pictures, turn):
    clip, scheduler = cached
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(scheduler.submit(clip.pipeline.encode_image(pictures[1]))))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    vectors = [f.result(60).vectors for f in made]
    assert all((v == vectors[0]).all() for v in vectors)
    assert scheduler.journal.rows == 1


def test_another_tenant_sees_nothing_of_the_cache(cached, pictures):
    """Row S17: what A has asked is not to be told from how fast B is answered."""
    clip, scheduler = cached
    for tenant, want in (("a", 1), ("b", 2), ("a", 2), ("b", 2), ("", 3)):
        scheduler.submit(clip.pipeline.encode_image(pictures[0]), tenant=tenant).result(60)
        assert scheduler.journal.rows == want


def test_an_error_is_not_kept(world, clip_bundle):
    graph, cache = handle("g", FREE), Cache(1 << 20)
    world.fault = lambda inputs: {"y": inputs["x"] * np.nan}
    scheduler = world.scheduler()
    scheduler._board.caches[graph] = cache
    failed = scheduler.submit(keyed(graph, np.ones((1, 2, 2), np.float32)))
    world.run(scheduler)
    assert failed.ended == "error"
    assert cache.counts.entries == 0


def test_twenty_models_in_turn_under_a_budget_of_ten():
    """Row S14: each is answered, the budget holds, nobody opens what another opens, nobody waits for ever."""
    limit, size = 10, 1000
    memory = Memory(limit * size, settle_s=0.0, rss=lambda: 0)
    opening, most, opened = set(), [0], [0]
    lock = threading.Lock()

    class Engine:
        about = {"precision": "fp32"}

        def __init__(self, name):
            with lock:
                assert name not in opening
                opening.add(name)
                opened[0] += 1
            time.sleep(0.001)  # while others could begin to open it too
            with lock:
                opening.discard(name)

        def __call__(self, *, x):
            with lock:
                most[0] = max(most[0], memory.used_bytes)
            return {"y": x * 2 + 1}

        def close(self):
            pass

    graphs = [handle(f"model{n}") for n in range(20)]
    made = {g: memory.adopt(g.name, g.spec, size, lambda g=g: Engine(g.name)) for g in graphs}
    with Scheduler(engines=made.__getitem__, workers=4) as scheduler:
        futures = [scheduler.submit(ask(graphs[n % 20], float(n))) for n in range(400)]
        assert [f.result(60) for f in futures] == [2.0 * n + 1 for n in range(400)]
    assert most[0] <= memory.budget_bytes
    assert opened[0] >= 20
    assert memory.evictions >= opened[0] - limit
