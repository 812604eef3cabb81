"""The world of shapes: pictures with exact ground truth, drawn with NumPy alone, the same bytes on every machine.

    sample_scene(rng, level) -> Scene -> render(scene, size) -> Rendered: pixels, masks, boxes, classes, scene

Every family of the zoo is trained and measured on it. Things are signed distances (shapes.py), antialiased over one
pixel, painted back to front; what is visible of each is its mask. About half a millisecond a picture of 64 x 64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saccade.zoo.scene import LEVELS, Level, Light, Scene, Thing, sample_scene
from saccade.zoo.shapes import REACH, Array, coverage, pattern, turn
from saccade.zoo.words import class_index

__all__ = ["LEVELS", "Level", "Light", "Rendered", "Scene", "Thing", "render", "sample_scene"]

SECOND_COLOUR = 0.36  # of a texture: the first one, darkened to this share


@dataclass(frozen=True, eq=False)
class Rendered:
    """A picture and what is true of it. M is the number of things, in the scene's order (later covers earlier).

    pixels: (H, W, 3) uint8 sRGB
    masks: (M, H, W) bool, the visible pixels of each thing; no pixel belongs to two
    boxes: (M, 4) float32 x0 y0 x1 y1 in pixels, exactly the extent of the mask; zeros where nothing is visible
    classes: (M,) int64 into words.CLASSES, -1 for a thing whose colour has no name
    """

    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    scene: Scene

    def whole(self, index: int) -> NDArray[np.bool_]:
        """(H, W) bool: thing `index` with the parts that lie on it. A click on a part means it or this."""
        mask: NDArray[np.bool_] = self.masks[index].copy()
        for other, thing in enumerate(self.scene.things):
            if thing.part_of == index:
                mask |= self.masks[other]
        return mask


def render(scene: Scene, size: int | tuple[int, int] = 64) -> Rendered:
    """Draw a scene.

    size: the side in pixels, or (height, width); 64 to 512 are the sizes that the levels are made for
    """
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.Generator(np.random.PCG64(scene.seed))
    canvas = _backdrop(scene, height, width)
    _clutter(canvas, scene, rng)
    masks = np.zeros((len(scene.things), height, width), bool)
    for index, thing in enumerate(scene.things):
        _paint(canvas, masks, index, thing)
    _shine(canvas, scene.light)
    if scene.noise:
        # the sum of two dice is near enough to a normal and, unlike it, needs no logarithm
        canvas += rng.integers(-scene.noise, scene.noise + 1, (2, height, width, 3), np.int8).sum(0, dtype=np.int16)
    pixels = np.floor(np.minimum(np.maximum(canvas, 0), 255) + 0.5).astype(np.uint8)
    classes = np.array([class_index(t.colour, t.shape) if t.colour else -1 for t in scene.things], np.int64)
    return Rendered(pixels, masks, _boxes(masks), classes, scene)


def _backdrop(scene: Scene, height: int, width: int) -> Array:
    across = scene.slope[0] * ((np.arange(width) + 0.5) / width - 0.5)
    down = scene.slope[1] * ((np.arange(height) + 0.5) / height - 0.5)
    return (across[None, :] + down[:, None])[:, :, None] + np.array(scene.backdrop, np.float64)


def _paint(canvas: Array, masks: NDArray[np.bool_], index: int, thing: Thing) -> None:
    height, width = canvas.shape[:2]
    radius_px = thing.radius * min(height, width)
    window, dx, dy = _window(thing.x * width, thing.y * height, REACH * radius_px + 1, height, width)
    cosine, sine = turn(thing.degrees)
    u = (dx * cosine + dy * sine) / radius_px
    v = (dy * cosine - dx * sine) / radius_px
    alpha = coverage(thing.shape, u, v, radius_px)
    paint: Array = np.array(thing.rgb, np.float64)
    ink = pattern(thing.texture, u, v, radius_px)
    if ink is not None:
        paint = paint * (1 - (1 - SECOND_COLOUR) * ink)[:, :, None]
    region = canvas[window]
    region += (paint - region) * alpha[:, :, None]
    solid = alpha >= 0.5
    masks[:index, *window] &= ~solid
    masks[index, *window] = solid


def _window(x: float, y: float, reach: float, height: int, width: int) -> tuple[tuple[slice, slice], Array, Array]:
    """The pixels within `reach` of (x, y), and how far their centres lie from it: (1, w) and (h, 1)."""
    left, right = max(0, int(x - reach)), min(width, max(0, int(x + reach) + 1))
    top, bottom = max(0, int(y - reach)), min(height, max(0, int(y + reach) + 1))
    dx = np.arange(left, right, dtype=np.float64)[None, :] + (0.5 - x)
    dy = np.arange(top, bottom, dtype=np.float64)[:, None] + (0.5 - y)
    return (slice(top, bottom), slice(left, right)), dx, dy


def _clutter(canvas: Array, scene: Scene, rng: np.random.Generator) -> None:
    """Specks and short lines behind the things: neither is a thing, both look a little like one."""
    height, width = canvas.shape[:2]
    side = min(height, width)
    for number in range(scene.specks + scene.lines):
        x, y, bend, *rgb = rng.random(6)
        length = 0.16 * side if number >= scene.specks else 0.0
        thick = max(0.6, 0.011 * side)
        window, dx, dy = _window(x * width, y * height, length + thick + 1, height, width)
        cosine, sine = turn(int(bend * 180))
        along, aside = dx * cosine + dy * sine, dy * cosine - dx * sine
        beyond = np.maximum(np.abs(along) - length, 0)
        alpha = np.minimum(np.maximum(0.5 + thick - np.sqrt(beyond * beyond + aside * aside), 0), 1)
        region = canvas[window]
        region += (50 + 170 * np.array(rgb) - region) * (0.8 * alpha)[:, :, None]


def _shine(canvas: Array, light: Light) -> None:
    height, width = canvas.shape[:2]
    if light.slope_x or light.slope_y:
        across = light.slope_x * ((np.arange(width) + 0.5) / width - 0.5)
        down = light.slope_y * ((np.arange(height) + 0.5) / height - 0.5)
        canvas *= (1 + across[None, :] + down[:, None])[:, :, None]
    canvas *= np.array(light.tint)


def _boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    boxes = np.zeros((len(masks), 4), np.float32)
    for box, mask in zip(boxes, masks, strict=True):
        columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
        if len(rows):
            box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return boxes
