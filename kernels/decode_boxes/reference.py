"""decode_boxes, the specification: which logits pass, in which order, and what becomes of their boxes.

A pair of query and class passes if its logit is greater than the threshold's. Logits order the pairs, descending, ties
by query and then class, so that the order does not depend on how a sigmoid rounds. A score is 1 / (1 + exp(−logit)) in
float64, rounded to float32 once. A corner is (centre ± ½ side) · size, each operation rounded to float32, clipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saccade.kernels.decode_boxes import DecodedBoxes, Request


def score(logits: np.ndarray) -> np.ndarray:
    """Sigmoid in float64, rounded to float32."""
    with np.errstate(over="ignore"):
        share: np.ndarray = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    return share


def corners(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(M, 4) float32 x1 y1 x2 y2 in pixels, clipped, of (M, 4) float32 centre x, centre y, width, height as shares."""
    scale = np.array(size[::-1], np.float32)
    with np.errstate(all="ignore"):  # inf and NaN are the caller's
        half = np.float32(0.5) * boxes[:, 2:]
        ends = np.concatenate([(boxes[:, :2] - half) * scale, (boxes[:, :2] + half) * scale], axis=1)
    clipped: np.ndarray = np.clip(ends, np.float32(0), np.tile(scale, 2))
    return clipped


def run(r: Request) -> DecodedBoxes:
    """The best `limit` of the pairs above the threshold."""
    from saccade.kernels.decode_boxes import DecodedBoxes

    flat = r.logits.ravel()
    passed = np.flatnonzero(flat > np.float32(r.above))
    best = passed[np.argsort(-flat[passed], kind="stable")][: r.limit]
    queries, classes = np.divmod(best, max(r.logits.shape[1], 1))
    return DecodedBoxes(corners(r.boxes[queries], r.size), score(flat[best]), classes, queries)
