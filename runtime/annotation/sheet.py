"""The contact sheet of a run: some of its pictures, each with its masks laid over it."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime import rle
from saccade.runtime.annotation.finished import Finished
from saccade.runtime.annotation.record import Annotation
from saccade.runtime.draw import TILE, Row, Section, Sheet, Tile
from saccade.runtime.errors import ImageError
from saccade.runtime.image import Image, decode

PICTURES = 24
_OPACITY = 0.5
_GOLDEN = 0.618034  # of a turn: hues far apart, however many


def draw(root: Path, pictures: Iterable[Finished], title: str) -> Sheet:
    """A sheet of these pictures, which lie below `root`; one that cannot be read any more is left out."""
    tiles = []
    for picture in pictures:
        try:
            image = decode(root / picture.name)
        except ImageError:
            continue
        tiles.append(Tile(overlay(image, picture.annotations), picture.name, _rows(picture.annotations)))
    return Sheet(title, [Section("", tiles)])


def overlay(image: Image, annotations: Iterable[Annotation], side: int = TILE) -> NDArray[np.uint8]:
    """The picture, its longer side at most `side`, with each mask in a colour of its own, the large ones below.

    The masks are read off their run lengths at the small picture's pixels; none is made in full size.
    """
    from PIL import Image as Pillow

    scale = min(1.0, side / max(image.height, image.width))
    width, height = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    small = Pillow.fromarray(image.pixels).resize((width, height), Pillow.Resampling.BOX)
    canvas = np.asarray(small).astype(np.float32)
    x = ((np.arange(width) + 0.5) / width * image.width).astype(np.int64)
    y = ((np.arange(height) + 0.5) / height * image.height).astype(np.int64)
    for at, one in enumerate(sorted(annotations, key=lambda a: -a.area)):
        if one.segmentation.size == (image.height, image.width):
            _paint(canvas, one, x, y, np.array(colorsys.hsv_to_rgb(at * _GOLDEN % 1, 0.75, 1.0), np.float32) * 255)
    return canvas.round().clip(0, 255).astype(np.uint8)


def _paint(canvas: Any, one: Annotation, x: Any, y: Any, colour: Any) -> None:
    left, top, width, height = one.bbox
    columns = slice(*np.searchsorted(x, (left, left + width)))
    rows = slice(*np.searchsorted(y, (top, top + height)))
    place = x[columns] * one.segmentation.size[0] + y[rows, None]
    inside = np.searchsorted(np.cumsum(rle.runs(one.segmentation.coco)), place, side="right") % 2 == 1
    core = np.pad(inside, 1)
    edge = inside & ~(core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:])
    view = canvas[rows, columns]
    view[inside] = view[inside] * (1 - _OPACITY) + colour * _OPACITY
    view[edge] = colour


def _rows(annotations: tuple[Annotation, ...]) -> list[Row]:
    if not annotations:
        return [Row("no masks")]
    score = float(np.mean([a.predicted_iou for a in annotations]))
    return [Row(f"{len(annotations)} masks, predicted IoU", score, f"{score:.2f}")]
