"""Frame: where a picture lies in a model's input, and the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from saccade.runtime.errors import SpecError


@dataclass(frozen=True, slots=True)
class Frame:
    """input = original · resized / original size + offset, for each axis on its own.

    All are (height, width) in pixels. Coordinates are continuous and count edges: x runs from 0, the left edge of the
    first column, to W, the right edge of the last; the middle of the first pixel is (0.5, 0.5).

    original: of the picture, orientation applied
    resized: of the picture as the model sees it, before crop and padding
    size: of the model's input
    offset: of the resized picture's corner in the input; negative where the crop cut something off
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    size: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    @property
    def scale(self) -> tuple[float, float]:
        """(sy, sx): input pixels per original pixel."""
        return self.resized[0] / self.original[0], self.resized[1] / self.original[1]

    @property
    def window(self) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of the part of the input that shows the picture; the rest is padding."""
        ends = [min(at + n, size) for at, n, size in zip(self.offset, self.resized, self.size, strict=True)]
        begins = [max(at, 0) for at in self.offset]
        return begins[0], begins[1], max(ends[0], begins[0]), max(ends[1], begins[1])

    def apply_points(self, points: Any) -> np.ndarray:
        """(..., 2) x, y of the original in the input's pixels, float32. Raises SpecError."""
        points = _last("points", points, 2)
        there: np.ndarray = (points * self._factor + self._shift).astype(np.float32)
        return there

    def apply_boxes(self, boxes: Any) -> np.ndarray:
        """(..., 4) left, top, right, bottom of the original in the input's pixels, float32. Raises SpecError."""
        boxes = _last("boxes", boxes, 4)
        return self.apply_points(boxes.reshape(*boxes.shape[:-1], 2, 2)).reshape(boxes.shape)

    def restore_points(self, points: Any, *, clip: bool = False) -> np.ndarray:
        """(..., 2) x, y of the input in the original's pixels, float32; `clip` moves them into it. Raises SpecError."""
        back: np.ndarray = (_last("points", points, 2) - self._shift) / self._factor
        if clip:
            back = np.clip(back, 0.0, (self.original[1], self.original[0]))
        return back.astype(np.float32)

    def restore_boxes(self, boxes: Any, *, clip: bool = True) -> np.ndarray:
        """(..., 4) left, top, right, bottom of the input in the original's pixels, float32. Raises SpecError."""
        boxes = _last("boxes", boxes, 4)
        return self.restore_points(boxes.reshape(*boxes.shape[:-1], 2, 2), clip=clip).reshape(boxes.shape)

    @property
    def _factor(self) -> np.ndarray:
        return np.array(self.scale[::-1])

    @property
    def _shift(self) -> np.ndarray:
        return np.array(self.offset[::-1], np.float64)


def _last(name: str, values: Any, count: int) -> np.ndarray:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    if array.ndim == 0 or array.shape[-1] != count:
        raise SpecError(
            f"[frame] {name}: expected (..., {count}), got {array.shape}", hint="points are x, y; boxes x0, y0, x1, y1"
        )
    return array
