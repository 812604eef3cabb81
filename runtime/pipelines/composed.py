"""Compositions: a detector's boxes asked of another model. Plain generators, for whoever drives pipelines.

detect ──boxes──▶ SAM ──▶ masks           detect ──crops──▶ CLIP ──▶ kinds
[a face [an eye] (happy, sad)]: detect ──crops──▶ detect within, and classify
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

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


class _Place(NamedTuple):
    """A part of the whole picture: where it lies, and the box that it is the crop of."""

    image: Image
    left: int
    top: int
    parent: int


class _Ask(NamedTuple):
    """Items to look for in each of the places."""

    items: tuple[Item, ...]
    places: list[_Place]


def tree(detector: Any, clip: Any, picture: Any, items: Sequence[Item], **asked: Any) -> Pipeline[Detections]:
    """Detections of a tree prompt, outer boxes before inner ones; `parent` says in which box each was found.

    clip: a Clip pipeline, or None where no item has kinds; asked: passed on to the detector's `detect`
    Within a box the detector sees the crop alone, enlarged to its input: small parts are found that the whole picture
    hides. All crops of a level go into the detector together.
    """
    image = yield Work(decode, picture)
    phrases = tuple(dict.fromkeys(name for item in items for name in item.names))
    parts: list[Detections] = []
    level = [_Ask(tuple(items), [_Place(image, 0, 0, -1)])]
    while level:
        looked = yield All(*(_look(detector, clip, ask, asked) for ask in level))
        level = []
        for found, below in looked:
            before = sum(len(part) for part in parts)
            label = np.array([phrases.index(name) for name in found.names], np.int64)
            parts.append(replace(found, label=label, phrases=phrases, picture=image, size=(image.height, image.width)))
            for ask in below:
                level.append(ask._replace(places=[p._replace(parent=p.parent + before) for p in ask.places]))
    made = Detections.join(parts)
    return made if any(item.classified for item in items) else replace(made, kind=None, kind_score=None)


def _look(detector: Any, clip: Any, ask: _Ask, asked: dict[str, Any]) -> Pipeline[tuple[Detections, list[_Ask]]]:
    """What a group of items finds, in the whole picture's pixels, and what to look at within it."""
    names = [item.name for item in ask.items]
    each = yield from detector.detect([place.image for place in ask.places], names, **asked)
    crops = [_within(one, place) for one, place in zip(each, ask.places, strict=True)]
    moved = [_moved(one, place) for one, place in zip(each, ask.places, strict=True)]
    found = Detections.join(moved)
    inner = [place._replace(parent=i) for i, place in enumerate(place for some in crops for place in some)]
    kind, sure = [""] * len(found), np.zeros(len(found), np.float32)
    below = []
    for k, item in enumerate(ask.items):
        mine = np.flatnonzero(found.label == k).tolist()
        if item.kinds and mine:
            said = yield from clip.classify([inner[i].image for i in mine], item.kinds)
            sure[mine] = said.values.max(axis=1)
            for i, best in zip(mine, said.best, strict=True):
                kind[i] = best
        if item.parts and mine:
            below.append(_Ask(item.parts, [inner[i] for i in mine]))
    return replace(found, kind=tuple(kind), kind_score=sure), below


def _moved(found: Detections, place: _Place) -> Detections:
    by = np.array([place.left, place.top] * 2, np.float32)
    return replace(found, boxes=found.boxes + by, parent=np.full(len(found), place.parent, np.int64))


def _within(found: Detections, place: _Place) -> list[_Place]:
    return [_Place(image, place.left + x, place.top + y, -1) for image, (x, y) in _crops(found)]


def _crops(found: Detections) -> list[tuple[Image, tuple[int, int]]]:
    assert found.picture is not None
    return [crop(found.picture, box, MARGIN) for box in found.boxes]
