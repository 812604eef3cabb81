"""Shapes and inputs of deformable_attention, for tests and benchmarks.

Tolerance: the error against the reference in float64 is at most TIMES that of the reference in float32, the plain form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TIMES = 2.0
Sizes = tuple[tuple[int, int], ...]


class Case(NamedTuple):
    """B, N (None: a query a place, as encoders have it), A, D, (H, W) of each level, T.

    reach: how far points lie from their query, in pixels of the level, as standard deviation; 0: anywhere, and a tenth
        of the picture beyond its edges
    """

    name: str
    batch: int
    queries: int | None
    heads: int
    dim: int
    sizes: Sizes
    points: int
    reach: float = 0.0

    @property
    def places(self) -> int:
        """S, and N where there is a query a place."""
        return sum(height * width for height, width in self.sizes)


PYRAMID = ((60, 72), (30, 36), (15, 18), (8, 10))  # 480 x 576 pixels at strides 8 to 64: 5,750 places
LARGE = ((100, 167), (50, 84), (25, 42), (13, 21))  # 800 x 1333, Grounding DINO's own size: 22,223

BENCHMARKS = (
    Case("encoder 480x576", 1, None, 8, 32, PYRAMID, 4, reach=3.0),
    Case("anywhere 480x576", 1, None, 8, 32, PYRAMID, 4),
    Case("encoder 800x1333", 1, None, 8, 32, LARGE, 4, reach=3.0),
    Case("decoder 800x1333", 1, 900, 8, 32, LARGE, 4, reach=3.0),
)

ODD = (
    Case("no pictures", 0, 3, 2, 8, ((3, 4),), 2),
    Case("no queries", 2, 0, 2, 8, ((3, 4),), 2),
    Case("no heads", 2, 3, 0, 8, ((3, 4),), 2),
    Case("no points", 2, 3, 2, 8, ((3, 4),), 0),
    Case("no levels", 2, 3, 2, 8, (), 4),
    Case("an empty level", 1, 7, 2, 8, ((3, 4), (0, 5), (2, 0), (2, 2)), 3),
    Case("one pixel", 1, 9, 1, 4, ((1, 1),), 5),
    Case("one number", 2, 6, 3, 1, ((4, 5), (2, 3)), 2),
    Case("a row and a column", 1, 20, 2, 16, ((1, 37), (29, 1)), 3),
    Case("a pyramid", 2, None, 2, 32, ((6, 9), (3, 5), (2, 3), (1, 1)), 4, reach=1.5),
    Case("three levels", 1, 40, 8, 32, ((12, 10), (6, 5), (3, 3)), 4),
    Case("five levels", 1, 21, 3, 24, ((9, 8), (5, 4), (3, 2), (2, 1), (1, 1)), 4),
    Case("one level, many points", 1, 15, 2, 33, ((11, 7),), 37),
    Case("a register and one", 1, 13, 2, 17, ((5, 6), (3, 3)), 9),
    Case("wide heads", 1, 9, 2, 80, ((7, 7), (4, 4)), 4),
    Case("very wide heads", 1, 5, 1, 200, ((7, 7), (4, 4)), 4),
    Case("more queries than a block", 1, 300, 1, 8, ((8, 8),), 1),
)


def inputs(case: Case, seed: int = 0, dtype: str = "float32") -> tuple[np.ndarray, ...]:
    """value (B, S, A, D), sizes (L, 2), locations (B, N, A, L, T, 2), weights (B, N, A, L, T) that add up to 1."""
    rng = np.random.default_rng(seed)
    queries = case.places if case.queries is None else case.queries
    outer = (case.batch, queries, case.heads, len(case.sizes), case.points)
    value = rng.standard_normal((case.batch, case.places, case.heads, case.dim), np.float32)
    sizes = np.array(case.sizes, np.int64).reshape(-1, 2)
    if case.reach:
        centres = _centres(case)[slice(None) if case.queries is None else rng.integers(0, case.places, queries)]
        pixels = case.reach * rng.standard_normal((*outer, 2), np.float32)
        locations = centres[:, None, None, None] + pixels / np.maximum(sizes, 1)[:, None, ::-1].astype(np.float32)
    else:
        locations = rng.random((*outer, 2), np.float32) * np.float32(1.2) - np.float32(0.1)
    weights = np.exp(rng.standard_normal(outer, np.float32))
    weights /= weights.sum((3, 4), keepdims=True)
    return value.astype(dtype), sizes, locations.astype(dtype), weights.astype(dtype)


def _centres(case: Case) -> np.ndarray:
    """(S, 2): x and y of every place's centre, from 0 to 1."""
    every = []
    for height, width in case.sizes:
        y, x = np.mgrid[:height, :width]
        every.append(np.stack([(x.ravel() + 0.5) / width, (y.ravel() + 0.5) / height], 1))
    return np.concatenate(every).astype(np.float32)


def work(case: Case, size: int = 4) -> tuple[int, int]:
    """Least bytes, each array once with items of `size` bytes, and operations: 8 a point and number of its head."""
    queries = case.places if case.queries is None else case.queries
    points = case.batch * queries * case.heads * len(case.sizes) * case.points
    rows = case.batch * case.heads * case.dim * (case.places + queries)
    return (rows + 3 * points) * size, 8 * points * case.dim
