"""Buckets: the input sizes of a detector, and where a picture lies in the one that is chosen for it.

picture ──bucket──▶ fitted in, shape kept, the rest padded ──▶ pixels (B, 3, H, W), shown (B, H, W)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from saccade.runtime.errors import InputError, ManifestError
from saccade.runtime.image import Image
from saccade.runtime.preprocess import MOST, Preprocess

SPARE = 0.05
"""Share of a bucket that may be padding beyond the least: among such buckets the resolution decides."""
Size = tuple[int, int]


class Buckets:
    """The sizes (height, width) that a model's detector takes. Raises ManifestError for what are no sizes."""

    def __init__(self, sizes: Any, preprocess: Preprocess):
        self.sizes = _sizes(sizes)
        kept = "squash" if preprocess.resize == "squash" else "fit"
        self._fits = {
            size: msgspec.structs.replace(preprocess, size=size, resize=kept, edge=0, limit=0, crop="none")
            for size in self.sizes
        }

    def choose(self, height: int, width: int) -> Size:
        """Of the buckets with the least padding (or within SPARE of it) the smallest that does not shrink the picture,
        else the largest."""
        share = {size: _shown(size, height, width) for size in self.sizes}
        good = [size for size in self.sizes if share[size] >= max(share.values()) - SPARE]
        large = [size for size in good if min(size[0] / height, size[1] / width) >= 1]
        if large:
            return min(large, key=_area)
        return max(good, key=_area)

    def named(self, size: Any) -> Size:
        """The bucket (height, width). Raises InputError if there is none such."""
        try:
            wanted = (int(size[0]), int(size[1]))
        except (TypeError, ValueError, IndexError):
            wanted = (0, 0)
        if wanted not in self.sizes:
            have = ", ".join(f"{h}x{w}" for h, w in self.sizes)
            raise InputError(f"[detect] no input size {str(size)[:40]}", hint=f"(height, width) of {have}")
        return wanted

    def fill(self, images: Sequence[Image], size: Size) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """pixels (B, 3, H, W) float32 and shown (B, H, W) bool, True where the picture is."""
        pixels, frames = self._fits[size].batch(images)
        shown = np.zeros((len(images), *size), bool)
        for mask, frame in zip(shown, frames, strict=True):
            top, left, bottom, right = frame.window
            mask[top:bottom, left:right] = True
        return pixels, shown


def _shown(size: Size, height: int, width: int) -> float:
    factor = min(size[0] / height, size[1] / width)
    return height * width * factor * factor / _area(size)


def _area(size: Size) -> int:
    return size[0] * size[1]


def _sizes(given: Any) -> tuple[Size, ...]:
    rows = given if isinstance(given, list | tuple) else ()
    made = tuple(tuple(row) for row in rows if isinstance(row, list | tuple))
    right = all(len(row) == 2 and all(type(n) is int and 1 <= n <= MOST for n in row) for row in made)
    if not made or not right or len(made) != len(rows):
        raise ManifestError(
            f"[bundle] /config/sizes: {str(given)[:60]!a} are no sizes", pointer="/config/sizes", hint="export it again"
        )
    return tuple((row[0], row[1]) for row in made)
