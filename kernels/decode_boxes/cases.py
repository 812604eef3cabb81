"""Shapes and inputs of decode_boxes, for tests and benchmarks.

Tolerance: boxes, classes, queries and their order are equal; a score is rounded from float64 once, by a library's exp,
so it may be the float32 next to the reference's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = float(np.finfo(np.float32).eps) / 2  # of a score: half its spacing at 1


class Case(NamedTuple):
    """share: of the queries that show something; limit: as the argument."""

    name: str
    queries: int
    classes: int
    size: tuple[int, int] = (800, 1333)
    share: float = 0.05
    limit: int | None = None


BENCHMARKS = (
    Case("900 queries, 256 tokens", 900, 256, limit=300),
    Case("300 queries, 80 classes", 300, 80, (640, 640), limit=300),
)

ODD = (
    Case("no queries", 0, 5),
    Case("no classes", 5, 0),
    Case("one", 1, 1, (1, 1), 1.0),
    Case("one class", 77, 1, (33, 20), 0.5),
    Case("a group to the logit", 8, 8, share=1.0),
    Case("a group and one", 13, 5, share=0.5),
    Case("beyond a block", 60, 137, share=0.9),
    Case("few are wanted", 130, 40, share=0.8, limit=7),
)


def work(case: Case, found: int) -> tuple[int, int]:
    """Bytes: logits, boxes and what was found. Operations: a comparison a logit, and 16 a box that was found."""
    logits = case.queries * case.classes
    return 4 * logits + 16 * case.queries + 36 * found, logits + 16 * found


def inputs(case: Case, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """logits (N, K) float32, rounded so that some are equal, and boxes (N, 4) float32, some of them beyond the rim."""
    rng = np.random.default_rng(seed)
    shows = rng.random((case.queries, 1)) < case.share
    logits = rng.normal(-6, 1.5, (case.queries, case.classes))
    logits = np.round(np.where(shows & (rng.random(logits.shape) < 0.2), logits + 7, logits) * 64) / 64
    boxes = np.concatenate([rng.random((case.queries, 2)), rng.uniform(0, 0.4, (case.queries, 2))], axis=1)
    return logits.astype(np.float32), boxes.astype(np.float32)
