"""Compositions: a detector's boxes asked of another model. Plain generators, for whoever drives pipelines.

detect ──boxes──▶ SAM ──▶ masks           detect ──crops──▶ CLIP ──▶ kinds
[a face [an eye] (happy, sad)]: detect ──crops──▶ detect within, and classify
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from saccade.runtime.call import All, Pipeline, Work
from saccade.runtime.crops import crop
from saccade.runtime.detections import Detections
from saccade.runtime.image import Image, decode
from saccade.runtime.masks import Masks
from saccade.runtime.prompt import MOST
from saccade.runtime.tree import Item

MARGIN = 0.1
"""Share of a box's sides that is shown around it to what looks into it."""


def masked(sam: Any, found: Detections) -> Pipeline[Detections]:
    """The detections with a mask for each box, from one look of SAM at the picture.

    sam: a Sam pipeline; found: with its picture
    """
    assert found.picture is not None
    if not len(found):
        return replace(found, masks=Masks.from_rle([], found.size, picture=found.picture))
    view = yield from sam.look(found.picture)
    parts = []
    for start in range(0, len(found), MOST):
        masks = yield from sam.segment(view, boxes=found.boxes[start : start + MOST], multimask=False)
        parts.append(masks.best)
    if len(parts) > 1:
        asked = tuple(prompt for part in parts for prompt in part.prompts)
        parts = [replace(p, prompts=asked, prompt=p.prompt + i * MOST) for i, p in enumerate(parts)]
    return replace(found, masks=Masks.join(parts))


def classified(
    clip: Any, found: Detections, kinds: Sequence[str], templates: Sequence[str] | None = None
) -> Pipeline[Detections]:
    """The detections with what a CLIP calls each box, one of `kinds`. Raises TextError for kinds that are none."""
    judge = yield from clip.classifier(kinds, templates)
    empty = np.zeros(0, np.float32)
    if not len(found):
        return replace(found, kind=(), kind_score=empty)
    crops = yield Work(_crops, found)
    scores = yield from clip.classify([image for image, _ in crops], judge)
    return replace(found, kind=scores.best, kind_score=scores.values.max(axis=1))


def tree(detector: Any, clip: Any, picture: Any, items: Sequence[Item], **asked: Any) -> Pipeline[Detections]:
    """Detections of a tree prompt, outer boxes before inner ones; `parent` says in which box each was found.

    clip: a Clip pipeline, or None where no item has kinds; asked: passed on to the detector's `detect`
    Within a box the detector sees the crop alone, enlarged to its input: small parts are found that the whole picture
    hides. All crops of a level go into the detector together.
    """
    image = yield Work(decode, picture)
    phrases = tuple(dict.fromkeys(name for item in items for name in item.names))
    made, kinds, scores, parents = [], [], [], []
    level = [(tuple(items), [(image, (0, 0), -1)])]
    while level:
        looked = yield All(*(_level(detector, clip, group, places, asked) for group, places in level))
        level = []
        for found, kind, score, parent, below in looked:
            first = sum(len(part) for part in made)
            label = np.array([phrases.index(name) for name in found.names], np.int64)
            made.append(replace(found, label=label, phrases=phrases))
            kinds, scores, parents = [*kinds, *kind], [*scores, *score], [*parents, *parent]
            level += [(g, [(crop, at, first + i) for crop, at, i in places]) for g, places in below]
    boxes, score, label = (np.concatenate([getattr(d, name) for d in made]) for name in ("boxes", "score", "label"))
    size = image.height, image.width
    more: dict[str, Any] = {"parent": np.array(parents, np.int64)}
    if any(item.classified for item in items):
        more |= {"kind": tuple(kinds), "kind_score": np.array(scores, np.float32)}
    return Detections(boxes, score, label, phrases, size, None, image, **more)


def _level(
    detector: Any, clip: Any, items: tuple[Item, ...], places: list[tuple[Image, tuple[int, int], int]], asked: Any
) -> Pipeline[Any]:
    """What one group of items finds in pictures that lie at (left, top) of the whole, and what to look at next."""
    names = [item.name for item in items]
    each = yield from detector.detect([image for image, _, _ in places], names, **asked)
    kind, score = [""] * sum(map(len, each)), [0.0] * sum(map(len, each))
    parent = [above for found, (_, _, above) in zip(each, places, strict=True) for _ in range(len(found))]
    moved = [_moved(found, at) for found, (_, at, _) in zip(each, places, strict=True)]
    crops = [(c, (x + at[0], y + at[1])) for f, (_, at, _) in zip(each, places, strict=True) for c, (x, y) in _crops(f)]
    labels = np.concatenate([found.label for found in each])
    below = []
    for k, item in enumerate(items):
        mine = np.flatnonzero(labels == k).tolist()
        if item.kinds and mine:
            said = yield from clip.classify([crops[i][0] for i in mine], item.kinds)
            for i, best, value in zip(mine, said.best, said.values.max(axis=1).tolist(), strict=True):
                kind[i], score[i] = best, value
        if item.parts and mine:
            below.append((item.parts, [(*crops[i], i) for i in mine]))
    boxes = {name: np.concatenate([getattr(d, name) for d in moved]) for name in ("boxes", "score", "label")}
    return replace(moved[0], **boxes), kind, score, parent, below


def _moved(found: Detections, at: tuple[int, int]) -> Detections:
    return replace(found, boxes=found.boxes + np.array([*at, *at], np.float32))


def _crops(found: Detections) -> list[tuple[Image, tuple[int, int]]]:
    assert found.picture is not None
    return [crop(found.picture, box, MARGIN) for box in found.boxes]
