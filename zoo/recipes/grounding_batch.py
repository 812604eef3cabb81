"""Batches of fresh pictures with a prompt each: what training shows a grounding model.

a kind of prompt -> a scene that suits it -> picture, prompt -> tokens, boxes, and which token means which box
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saccade.zoo import bert, grounding
from saccade.zoo.grounding import Named, Prompt
from saccade.zoo.recipes.contrast import TRAINING_STREAM
from saccade.zoo.recipes.grounding_prompts import draw_prompt, draw_scene, pick
from saccade.zoo.world import Rendered, render

__all__ = ["TRAINING_STREAM", "Batch", "draw_batch"]

SIZE = 128
OBLONG = 0.15  # share of oblong pictures
NARROWEST = 0.6  # the shorter side of one, share of the longer


@dataclass(frozen=True, eq=False)
class Batch:
    """pixels: (B, S, S, 3) uint8, 0 beyond an oblong picture; inside: (B, 2) its height and width;
    ids: (B, N) int64, 0 where padded; boxes: (B, M, 4) float32 x0 y0 x1 y1, shares of the picture shown, 0 if none;
    meant, cued: (B, M, N) bool, whether the token means the thing, with relations and by its words alone;
    anchors: (B, N, 2) float32 centre of the second thing of the token's relation, NaN where there is none"""

    pixels: NDArray[np.uint8]
    inside: NDArray[np.int64]
    ids: NDArray[np.int64]
    boxes: NDArray[np.float32]
    meant: NDArray[np.bool_]
    cued: NDArray[np.bool_]
    anchors: NDArray[np.float32]


def draw_batch(rng: np.random.Generator, progress: float, pictures: int) -> Batch:
    """Pictures of seen pairs and of unnamed colours, none of them ever repeated."""
    drawn = [_draw(rng, progress) for _ in range(pictures)]
    tokens = [bert.encode(prompt.text) for _, prompt in drawn]
    most = max(len(picture.boxes) for picture, _ in drawn)
    longest = max(len(ids) for ids, _ in tokens)
    pixels = np.zeros((pictures, SIZE, SIZE, 3), np.uint8)
    inside = np.zeros((pictures, 2), np.int64)
    ids = np.zeros((pictures, longest), np.int64)
    boxes = np.zeros((pictures, most, 4), np.float32)
    meant = np.zeros((pictures, most, longest), bool)
    cued = np.zeros_like(meant)
    anchors = np.full((pictures, longest, 2), np.nan, np.float32)
    for b, ((picture, prompt), (row, spans)) in enumerate(zip(drawn, tokens, strict=True)):
        height, width = inside[b] = picture.pixels.shape[:2]
        pixels[b, :height, :width] = picture.pixels
        boxes[b, : len(picture.boxes)] = picture.boxes / np.array([width, height, width, height], np.float32)
        ids[b, : len(row)] = row
        _mark(meant[b], prompt.phrases, spans)
        _mark(cued[b], prompt.cues, spans)
        for phrase in prompt.phrases:
            inner = [cue for cue in prompt.cues if phrase.start <= cue.start and cue.end <= phrase.end]
            if len(inner) == 2:  # head and anchor of a relation
                box = boxes[b, inner[1].things[0]]
                anchors[b, _tokens(phrase, spans)] = (box[:2] + box[2:]) / 2
    return Batch(pixels, inside, ids, boxes, meant, cued, anchors)


def _mark(into: NDArray[np.bool_], named: tuple[Named, ...], spans: list[tuple[int, int]]) -> None:
    for phrase in named:
        inside = _tokens(phrase, spans)
        for thing in phrase.things:
            into[thing, inside] = True


def _tokens(phrase: Named, spans: list[tuple[int, int]]) -> list[int]:
    return [n for n, (start, end) in enumerate(spans) if phrase.start <= start < end <= phrase.end]


def _draw(rng: np.random.Generator, progress: float) -> tuple[Rendered, Prompt]:
    kind = pick(rng, progress)
    while True:
        scene = draw_scene(rng, kind, progress)
        prompt = draw_prompt(rng, kind, scene)
        if prompt is None or len(bert.encode(prompt.text)[0]) > bert.MAX_TOKENS:
            continue
        picture = render(scene, _frame(rng))
        if grounding.whole(picture):
            return picture, prompt


def _frame(rng: np.random.Generator) -> int | tuple[int, int]:
    if rng.random() >= OBLONG:
        return SIZE
    short = int(SIZE * (NARROWEST + (1 - NARROWEST) * rng.random()))
    return (short, SIZE) if rng.random() < 0.5 else (SIZE, short)
