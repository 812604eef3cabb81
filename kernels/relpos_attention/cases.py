"""Shapes and inputs of relpos_attention, for tests and benchmarks.

Tolerance: the error against the reference in float64 is at most TIMES that of the reference in float32, the plain form.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TIMES = 2.0


class Case(NamedTuple):
    """B, A, (Hk, Wk), D. spread: standard deviation of q and k, and so of the logits; bias: that of rh and rw."""

    name: str
    batch: int
    heads: int
    grid: tuple[int, int]
    dim: int
    spread: float = 1.0
    bias: float = 1.0


BENCHMARKS = (
    Case("SAM-B global", 1, 12, (64, 64), 64),
    Case("SAM-B windows", 25, 12, (14, 14), 64),
    Case("SAM-H windows", 25, 16, (14, 14), 80),
)

ODD = (
    Case("no pictures", 0, 2, (3, 4), 8),
    Case("no heads", 2, 0, (3, 4), 8),
    Case("one token", 2, 3, (1, 1), 16),
    Case("one number a token", 1, 2, (3, 5), 1),
    Case("one row", 1, 2, (1, 37), 24),
    Case("one column", 2, 1, (37, 1), 24),
    Case("tiny SAM", 2, 2, (5, 9), 24),
    Case("a window", 2, 2, (14, 14), 64),
    Case("a window of SAM-H", 1, 2, (14, 14), 80),
    Case("a register wide", 1, 1, (7, 16), 32),
    Case("a register and one", 1, 2, (6, 17), 33),
    Case("a block wide", 1, 1, (5, 64), 64),
    Case("a block and one", 1, 1, (4, 65), 40),
    Case("two blocks and some", 1, 1, (2, 150), 16),
    Case("more queries than a block", 1, 1, (19, 33), 64),
    Case("many numbers a token", 1, 1, (6, 7), 200),
    Case("sharp", 1, 2, (14, 14), 64, spread=3.0),
    Case("flat", 1, 2, (14, 14), 64, spread=1e-3, bias=1e-3),
    Case("biases decide", 1, 2, (9, 14), 64, bias=40.0),
    Case("huge biases", 1, 2, (9, 14), 64, bias=1e4),
)


def inputs(case: Case, seed: int = 0, dtype: str = "float32") -> tuple[np.ndarray, ...]:
    """q, k, v (B, A, N, D), rh (B, A, N, Hk), rw (B, A, N, Wk)."""
    rng = np.random.default_rng(seed)
    (rows, columns), outer = case.grid, (case.batch, case.heads, case.grid[0] * case.grid[1])
    widths = (case.dim, case.dim, case.dim, rows, columns)
    spreads = (case.spread, case.spread, 1.0, case.bias, case.bias)
    return tuple(
        (rng.standard_normal((*outer, width), np.float32) * np.float32(spread)).astype(dtype)
        for width, spread in zip(widths, spreads, strict=True)
    )


def work(case: Case, size: int = 4) -> tuple[int, int]:
    """Least bytes, each array once with items of `size` bytes, and operations: the two products, 2 a multiply-add."""
    places, heads = case.grid[0] * case.grid[1], case.batch * case.heads
    return heads * places * (4 * case.dim + sum(case.grid)) * size, 4 * heads * places**2 * case.dim
