"""Shapes and inputs of nms, for tests and benchmarks. Tolerance: none, the kept indices are equal."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Case(NamedTuple):
    """boxes: N; centres: around how many points they lie (0: anywhere); spread: their distance from it, pixels."""

    name: str
    boxes: int
    centres: int
    spread: float = 4.0
    classes: int = 1


BENCHMARKS = (
    Case("1,000 clustered", 1_000, 100),
    Case("10,000 clustered", 10_000, 300),
    Case("10,000 clustered, 80 classes", 10_000, 300, classes=80),
    Case("10,000 scattered", 10_000, 0),
)

ODD = (
    Case("none", 0, 1),
    Case("one", 1, 1),
    Case("two", 2, 1, 0.5),
    Case("a register", 16, 0),
    Case("a register and one", 17, 3),
    Case("around one point", 300, 1, 30.0),
    Case("scattered", 301, 0),
    Case("a box a class", 40, 2, 1.0, 1_000),
    Case("many classes", 1_037, 20, 6.0, 9),
)


def work(count: int, kept: np.ndarray, classes: bool) -> tuple[int, int]:
    """Bytes: boxes, scores, classes if there are any, and the indices. Operations: 6 a pair that must be compared.

    kept: how many boxes of each class stayed. Each was compared with all that stayed before it, each other box with one
    at least; to see that two do not touch takes two maxima, two minima and two comparisons.
    """
    stayed = int(kept.sum())
    pairs = int((kept.astype(np.int64) * (kept - 1) // 2).sum()) + count - stayed
    return count * (16 + 4 + 8 * classes) + 8 * stayed, 6 * pairs


def inputs(case: Case, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """boxes (N, 4) float32 within 1920 x 1080, scores (N,) float32 with a few ties, classes (N,) int64."""
    rng = np.random.default_rng(seed)
    count = case.boxes
    if case.centres:
        of = rng.integers(0, case.centres, count)
        middle = (rng.random((case.centres, 2)) * (1920, 1080))[of] + rng.normal(0, case.spread, (count, 2))
        size = rng.uniform(30, 150, (case.centres, 2))[of] * rng.uniform(0.8, 1.25, (count, 2))
    else:
        middle, size = rng.random((count, 2)) * (1920, 1080), rng.uniform(4, 24, (count, 2))
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1).astype(np.float32)
    scores = rng.random(count).astype(np.float32)
    tied = rng.random(count) < 0.05
    return boxes, np.where(tied, np.float32(0.5), scores), rng.integers(0, case.classes, count)
