"""Batches of fresh pictures with what a click in them can mean: things, and the parts that lie on them.

scenes of a mix of levels -> pictures (B) and P targets of each, masks of whole things or of parts
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saccade.zoo.recipes.contrast import TRAINING_STREAM
from saccade.zoo.segmentation import targets_of
from saccade.zoo.world import LEVELS, Rendered, Scene, render, sample_scene

__all__ = ["TRAINING_STREAM", "Batch", "draw_batch"]

PARTS, UNNAMED, OBLONG = 0.6, 0.3, 0.2  # shares of scenes with parts, of things in unnamed colours, of oblong pictures
PARTS_FIRST = 0.6  # the lead of a part over a thing, of ranks drawn from 0 to 1
NOTHING = 0.7  # share of pictures in which one click goes to the backdrop: no mask, and a predicted IoU of 0
NARROWEST = 0.6  # the shorter side of an oblong picture, share of the longer


Masks = list[NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Batch:
    """pixels: (B, S, S, 3) uint8, what lies beyond an oblong picture is 0; inside: (B, 2) its height and width;
    masks: (B, P, S, S) bool, the targets, of which an empty one stands for a click that means nothing;
    backdrop: (B, S, S) bool, where there is no thing"""

    pixels: NDArray[np.uint8]
    inside: NDArray[np.int64]
    masks: NDArray[np.bool_]
    backdrop: NDArray[np.bool_]


def levels_at(progress: float) -> tuple[float, float, float]:
    """Shares of easy, middle and hard at a moment of the training."""
    p = min(1.0, progress / 0.5)
    return 0.35 - 0.27 * p, 0.60 + 0.10 * p, 0.05 + 0.17 * p


def draw_batch(rng: np.random.Generator, progress: float, pictures: int, targets: int, size: int) -> Batch:
    """Pictures of seen pairs and of unnamed colours, none of them ever repeated."""
    pixels = np.zeros((pictures, size, size, 3), np.uint8)
    masks = np.zeros((pictures, targets, size, size), bool)
    backdrop = np.zeros((pictures, size, size), bool)
    inside = np.full((pictures, 2), size, np.int64)
    for number in range(pictures):
        picture, found, part = _draw(rng, progress, size)
        height, width = inside[number] = picture.pixels.shape[:2]
        pixels[number, :height, :width] = picture.pixels
        chosen = _choose(rng, part, targets)
        masks[number, :, :height, :width] = np.stack([found[k] for k in chosen])
        backdrop[number, :height, :width] = ~picture.masks.any(0)
        if backdrop[number].any() and rng.random() < NOTHING:
            masks[number, -1] = False
    return Batch(pixels, inside, masks, backdrop)


def _choose(rng: np.random.Generator, part: NDArray[np.bool_], targets: int) -> NDArray[np.int64]:
    """Which targets to ask about: each once before any twice, and parts, which are few and hard, come first."""
    rank = rng.random(len(part)) - PARTS_FIRST * part
    order = np.argsort(rank)
    return np.resize(order, targets)


def _draw(rng: np.random.Generator, progress: float, size: int) -> tuple[Rendered, Masks, NDArray[np.bool_]]:
    while True:
        picture = render(_scene(rng, progress), _frame(rng, size))
        found = targets_of(picture)
        if found:
            return picture, [mask for mask, _ in found], np.array([part for _, part in found])


def _scene(rng: np.random.Generator, progress: float) -> Scene:
    level = list(LEVELS)[int(rng.choice(3, p=levels_at(progress)))]
    return sample_scene(rng, level, pairs="seen", parts=bool(rng.random() < PARTS), unnamed=UNNAMED)


def _frame(rng: np.random.Generator, size: int) -> tuple[int, int]:
    if rng.random() >= OBLONG:
        return size, size
    short = int(size * (NARROWEST + (1 - NARROWEST) * rng.random()))
    return (short, size) if rng.random() < 0.5 else (size, short)
