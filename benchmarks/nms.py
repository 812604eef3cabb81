"""nms against NumPy's greedy loop, which is the reference, and OpenCV's NMSBoxes. One thread, one process.

Everything here runs on one thread and waits for nothing, so the clock is the thread's own. Nothing is timed before
every candidate kept exactly the boxes that the reference keeps. The reference looks at all boxes whatever their class,
so with many classes its ratio says little: a loop that goes class by class would be faster. OpenCV computes in double
and, with classes, moves boxes apart by them, so it may keep others; it is there for its speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from saccade.benchmarks.rows import compared, interleave
from saccade.kernels.nms import CANDIDATES, nms
from saccade.kernels.nms.cases import BENCHMARKS, Case, inputs


def opencv(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray | None) -> Callable[[], Any] | None:
    """OpenCV's NMSBoxes, or its batched form, on the same boxes; None if OpenCV is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    if classes is None:
        return partial(cv2.dnn.NMSBoxes, sized, scores, 0.0, 0.5)
    return partial(cv2.dnn.NMSBoxesBatched, sized, scores, classes.astype(np.int32), 0.0, 0.5)


def rows(rounds: int = 20) -> list[dict[str, Any]]:
    """One row a case and usable candidate, times in ms; ratios are baseline over candidate, 10th to 90th percentile.

    Raises ValueError if a candidate keeps other boxes than the reference.
    """
    return [row for case in BENCHMARKS for row in _case_rows(case, rounds)]


def _case_rows(case: Case, rounds: int) -> list[dict[str, Any]]:
    boxes, scores, classes = inputs(case)
    of = classes if case.classes > 1 else None
    ours = [c.name for c in CANDIDATES if c.place == "cpu" and c.name != "reference" and not c.unusable()]
    runs: dict[str, Callable[[], Any]] = {name: partial(nms, boxes, scores, of, impl=name) for name in ours}
    runs["numpy"] = partial(nms, boxes, scores, of, impl="reference")
    expected = runs["numpy"]()
    for name in ours:
        if not np.array_equal(runs[name](), expected):
            raise ValueError(f"[benchmark] {case.name}: {name} keeps other boxes than numpy")
    if peer := opencv(boxes, scores, of):
        runs["opencv"] = peer
    times = interleave(runs, rounds=rounds, clock=time.thread_time)
    peers = {name: timing for name, timing in times.items() if name not in ours}
    return [
        {
            "op": "nms",
            "case": case.name,
            "kept": len(expected),
            "impl": name,
            "p50_ms": round(times[name].p50_ms, 4),
            "p90_ms": round(times[name].p90_ms, 4),
            "runs": len(times[name].rounds_ms),
            "baselines": compared(times[name], peers),
        }
        for name in ours
    ]
