"""Many users of one real model through the scheduler: merged against one call at a time, in turn.

merging    texts, each a request of its own
shared     users of one picture who click: for a bundle whose pipeline has `segment`
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from saccade.runtime.model import Model, load
from saccade.runtime.scheduler import Scheduler

Row = dict[str, Any]


def merging(model: Model, rounds: int, count: int = 256) -> Row:
    """Texts of many requests at once, each its own call: merged against one at a time."""
    texts = [f"a red circle and {number} stars" for number in range(count)]

    def each(scheduler: Scheduler) -> float:
        start = time.perf_counter()
        futures = [scheduler.submit(model.pipeline.encode_text(text)) for text in texts]
        for future in futures:
            future.result(600)
        return count / (time.perf_counter() - start)

    with Scheduler(model) as merged, Scheduler(model, merge=False) as alone:
        want = [model.encode_text(text).vectors for text in texts[:8]]
        for text, vectors in zip(texts, want, strict=False):
            np.testing.assert_allclose(
                merged.submit(model.pipeline.encode_text(text)).result(60).vectors, vectors, atol=1e-4
            )
        each(merged), each(alone)
        found = [(each(merged), each(alone)) for _ in range(rounds)]
    return _ratio("merging", model, found)


def shared(model: Model, rounds: int, users: int = 8, bursts: int = 8) -> Row:
    """Users of one picture, a click each, again and again: the encoder runs once, their decoder calls meet.

    ratio: requests a second, merged over alone; decoder_ratio: of the seconds that the decoder ran for a prompt;
    cpu_ratio: of the processor's seconds for a request, which say the same on a busy machine
    """
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (480, 640, 3)).astype(np.uint8)
    points = rng.uniform((0, 0), (640, 480), (users, 1, 2))
    view = model.run(model.pipeline.encode(picture))

    def ask(scheduler: Scheduler, seen: Any, pipeline: Any = model.pipeline) -> list[Any]:
        futures = [scheduler.submit(pipeline.segment(seen, points=point)) for point in points]
        return [future.result(600) for future in futures]

    def each(scheduler: Scheduler) -> tuple[float, float, float]:
        busy, cpu, start = scheduler.journal.busy_s, time.process_time(), time.perf_counter()
        for _ in range(bursts):
            ask(scheduler, view)
        rate = users * bursts / (time.perf_counter() - start)
        return rate, scheduler.journal.busy_s - busy, time.process_time() - cpu

    with Scheduler(model) as merged, Scheduler(model, merge=False) as alone:
        for got, point in zip(ask(merged, view), points, strict=True):  # the gate: the same, but for rounding
            np.testing.assert_allclose(
                got.low, model.run(model.pipeline.segment(view, points=point)).low, rtol=1e-2, atol=1e-2
            )
        for scheduler in (merged, alone):
            scheduler.warm_up(model)
        each(merged), each(alone)
        found = [(each(merged), each(alone)) for _ in range(rounds)]
    with load(model.bundle, threads=1, cache_bytes=1 << 26) as cached, Scheduler(cached) as scheduler:
        ask(scheduler, picture, cached.pipeline)  # each brings the picture and not a view of it
        encoded = scheduler.journal.rows - users
    decoder, cpu = (round(float(np.median([a[i] / m[i] for m, a in found])), 3) for i in (1, 2))
    row = _ratio("shared", model, [(m[0], a[0]) for m, a in found])
    return {**row, "decoder_ratio": decoder, "cpu_ratio": cpu, "users": users, "encoder_rows": encoded}


def _ratio(case: str, model: Model, found: list[tuple[float, float]]) -> Row:
    ratios = [merged / alone for merged, alone in found]
    low, high = np.percentile(ratios, [10, 90])
    return {
        "case": case,
        "bundle": model.bundle.name,
        "requests_per_s": round(float(np.median([merged for merged, _ in found])), 1),
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_low": round(float(low), 3),
        "ratio_high": round(float(high), 3),
        "runs": len(found),
    }
