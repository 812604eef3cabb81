"""Prompts as the arrays of SAM's decoder: many objects of different kinds in one run.

A prompt's tokens are its points (labels 0 and 1), the corners of its box (2 and 3), and, where the reference adds it,
its "not a point" (−1). Shorter prompts are filled up with −2, which takes no part in attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.frame import Frame
from saccade.runtime.prompt import Prompt
from saccade.runtime.spec import Array

BATCH = 64
"""Prompts in one decoder run, as the reference's generator has it: it bounds the memory of the logits."""
ABSENT, NO_POINT = -2, -1
SURE = 10.0
"""Logit of a pixel of a mask that came as pixels; an edge lies between. SAM's own logits are of this order."""
FAR = 32.0
"""SAM 2 keeps the logits that it is fed back within ± 32."""


def pack(prompts: Sequence[Prompt], frame: Frame, low: tuple[int, int], sam2: bool) -> dict[str, Array]:
    """Inputs of the decoder for P prompts of one picture: points (1, P, N, 2) float32 in pixels of the model's input,
    labels (1, P, N) int64, mask (1, P, h, w) float32, has_mask (1, P) float32.
    """
    tokens = [_tokens(prompt, frame, sam2) for prompt in prompts]
    longest = max(max(len(labels) for _, labels in tokens), 1)
    points = np.zeros((1, len(prompts), longest, 2), np.float32)
    labels = np.full((1, len(prompts), longest), ABSENT, np.int64)
    mask, has_mask = no_mask(len(prompts), low)
    for i, ((places, kinds), prompt) in enumerate(zip(tokens, prompts, strict=True)):
        points[0, i, : len(kinds)] = places
        labels[0, i, : len(kinds)] = kinds
        if prompt.mask is not None:
            mask[0, i] = _logits(prompt.mask, frame, low, sam2)
            has_mask[0, i] = 1
    return {"points": points, "labels": labels, "mask": mask, "has_mask": has_mask}


def clicks(points: NDArray[np.float64], frame: Frame, low: tuple[int, int]) -> dict[str, Array]:
    """Inputs of the decoder for P objects of one click each; points: (P, 2) of the original."""
    count = len(points)
    places = np.zeros((1, count, 2, 2), np.float32)
    places[0, :, 0] = frame.apply_points(points)
    labels = np.tile(np.array([1, NO_POINT], np.int64), (1, count, 1))
    mask, has_mask = no_mask(count, low)
    return {"points": places, "labels": labels, "mask": mask, "has_mask": has_mask}


def no_mask(count: int, low: tuple[int, int]) -> tuple[Array, Array]:
    """mask and has_mask of P prompts without one."""
    return np.zeros((1, count, *low), np.float32), np.zeros((1, count), np.float32)


def _tokens(prompt: Prompt, frame: Frame, sam2: bool) -> tuple[NDArray[np.float32], list[int]]:
    places, labels = [frame.apply_points(prompt.points)], prompt.labels.tolist()
    if prompt.box is not None:
        places.append(frame.apply_points(prompt.box.reshape(2, 2)))
        labels += [2, 3]
    if labels and (prompt.box is None or sam2):
        places.append(np.zeros((1, 2), np.float32))
        labels.append(NO_POINT)
    return np.concatenate(places), labels


def _logits(mask: NDArray[np.float32] | NDArray[np.bool_], frame: Frame, low: tuple[int, int], sam2: bool) -> Array:
    if mask.dtype != bool:
        return np.clip(mask, -FAR, FAR) if sam2 else mask
    from PIL import Image

    top, left, bottom, right = frame.window
    share = low[0] / frame.size[0], low[1] / frame.size[1]
    height, width = max(round((bottom - top) * share[0]), 1), max(round((right - left) * share[1]), 1)
    grey = Image.fromarray(mask.astype(np.uint8) * 255).resize((width, height), Image.Resampling.BILINEAR)
    made = np.full(low, -SURE, np.float32)
    made[:height, :width] = (np.asarray(grey, np.float32) / 127.5 - 1) * SURE
    return made
