"""The scheduler as its users meet it: threads, asyncio, streams, deadlines, faults and the end."""

import asyncio
import concurrent.futures as futures
import gc
import random
import sys
import threading
import time
import weakref

import msgspec
import numpy as np
import pytest

import saccade
from saccade.runtime.bundle import write
from saccade.runtime.call import All, Call, Graph, Work
from saccade.runtime.engines import Engines, Options
from saccade.runtime.errors import (
    BadOutput,
    Cancelled,
    Closed,
    DeadlineExceeded,
    EngineError,
    InputError,
    OutOfMemory,
    QueueFull,
    SettingsError,
    SpecError,
    Superseded,
)
from saccade.runtime.scheduler import Scheduler
from tests.runtime.scheduling.conftest import World, ask, expected, handle, line_spec

G = handle()
LONG = 30  # seconds: for what should take none


class Gate:
    """An engine that waits to be let through; y = 2 x + 1."""

    def __init__(self):
        self.entered, self.open, self.rows = threading.Semaphore(0), threading.Event(), []
        self.about = {}

    def __call__(self, **inputs):
        self.entered.release()
        assert self.open.wait(LONG)
        self.rows.append(len(inputs["x"]))
        return {"y": inputs["x"] * 2 + 1}


@pytest.fixture
def gate():
    made = Gate()
    yield made
    made.open.set()


@pytest.fixture
def scheduler(gate):
    with Scheduler(engines=lambda graph: gate) as made:
        yield made
        gate.open.set()


