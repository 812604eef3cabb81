"""A segmenter without a network: a mask is all pixels of one colour, red is its score, green its stability.

Imported by the tests and, by path, by the processes that they kill.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image as Pillow

from saccade.runtime import rle
from saccade.runtime.image import Image
from saccade.runtime.masks import Masks
from saccade.runtime.prompt import Prompt

SURE, UNSURE, DIM = (250, 252), (170, 200), (40, 250)
"""(red, green) of what everything mode keeps, of what is asked about, and of what is not worth asking about."""


class View:
    """One picture; every question is counted by its model."""

    def __init__(self, image: Image, model: Model):
        self.image, self.model = image, model
        colours, self.number = np.unique(image.pixels.reshape(-1, 3), axis=0, return_inverse=True)
        self.number = self.number.reshape(image.pixels.shape[:2])
        masks = [self.number == i for i in range(len(colours))]
        # After the masks of the colours, the whole picture and nothing.
        masks += [np.ones_like(masks[0]), np.zeros_like(masks[0])]
        self.masks = Masks.from_rle([rle.encode(m) for m in masks], masks[0].shape)
        self.colours = colours / 255

    def segment(self, *, prompts: Sequence[Prompt], multimask: bool) -> Masks:
        self.model.batches.append((len(prompts), multimask))
        rows = []
        for at, prompt in enumerate(prompts):
            colour = int(self.number[self._place(prompt)])
            score, stability, _ = self.colours[colour]
            rows.append((colour, score, stability, at))
            if multimask:  # the whole picture and nothing, worse than the mask itself
                rows += [(-2, score / 2, 0.5, at), (-1, 0.01, 0.0, at)]
        return self._rows(rows, tuple(prompts))

    def everything(self, *, grid: int, crops: int, min_score: float, min_stability: float) -> Masks:
        rows, prompts = [], []
        for colour, (score, stability, _) in enumerate(self.colours):
            if score >= min_score and stability >= min_stability:
                y, x = np.argwhere(self.number == colour)[0]
                rows.append((colour, score, stability, len(prompts)))
                prompts.append(Prompt([(float(x), float(y))]))
        return self._rows(rows, tuple(prompts))

    def _place(self, prompt: Prompt) -> tuple[int, int]:
        if prompt.box is not None:
            x, y = (prompt.box[:2] + prompt.box[2:]) / 2
        elif prompt.mask is not None:
            y, x = np.argwhere(prompt.mask)[0]
        else:
            x, y = prompt.points[prompt.labels == 1][0]
        return min(int(y), self.image.height - 1), min(int(x), self.image.width - 1)

    def _rows(self, rows: list[Any], prompts: tuple[Prompt, ...]) -> Masks:
        which, score, stability, prompt = zip(*rows, strict=True) if rows else ((),) * 4
        made = self.masks[np.array(which, np.int64)]
        floats = {"score": np.array(score, np.float32), "stability": np.array(stability, np.float32)}
        return replace(made, prompts=prompts, prompt=np.array(prompt, np.int64), **floats)


class Model:
    """What annotate needs of a loaded model. encoded: pictures so far; batches: (prompts, multimask) of each call."""

    def __init__(self, digest: str = "d" * 64, precision: str = "fp32", seconds: float = 0.0):
        self.bundle = SimpleNamespace(digest=digest, name="fake")
        self.about = {"encoder": {"backend": "null", "precision": precision}}
        self.encoded, self.seconds = 0, seconds
        self.batches: list[tuple[int, bool]] = []

    everything = None  # a view has it; that a model has it says what it is

    def encode(self, image: Image) -> View:
        time.sleep(self.seconds)
        self.encoded += 1
        return View(image, self)


def picture(path: Path, seed: int, kinds: Sequence[tuple[int, int]] = (SURE, SURE, UNSURE), size=(48, 64)) -> Path:
    """A PNG of (height, width) with one square of each kind, apart from one another, in a blue of its own."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((*size, 3), np.uint8)
    for at, (red, green) in enumerate(kinds):
        left, top = 2 + at * 20, int(rng.integers(1, 20))
        high, wide = rng.integers(12, 18, 2)
        pixels[top : top + high, left : left + wide] = (red - int(rng.integers(0, 6)), green, 50 + 7 * at + seed % 7)
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(pixels).save(path)
    return path
