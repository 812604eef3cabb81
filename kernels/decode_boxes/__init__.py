"""decode_boxes: a detector's logits and normalised boxes to boxes in pixels, best first."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import native
from saccade.kernels.decode_boxes import reference
from saccade.kernels.dispatch import Candidate, pick
from saccade.runtime.errors import SpecError

MOST = (1 << 31) - 1  # logits
SIDE = 1 << 24  # pixels: float32 holds whole numbers up to here


class DecodedBoxes(NamedTuple):
    """Parallel arrays of M boxes by descending score; equal logits by query, then class.

    boxes: (M, 4) float32, x1 y1 x2 y2 in pixels of the picture, clipped to it
    scores: (M,) float32; classes, queries: (M,) int64, of which pair of query and class the box is
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    queries: np.ndarray


class Request(NamedTuple):
    """logits (N, K) and boxes (N, 4) float32, C-contiguous; above: the threshold as a logit."""

    logits: np.ndarray
    boxes: np.ndarray
    size: tuple[int, int]
    above: float
    limit: int


def _run(name: str, r: Request) -> DecodedBoxes:
    most = min(r.limit, r.logits.size)
    room = DecodedBoxes(
        np.empty((most, 4), np.float32), np.empty(most, np.float32), np.empty(most, np.int64), np.empty(most, np.int64)
    )
    found = native.module.decode_boxes(name, *r, *room)
    return DecodedBoxes(*(array[:found].copy() for array in room))


CANDIDATES = (
    *(native.candidate("decode_boxes", name, _run) for name in ("avx512", "avx2", "base")),
    Candidate("reference", lambda *_: "", reference.run),
)


def decode_boxes(
    logits: np.ndarray,
    boxes: np.ndarray,
    size: Sequence[int],
    *,
    threshold: float = 0.5,
    limit: int | None = None,
    impl: str | None = None,
) -> DecodedBoxes:
    """The boxes whose score, the sigmoid of a logit, is above `threshold`, in pixels and by descending score.

    logits: (N, K) float32, a query's logit for each class; a NaN is above nothing
    boxes: (N, 4) float32, centre x, centre y, width, height as shares of the picture; a NaN stays one
    size: (H, W) of the picture in pixels
    threshold: 0 to 1; compared as a logit, log(t / (1 − t)) rounded to float32, so only what passes needs a sigmoid
    limit: most boxes, the best ones; None for all
    impl: a candidate to force: avx512, avx2, base or reference
    Raises SpecError for arguments that do not fit, KernelError if `impl` cannot run.
    Source: the postprocessing of Deformable DETR (arXiv 2010.04159) and its successors, one box a query and class.
    """
    request = _check(logits, boxes, size, threshold, limit)
    found: DecodedBoxes = pick("decode_boxes", CANDIDATES, request, force=impl).run(request)
    return found


def _check(logits: Any, boxes: Any, size: Any, threshold: Any, limit: Any) -> Request:
    logits = _array("logits", logits, "(N, K)", lambda shape: True)
    boxes = _array("boxes", boxes, f"({len(logits)}, 4)", lambda shape: shape == (len(logits), 4))
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= SIDE and 1 <= width <= SIDE):
        raise _wrong("size", size, f"(height, width), whole numbers from 1 to {SIDE}")
    try:
        share, most = float(threshold), logits.size if limit is None else operator.index(limit)
    except (TypeError, ValueError):
        share, most = math.nan, 0
    if not 0 <= share <= 1 or most < 0:
        allowed = "a threshold from 0 to 1, and None or a whole number from 0"
        raise _wrong("threshold and limit", f"{threshold!r} and {limit!r}", allowed)
    if logits.size > MOST:
        raise _wrong("logits", f"shape {logits.shape}", f"at most {MOST} in all")
    return Request(logits, boxes, (height, width), _as_logit(share), min(most, logits.size))


def _as_logit(share: float) -> float:
    if share in (0.0, 1.0):
        return -math.inf if share == 0 else math.inf
    return float(np.float32(math.log(share) - math.log1p(-share)))


def _array(name: str, array: Any, wanted: str, fits: Any) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != 2 or not fits(array.shape):
        given = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else type(array).__name__
        raise _wrong(name, given, f"a NumPy array {wanted} float32")
    return np.ascontiguousarray(array)


def _wrong(name: str, given: Any, allowed: str) -> SpecError:
    return SpecError(f"[decode_boxes] {name}: got {given}", hint=f"give {allowed}")
