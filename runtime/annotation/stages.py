"""From a view to annotations, for each of the stages of SAM's data engine (arXiv 2304.02643, section 4).

automatic       everything mode ──score, stability, area, overlap──▶ annotations, best first
prompted        prompts ──segment, best of the ambiguous──▶ annotations, in the order of the prompts
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from saccade.runtime import rle
from saccade.runtime.annotation.record import Annotation, Pixels, Point, Prompted, annotation
from saccade.runtime.annotation.rules import ASSISTED, Rules
from saccade.runtime.masks import Masks
from saccade.runtime.prompt import Prompt

BATCH = 64
"""Prompts in one call of the decoder: their full-size masks never exist, but their logits do."""


class View(Protocol):
    """What `encode` gives: an encoded picture that answers prompts."""

    def segment(self, *, prompts: Sequence[Prompt], multimask: bool) -> Masks:
        """Masks of some prompts."""

    def everything(self, **options: Any) -> Masks:
        """Masks of the whole picture."""


@dataclass(frozen=True)
class Found:
    """Annotations, and how many masks the rules dropped."""

    annotations: tuple[Annotation, ...]
    dropped: int = 0


class Answer(NamedTuple):
    """One mask, without the logits of its batch."""

    rle: dict[str, Any]
    score: float
    stability: float


def automatic(view: View, rules: Rules) -> tuple[Annotation, ...]:
    """What everything mode finds and the rules keep, best score first."""
    masks = view.everything(
        grid=rules.grid, crops=rules.crops, min_score=rules.min_score, min_stability=rules.min_stability
    )
    made = [annotation(*_answer(masks, i), crop=_crop(masks, i), points=_points(masks, i)) for i in range(len(masks))]
    kept = [a for a in made if _large(a, rules) and _sure(a, rules)]
    return tuple(apart(sorted(kept, key=lambda a: -a.predicted_iou), rules.max_overlap))


def prompted(view: View, prompts: Sequence[Prompted], rules: Rules) -> Found:
    """The masks of the accepted prompts that the rules keep, in their order. Where a person decided, score and
    stability count in the assisted stage only, and two masks may overlap."""
    wanted = [p for p in prompts if p.accept]
    made = [
        annotation(*answer, points=prompt.points, category=prompt.category)
        for prompt, answer in zip(wanted, best(view, [p.prompt for p in wanted]), strict=True)
    ]
    kept = tuple(a for a in made if _large(a, rules) and (rules.stage != ASSISTED or _sure(a, rules)))
    return Found(kept, len(made) - len(kept))


def best(view: View, prompts: Sequence[Prompt]) -> list[Answer]:
    """For each prompt its best mask.

    One point may mean a thing or a part of it: of the three masks for it the one with the highest score is taken.
    """
    found: dict[int, Answer] = {}
    for ambiguous in (True, False):
        chosen = [i for i, prompt in enumerate(prompts) if prompt.ambiguous == ambiguous]
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            masks = view.segment(prompts=[prompts[i] for i in part], multimask=ambiguous)
            for row in np.lexsort((masks.score, masks.area > 0)):  # nothing at all is no answer, however sure
                found[part[int(masks.prompt[row])]] = _answer(masks, int(row))
    return [found[i] for i in range(len(prompts))]


def apart(ordered: Sequence[Annotation], most: float) -> list[Annotation]:
    """Those of `ordered` that overlap no earlier kept one by an IoU of more than `most`."""
    near = _may_overlap(ordered, most)
    kept: list[int] = []
    for at, one in enumerate(ordered):
        others = [ordered[i] for i in kept if near[at, i]]
        if not others or overlaps([one], others).max() <= most:
            kept.append(at)
    return [ordered[i] for i in kept]


def replaced(found: Sequence[Annotation], by: Sequence[Annotation], rules: Rules) -> tuple[int, ...]:
    """Which of the automatic annotations, by number, a prompted one takes the place of."""
    if not found or not by:
        return ()
    return tuple(int(i) for i in np.flatnonzero((overlaps(found, by) > rules.max_overlap).any(axis=1)))


def overlaps(some: Sequence[Annotation], others: Sequence[Annotation]) -> NDArray[np.float64]:
    """Mask IoU of each of some with each of the others: (len(some), len(others))."""
    return rle.iou([a.segmentation.coco for a in some], [a.segmentation.coco for a in others])


def _may_overlap(some: Sequence[Annotation], most: float) -> NDArray[np.bool_]:
    """(M, M) whether two masks' IoU can be more than `most`, by their areas and boxes alone."""
    boxes = np.array([a.bbox for a in some], np.float64).reshape(-1, 4)
    area = np.array([a.area for a in some], np.float64)
    start, end = boxes[:, None, :2], boxes[:, None, :2] + boxes[:, None, 2:]
    sides = np.minimum(end, end.swapaxes(0, 1)) - np.maximum(start, start.swapaxes(0, 1))
    shared = np.minimum(sides.clip(0).prod(axis=2), np.minimum(area[:, None], area))
    can: NDArray[np.bool_] = shared > most * (area[:, None] + area - shared)
    return can


def _answer(masks: Masks, at: int) -> Answer:
    return Answer(masks.rle[at], float(masks.score[at]), float(masks.stability[at]))


def _large(one: Annotation, rules: Rules) -> bool:
    return one.area > 0 and one.area >= rules.min_area


def _sure(one: Annotation, rules: Rules) -> bool:
    return one.predicted_iou >= rules.min_score and one.stability_score >= rules.min_stability


def _points(masks: Masks, at: int) -> tuple[Point, ...]:
    return tuple((float(x), float(y)) for x, y in masks.prompts[masks.prompt[at]].points)


def _crop(masks: Masks, at: int) -> Pixels:
    left, top, right, bottom = masks.crops[at].tolist()
    return left, top, right - left, bottom - top
