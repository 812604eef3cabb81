"""nms against NumPy's greedy loop, which is the reference, and OpenCV's NMSBoxes.

The reference looks at all boxes whatever their class, so with many classes its ratio says little: a loop that goes
class by class would be faster. OpenCV computes in double and, with classes, moves boxes apart by them, so it may keep
others: up to one in a hundred is let pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.kernels.nms import nms
from saccade.kernels.nms.cases import BENCHMARKS, Case, inputs, work


def problems(quick: bool) -> Iterator[Problem]:
    """1,000 and 10,000 boxes, clustered and scattered, with classes and without."""
    yield from map(_problem, BENCHMARKS[:1] if quick else BENCHMARKS)


def _problem(case: Case) -> Problem:
    boxes, scores, classes = inputs(case)
    of = classes if case.classes > 1 else None
    run = partial(nms, boxes, scores, of)
    kept = run(impl="reference")
    bytes_, flops = work(case.boxes, np.bincount(classes[kept]), of is not None)
    return Problem(
        case=case.name,
        shape={"N": case.boxes, "K": case.classes},
        dtype="fp32",
        run=lambda impl: run(impl=impl),
        expected=lambda: kept,
        error=differing,
        tolerance=0.0,
        bytes=bytes_,
        flops=flops,
        peers=(Peer("numpy", partial(run, impl="reference"), differing, 0.0), *_opencv(boxes, scores, of)),
        facts={"kept": len(kept)},
    )


def differing(ours: Any, expected: np.ndarray) -> float:
    """Boxes that only one of the two keeps, as a share; with the same boxes, 1 if their order differs."""
    same = set(np.asarray(ours).ravel().tolist()) ^ set(expected.tolist())
    if not same and isinstance(ours, np.ndarray) and ours.dtype == expected.dtype:
        return float(not np.array_equal(ours, expected))
    return len(same) / max(len(expected), 1)


def _opencv(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray | None) -> tuple[Peer, ...]:
    if not find_spec("cv2"):
        return ()
    import cv2

    sized = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    run = partial(cv2.dnn.NMSBoxes, sized, scores, 0.0, 0.5)
    if classes is not None:
        run = partial(cv2.dnn.NMSBoxesBatched, sized, scores, classes.astype(np.int32), 0.0, 0.5)
    return (Peer("opencv", run, differing, 0.01),)
