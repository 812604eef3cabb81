"""Everything mode (arXiv 2304.02643, appendix B): masks of whatever a grid of points finds, without duplicates.

for each crop of the picture:
    points of the grid ──64 at a time──▶ decoder ──score──▶ mask_decode ──stability, edge──▶ boxes ──nms──▶ kept
all crops ──nms, smaller crops first──▶ small regions removed ──nms──▶ Masks

Logits that the score refuses are never brought to the picture's size, and no mask ever is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.kernels.nms import nms
from saccade.runtime import regions, rle
from saccade.runtime.call import Call, Pipeline, Work
from saccade.runtime.everything import Box, Everything
from saccade.runtime.image import Image
from saccade.runtime.masks import Masks
from saccade.runtime.prompt import Prompt
from saccade.runtime.prompt_pack import BATCH, clicks
from saccade.runtime.spec import Array
from saccade.runtime.view import View

if TYPE_CHECKING:
    from saccade.runtime.pipelines.sam import Sam

EDGE = 20
"""Pixels from a crop's edge within which a mask's box is taken for cut off."""


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
        parts.append(replace(found, prompt=found.prompt + sum(len(before) for before in asked)))
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
