"""Shapes and inputs of mask_decode, for tests and benchmarks.

Tolerance among candidates: none. Against torch's two steps in float32: 1 in 10⁶ pixels, each within 1e-4 of the
threshold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

TOLERANCE = 1e-6  # share of the pixels that may differ from torch's
NEAR = 1e-4  # of the threshold, in float64, where they may


class Case(NamedTuple):
    """kind: what `logits` makes; the rest are arguments of mask_decode."""

    name: str
    kind: str
    masks: int
    low: tuple[int, int]
    model: tuple[int, int]
    valid: tuple[int, int]
    original: tuple[int, int]


def sam(name: str, kind: str, masks: int, original: tuple[int, int]) -> Case:
    """SAM's own sizes: logits 256², model 1024², the longer side of the picture at 1024."""
    scale = 1024 / max(original)
    valid = (int(original[0] * scale + 0.5), int(original[1] * scale + 0.5))
    return Case(name, kind, masks, (256, 256), (1024, 1024), (max(valid[0], 1), max(valid[1], 1)), original)


BENCHMARKS = (
    sam("64 ragged to 1080p", "ragged", 64, (1080, 1920)),
    sam("64 noise to 1080p", "noise", 64, (1080, 1920)),
    sam("3 ragged to 1080p", "ragged", 3, (1080, 1920)),
    sam("64 ragged to 480 x 640", "ragged", 64, (480, 640)),
)

ODD = (
    sam("no masks", "noise", 0, (30, 40)),
    sam("one pixel", "noise", 3, (1, 1)),
    sam("narrow", "ragged", 2, (211, 37)),
    sam("one column", "noise", 2, (130, 1)),
    sam("one row", "noise", 2, (1, 130)),
    sam("portrait", "ragged", 3, (640, 427)),
    sam("window as wide as a register", "noise", 2, (90, 320)),
    sam("word and strip to the pixel", "noise", 2, (128, 64)),
    sam("one beyond both", "noise", 2, (129, 65)),
    sam("empty", "below", 2, (97, 150)),
    sam("full", "above", 2, (97, 150)),
    sam("around the thresholds", "levels", 3, (150, 97)),
    sam("not finite", "broken", 4, (97, 150)),
    Case("nothing to resample", "noise", 2, (33, 47), (33, 47), (33, 47), (33, 47)),
    Case("cut, not resampled", "noise", 2, (33, 47), (33, 47), (20, 31), (20, 31)),
    Case("one logit", "noise", 3, (1, 1), (4, 4), (3, 4), (9, 17)),
    Case("two logits", "noise", 3, (2, 2), (64, 64), (50, 64), (90, 120)),
    Case("fewer than a register", "noise", 2, (9, 7), (36, 28), (30, 28), (70, 300)),
    Case("oblong, slight ratio", "ragged", 2, (60, 80), (61, 83), (55, 83), (200, 111)),
)


def work(case: Case, low: np.ndarray, text: int) -> tuple[int, int]:
    """Bytes: logits, boxes, areas, stabilities and `text` characters of run lengths.

    Operations: 2 comparisons a logit. Then, where not all nine taps of a pixel are on one side of the thresholds 0 ± 1,
    5 for each column and row of logits that meet there and 8 for each pixel: 3 products, 2 sums, 3 comparisons.
    """
    from saccade.kernels.mask_decode.reference import TAPS, taps

    counts = []  # how many rows and columns of the original have their first tap at each logit
    sides = [low < -1, low > 1]
    for axis in (0, 1):
        index, _ = taps(case.low[axis], case.model[axis], case.valid[axis], case.original[axis])
        counts.append(np.bincount(index[:, 0], minlength=case.low[axis]))
        reach = np.minimum(np.arange(case.low[axis])[:, None] + np.arange(TAPS), case.low[axis] - 1)
        sides = [np.take(side, reach, axis=axis + 1).all(axis=axis + 2) for side in sides]
    mixed = ~(sides[0] | sides[1])
    across = int((mixed * (counts[0] > 0)[:, None] * counts[1]).sum())
    pixels = int((mixed * counts[0][:, None] * counts[1]).sum())
    return 4 * low.size + 28 * len(low) + text, 2 * low.size + 5 * across + 8 * pixels


def logits(case: Case, seed: int = 0) -> np.ndarray:
    """(M, h, w) float32 logits of the case's kind."""
    rng = np.random.default_rng(seed)
    shape = (case.masks, *case.low)
    noise = rng.standard_normal(shape).astype(np.float32)
    if case.kind == "ragged":
        return _ragged(rng, noise)
    if case.kind in ("below", "above"):
        return np.float32(20 if case.kind == "above" else -20) + noise
    if case.kind == "levels":  # plateaus exactly on the thresholds 0 and 0 ± 1
        return np.round(noise).clip(-1, 1).repeat(8, axis=2)[:, :, : case.low[1]]
    if case.kind == "broken":
        strange = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38], np.float32)
        odd = rng.random(shape) < 0.001
        return np.where(odd, rng.choice(strange, shape), noise * 5 + 4).astype(np.float32)
    return noise * 4


def _ragged(rng: np.random.Generator, noise: np.ndarray) -> np.ndarray:
    """Blobs with an uneven rim; about an eighth of the picture is covered."""
    masks, height, width = noise.shape
    y, x = np.mgrid[:height, :width].astype(np.float32) / max(height, width)
    out = np.empty_like(noise)
    for m in range(masks):
        middle, radius = rng.uniform(0.1, 0.9, 2) * (height, width) / max(height, width), rng.uniform(0.05, 0.3)
        away = np.hypot(y - middle[0], x - middle[1])
        turn = np.arctan2(y - middle[0], x - middle[1])
        rim = sum(rng.uniform(-0.1, 0.1) * np.sin(k * turn + rng.uniform(0, 6.3)) for k in range(2, 9))
        out[m] = (radius * (1 + rim) - away) * 120 + noise[m] * 0.4
    return out.clip(-25, 25)
