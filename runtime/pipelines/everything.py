"""Everything mode (arXiv 2304.02643, appendix B): masks of whatever a grid of points finds, without duplicates.

for each crop of the picture:
    points of the grid ──64 at a time──▶ decoder ──score──▶ mask_decode ──stability, edge──▶ boxes ──nms──▶ kept
all crops ──nms, smaller crops first──▶ small regions removed ──nms──▶ Masks

Logits that the score refuses are never brought to the picture's size, and no mask ever is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.kernels.nms import nms
from saccade.runtime import regions, rle
from saccade.runtime.call import Call, Pipeline, Work
from saccade.runtime.errors import InputError
from saccade.runtime.image import Image
from saccade.runtime.masks import Masks
from saccade.runtime.prompt import Prompt
from saccade.runtime.prompt_pack import clicks
from saccade.runtime.spec import Array
from saccade.runtime.view import View

if TYPE_CHECKING:
    from saccade.runtime.pipelines.sam import Sam

BATCH = 64
MOST_POINTS, MOST_CROPS = 1 << 14, 4
EDGE = 20
"""Pixels from a crop's edge within which a mask's box is taken for cut off."""
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


def segment_everything(sam: Sam, view: View, wanted: Everything) -> Pipeline[Masks]:
    """The masks of one view. `prompt` of each is the point that found it; logits are not kept."""
    image = view.picture
    crops = wanted.boxes(image.height, image.width)
    parts: list[Masks] = []
    asked: list[NDArray[np.float64]] = []
    for box, layer in crops:
        left, top, right, bottom = box
        points = wanted.points(layer) * (right - left, bottom - top)
        seen = view if layer == 0 else (yield from sam.look(_crop(image, box)))
        found = yield from _one(sam, seen, points, box, image, wanted)
        parts.append(replace(found, prompt=found.prompt + sum(len(points) for points in asked)))
        asked.append(points + (left, top))
    masks = Masks.join(parts)
    if len(crops) > 1:
        masks = yield Work(_smaller_first, masks, wanted.crop_nms)
    if wanted.min_region:
        masks = yield Work(_cleaned, masks, wanted)
    return _numbered(masks, np.concatenate(asked))


def _one(sam: Sam, view: View, points: Any, box: Box, whole: Image, wanted: Everything) -> Pipeline[Masks]:
    """Masks of one crop, in the picture's coordinates, without duplicates, best first."""
    parts = []
    for start in range(0, len(points), BATCH):
        packed = clicks(points[start : start + BATCH], view.frame, sam.low)
        out = yield Call(sam.decoder, sam.given(view, packed))
        parts.append((yield Work(_survivors, sam, out, start, view, box, whole, wanted)))
    masks = Masks.join(parts)
    kept = yield Work(_nms, masks.boxes, masks.score, wanted.box_nms)
    placed: Masks = yield Work(_placed, masks[kept], box, whole)
    return placed


def _survivors(
    sam: Sam, out: dict[str, Array], start: int, view: View, box: Box, whole: Image, wanted: Everything
) -> Masks:
    """Of a decoder run the masks that are good, steady and not cut off, in the crop's coordinates."""
    score = out["iou"][0, :, 1:]
    good = score > wanted.min_score if wanted.min_score > 0 else np.ones(score.shape, bool)
    low = np.ascontiguousarray(out["logits"][0, :, 1:][good])
    point = np.nonzero(good)[0] + start
    masks = Masks.of(low, score[good], point, (), sam.window(view.frame), threshold=sam.threshold, offset=wanted.offset)
    masks = replace(masks, logits=None)
    steady = masks.stability >= wanted.min_stability if wanted.min_stability > 0 else np.ones(len(masks), bool)
    return masks[steady & ~_cut_off(masks.boxes, box, whole)]


def _cut_off(boxes: NDArray[np.int32], crop: Box, whole: Image) -> NDArray[np.bool_]:
    """(M,) whether a box ends near an edge of its crop that is none of the picture's."""
    there = boxes + np.array(crop[:2] * 2)
    at_crop = abs(there - np.array(crop)) <= EDGE
    at_whole = abs(there - np.array((0, 0, whole.width, whole.height))) <= EDGE
    cut: NDArray[np.bool_] = (at_crop & ~at_whole).any(axis=1)
    return cut


def _nms(boxes: NDArray[Any], scores: NDArray[Any], iou: float) -> NDArray[np.int64]:
    kept: NDArray[np.int64] = nms(boxes.astype(np.float32), scores.astype(np.float32), iou=iou)
    return kept


def _placed(masks: Masks, box: Box, whole: Image) -> Masks:
    left, top, _, _ = box
    size = (whole.height, whole.width)
    crops = np.tile(np.array(box, np.int32), (len(masks), 1))
    if masks.size != size:
        moved = [rle.place(r, left, top, size) for r in masks.rle]
        masks = replace(masks, rle=moved, boxes=masks.boxes + np.array((left, top, left, top), np.int32), size=size)
    return replace(masks, crops=crops, picture=whole)


def _smaller_first(masks: Masks, iou: float) -> Masks:
    """Of the same thing found in several crops the one of the smallest crop: it was seen largest."""
    sides = (masks.crops[:, 2:] - masks.crops[:, :2]).astype(np.float64)
    return masks[_nms(masks.boxes, 1 / sides.prod(axis=1), iou)]


def _cleaned(masks: Masks, wanted: Everything) -> Masks:
    """Without small holes and islands, and without what became a duplicate by that; untouched masks go first."""
    done = [regions.clean(r, wanted.min_region) for r in masks.rle]
    made = [r for r, _ in done]
    boxes = np.array([rle.box(r) for r in made], np.int32).reshape(-1, 4)
    areas = np.array([rle.area(r) for r in made], np.int64)
    kept = _nms(boxes, np.array([not changed for _, changed in done]), max(wanted.box_nms, wanted.crop_nms))
    return replace(masks, rle=made, boxes=boxes, area=areas)[kept]


def _numbered(masks: Masks, points: NDArray[np.float64]) -> Masks:
    """The masks with the prompts that found one, and only those."""
    used, prompt = np.unique(masks.prompt, return_inverse=True)
    return replace(masks, prompts=tuple(Prompt(points=points[i : i + 1]) for i in used), prompt=prompt.astype(np.int64))


def _crop(image: Image, box: Sequence[int]) -> Image:
    left, top, right, bottom = box
    pixels = np.ascontiguousarray(image.pixels[top:bottom, left:right])
    pixels.flags.writeable = False
    return Image(pixels, image.name)


def _bad(name: str, value: Any, allowed: str) -> InputError:
    return InputError(f"[everything] {name}: got {str(value)[:40]}", hint=f"give {allowed}")
