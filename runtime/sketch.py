"""Pictures of detections: boxes with what they are called, a colour for each phrase."""

from __future__ import annotations

import bisect
import json
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.runtime import overlay
from saccade.runtime.errors import InputError
from saccade.runtime.files import write_file
from saccade.runtime.image import decode

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    from saccade.runtime.detections import Detections

LEAST = 640
"""Pixels of the longer side of a drawing: smaller pictures are enlarged by a whole factor."""
Rectangle = tuple[float, float, float, float]


def draw(found: Detections, picture: Any = None) -> PilImage:
    """See Detections.draw. Large boxes first, so that small ones stay visible."""
    from PIL import Image, ImageDraw

    source = picture if picture is not None else found.picture
    if source is None:
        raise InputError("[detections] there is no picture to draw on", hint="give it: found.draw('photo.jpg')")
    image = decode(source)
    if (image.height, image.width) != tuple(found.size):
        given, of = f"{image.height} x {image.width}", f"{found.size[0]} x {found.size[1]}"
        raise InputError(f"[detections] a picture {given} for boxes on {of}", hint="give their own picture")
    canvas = image.pixels.copy()
    order = np.argsort(-_areas(found), kind="stable").tolist()
    if found.masks is not None:
        for i in order:
            overlay.lay(canvas, found.masks, i, max(1, round(max(found.size) / 640)), _colour(found, i))
    factor = max(1, -(-LEAST // max(found.size)))
    drawn = Image.fromarray(canvas).resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(drawn)
    thick = max(2, round(max(drawn.size) / 320))
    for i in order:
        _box(pen, found, i, factor, thick)
    taken: list[Rectangle] = []
    for i in order:
        _chip(pen, found, i, factor, drawn.size, taken)
    return drawn


def save(found: Detections, path: str | os.PathLike[str]) -> str:
    """See Detections.save."""
    target = Path(path)
    if target.suffix.lower() == ".json":
        write_file(target, json.dumps(found.fields(), ensure_ascii=False).encode())
    elif target.suffix.lower() == ".png":
        buffer = BytesIO()
        draw(found).save(buffer, "PNG")
        write_file(target, buffer.getvalue())
    else:
        raise InputError(f"[detections] cannot write {target.name!r}", hint="the name ends in .png or .json")
    return str(target)


def text(found: Detections, i: int) -> str:
    """What is written at box i: phrase, kind, score."""
    named = found.phrases[found.label[i]]
    kind = f" · {found.kind[i]}" if found.kind is not None and found.kind[i] else ""
    return f"{named}{kind} {found.score[i]:.2f}"


def _areas(found: Detections) -> Any:
    sides = np.maximum(found.boxes[:, 2:] - found.boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def _colour(found: Detections, i: int) -> tuple[int, int, int]:
    return overlay.colour(int(found.label[i]))


def _box(pen: Any, found: Detections, i: int, factor: int, thick: int) -> None:
    left, top, right, bottom = (found.boxes[i].astype(np.float64) * factor).tolist()
    place = (left, top, max(right - 1, left), max(bottom - 1, top))
    pen.rectangle(place, outline="white", width=thick + 2)
    inner = (left + 1, top + 1, max(right - 2, left + 1), max(bottom - 2, top + 1))
    pen.rectangle(inner, outline=_colour(found, i), width=thick)


def _chip(pen: Any, found: Detections, i: int, factor: int, size: tuple[int, int], taken: list[Rectangle]) -> None:
    """The words of box i on its colour: above the box, else inside, moved down until they cover no others."""
    from PIL import ImageFont

    points = max(12, round(max(size) / 46))
    font = ImageFont.load_default(points)
    words = _fit(pen, text(found, i), size[0] - 8, font)
    width, height = pen.textlength(words, font=font) + 8, points + 6
    left, top = (found.boxes[i, :2].astype(np.float64) * factor).tolist()
    left = min(max(left, 0.0), max(size[0] - width, 0.0))
    place = _free((left, top - height, left + width, top), size[1], taken)
    taken.append(place)
    paint = _colour(found, i)
    pen.rectangle(place, paint)
    dark = 0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2] > 150
    pen.text((place[0] + 4, place[1] + 1), words, fill="#16181c" if dark else "white", font=font)


def _free(place: Rectangle, bottom: int, taken: list[Rectangle]) -> Rectangle:
    left, top, right, low = place
    height = low - top
    first = top = max(top, 0.0)
    while any(left < r and right > x and top < b and top + height > y for x, y, r, b in taken):
        top += height
        if top + height > bottom:  # no room below either: better one over the other than none
            return left, first, right, first + height
    return left, top, right, top + height


def _fit(pen: Any, words: str, width: float, font: Any) -> str:
    """The words in one line, cut with an ellipsis where they would be wider than `width` pixels."""
    line = " ".join(words.split())[:400]
    if pen.textlength(line, font=font) <= width:
        return line
    kept = bisect.bisect_left(range(len(line)), True, key=lambda n: pen.textlength(line[:n] + "…", font=font) > width)
    return line[: max(kept - 1, 0)] + "…"
