"""Batches of fresh pictures with texts, and the contrastive loss that knows which text is true of which picture.

    scenes -> pictures (B), captions of all B and near misses of some -> truth (T, B) -> loss

In a world of 40 trained classes most batches of CLIP hold the same caption twice, so "the others in the batch are
negatives" is often wrong. Here the truth is known: a text is a positive for every picture that it is true of, and a
negative for the others. Near misses (one word exchanged) are hard negatives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from saccade.zoo.captions import Caption, describe, near_miss, truth
from saccade.zoo.world import LEVELS, Scene, render, sample_scene

TRAINING_STREAM = 0x7472616E  # with the seed, the entropy of every training picture; evaluation uses another
# Without things in colours that have no name, a model learns which shapes a colour goes with instead of the shape:
# it then names the shape of 95 % of the seen pairs and of 41 % of the held-out ones (measured after 25 minutes).
UNNAMED = 0.45
NEVER = -1e4  # a logit that counts for nothing; not -inf, or a row without negatives has a gradient of NaN


@dataclass(frozen=True, eq=False)
class Batch:
    """pixels: (B, S, S, 3) uint8; texts: T strings; true: (T, B) bool, which text is true of which picture."""

    pixels: NDArray[np.uint8]
    texts: list[str]
    true: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares in which training draws, at one moment of it."""

    levels: tuple[float, float, float]  # easy, middle, hard
    counts: tuple[float, float, float]  # one, two, three things


def mix_at(progress: float) -> Mix:
    """Single plain things first; more of them, textures, clutter and strong light come with time."""
    p = min(1.0, progress / 0.7)
    single, hard = 0.85 - 0.35 * p, 0.25 * p
    return Mix((0.45 - 0.3 * p, 0.55 + 0.05 * p, hard), (single, 0.9 - single + 0.02 * p, 0.1 - 0.02 * p))


def draw_batch(rng: np.random.Generator, mix: Mix, pictures: int, near_misses: int, size: int) -> Batch:
    """Fresh pictures of seen pairs, a caption of each, and near misses of the first ones."""
    scenes = [_draw_scene(rng, mix) for _ in range(pictures)]
    captions = [describe(rng, scene, terse=0.2, detail=0.25) for scene in scenes]
    wrong = [near_miss(rng, caption, pairs="seen") for caption in captions[:near_misses]]
    pixels = np.stack([_picture(scene, size, finer=rng.random() < 0.1) for scene in scenes])
    texts: list[Caption] = captions + wrong
    return Batch(pixels, [caption.text for caption in texts], truth(texts, scenes))


def _draw_scene(rng: np.random.Generator, mix: Mix) -> Scene:
    level = tuple(LEVELS)[_pick(rng, mix.levels)]
    scene = sample_scene(
        rng, level, pairs="seen", count=1 + _pick(rng, mix.counts), parts=False, confusable=0.6, unnamed=UNNAMED
    )
    return scene if scene.things else replace(scene, things=_draw_scene(rng, mix).things)


def _pick(rng: np.random.Generator, shares: tuple[float, ...]) -> int:
    return int(np.searchsorted(np.cumsum(shares), rng.random() * sum(shares), side="right"))


def _picture(scene: Scene, size: int, finer: bool) -> NDArray[np.uint8]:
    """The picture at `size`; a finer one is drawn twice as large and resized, as a photo of a user would be."""
    if not finer:
        return render(scene, size).pixels
    large = Image.fromarray(render(scene, 2 * size).pixels)
    return np.asarray(large.resize((size, size), Image.Resampling.BICUBIC))


def contrastive_loss(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """The mean over both directions of -log(p of a positive among itself and all negatives).

    logits: (T, B) scaled cosines; true: (T, B) bool. Texts that are true of no picture act as negatives only.
    With exactly one positive a row this is CLIP's loss (Radford et al. 2021, figure 3).
    """
    return 0.5 * (_one_way(logits, true) + _one_way(logits.T, true.T))


def _one_way(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    against = torch.logsumexp(logits.masked_fill(true, NEVER), 1, keepdim=True)
    losses = torch.nn.functional.softplus(against - logits) * true
    positives = true.sum(1)
    return (losses.sum(1) / positives.clamp_min(1)).sum() / (positives > 0).sum().clamp_min(1)
