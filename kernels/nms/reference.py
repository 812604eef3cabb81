"""nms, the specification: greedy non-maximum suppression within each class, in float32.

IoU = common / ((area_a + area_b) − common), each operation rounded to float32 in this order; sides of the common part
below 0 count as 0. A box goes if its IoU with a better one of its class that stayed is greater than `iou`. From that
follows the rest: 0/0 is NaN and NaN is not greater, so boxes without area and boxes with NaN stay and suppress nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saccade.kernels.nms import Request


def box_iou(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(N,) float32: overlap of `box` (4,) with each of `boxes` (N, 4), all x1 y1 x2 y2 float32; NaN where 0/0."""
    with np.errstate(all="ignore"):  # inf and NaN in boxes are the caller's, and mean what float32 makes of them
        zero = np.float32(0)
        width = np.maximum(np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]), zero)
        height = np.maximum(np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]), zero)
        common = width * height
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        area = (box[2] - box[0]) * (box[3] - box[1])
        overlap: np.ndarray = common / ((area + areas) - common)
    return overlap


def run(request: Request) -> np.ndarray:
    """(K,) int64: kept indices by descending score, ties by index; a NaN score drops its box."""
    boxes, scores, classes, iou, limit = request
    order = np.argsort(-scores, kind="stable")
    order = order[~np.isnan(scores[order])]
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, order = order[0], order[1:]
        kept.append(int(best))
        goes = box_iou(boxes[best], boxes[order]) > iou
        if classes is not None:
            goes &= classes[order] == classes[best]
        order = order[~goes]
    return np.array(kept, np.int64)