@pytest.fixture
def restless():
    """Threads take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


def busy(scheduler, gate):
    """A request whose engine run is under way and waits at the gate."""
    future = scheduler.submit(ask(G, 1.0))
    assert gate.entered.acquire(timeout=LONG)
    return future


# ---- ways in ----------------------------------------------------------------------------------------------------


def test_a_lone_request_is_done_in_the_waiting_thread(scheduler, gate):
    gate.open.set()
    seen = []

    def pipeline():
        seen.append(threading.current_thread())
        value = yield from ask(G, 3.0, 2)
        seen.append(threading.current_thread())
        return value

    assert scheduler.submit(pipeline()).result() == expected(3.0, 2)
    assert seen[0] is threading.current_thread()
    assert scheduler.submit(pipeline()).result(LONG) == expected(3.0, 2)


def test_call_submits_and_waits_and_wakes_nobody_while_it_is_alone(scheduler, gate, monkeypatch):
    gate.open.set()
    woken = []
    for crew in (scheduler._board.engines, scheduler._board.hosts):
        monkeypatch.setattr(crew, "wake", lambda wake=crew.wake: woken.append(wake()))

    def pipeline():
        a, b = (yield from ask(G, 3.0)), (yield Work(int, "5"))
        return a + b

    assert scheduler.call(pipeline()) == 12.0
    assert scheduler.call(pipeline(), deadline_ms=60_000, priority=1) == 12.0
    assert not woken
    gate.open.clear()
    first = busy(scheduler, gate)
    threading.Timer(0.02, gate.open.set).start()
    assert scheduler.call(pipeline(), stream="s") == 12.0  # not alone: as any other
    assert first.result(LONG) == 3.0
    with pytest.raises(ValueError, match="invalid literal"):
        scheduler.call(member_that_fails())
    assert scheduler.journal.counts()["cancelled"] == 0

    async def main():
        scheduler.call(pipeline())

    with pytest.raises(InputError, match="event loop"):
        asyncio.run(main())
    assert scheduler.journal.open == 0


def member_that_fails():
    return (yield Work(int, "x"))


def test_a_call_that_is_interrupted_is_cancelled(scheduler, gate, monkeypatch):
    busy(scheduler, gate)

    def interrupted(self, timeout=None):
        raise KeyboardInterrupt

    monkeypatch.setattr("saccade.runtime.scheduling.request.Request.result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        scheduler.call(ask(G, 1.0))
    assert scheduler.journal.counts()["cancelled"] == 1


def test_many_threads_each_get_their_own_answers(scheduler, gate):
    gate.open.set()
    wrong = []

    def client(seed):
        rng = random.Random(seed)
        for _ in range(60):
            value, stages = float(rng.randrange(1000)), rng.randrange(1, 4)
            pipeline = ask(G, value, stages, rng.randrange(1, 3))
            way = rng.randrange(3)
            got = scheduler.submit(pipeline).result([None, LONG][way]) if way < 2 else scheduler.call(pipeline)
            if got != expected(value, stages):
                wrong.append(value)

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not wrong
    assert scheduler.journal.counts()["result"] == 360


@pytest.mark.parametrize("workers", [1, 2])
def test_random_traffic_from_many_threads_balances(gate, restless, workers):
    gate.open.set()
    wrong, lock, ends = [], threading.Lock(), {}

    def pipeline(value):
        a, b = yield All(ask(G, value), keyed(value % 5, []))
        return (yield Work(lambda: a + b))

    def ended(future):
        with lock:
            ends[future.number] = ends.get(future.number, 0) + 1

    def client(seed):
        rng = random.Random(seed)
        for turn in range(80):
            value, stream = float(rng.randrange(50)), rng.choice(["", "", f"s{seed % 2}"])
            deadline_ms = rng.choice([None, None, 0.5, 50])
            future = scheduler.submit(pipeline(value), stream=stream, priority=turn % 3, deadline_ms=deadline_ms)
            future.add_done_callback(ended)
            if rng.random() < 0.2:
                future.cancel()
            try:
                got = future.result(rng.choice([None, LONG]))
                if got != expected(value) + expected(value % 5) + 1:
                    wrong.append((value, got))
            except (Superseded, DeadlineExceeded, futures.CancelledError):
                pass

    with Scheduler(engines=lambda graph: gate, workers=workers) as scheduler:
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
            assert not thread.is_alive()
    counts = scheduler.journal.counts()
    assert not wrong
    assert (counts["sent"], counts["open"], counts["error"]) == (400, 0, 0)
    assert counts["result"] > 100
    assert ends == dict.fromkeys(range(1, 401), 1)


def test_calls_of_requests_that_wait_together_run_together(scheduler, gate):
    first = busy(scheduler, gate)
    rest = [scheduler.submit(ask(G, float(i), 2)) for i in range(40)]
    gate.open.set()
    assert [f.result(LONG) for f in rest] == [expected(float(i), 2) for i in range(40)]
    assert first.result(LONG) == 3.0
    assert max(gate.rows) >= 8


def test_asyncio_awaits_and_nothing_runs_on_its_thread(scheduler, gate):
    gate.open.set()
    threads = set()

    def pipeline(value):
        threads.add(threading.current_thread())
        got = yield from ask(G, value)
        threads.add(threading.current_thread())
        return (yield Work(lambda: threads.add(threading.current_thread()) or got))

    async def main():
        return await asyncio.gather(*(scheduler.run(pipeline(float(i))) for i in range(50)))

    assert asyncio.run(main()) == [expected(float(i)) for i in range(50)]
    assert threading.current_thread() not in threads


def test_cancelling_a_task_cancels_its_request(scheduler, gate):
    first, closed = busy(scheduler, gate), threading.Event()

    def pipeline():
        try:
            yield from ask(G, 1.0)
        finally:
            assert threading.current_thread() is not threading.main_thread()
            closed.set()

    async def main():
        task = asyncio.ensure_future(scheduler.run(pipeline()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert closed.wait(LONG)
    gate.open.set()
    assert first.result(LONG) == 3.0
    assert scheduler.journal.counts()["cancelled"] == 1


def test_wait_and_as_completed_know_cancelled_requests(scheduler, gate):
    made = [busy(scheduler, gate), *(scheduler.submit(ask(G, 1.0)) for _ in range(3))]
    threading.Timer(0.01, lambda: (made[2].cancel(), gate.open.set())).start()
    assert len(list(futures.as_completed(made, timeout=LONG))) == 4
    assert made[2].cancelled()
    with pytest.raises(futures.CancelledError):
        made[2].result()


def test_members_of_an_all_run_side_by_side():
    barrier = threading.Barrier(2, timeout=LONG)

    def pipeline():
        return (yield All(Work(barrier.wait), Work(barrier.wait)))

    with Scheduler() as scheduler:
        assert sorted(scheduler.submit(pipeline()).result()) == [0, 1]


def test_when_a_member_fails_the_others_are_dropped():
    world, closed = World(), []

    def member():
        try:
            yield from ask(G, 1.0, 5)
        finally:
            closed.append(True)

    def pipeline():
        try:
            yield All(member(), Work(int, "x"), Call(handle("other"), {"x": np.zeros((1, 2), np.float32)}), member())
        except ValueError:
            return (yield from ask(G, 3.0))

    scheduler = world.scheduler()
    made = scheduler.submit(pipeline())
    world.run(scheduler)
    assert made.result(0) == 7.0
    assert closed == [True, True]
    assert world.runs == [("g", 1)]  # nothing of the members ran


@pytest.mark.parametrize("workers", [1, 2])
def test_no_more_engine_runs_at_a_time_than_workers(restless, workers):
    inside, most, lock = [0], [0], threading.Lock()

    class Engine:
        about = {}

        def __call__(self, **inputs):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.0005)
            with lock:
                inside[0] -= 1
            return {"y": inputs["x"]}

    engine = Engine()
    with Scheduler(engines=lambda graph: engine, workers=workers, merge=False) as scheduler:

        def client():
            for _ in range(40):
                scheduler.submit(ask(G, 1.0)).result()

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
            time.sleep(0.003)  # the first has the scheduler for itself for a while, and helps
        for thread in threads:
            thread.join(LONG)
    assert most[0] == workers


def test_long_pipelines_neither_recurse_nor_hop(scheduler, gate):
    gate.open.set()

    def member():
        return 1
        yield

    def pipeline():
        total = 0
        for _ in range(3000):
            total += sum((yield All(Work(int, 1), member(), All()))[:2])
        return total

    assert scheduler.submit(pipeline()).result(LONG) == 6000


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"deadline_ms": 0}, "deadline_ms: 0"),
        ({"deadline_ms": -5}, "deadline_ms: -5"),
        ({"deadline_ms": float("nan")}, "nan"),
        ({"deadline_ms": float("inf")}, "inf"),
        ({"deadline_ms": "5"}, "'5'"),
        ({"deadline_ms": True}, "True"),
        ({"priority": 1.5}, "priority: 1.5"),
        ({"priority": None}, "priority: None"),
        ({"stream": None}, "stream: expected a name"),
        ({"stream": 0}, "stream: expected a name"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(scheduler, given, says):
    made = ask(G, 1.0)
    with pytest.raises(InputError, match=says) as caught:
        scheduler.submit(made, **given)
    assert caught.value.hint
    assert made.gi_frame is None  # closed
    assert scheduler.journal.sent == 0


@pytest.mark.parametrize("thing", [None, 7, "x", ask, [], {"x": 1}])
def test_what_is_no_pipeline_is_refused(scheduler, thing):
    with pytest.raises(InputError, match="expected a pipeline") as caught:
        scheduler.submit(thing)
    assert "pipeline.method" in caught.value.hint


def test_a_pipeline_that_has_begun_is_refused_and_left_alone(scheduler):
    made = ask(G, 1.0)
    next(made)
    with pytest.raises(InputError, match="begun"):
        scheduler.submit(made)
    assert made.gi_frame is not None


def test_a_policy_that_means_nothing_is_refused():
    with pytest.raises(SettingsError):
        Scheduler(max_batch=0)


def test_a_stream_belongs_to_one_method_of_one_model(scheduler, gate):
    class Model:
        def look(self):
            return (yield from ask(G, 1.0))

        def read(self):
            return (yield from ask(G, 1.0))

    one, other = Model(), Model()
    scheduler.submit(one.look(), stream="camera")
    for made in (other.look(), one.read(), ask(G, 1.0)):
        with pytest.raises(InputError, match="stream 'camera' carries") as caught:
            scheduler.submit(made, stream="camera")
        assert "camera0/clip" in caught.value.hint
    scheduler.submit(other.look(), stream="camera/other")
    gate.open.set()


def test_a_graph_of_a_model_not_given_is_named():
    with Scheduler() as scheduler, pytest.raises(InputError, match="does not have its model"):
        scheduler.submit(ask(G, 1.0)).result()


@pytest.mark.parametrize("thing", [7, None, "text", [1]])
@pytest.mark.parametrize("timeout", [None, LONG])
def test_a_pipeline_that_yields_nonsense_is_told(scheduler, thing, timeout):
    def direct():
        yield thing

    def inside():
        try:
            yield All(Work(int, 1), thing)
        except TypeError as error:
            return str(error)

    with pytest.raises(TypeError, match="yields Call, Work or All"):
        scheduler.submit(direct()).result(timeout)
    assert "yields Call" in scheduler.submit(inside()).result(timeout)


def test_inputs_that_do_not_fit_are_told_where_they_were_yielded(scheduler, gate):
    gate.open.set()

    def pipeline():
        try:
            yield Call(G, {"x": np.zeros((1, 3), np.float32)})
        except SpecError:
            return (yield from ask(G, 1.0))

    assert scheduler.submit(pipeline()).result() == 3.0


# ---- queue, deadline, stream ------------------------------------------------------------------------------------


def test_exactly_the_requests_beyond_the_limit_are_refused(gate):
    with Scheduler(engines=lambda graph: gate, max_open=5) as scheduler:
        made, refused = [busy(scheduler, gate)], 0
        for _ in range(10):
            try:
                made.append(scheduler.submit(ask(G, 1.0)))
            except QueueFull:
                refused += 1
        assert (len(made), refused) == (5, 6)
        with pytest.raises(QueueFull, match="5 requests are open, at most 5") as caught:
            scheduler.submit(ask(G, 1.0))
        assert (caught.value.http_status, caught.value.retry_after_s) == (429, 0.0)  # nothing was measured yet
        made[2].cancel()  # makes room at once
        made[2] = scheduler.submit(ask(G, 1.0))
        gate.open.set()
        assert [f.result(LONG) for f in made] == [3.0] * 5
        assert scheduler.journal.counts()["refused"] == 7


def test_when_to_try_again_follows_from_what_runs_took():
    world = World()
    world.service = lambda rows: 0.1 * rows
    scheduler = world.scheduler(max_open=4)
    for _ in range(4):
        scheduler.submit(ask(G, 1.0))
    world.run(scheduler)
    for _ in range(4):
        scheduler.submit(ask(G, 1.0))
    with pytest.raises(QueueFull, match="4 requests are open") as caught:
        scheduler.submit(ask(G, 1.0))
    assert caught.value.retry_after_s == pytest.approx(0.4)


def test_one_that_waits_beyond_its_deadline_never_runs(scheduler, gate):
    first = busy(scheduler, gate)
    late = scheduler.submit(ask(G, 1.0), deadline_ms=5)
    with pytest.raises(DeadlineExceeded, match="within 5.0 ms"):
        late.result(LONG)
    assert not gate.open.is_set()
    gate.open.set()
    assert first.result(LONG) == 3.0
    assert sum(gate.rows) == 1


def test_a_deadline_that_cannot_be_met_is_refused_at_once():
    world = World()
    world.service = lambda rows: 0.1
    scheduler = world.scheduler()
    for _ in range(3):
        scheduler.submit(ask(G, 1.0, stages=3), deadline_ms=1000)
        world.run(scheduler)
    runs = len(world.runs)
    hopeless = scheduler.submit(ask(G, 1.0, stages=3), deadline_ms=250)
    assert hopeless.ended == "expired"
    assert len(world.runs) == runs
    scheduler.submit(ask(G, 1.0, stages=3), deadline_ms=310)
    world.run(scheduler)
    assert scheduler.journal.counts()["expired"] == 1


def test_the_first_hopeless_stage_is_the_last():
    world = World()
    world.service = lambda rows: 0.1
    scheduler = world.scheduler(merge=False)
    for _ in range(3):
        scheduler.submit(ask(G, 1.0, stages=3), deadline_ms=1000)
        world.run(scheduler)
    runs = len(world.runs)
    slowed = scheduler.submit(ask(G, 1.0, stages=3), deadline_ms=350)
    world.service = lambda rows: 0.26  # this time the first stage takes much longer
    world.run(scheduler)
    assert slowed.ended == "expired"
    assert len(world.runs) == runs + 1


def test_a_result_beyond_the_deadline_is_not_given_and_harms_nobody():
    world = World()
    world.service = lambda rows: 0.1
    scheduler = world.scheduler()
    late, fine = scheduler.submit(ask(G, 1.0), deadline_ms=50), scheduler.submit(ask(G, 2.0), deadline_ms=500)
    world.run(scheduler)
    with pytest.raises(DeadlineExceeded):
        late.result(0)
    assert fine.result(0) == 5.0


def test_the_newest_frame_wins_and_its_age_is_one_service_time_and_one_frame():
    world = World()
    world.service = lambda rows: 0.1
    scheduler, frames = world.scheduler(), []
    for i in range(120):
        world.at(i / 60, lambda i=i: frames.append(scheduler.submit(ask(G, float(i)), stream="camera0")))
    world.run(scheduler)
    got = [i for i, f in enumerate(frames) if f.ended == "result"]
    assert all(f.ended in ("result", "superseded") for f in frames)
    assert [frames[i].result(0) for i in got] == [expected(float(i)) for i in got]
    assert 19 <= len(got) <= 22
    assert max(frames[i].age_ms for i in got) <= 100 + 1000 / 60 + 1e-6
    with pytest.raises(Superseded, match="request 3 of stream 'camera0' is newer"):
        frames[1].result(0)
    ages = [end.age_ms for end in scheduler.journal.recent if end.how == "result"]
    assert ages == [frames[i].age_ms for i in got]


def test_a_frame_that_still_queues_leaves_its_place_to_a_newer_one():
    world = World()
    scheduler = world.scheduler(merge=False)
    order, old = [], None

    def note(name):
        return lambda f: order.append(name) if f.exception() is None else None

    for name in ("a", "b", "c"):
        future = scheduler.submit(ask(G, 1.0), stream=name)
        old = future if name == "b" else old
        future.add_done_callback(note(name))
        world.wait(0.001)
    newer = scheduler.submit(ask(G, 7.0), stream="b")
    newer.add_done_callback(note("b"))
    assert old.ended == "superseded"
    world.run(scheduler)
    assert newer.result(0) == 15.0
    assert order == ["a", "b", "c"]


def test_streams_do_not_pile_up():
    world = World()
    scheduler = world.scheduler()
    for i in range(3000):
        scheduler.submit(ask(G, 1.0), stream=f"s{i}")
        world.run(scheduler)
    assert len(scheduler._board.streams._streams) <= 1024


# ---- merging ----------------------------------------------------------------------------------------------------


def test_a_delay_waits_for_company_but_not_longer():
    world = World()
    scheduler = world.scheduler(max_delay_ms=20)
    for _ in range(12):  # until it knows that merging pays
        for _ in range(8):
            scheduler.submit(ask(G, 1.0))
        world.run(scheduler)
    world.runs.clear()
    started, ends = world.now, []
    alone = scheduler.submit(ask(G, 1.0))
    alone.add_done_callback(lambda f: ends.append(world.now))
    world.at(started + 0.010, lambda: scheduler.submit(ask(G, 2.0)))
    world.run(scheduler)
    assert world.runs == [("g", 2)]
    assert 0.020 <= ends[0] - started - 0.01 <= 0.022
    world.runs.clear()
    soon = scheduler.submit(ask(G, 1.0), deadline_ms=25)  # waiting the whole delay would be too long
    world.run(scheduler)
    assert soon.ended == "result"


def test_calls_of_several_rows_merge():
    world = World()
    scheduler = world.scheduler()
    made = [scheduler.submit(ask(G, float(i), rows=5 + i % 2)) for i in range(60)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [expected(float(i)) for i in range(60)]
    assert max(rows for _, rows in world.runs) >= 27


def test_sizes_that_never_add_up_do_not_stop_merging():
    world = World()
    scheduler = world.scheduler()
    for i in range(300):  # 1, 5, 1, 5, …: never two, three or four rows
        scheduler.submit(ask(G, float(i), rows=1 + i % 2 * 4))
    world.run(scheduler)
    assert max(rows for _, rows in world.runs[-5:]) > 6


def test_unmergeable_graphs_run_alone():
    for graph, policy in ((handle(mergeable=False), {}), (handle("g", line_spec(batch="")), {}), (G, {"merge": False})):
        world = World()
        scheduler = world.scheduler(**policy)
        for i in range(10):
            scheduler.submit(ask(graph, float(i)))
        world.run(scheduler)
        assert [rows for _, rows in world.runs] == [1] * 10


def test_fixed_batches_are_always_full():
    world = World()
    scheduler = world.scheduler(batches=(4,))
    made = [scheduler.submit(ask(G, float(i), rows=1 + i % 2)) for i in range(9)]
    large = scheduler.submit(ask(G, 50.0, rows=6))
    world.run(scheduler)
    assert [f.result(0) for f in made] == [expected(float(i)) for i in range(9)]
    assert large.result(0) == 101.0
    assert sorted({rows for _, rows in world.runs}) == [4, 6]


def keyed(value, calls):
    x = np.full((1, 2), value, np.float32)

    def key():
        calls.append(value)
        return x.tobytes()

    out = yield Call(G, {"x": x}, key=key)
    assert not out["y"].flags.writeable  # it may be another's, too
    return float(out["y"][0, 0] + 1)


def test_calls_with_one_key_share_a_run():
    world, calls = World(), []
    scheduler = world.scheduler()
    made = [scheduler.submit(keyed(float(i % 2), calls)) for i in range(8)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [2.0, 4.0] * 4
    assert sum(rows for _, rows in world.runs) == 2
    calls.clear()
    assert world.scheduler().submit(keyed(1.0, calls)) is not None
    world.run(world.schedulers[-1])
    assert not calls  # alone, nobody asks for its key


def test_who_shares_a_run_does_not_depend_on_who_asked_first():
    world = World()
    scheduler = world.scheduler(merge=False)
    blocker = scheduler.submit(ask(G, 9.0))
    made = [scheduler.submit(keyed(1.0, [])) for _ in range(4)]
    for _ in range(3):
        scheduler.turn()
    made[0].cancel()
    made[2].cancel()
    world.run(scheduler)
    assert blocker.result(0) == 19.0
    assert [f.ended for f in made] == ["cancelled", "result", "cancelled", "result"]
    assert sum(rows for _, rows in world.runs) == 2


def test_one_that_is_cancelled_while_its_key_is_asked_for_does_not_come_back():
    world = World()
    scheduler = world.scheduler()
    made = [scheduler.submit(keyed(1.0, []))]

    def pipeline():
        yield Call(G, {"x": np.full((1, 2), 5, np.float32)}, key=lambda: made[1].cancel() and b"")

    made.append(scheduler.submit(pipeline()))
    world.run(scheduler)
    assert [f.ended for f in made] == ["result", "cancelled"]
    assert world.runs == [("g", 1)]


def test_a_key_that_fails_costs_only_the_sharing():
    world = World()
    scheduler = world.scheduler()

    def broken():
        raise ValueError

    def pipeline(value):
        out = yield Call(G, {"x": np.full((1, 2), value, np.float32)}, key=broken)
        return float(out["y"][0, 0])

    made = [scheduler.submit(pipeline(float(i))) for i in range(4)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [1.0, 3.0, 5.0, 7.0]


# ---- faults -----------------------------------------------------------------------------------------------------


def nan_where(value):
    def fault(inputs):
        y = inputs["x"] * 2 + 1
        y[inputs["x"] == value] = np.nan
        return {"y": y}

    return fault


def raises(kind):
    def fault(inputs):
        if (inputs["x"] == 13).any():
            raise kind("13")

    return fault


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (raises(EngineError), EngineError),
        (raises(MemoryError), OutOfMemory),
        (raises(ValueError), ValueError),
        (nan_where(13), BadOutput),
        (lambda inputs: {"y": inputs["x"][:0]} if (inputs["x"] == 13).any() else None, BadOutput),
        (lambda inputs: {} if (inputs["x"] == 13).any() else None, BadOutput),
    ],
)
def test_one_poisoned_request_fails_alone(fault, kind):
    world = World()
    scheduler = world.scheduler()
    for value in range(40):  # until it merges
        scheduler.submit(ask(G, float(value) + 50))
    world.run(scheduler)
    world.fault = fault
    made = {value: scheduler.submit(ask(G, float(value))) for value in (11, 12, 13, 14, 15)}
    before = len(world.runs)
    world.run(scheduler)
    with pytest.raises(kind):
        made.pop(13).result(0)
    assert {value: f.result(0) for value, f in made.items()} == {value: expected(float(value)) for value in made}
    assert len(world.runs) - before >= 5  # one merged run that failed, and each alone, or in halves
    assert scheduler.journal.bad == (0 if kind is not BadOutput else 2)


def test_faults_reach_a_call_that_is_alone():
    world = World()
    for fault, kind in ((raises(EngineError), EngineError), (nan_where(13), BadOutput), (lambda inputs: {}, BadOutput)):
        world.fault = fault
        scheduler = world.scheduler()
        with pytest.raises(kind):
            scheduler.call(ask(G, 13.0))
        assert scheduler.journal.bad == (kind is BadOutput)
        world.fault = lambda inputs: None
        assert scheduler.call(ask(G, 1.0, 2)) == 7.0
        assert scheduler.journal.counts()["runs"] == 3


def test_a_call_that_is_alone_may_be_cancelled_in_the_middle_of_a_run(scheduler, gate):
    def cancel():
        assert gate.entered.acquire(timeout=LONG)
        (request,) = scheduler._board.requests.values()
        assert request.cancel()
        gate.open.set()

    other = threading.Thread(target=cancel)
    other.start()
    made = ask(G, 1.0, 3)
    with pytest.raises(futures.CancelledError):
        scheduler.call(made)
    other.join()
    assert made.gi_frame is None
    assert gate.rows == [1]
    assert scheduler.call(ask(G, 1.0)) == 3.0


def test_others_wait_for_a_call_that_is_alone_and_are_woken_after_it(scheduler, gate):
    got = []
    first = threading.Thread(target=lambda: got.append(scheduler.call(ask(G, 1.0, 2))))
    first.start()
    assert gate.entered.acquire(timeout=LONG)
    rest = [scheduler.submit(ask(G, 2.0)) for _ in range(3)]
    assert not gate.entered.acquire(timeout=0.01)  # one run at a time
    gate.open.set()
    assert [f.result(LONG) for f in rest] == [5.0] * 3
    first.join(LONG)
    assert got == [7.0]


def test_nan_may_be_let_through():
    world = World()
    world.fault = nan_where(13)
    scheduler = world.scheduler(nan=True)
    made = scheduler.submit(ask(G, 13.0))
    world.run(scheduler)
    assert np.isnan(made.result(0))


def test_a_batch_too_large_for_the_memory_is_not_tried_again():
    world = World()

    def fault(inputs):
        if len(inputs["x"]) > 4:
            raise MemoryError

    world.fault = fault
    scheduler = world.scheduler()
    made = [scheduler.submit(ask(G, float(i))) for i in range(100)]
    world.run(scheduler)
    assert [f.result(0) for f in made] == [expected(float(i)) for i in range(100)]
    assert sum(rows > 4 for _, rows in world.runs) == 1
    assert world.runs[-1][1] > 1


def test_an_engine_that_cannot_open_fails_its_calls_and_no_others():
    class Broken:
        def __call__(self, graph):
            raise EngineError("[g] no back end", hint="h")

    with Scheduler(engines=Broken()) as scheduler:
        made = [scheduler.submit(ask(G, 1.0)) for _ in range(5)]
        for future in made:
            with pytest.raises(EngineError, match="no back end"):
                future.result(LONG)
        assert scheduler.submit(iter_one()).result(LONG) == 1


def test_an_engine_that_was_swapped_behind_its_name_may_merge_no_more():
    """As a memory budget does after a plan has changed: the same object, opened again, with another variant."""
    world = World()
    engine, graph = world.engine(G), handle(mergeable=False)
    engine.graph, engine.about, engine.opened = graph, {"precision": "int8"}, 1
    scheduler = Scheduler(engines=lambda _: engine, clock=world.clock, threads=False)

    def rows():
        world.runs.clear()
        for i in range(64):
            scheduler.submit(ask(graph, float(i)))
        world.run(scheduler)
        return max(count for _, count in world.runs)

    assert rows() > 8
    engine.about, engine.opened = {"precision": "fp32"}, 2
    assert rows() == 1
    scheduler.close()


def iter_one():
    return (yield Work(int, 1))


@pytest.mark.parametrize("timeout", [None, LONG])
def test_work_that_raises_is_told_where_it_was_yielded(scheduler, timeout):
    def pipeline(caught):
        try:
            yield Work(int, "x")
        except ValueError:
            if caught:
                return (yield Work(int, 5))
            raise

    assert scheduler.submit(pipeline(True)).result(timeout) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        scheduler.submit(pipeline(False)).result(timeout)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("timeout", [None, LONG])
def test_what_is_no_exception_ends_its_request_only(scheduler, gate, kind, timeout):
    gate.open.set()

    def raises():
        raise kind

    def pipeline():
        yield Work(raises)

    with pytest.raises(kind):
        scheduler.submit(pipeline()).result(timeout)
    assert scheduler.submit(ask(G, 1.0)).result(LONG) == 3.0
    assert scheduler.journal.open == 0


def test_a_pipeline_that_does_not_want_to_be_closed(scheduler, gate):
    first = busy(scheduler, gate)

    def stubborn():
        try:
            yield from ask(G, 1.0)
        finally:
            yield Work(int, 1)

    assert scheduler.submit(stubborn()).cancel()
    gate.open.set()
    assert first.result(LONG) == 3.0


# ---- the end ----------------------------------------------------------------------------------------------------


def test_close_drains_what_is_open(scheduler, gate):
    made = [busy(scheduler, gate), *(scheduler.submit(ask(G, float(i), 3)) for i in range(20))]
    threading.Timer(0.02, gate.open.set).start()
    assert scheduler.close()
    assert all(f.done() and f.exception() is None for f in made)
    assert not any(t.is_alive() for t in scheduler._board.engines.threads)
    pipeline = ask(G, 1.0)
    with pytest.raises(Closed):
        scheduler.submit(pipeline)
    assert pipeline.gi_frame is None
    assert scheduler.close()


def test_close_may_cancel_what_is_open(scheduler, gate):
    made = [busy(scheduler, gate), *(scheduler.submit(ask(G, 1.0)) for _ in range(5))]
    threading.Timer(0.02, gate.open.set).start()
    assert scheduler.close(drain=False)
    for future in made:
        with pytest.raises(Cancelled) as caught:
            future.result(0)
        assert "drain=True" in caught.value.hint
    counts = scheduler.journal.counts()
    assert (counts["sent"], counts["cancelled"], counts["open"]) == (6, 6, 0)


def test_a_hung_engine_holds_nobody_for_ever(scheduler, gate, monkeypatch):
    monkeypatch.setattr("saccade.runtime.scheduler.GRACE_S", 0.05)
    made = [busy(scheduler, gate), scheduler.submit(ask(G, 1.0))]
    assert not scheduler.close(timeout_s=0.05)
    for future in made:
        with pytest.raises(Cancelled):
            future.result(0)


def test_leaving_the_block_by_an_error_does_not_wait(gate):
    waits = []

    def block():
        with Scheduler(engines=lambda graph: gate) as scheduler:
            waits.extend([busy(scheduler, gate), scheduler.submit(ask(G, 1.0))])
            threading.Timer(0.05, gate.open.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        block()
    assert {f.ended for f in waits} <= {"cancelled", "result"}
    assert waits[1].ended == "cancelled"


def test_a_forgotten_scheduler_ends_its_threads(gate):
    scheduler = Scheduler(engines=lambda graph: gate)
    threads, gone = scheduler._board.engines.threads, weakref.ref(scheduler)
    del scheduler
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


def test_nothing_is_kept_of_requests_that_ended(scheduler, gate):
    gate.open.set()

    class Large:
        pass

    kept = []

    def pipeline(large):
        kept.append(weakref.ref(large))
        value = yield from ask(G, 1.0)
        return value, large

    for timeout in (None, LONG):
        future = scheduler.submit(pipeline(Large()), deadline_ms=60_000)
        future.result(timeout)
        del future
    done = time.monotonic() + LONG
    while any(ref() for ref in kept) and time.monotonic() < done:
        for i in range(200):  # deadlines long past their use are swept out in time
            scheduler.submit(ask(G, float(i)), deadline_ms=60_000).result()
        gc.collect()
    assert not any(ref() for ref in kept)


# ---- real engines -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(clip_bundle):
    with saccade.load(saccade.Bundle.open(clip_bundle, hard_links=True), threads=1) as model:
        yield model


def encode(graph, pixels):
    return (yield Call(graph, {"pixels": pixels}))["embedding"]


@pytest.mark.parametrize("policy", [{}, {"merge": False}, {"batches": (8,)}, {"workers": 2}])
def test_each_output_goes_to_its_caller(clip, policy, pictures):
    """Random ids over a merged real graph: every answer is the one that the direct driver gives for that input."""
    rng, graph = np.random.default_rng(), clip.pipeline.image
    size = graph.spec.inputs[0].dims[-1]
    inputs = rng.standard_normal((24, 3, size, size)).astype(np.float32)
    engine = clip.engines(graph)
    one = [engine(pixels=x[None])["embedding"] for x in inputs]
    eight = [engine(pixels=np.repeat(x[None], 8, 0))["embedding"][:1] for x in inputs]
    ids = rng.integers(0, 24, 250)
    with Scheduler(clip, **policy) as scheduler:
        made = [scheduler.submit(encode(graph, inputs[i][None])) for i in ids]
        got = [f.result(LONG) for f in made]
        assert scheduler.journal.runs < 250 or "merge" in policy
    for i, answer in zip(ids, got, strict=True):
        if "merge" in policy:
            np.testing.assert_array_equal(answer, one[i])
        elif "batches" in policy:
            np.testing.assert_array_equal(answer, eight[i])  # bit for bit, whatever ran beside it
        else:
            np.testing.assert_allclose(answer, one[i], atol=2e-5)


def test_a_hundred_thousand_random_ids_each_come_back_to_their_caller(parts, tmp_path):
    """ONNX Runtime adds and subtracts what random requests give it; sums of whole numbers are exact."""
    manifest, files = parts
    entry = manifest.graphs["linear"]
    linear = msgspec.structs.replace(entry, spec=msgspec.structs.replace(entry.spec, batch="B"))
    made = msgspec.structs.replace(manifest, graphs={**manifest.graphs, "linear": linear})
    write(tmp_path / "linear.bundle", made, files)
    graph = Graph(saccade.Bundle.open(tmp_path / "linear.bundle"), "linear")
    rng = np.random.default_rng()
    ids, rows = rng.integers(0, 1 << 20, 100_000).astype(np.float32), rng.integers(1, 4, 100_000)

    def pipeline(number, count):
        x, y = np.full((count, 3), number, np.float32), np.full((count, 3), 3, np.float32)
        out = yield Call(graph, {"x": x, "y": y})
        return out["sum"], out["difference"]

    engines = Engines(Options(threads=1))
    with Scheduler(engines=engines, max_open=len(ids)) as scheduler:
        futures_ = [scheduler.submit(pipeline(*pair)) for pair in zip(ids, rows, strict=True)]
        for number, count, future in zip(ids, rows, futures_, strict=True):
            total, difference = future.result(2 * LONG)
            assert len(total) == len(difference) == count
            assert (total == number + 3).all()
            assert (difference == number - 3).all()
        assert scheduler.journal.runs < len(ids) / 2
    engines.close()


def test_warming_up_opens_engines_and_measures_batches(clip_bundle):
    with saccade.load(saccade.Bundle.open(clip_bundle, hard_links=True), threads=1) as model:
        with Scheduler(threads=False) as scheduler:
            scheduler.warm_up(model, seconds=0.5)
            assert len(model.engines._opened) == 2
            for lane in scheduler._board.lanes.values():
                (group,) = lane.groups
                least, safe = group.times.expected(1)
                assert 0 < least <= safe
            assert scheduler.journal.sent == 0
        world = World()
        scheduler = world.scheduler()
        scheduler._driver.measure(G, {"x": np.zeros((1, 2), np.float32)}, 5.0)
        assert [rows for _, rows in world.runs] == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]
        world.runs.clear()
        made = [scheduler.submit(ask(G, float(i))) for i in range(64)]
        world.run(scheduler)
        assert world.runs == [("g", 32)] * 2  # nothing left to find out
        assert [f.result(0) for f in made] == [expected(float(i)) for i in range(64)]


def test_warming_up_fills_fixed_batches():
    world = World()
    scheduler = world.scheduler(batches=(8,))
    scheduler._driver.measure(G, {"x": np.zeros((3, 2), np.float32)}, 5.0)
    assert world.runs == [("g", 8)] * 2


def test_warming_up_stops_where_merging_does_not_pay():
    world = World()
    world.service = lambda rows: 0.1 * rows
    scheduler = world.scheduler()
    scheduler._driver.measure(G, {"x": np.zeros((3, 2), np.float32)}, 5.0)
    assert [rows for _, rows in world.runs] == [3, 3, 6, 6]
    assert scheduler.submit(ask(G, 1.0), deadline_ms=20).ended == ""  # what is left of a pipeline is not known yet
    world.run(scheduler)
    assert scheduler.journal.ends["expired"] == 1
    assert len(world.runs) == 4  # but its first stage is


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_an_outlier_next_to_it_does_not_change_an_answer(clip_bundle, precision):
    rng = np.random.default_rng(0)
    with saccade.load(saccade.Bundle.open(clip_bundle, hard_links=True), threads=1, precision=precision) as model:
        graph = model.pipeline.image
        size = graph.spec.inputs[0].dims[-1]
        mine, others = rng.standard_normal((1, 3, size, size)), rng.standard_normal((7, 3, size, size))
        alone = model.engines(graph)(pixels=mine.astype(np.float32))["embedding"]
        answers = []
        for scale in (1, 1e4):
            scheduler = Scheduler(model, threads=False, batches=(8,))
            for pixels in (mine, *(one[None] * scale for one in [*others, others[0]])):  # the first opens the engine
                made = scheduler.submit(encode(graph, pixels.astype(np.float32)))
                answers += [made] if pixels is mine else []
            again = scheduler.submit(encode(graph, mine.astype(np.float32)))
            while scheduler.turn():
                pass
            answers.append(again)
            assert scheduler.journal.runs < 10
            scheduler.close()
    for answer in answers:
        np.testing.assert_array_equal(answer.result(0), answers[0].result(0))
        np.testing.assert_allclose(answer.result(0), alone, atol=1e-5)


def test_the_pipeline_gives_the_same_with_and_without(clip, pictures):
    labels = ["a red circle", "a blue star", "a green triangle"]
    want = [clip.classify(picture, labels).values for picture in pictures[:4]]
    with Scheduler(clip) as scheduler:
        view = scheduler.model(clip)
        made = [view.classify(picture, labels) for picture in pictures[:4]] * 2
        for future, values in zip(made, want * 2, strict=True):
            np.testing.assert_allclose(future.result(LONG).values, values, atol=1e-4)
        assert view.encode_text(["a red circle"]).result().vectors.shape[0] == 1
        assert "Scores" in view.classify.__doc__
        with pytest.raises(AttributeError):
            view.tokenizer  # noqa: B018
        with pytest.raises(AttributeError):
            view.segment  # noqa: B018


def test_pipelines_of_several_bundles_are_one_request(clip, clip_bundle, pictures):
    other = saccade.load(saccade.Bundle.open(clip_bundle, hard_links=True), engines=Engines(Options(threads=1)))

    def both(picture):
        a, b = yield All(clip.pipeline.encode_image(picture), other.pipeline.encode_image(picture))
        return a.vectors, b.vectors

    with Scheduler(clip, other) as scheduler:
        a, b = scheduler.submit(both(pictures[0])).result(LONG)
    other.engines.close()
    np.testing.assert_allclose(a, b, atol=1e-6)
    with Scheduler(clip) as scheduler, pytest.raises(InputError, match="does not have its model"):
        scheduler.submit(both(pictures[0])).result(LONG)
