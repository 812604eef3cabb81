"""What is left to a person or a detector when the confident masks of a picture are found.

A grid of points is laid over the picture. Where no mask covers one, the model is asked at it: what it then shows but is
not sure of is one kind of ask, the regions where it shows nothing are the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.runtime import rle
from saccade.runtime.annotation.record import Annotation, Box, Prompted, annotation
from saccade.runtime.annotation.rules import Rules
from saccade.runtime.annotation.stages import View, apart, best
from saccade.runtime.prompt import Prompt

MOST = 64
"""Of one picture: more is no list that somebody works through."""
LEAST_CELLS = 2
"""Cells of the grid in a row or column that make an uncovered region; fewer lie between two masks."""
UNCERTAIN, UNCOVERED = "uncertain", "uncovered"


def asks(view: View, kept: Sequence[Annotation], height: int, width: int, rules: Rules) -> tuple[Prompted, ...]:
    """What to look at in a picture of (height, width) with the confident masks `kept`, numbered from 0."""
    points = _grid(rules.ask_grid, height, width)
    free = ~covered(points, kept)
    at = points[free]
    tried = [Prompt(point[None]) for point in at]
    shown = [
        annotation(*answer, points=((float(x), float(y)),))
        for answer, (x, y) in zip(best(view, tried), at, strict=True)
    ]
    worth = [a for a in shown if a.area and a.area >= rules.min_area and a.predicted_iou >= rules.ask_score]
    worth.sort(key=lambda a: -a.predicted_iou)
    unsure = apart([*kept, *worth], rules.max_overlap)[len(kept) :]
    free &= ~covered(points, unsure)
    regions = _regions(free.reshape(rules.ask_grid, rules.ask_grid), height, width)
    made = [_uncertain(a) for a in unsure] + [Prompted(accept=None, why=UNCOVERED, region=r) for r in regions]
    return tuple(msgspec.structs.replace(one, ask=number) for number, one in enumerate(made[:MOST]))


def covered(points: NDArray[np.float32], by: Sequence[Annotation]) -> NDArray[np.bool_]:
    """Which of the points (N, 2) lie in one of the masks: (N,) bool. Read off the run lengths."""
    found = np.zeros(len(points), bool)
    for one in by:
        height = one.segmentation.size[0]
        ends = np.cumsum(rle.runs(one.segmentation.coco))
        place = points[:, 0].astype(np.int64) * height + points[:, 1].astype(np.int64)
        found |= np.searchsorted(ends, place, side="right") % 2 == 1
    return found


def _grid(side: int, height: int, width: int) -> NDArray[np.float32]:
    """The middles of side x side cells, (side², 2) as x, y, row by row."""
    middle = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(middle * width, middle * height)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _uncertain(one: Annotation) -> Prompted:
    x, y, w, h = one.bbox
    return Prompted(
        points=one.point_coords,
        labels=(1,) * len(one.point_coords),
        accept=None,
        why=UNCERTAIN,
        region=(x, y, x + w, y + h),
        score=one.predicted_iou,
        stability=one.stability_score,
    )


def _regions(free: NDArray[np.bool_], height: int, width: int) -> list[Box]:
    """The connected regions of free cells as x0, y0, x1, y1, the largest first."""
    side, left = len(free), free.copy()
    found: list[tuple[int, Box]] = []
    for row, column in np.argwhere(free):
        cells = _flood(left, int(row), int(column))
        if len(cells) >= LEAST_CELLS:
            rows, columns = np.array(cells).T
            edges: Any = (columns.min() / side * width, rows.min() / side * height)
            edges += ((columns.max() + 1) / side * width, (rows.max() + 1) / side * height)
            found.append((len(cells), tuple(round(float(v), 2) for v in edges)))  # type: ignore[arg-type]
    return [box for _, box in sorted(found, key=lambda pair: -pair[0])]


def _flood(left: NDArray[np.bool_], row: int, column: int) -> list[tuple[int, int]]:
    """Take the cells that hang together with this one, by their sides, out of `left`."""
    stack, cells = [(row, column)], []
    while stack:
        y, x = stack.pop()
        if 0 <= y < len(left) and 0 <= x < len(left) and left[y, x]:
            left[y, x] = False
            cells.append((y, x))
            stack += [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
    return cells
