"""Two-stage open-vocabulary detection, as ViLD (arXiv 2104.13921) at inference: regions first, then what they are.

picture ──proposals──▶ boxes ──crops at 1 and 1.5 times──▶ CLIP ──▶ cosine with labels and background ──▶ Detections
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.arguments import share
from saccade.runtime.call import Pipeline, Work
from saccade.runtime.crops import crop
from saccade.runtime.detections import Detections
from saccade.runtime.image import Image, decode
from saccade.runtime.phrases import label_list
from saccade.runtime.results import Embeddings, normalise

BACKGROUND = ("background",)
CONTEXT = 0.25
"""Share of a box's sides that is added on each side for the second, wider crop: 1.5 times the box (ViLD §3.2)."""
PROPOSED = ("object", "thing")
MOST = 100
"""Proposals of one picture that are looked at, the best ones."""


def two_stage(
    proposals: Any,
    clip: Any,
    picture: Any,
    labels: Sequence[str],
    *,
    threshold: float = 0.3,
    nms: float | None = 0.6,
    background: Sequence[str] = BACKGROUND,
    templates: Sequence[str] | None = None,
    limit: int = MOST,
    **asked: Any,
) -> Pipeline[Detections]:
    """Detections of the labels among a picture's proposals.

    proposals: a pipeline that finds regions: a Sam (`everything`), or a detector, which is asked for PROPOSED
    clip: a Clip pipeline; labels: K strings
    threshold: least score; the score is the geometric mean of CLIP's share for the label and the proposal's own
    nms: of boxes of one label with a larger IoU the best stays; None or 1 for none
    background: texts that take the share of what is none of the labels; a box that is most like them is left out
    limit: proposals to look at, the best ones; asked: passed on to `everything` or `detect`
    Regions of SAM come with their masks. The vocabulary is CLIP's: the proposals need not know the labels.
    Raises TextError, InputError, ImageError.
    """
    names = label_list(labels)
    least = share("threshold", threshold, 0.3)
    judge = yield from clip.classifier([*names, *(text for text in background if text not in names)], templates)
    image = yield Work(decode, picture)
    regions = yield from _propose(proposals, image, limit, asked)
    if not len(regions):
        return replace(Detections.none(tuple(names), image), masks=regions.masks)
    seen = yield from _look(clip, image, regions.boxes)
    found: Detections = yield Work(_judged, judge, seen, names, regions, least, nms)
    return found


def _propose(proposals: Any, image: Image, limit: int, asked: dict[str, Any]) -> Pipeline[Detections]:
    """What is there, whatever it is, best first; with masks where SAM found it."""
    if not hasattr(proposals, "everything"):
        wide = {"threshold": 0.05, "nms": 0.7, **asked}
        found: Detections = yield from proposals.detect(image, list(PROPOSED), **wide)
        return found[:limit]
    masks = yield from proposals.everything(image, **asked)
    masks = masks[np.argsort(-masks.score, kind="stable")[:limit]]
    boxes = masks.boxes.astype(np.float32) + np.array([0, 0, 1, 1], np.float32)  # last column and row to edges
    label = np.zeros(len(masks), np.int64)
    size = image.height, image.width
    return Detections(boxes, np.clip(masks.score, 0, 1), label, PROPOSED, size, None, image, masks)


def _look(clip: Any, image: Image, boxes: NDArray[np.float32]) -> Pipeline[Embeddings]:
    """Embeddings (M, E) of the regions: of each the unit mean of two crops. Regions go through CLIP in batches."""
    crops = yield Work(lambda: [crop(image, box, margin)[0] for margin in (0.0, CONTEXT) for box in boxes])
    seen = yield from clip.encode_image(crops)
    near, wide = seen.vectors[: len(boxes)], seen.vectors[len(boxes) :]
    return Embeddings(normalise(near + wide), ("",) * len(boxes), seen.model)


def _judged(
    judge: Any, seen: Embeddings, names: list[str], regions: Detections, least: float, nms: float | None
) -> Detections:
    shares = judge(seen).values
    label = shares.argmax(axis=1).astype(np.int64)
    score = np.sqrt(shares.max(axis=1) * regions.score).astype(np.float32)
    kept = np.flatnonzero((label < len(names)) & (score > least))
    kept = kept[np.argsort(-score[kept], kind="stable")]
    found = replace(regions[kept], score=score[kept], label=label[kept], phrases=tuple(names), spans=None)
    return found if nms is None else found.nms(share("nms", nms, 1))
