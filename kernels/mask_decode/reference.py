"""mask_decode, the specification: SAM's postprocessing (arXiv 2304.02643) as one operator an axis, and what it sums to.

SAM interpolates logits to the model's square, cuts the padding off and interpolates to the original, both bilinear with
align_corners=False. Indices and weights are torch's, in float32. Both steps together are linear, so each axis has one
operator of at most 3 taps: products of weights and their sums in float64, rounded to float32 once. Then

    across: (a · w₀ + b · w₁) + c · w₂ of each row, then down the same way, each operation rounded to float32

A pixel belongs to a mask if its value is greater than the threshold, so NaN never does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saccade.kernels.mask_decode.request import Request

TAPS = 3


def interpolation(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """torch's upsample_bilinear2d along an axis: output i is near[i] · s[at[i]] + far[i] · s[after[i]].

    The place in the source, scale · (i + ½) − ½, is rounded to float32 once: torch's builds fuse it.

    Returns at and after (target,) int64, near and far (target,) float32.
    """
    if source == target:
        return np.arange(target), np.arange(target), np.ones(target, np.float32), np.zeros(target, np.float32)
    scale = np.float32(source) / np.float32(target)
    centre = np.float64(scale) * (np.arange(target, dtype=np.float32) + np.float32(0.5)).astype(np.float64)
    place = np.maximum((centre - 0.5).astype(np.float32), np.float32(0))
    at = np.minimum(np.floor(place).astype(np.int64), source - 1)
    far = np.clip(place - at.astype(np.float32), np.float32(0), np.float32(1))
    return at, np.minimum(at + 1, source - 1), np.float32(1) - far, far


def taps(low: int, model: int, valid: int, original: int) -> tuple[np.ndarray, np.ndarray]:
    """One operator for both steps: index (original, 3) into the logits and weights (original, 3) float32.

    low ≤ model, so neighbours in the model's square are at most one logit apart, and three taps do.
    """
    outer = interpolation(valid, original)
    inner = interpolation(low, model)
    first, sums, rows = inner[0][outer[0]], np.zeros((original, TAPS)), np.arange(original)
    for j, weight in ((outer[0], outer[2]), (outer[1], outer[3])):
        for index, share in ((inner[0][j], inner[2][j]), (inner[1][j], inner[3][j])):
            sums[rows, np.minimum(index - first, TAPS - 1)] += weight.astype(np.float64) * share.astype(np.float64)
    return np.minimum(first[:, None] + np.arange(TAPS), low - 1), sums.astype(np.float32)


def resample(low: np.ndarray, y: tuple[np.ndarray, np.ndarray], x: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """(H, W) float32 logits at the size of the original, from (h, w) and the taps of both axes."""
    with np.errstate(all="ignore"):  # inf and NaN are the caller's, and mean what float32 makes of them
        a, b, c = (low[:, x[0][:, t]] * x[1][:, t] for t in range(TAPS))
        wide = (a + b) + c
        a, b, c = (wide[y[0][:, t]] * y[1][:, t, None] for t in range(TAPS))
        full: np.ndarray = (a + b) + c
    return full


def box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a (H, W) bool mask, inclusive; zeros if it is empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if len(rows) else (0, 0, 0, 0)


def compress(mask: np.ndarray) -> bytes:
    """COCO's run lengths of a (H, W) bool mask, in their text form.

    Runs of 0 and 1 in turn, the first of 0 and possibly empty, column after column. From the fourth on a run is written
    as its difference to the one two before: 5 bits a character, the lowest first; bit 5 says that more follow, the sign
    extends the last, and '0' is added.
    """
    pixels = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(pixels, prepend=False)).tolist()
    runs = np.diff([0, *edges, pixels.size]).tolist()
    text = bytearray()
    for i, run in enumerate(runs):
        value, more = run - runs[i - 2] if i > 2 else run, True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(bits + 48 + (32 if more else 0))
    return bytes(text)


def run(r: Request) -> list[bytes]:
    """The compressed run lengths of each mask; fills the arrays of the request."""
    y = taps(r.low.shape[1], r.model[0], r.valid[0], r.original[0])
    x = taps(r.low.shape[2], r.model[1], r.valid[1], r.original[1])
    lower, threshold, upper = (np.float32(t) for t in r.thresholds)
    counts = []
    for m, low in enumerate(r.low):
        full = resample(low, y, x)
        mask = full > threshold
        union = np.float32(np.count_nonzero(full > lower))
        r.boxes[m] = box(mask)
        r.area[m] = np.count_nonzero(mask)
        r.stability[m] = np.float32(np.count_nonzero(full > upper)) / union if union else 0
        if r.places[m] >= 0:
            r.dense[r.places[m]] = mask
        counts.append(compress(mask))
    return counts
