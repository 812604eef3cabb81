"""How good a detector that reads is on the world, for any detector: a function of a picture, a text and its phrases.

    *_cases -> detect (yours) -> found_in -> average_precision, alarms, recall, pointed -> shares from 0 to 1

Nothing here knows torch or an engine, so a trained checkpoint and its exported int8 bundle are judged by one metric.
Pictures come from a stream of random numbers that training never draws from, whatever the seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saccade.zoo import grounding
from saccade.zoo.captions import Phrase, absent_phrases
from saccade.zoo.evaluate import evaluation_rng
from saccade.zoo.grounding import Prompt
from saccade.zoo.scene import PAIRS
from saccade.zoo.words import SHAPES
from saccade.zoo.world import Rendered, Scene, render, sample_scene

Floats = NDArray[np.float32]
Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class Found:
    """What a detector says of one picture. boxes: (K, 4) float32 x0 y0 x1 y1 in pixels; scores: (K,) 0 to 1;
    phrases: (K,) int, which of the spans each box is for"""

    boxes: Floats
    scores: Floats
    phrases: NDArray[np.int64]


Detect = Callable[[NDArray[np.uint8], str, Spans], Found]
"""(picture (H, W, 3), text, characters of each phrase) -> everything with a score of FLOOR or more."""

FLOOR = 0.05


@dataclass(frozen=True, eq=False)
class Case:
    """A picture, a prompt, and for each phrase the boxes (M, 4) that it means; `chance` is the share of right answers
    of one who cannot tell the things that fit the phrase's first words from each other"""

    pixels: NDArray[np.uint8]
    text: str
    spans: Spans
    wanted: tuple[Floats, ...]
    chance: float = 0.0


def case_of(picture: Rendered, prompt: Prompt, chance: float = 0.0) -> Case:
    wanted = tuple(picture.boxes[list(named.things)] for named in prompt.phrases)
    return Case(picture.pixels, prompt.text, tuple((n.start, n.end) for n in prompt.phrases), wanted, chance)


def _cases(
    n: int, rng: np.random.Generator, draw: Callable[[], Scene], ask: Callable[[Scene], Prompt | None], size: int = 128
) -> list[Case]:
    cases: list[Case] = []
    while len(cases) < n:
        scene = draw()
        prompt = ask(scene)
        if prompt is not None:
            picture = render(scene, size)
            if grounding.whole(picture):
                cases.append(case_of(picture, prompt))
    return cases


def category_cases(n: int, level: str = "middle", seed: int = 0, size: int = 128) -> list[Case]:
    """Pictures of any pairs and the prompt "circle. square. ..." of all shapes, phrase k being shape k."""
    rng = evaluation_rng(seed)
    phrases = [Phrase(shape=shape) for shape in SHAPES]
    return _cases(n, rng, lambda: sample_scene(rng, level), lambda s: grounding.listed(rng, s, phrases), size)


def attribute_cases(n: int, level: str = "middle", seed: int = 0, pairs: str = "seen") -> list[Case]:
    """A target and two absent phrases, in any order, of scenes that also show the target's shape in another colour
    and its colour in another shape; the absent phrases' colours and shapes are there too wherever possible."""
    rng = evaluation_rng(seed)

    def ask(scene: Scene) -> Prompt | None:
        shown = [(t.colour, t.shape) for t in scene.things]
        targets = [
            (c, s) for c, s in shown
            if any(o == c and p != s for o, p in shown) and any(o != c and p == s for o, p in shown)
        ]  # fmt: skip
        if not targets:
            return None
        phrases = [Phrase(*targets[0]), *absent_phrases(rng, scene, 2, pairs=pairs)]
        return grounding.listed(rng, scene, [phrases[i] for i in rng.permutation(len(phrases))])

    return _cases(n, rng, lambda: sample_scene(rng, level, pairs=pairs, count=4, confusable=1.0), ask)


def absent_cases(n: int, kind: str, level: str = "middle", seed: int = 0) -> list[Case]:
    """One phrase that is not there. kind: "shape" (no such shape), "pair" (colour and shape are both there, not on one
    thing) or "unknown" (a word that is not in the world)"""
    rng = evaluation_rng(seed)

    def ask(scene: Scene) -> Prompt | None:
        shown = sorted({(t.colour, t.shape) for t in scene.things})
        if kind == "shape":
            gone = [Phrase(shape=shape) for shape in SHAPES if shape not in {s for _, s in shown}]
        elif kind == "pair":
            crossed = {(c, s) for c, _ in shown for _, s in shown} - set(shown)
            gone = [Phrase(*pair) for pair in PAIRS["any"] if pair in crossed]
        else:
            return grounding.listed(rng, scene, [grounding.UNKNOWN_WORDS[int(rng.integers(4))]])
        return grounding.listed(rng, scene, [gone[int(rng.integers(len(gone)))]]) if gone else None

    return _cases(n, rng, lambda: sample_scene(rng, level), ask)


