"""Everything: what is asked of everything mode, where its points lie, how it crops (arXiv 2304.02643, appendix B)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.errors import InputError

MOST_POINTS, MOST_CROPS = 1 << 14, 4
"""Points in one crop, and layers of crops: what bounds the time that a caller can ask for."""
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Everything:
    """What is asked of everything mode; the fields are the arguments of Sam.everything. Raises InputError."""

    grid: Any = 32
    crops: int = 0
    min_score: float = 0.88
    min_stability: float = 0.95
    offset: float = 1.0
    box_nms: float = 0.7
    crop_nms: float = 0.7
    overlap: float = 512 / 1500
    downscale: int = 1
    min_region: int = 0

    def __post_init__(self) -> None:
        whole = {"crops": (0, MOST_CROPS), "downscale": (1, 64), "min_region": (0, 1 << 31)}
        for name, (low, high) in whole.items():
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or not low <= value <= high:
                raise _bad(name, value, f"a whole number from {low} to {high}")
        for name, most in {"min_score": 1e9, "min_stability": 1, "offset": 1e9, "box_nms": 1, "crop_nms": 1}.items():
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or not 0 <= value <= most:
                raise _bad(name, value, "a number from 0" + (" to 1" if most == 1 else ""))
        if not isinstance(self.overlap, int | float) or not 0 <= self.overlap < 1:
            raise _bad("overlap", self.overlap, "a share of the picture's shorter side, less than 1")
        for layer in range(self.crops + 1):
            self.points(layer)

    def points(self, layer: int) -> NDArray[np.float64]:
        """(K, 2) x, y between 0 and 1: the grid of a crop of that layer, row by row."""
        if isinstance(self.grid, int | np.integer):
            side = int(self.grid / self.downscale**layer)
            if side < 1 or side * side > MOST_POINTS:
                raise _bad("grid", self.grid, f"1 to {math.isqrt(MOST_POINTS)} points a side in every layer of crops")
            places = np.linspace(1 / (2 * side), 1 - 1 / (2 * side), side)
            return np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)
        try:
            given = np.asarray(self.grid[layer], np.float64)
        except (TypeError, ValueError, IndexError, KeyError):
            given = np.empty(0)
        right = given.ndim == 2 and given.shape[1:] == (2,) and 0 < len(given) <= MOST_POINTS
        if not right or not ((given >= 0) & (given <= 1)).all():
            raise _bad("grid", "other values", "points a side, or for each layer of crops (K, 2) x, y from 0 to 1")
        return given

    def boxes(self, height: int, width: int) -> list[tuple[Box, int]]:
        """Crops, left, top, right, bottom, and the layer of each: the picture, then 4, 16, … that overlap."""
        made: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
        for layer in range(1, self.crops + 1):
            side = 1 << layer
            shared = int(self.overlap * min(height, width) * (2 / side))
            wide, tall = (math.ceil((shared * (side - 1) + n) / side) for n in (width, height))
            for left in ((wide - shared) * i for i in range(side)):
                for top in ((tall - shared) * i for i in range(side)):
                    made.append(((left, top, min(left + wide, width), min(top + tall, height)), layer))
        if any(right <= left or bottom <= top for (left, top, right, bottom), _ in made):
            raise _bad("crops", self.crops, f"fewer layers for a picture of {height} x {width}")
        return made


def _bad(name: str, value: Any, allowed: str) -> InputError:
    return InputError(f"[everything] {name}: got {str(value)[:40]}", hint=f"give {allowed}")
