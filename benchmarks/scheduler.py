"""The scheduler: what it adds to a request, how many it moves, and what it does when there are too many.

    single       one request at a time by call(), against the direct driver, in turn
    future       the same by submit().result(), which wakes a thread in case the caller does not wait
    hop          the same by submit().result(timeout), which leaves all to the scheduler's threads
    throughput   a pipeline of three calls on the null engine, so many requests queued at once
    overload     open loop at twice the capacity, each request due in 100 ms
    latest-wins  60 frames a second into an engine that does 10
    memory       resident memory over 100,000 requests of which some are cancelled
    tracing      what the tests for a trace cost while there is none
    merging, shared: many users of a real CLIP and SAM, see sharing.py

Answers are compared with the direct driver's before anything is timed.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import random
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np

from saccade.benchmarks import sharing
from saccade.benchmarks.overhead import null_bundle
from saccade.runtime import tracing
from saccade.runtime.call import Call, Graph, Pipeline
from saccade.runtime.direct import Direct
from saccade.runtime.engines import Engines, Options
from saccade.runtime.errors import SaccadeError
from saccade.runtime.model import Model
from saccade.runtime.scheduler import Scheduler
from saccade.runtime.spec import Array

Row = dict[str, Any]
QUEUED = (1_000, 10_000, 100_000)
DUE_MS, CAPACITY_SECONDS = 100.0, 1.5
FRAME_S, SERVICE_S = 1 / 60, 0.1
X = np.ones((1, 8), np.float32)


def rows(models: list[Model] | None = None, *, seconds: float = 10.0, rounds: int = 5) -> list[Row]:
    """Measure; one row a case.

    models: loaded with real engines, for `merging` and `shared`; without any those are left out
    seconds: of open-loop traffic
    """
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(null_bundle(Path(folder, "null.bundle")), "graph")
        engines = Engines(Options(backend="null"))
        _gate(graph, engines)
        resident = memory(graph, engines)  # first: what other cases leave behind would hide a leak
        made = [*single(graph, engines), *throughput(graph, engines, rounds), overload(graph, seconds)]
        made += [latest_wins(graph, seconds), resident, traced(graph, engines)]
        engines.close()
    for model in models or []:
        if hasattr(model.pipeline, "encode_text"):
            made.append(sharing.merging(model, rounds))
        if hasattr(model.pipeline, "segment"):
            made.append(sharing.shared(model, rounds))
    return made


def three(graph: Graph, x: Array = X) -> Pipeline[Array]:
    """Three calls, each of the same input."""
    out: Any = {}
    for _ in range(3):
        out = yield Call(graph, {"x": x})
    return out["y"]


def once(graph: Graph, x: Array = X) -> Pipeline[Array]:
    """One call."""
    return (yield Call(graph, {"x": x}))["y"]


def single(graph: Graph, engines: Engines, count: int = 4000) -> list[Row]:
    """One request at a time, each of the ways in turn."""
    direct = Direct(engines)
    with Scheduler(engines=engines) as scheduler:
        ways: dict[str, Callable[[], Any]] = {
            "direct": lambda: direct.run(three(graph)),
            "single": lambda: scheduler.call(three(graph)),
            "future": lambda: scheduler.submit(three(graph)).result(),
            "hop": lambda: scheduler.submit(three(graph)).result(60),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        order = list(ways)
        for turn in range(count):
            random.Random(turn).shuffle(order)
            for name in order:
                start = time.perf_counter()
                ways[name]()
                taken[name].append((time.perf_counter() - start) * 1e6)
    base = np.percentile(taken["direct"], [50, 99])
    made = []
    for name in ("single", "future", "hop"):
        p50, p99 = np.percentile(taken[name], [50, 99]) - base
        figures = {"overhead_us_p50": round(float(p50), 2), "overhead_us_p99": round(float(p99), 2)}
        made.append({"case": name, **figures, "direct_us_p50": round(float(base[0]), 2), "runs": count})
    return made


def throughput(graph: Graph, engines: Engines, rounds: int) -> list[Row]:
    """Requests a second from the first submit to the last result, and how that grows with the queue."""
    taken: dict[int, list[float]] = {count: [] for count in QUEUED}
    for _ in range(rounds):
        for count, found in taken.items():
            gc.collect()
            with Scheduler(engines=engines, max_open=count + 1, max_batch=64) as scheduler:
                start = time.perf_counter()
                futures = [scheduler.submit(three(graph)) for _ in range(count)]
                for future in futures:
                    future.result(600)
                found.append(time.perf_counter() - start)
            del futures
    least = taken[QUEUED[0]]
    made = []
    for count, found in taken.items():
        growth = np.median(np.divide(found, least)) * QUEUED[0] / count
        rate = round(count / float(np.median(found)))
        figures = {"queued": count, "requests_per_s": rate, "best_per_s": round(count / min(found))}
        made.append({"case": "throughput", **figures, "us_each_over_smallest": round(float(growth), 3), "runs": rounds})
    return made


class Sleeper:
    """An engine that takes as long as it is told, and no processor."""

    def __init__(self, seconds: Callable[[int], float]):
        self._seconds = seconds
        self.about: dict[str, Any] = {}

    def __call__(self, **inputs: Array) -> dict[str, Array]:
        """Sleep; then the input."""
        time.sleep(self._seconds(len(inputs["x"])))
        return {"y": inputs["x"]}


def overload(graph: Graph, seconds: float) -> Row:
    """Twice the requests that can be done: how many of those that can be are in time, how many late, how many wait."""
    engine: Any = Sleeper(lambda count: 0.004 + 0.001 * count)
    with Scheduler(engines=lambda _: engine, max_open=100_000) as scheduler:
        capacity = _capacity(scheduler, graph)
        good, late, depths = [0], [0], []

        def ended(future: Any, sent: float) -> None:
            over = time.monotonic() - sent - DUE_MS / 1e3
            good[0] += future.exception() is None
            late[0] += future.exception() is None and over > 0

        start, sent = time.monotonic(), 0
        while (now := time.monotonic()) < start + seconds:
            while sent < (now - start) * 2 * capacity:
                at = time.monotonic()
                future = scheduler.submit(once(graph), deadline_ms=DUE_MS)
                future.add_done_callback(functools.partial(ended, sent=at))
                sent += 1
            depths.append(scheduler.journal.open)
            time.sleep(0.001)
        took = time.monotonic() - start
    thirds = np.array_split(np.array(depths, float), 3)
    return {
        "case": "overload",
        "capacity_per_s": round(capacity, 1),
        "goodput": round(good[0] / took / capacity, 4),
        "late": round(late[0] / max(good[0], 1), 6),
        "queue_p50": float(np.median(depths)),
        "queue_growth": round(float(thirds[2].mean() / max(thirds[0].mean(), 1)), 3),
        "sent": sent,
    }


def latest_wins(graph: Graph, seconds: float) -> Row:
    """Age of answers when frames come six times as fast as they can be answered."""
    engine: Any = Sleeper(lambda count: SERVICE_S)
    frames = []
    with Scheduler(engines=lambda _: engine) as scheduler:
        start = time.monotonic()
        for number in range(int(seconds / FRAME_S)):
            time.sleep(max(0.0, start + number * FRAME_S - time.monotonic()))
            frames.append(scheduler.submit(once(graph), stream="camera0"))
    ages = [frame.age_ms for frame in frames if frame.ended == "result"]
    p50, p99 = np.percentile(np.array(ages, float), [50, 99])
    return {
        "case": "latest-wins",
        "age_ms_p50": round(float(p50), 2),
        "age_ms_p99": round(float(p99), 2),
        "service_ms": SERVICE_S * 1e3,
        "frame_ms": round(FRAME_S * 1e3, 2),
        "answered": len(ages),
        "superseded": scheduler.journal.ends["superseded"],
    }


def memory(graph: Graph, engines: Engines, count: int = 100_000) -> Row:
    """Resident memory, ten times on the way; a straight line through the last eight."""
    rng, measured = random.Random(0), []
    with Scheduler(engines=engines, max_open=1000) as scheduler:
        for number in range(count):
            deadline_ms = 60_000 if rng.random() < 0.3 else None
            future = scheduler.submit(three(graph), deadline_ms=deadline_ms, stream=rng.choice(["", "", "a", "b"]))
            if rng.random() < 0.3:
                future.cancel()
            elif number % 50 == 0:
                _settle(future)
            if number % (count // 10) == count // 10 - 1:
                _settle(future)
                gc.collect()
                measured.append((number, _resident_bytes()))
        counts = scheduler.journal.counts()
    numbers, sizes = np.array(measured[2:], float).T
    slope = np.polyfit(numbers, sizes, 1)[0]
    ends = {how: counts[how] for how in ("result", "cancelled", "superseded", "expired", "error")}
    return {
        "case": "memory",
        "bytes_per_request": round(float(slope), 3),
        "resident_mb": round(sizes[-1] / 2**20, 1),
        **ends,
    }


def traced(graph: Graph, engines: Engines, count: int = 3000) -> Row:
    """The share of a request that goes into finding that no trace is active, and what one costs that is."""
    reads = 2_000_000
    start = time.perf_counter()
    for _ in range(reads):
        if tracing.active is not None:
            raise AssertionError
    test_us = (time.perf_counter() - start) / reads * 1e6

    def each_us() -> float:
        with Scheduler(engines=engines) as scheduler:
            start = time.perf_counter()
            for _ in range(count):
                scheduler.submit(three(graph)).result()
            return (time.perf_counter() - start) / count * 1e6

    off = min(each_us() for _ in range(3))
    with tempfile.TemporaryDirectory() as folder, tracing.trace(Path(folder, "trace.json")):
        on = min(each_us() for _ in range(3))
    tests = 3 + 1  # one a call, one at the end
    return {"case": "tracing", "off_share": round(tests * test_us / off, 5), "on_over_off": round(on / off, 3)}


def _gate(graph: Graph, engines: Engines) -> None:
    """The scheduler's answers are the direct driver's, in shape and value, or nothing is timed."""

    class Doubler:
        about: dict[str, Any] = {}

        def __call__(self, **inputs: Array) -> dict[str, Array]:
            return {"y": inputs["x"] * 2}

    engine: Any = Doubler()
    direct = Direct(lambda _: engine)
    inputs = [np.full((1 + number % 3, 8), number, np.float32) for number in range(200)]
    with Scheduler(engines=lambda _: engine) as scheduler:
        futures = [scheduler.submit(three(graph, x)) for x in inputs]
        for x, future in zip(inputs, futures, strict=True):
            np.testing.assert_array_equal(future.result(60), direct.run(three(graph, x)))


def _capacity(scheduler: Scheduler, graph: Graph) -> float:
    """Requests a second that end in results when 96 are always open."""
    open_, stop = threading.Semaphore(96), time.monotonic() + CAPACITY_SECONDS
    while time.monotonic() < stop - CAPACITY_SECONDS / 2:
        open_.acquire()
        scheduler.submit(once(graph)).add_done_callback(lambda _: open_.release())
    before, start = scheduler.journal.ends["result"], time.monotonic()
    while time.monotonic() < stop:
        open_.acquire()
        scheduler.submit(once(graph)).add_done_callback(lambda _: open_.release())
    return (scheduler.journal.ends["result"] - before) / (time.monotonic() - start)


def _settle(future: Any) -> None:
    with contextlib.suppress(SaccadeError, CancelledError):
        future.result(600)


def _resident_bytes() -> int:
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) << 10
