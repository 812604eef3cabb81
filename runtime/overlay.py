"""Pictures of masks: over the photograph with outlines and prompts, and as PNG masks for other programs."""

from __future__ import annotations

import colorsys
import json
import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime import rle
from saccade.runtime.draw import RIGHT, WRONG
from saccade.runtime.errors import InputError
from saccade.runtime.files import write_file
from saccade.runtime.image import decode

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

    from saccade.runtime.masks import Masks
    from saccade.runtime.prompt import Prompt

KINDS = ("overlay", "masks", "labels", "json")
FILL = 0.45
"""Share of a mask's colour in its pixels; its outline is the colour alone."""


def colour(i: int) -> tuple[int, int, int]:
    """The i-th of colours that stay apart: hues by the golden ratio, three lightnesses in turn."""
    hue = (0.58 + i * 0.61803398875) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.52, 0.42, 0.62)[i % 3], 0.78)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw(masks: Masks, picture: Any = None, *, prompts: bool = True) -> PilImage:
    """See Masks.draw. Large masks first, so that small ones stay visible."""
    from PIL import Image

    source = picture if picture is not None else masks.picture
    if source is None:
        raise InputError("[masks] there is no picture to draw on", hint="give the picture: masks.draw('photo.jpg')")
    image = decode(source)
    if (image.height, image.width) != tuple(masks.size):
        given = f"{image.height} x {image.width}"
        raise InputError(
            f"[masks] a picture {given} for masks of {masks.size[0]} x {masks.size[1]}", hint="give their own picture"
        )
    canvas = image.pixels.copy()
    thick = max(1, round(max(masks.size) / 640))
    for i in np.argsort(-masks.area, kind="stable").tolist():
        lay(canvas, masks, i, thick, colour(i))
    drawn = Image.fromarray(canvas)
    if prompts:
        for prompt in masks.prompts if len(masks.prompts) <= 64 else ():
            _prompt(drawn, prompt, thick)
    return drawn


def save(masks: Masks, path: str | os.PathLike[str], kind: str = "") -> list[str]:
    """See Masks.save."""
    target = Path(path)
    kind = kind or {".json": "json", "": "masks"}.get(target.suffix.lower(), "overlay")
    if kind not in KINDS:
        raise InputError(f"[masks] no kind {kind!r}", hint=f"it is one of {', '.join(KINDS)}")
    if kind == "masks":
        return _folder(masks, target)
    if kind == "json":
        write_file(target, json.dumps(masks.fields(), ensure_ascii=False).encode())
    else:
        if target.suffix.lower() != ".png":
            raise InputError(f"[masks] cannot write {target.name!r}", hint="the name of a picture ends in .png")
        write_file(target, _png(labels(masks) if kind == "labels" else draw(masks)))
    return [str(target)]


def labels(masks: Masks) -> PilImage:
    """A picture of numbers: 0 for no mask, i + 1 for mask i; 8 bits up to 255 masks, else 16."""
    from PIL import Image

    dtype = np.uint8 if len(masks) < 256 else np.uint16
    if len(masks) >= 1 << 16:
        raise InputError(f"[masks] {len(masks):,} masks in one picture of labels", hint="at most 65,535")
    made = np.zeros(masks.size, dtype)
    for i in np.argsort(-masks.area, kind="stable").tolist():
        top, left, part = _cut(masks, i)
        made[top : top + part.shape[0], left : left + part.shape[1]][part] = i + 1
    return Image.fromarray(made)


def _folder(masks: Masks, target: Path) -> list[str]:
    from PIL import Image

    digits = max(3, len(str(len(masks) - 1)))
    names = [target / f"mask_{i:0{digits}d}.png" for i in range(len(masks))]
    for i, name in enumerate(names):
        write_file(name, _png(Image.fromarray(masks.at(i))))
    return [str(name) for name in names]


def _png(picture: PilImage) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _cut(masks: Masks, i: int, room: int = 0) -> tuple[int, int, NDArray[np.bool_]]:
    """Top, left and pixels of mask i within its box, widened by `room` where the picture goes on."""
    height, width = masks.size
    if not masks.area[i]:
        return 0, 0, np.zeros((0, 0), bool)
    left, top, right, bottom = masks.boxes[i].tolist()
    left, right = max(left - room, 0), min(right + room + 1, width)
    top, bottom = max(top - room, 0), min(bottom + room + 1, height)
    starts, ends = rle.spans(masks.rle[i])
    line = np.zeros((right - left) * height + 1, np.int8)
    line[starts - left * height] += 1
    line[ends - left * height] -= 1
    columns = np.cumsum(line[:-1], dtype=np.int8).astype(bool).reshape(right - left, height)
    return top, left, columns.T[top:bottom]


def lay(canvas: NDArray[np.uint8], masks: Masks, i: int, thick: int, shade: tuple[int, int, int]) -> None:
    """Paint mask i onto (H, W, 3) pixels, with an outline of `thick` pixels."""
    top, left, part = _cut(masks, i, thick)
    if not part.size:
        return
    window = canvas[top : top + part.shape[0], left : left + part.shape[1]]
    paint = np.array(shade, np.float32)
    window[part] = (window[part] * (1 - FILL) + paint * FILL).astype(np.uint8)
    window[_outline(part, thick)] = paint.astype(np.uint8)


def _outline(part: NDArray[np.bool_], thick: int) -> NDArray[np.bool_]:
    """The rim: pixels of the mask within `thick` of what is not, and none along the picture's own edge."""
    inner = part
    for _ in range(thick):
        wide = np.pad(inner, 1, mode="edge")
        inner = inner & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    rim: NDArray[np.bool_] = part & ~inner
    return rim


def _prompt(drawn: PilImage, prompt: Prompt, thick: int) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(drawn)
    if prompt.box is not None:
        pen.rectangle(tuple(prompt.box.tolist()), outline="white", width=thick + 1)
    radius = max(4.0, max(drawn.size) / 110)
    for (x, y), label in zip(prompt.points.tolist(), prompt.labels.tolist(), strict=True):
        place = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(place, RIGHT if label else WRONG, "white", thick)