def relation_cases(
    n: int, level: str = "middle", seed: int = 0, pairs: str = "any", sentence: bool = False
) -> list[Case]:
    """One phrase such as "circle left of the blue square." in a scene with circles of which it is true and others of
    which it is not; or the sentence "a circle left of a blue square.", of which only the first phrase is kept."""
    rng = evaluation_rng(seed)
    cases: list[Case] = []
    while len(cases) < n:
        count = int(rng.integers(3, 6))
        scene = sample_scene(rng, level, pairs=pairs, parts=False, count=count, confusable=0.8)
        scene = grounding.with_twin(rng, scene) if rng.random() < 0.5 else scene
        related = grounding.choose_relation(rng, grounding.relations_of(scene), telling=1.0)
        if related is None or not 0 < len(related.true) < len(related.heads):
            continue
        prompt = grounding.related_sentence(scene, related) if sentence else grounding.referring(scene, [related])
        picture = render(scene, 128)
        if grounding.whole(picture):
            case = case_of(picture, prompt, len(related.true) / len(related.heads))
            cases.append(Case(case.pixels, case.text, case.spans[:1], case.wanted[:1], case.chance))
    return cases


def found_in(detect: Detect, cases: Sequence[Case]) -> list[Found]:
    return [detect(case.pixels, case.text, case.spans) for case in cases]


def box_iou(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[np.float64]:
    """(K, M) intersection over union of (K, 4) and (M, 4) boxes x0 y0 x1 y1."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    both = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None).prod(-1)
    either = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - both
    return np.asarray(both / np.maximum(either, 1e-9), np.float64)


def average_precision(
    cases: Sequence[Case], found: Sequence[Found], phrase: int | None = None, iou: float = 0.5
) -> float:
    """The area under the precision-recall curve over all pictures, greatest precision at each recall or more.

    phrase: count only this phrase of each prompt; None pools all. NaN where nothing is wanted.
    A box is right if it is the first, by score, to overlap a wanted box of its phrase by `iou`.
    """
    marks: list[tuple[float, bool]] = []
    total = 0
    for case, said in zip(cases, found, strict=True):
        for k in range(len(case.spans)) if phrase is None else (phrase,):
            total += len(case.wanted[k])
            of = said.phrases == k
            marks += _marks(said.boxes[of], said.scores[of], case.wanted[k], iou)
    if not total:
        return float("nan")
    marks.sort(key=lambda mark: -mark[0])
    right = np.cumsum([hit for _, hit in marks]) if marks else np.zeros(0)
    precision = right / np.arange(1, len(right) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1] if len(right) else precision
    gained = np.diff(np.concatenate([[0], right])) / total
    return float((best * gained).sum())


def _marks(boxes: Floats, scores: Floats, wanted: Floats, iou: float) -> list[tuple[float, bool]]:
    overlap = box_iou(boxes, wanted)
    taken = np.zeros(len(wanted), bool)
    marks = []
    for k in np.argsort(-scores, kind="stable"):
        free = np.where(taken, 0.0, overlap[k])
        best = int(free.argmax()) if len(wanted) else -1
        hit = best >= 0 and free[best] >= iou
        if hit:
            taken[best] = True
        marks.append((float(scores[k]), bool(hit)))
    return marks


def alarms(found: Sequence[Found], threshold: float) -> float:
    """Share of pictures with any box of this score or more."""
    return float(np.mean([bool((said.scores >= threshold).any()) for said in found]))


def recall(cases: Sequence[Case], found: Sequence[Found], threshold: float, iou: float = 0.5) -> float:
    """Share of wanted boxes that a box of their phrase with this score or more overlaps, one to one."""
    right = total = 0
    for case, said in zip(cases, found, strict=True):
        for k, wanted in enumerate(case.wanted):
            of = (said.phrases == k) & (said.scores >= threshold)
            right += sum(hit for _, hit in _marks(said.boxes[of], said.scores[of], wanted, iou))
            total += len(wanted)
    return right / max(total, 1)


def pointed(cases: Sequence[Case], found: Sequence[Found], iou: float = 0.5) -> float:
    """Share of phrases whose box of the highest score is one that is wanted; of phrases that want any."""
    hits = []
    for case, said in zip(cases, found, strict=True):
        for k, wanted in enumerate(case.wanted):
            if len(wanted):
                of = said.phrases == k
                best = said.boxes[of][np.argmax(said.scores[of])][None] if of.any() else np.zeros((0, 4), np.float32)
                hits.append(bool((box_iou(best, wanted) >= iou).any()))
    return float(np.mean(hits))
