"""Crops: parts of a picture as pictures of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from saccade.runtime.image import Image


def crop(image: Image, box: Any, margin: float = 0.0) -> tuple[Image, tuple[int, int]]:
    """The part of `image` at box (left, top, right, bottom in pixels), and its left, top.

    margin: share of the box's sides that is added on every side, as far as the picture goes
    Edges are rounded outward; a box without area, or beside the picture, gives the pixel next to it.
    """
    left, top, right, bottom = np.asarray(box, np.float64).tolist()
    wide, high = (right - left) * margin, (bottom - top) * margin
    x0 = min(max(int(np.floor(left - wide)), 0), image.width - 1)
    y0 = min(max(int(np.floor(top - high)), 0), image.height - 1)
    x1 = min(max(int(np.ceil(right + wide)), x0 + 1), image.width)
    y1 = min(max(int(np.ceil(bottom + high)), y0 + 1), image.height)
    pixels = np.ascontiguousarray(image.pixels[y0:y1, x0:x1])
    pixels.flags.writeable = False
    return Image(pixels, image.name), (x0, y0)
