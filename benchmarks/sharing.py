"""Many users of one real model through the scheduler: merged against one call at a time, in turn.

merging    texts, each a request of its own
shared     users of one picture, a point each: for a bundle whose pipeline has `segment`
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from saccade.runtime.model import Model
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


def shared(model: Model, rounds: int, users: int = 8) -> Row:
    """Users of one picture, a point each: the encoder runs once, their decoder calls meet."""
    picture = np.random.default_rng(0).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    points = [[[40 + 60 * user, 240]] for user in range(users)]

    def each(scheduler: Scheduler, view: Any) -> float:
        start = time.perf_counter()
        futures = [scheduler.submit(model.pipeline.segment(view, points=point)) for point in points]
        for future in futures:
            future.result(600)
        return users / (time.perf_counter() - start)

    with Scheduler(model) as merged, Scheduler(model, merge=False) as alone:
        before = merged.journal.rows
        each(merged, picture)  # each its own request, picture and all
        encoded = merged.journal.rows - before - users
        view = model.run(model.pipeline.encode(picture))
        for _ in range(5):
            each(merged, view), each(alone, view)
        found = [(each(merged, view), each(alone, view)) for _ in range(rounds)]
    return {**_ratio("shared", model, found), "users": users, "encoder_rows": encoded}


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
