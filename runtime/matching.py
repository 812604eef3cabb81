"""Two lists of scored boxes compared as a user would: what one found, did the other, there and as surely? NumPy alone.

Detectors with queries (DETR and its kind) answer in slots. Near-tied proposals change slots between two engines, so
slot k is never compared with slot k: each box of one answer is paired with the most alike box of the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.spec import Array

THRESHOLD = 0.3
"""The score above which a box is shown, unless its bundle or its user says otherwise."""
APART = 0.2
"""Two boxes whose scores are further apart are not of one kind: their overlap counts as 0."""
LEAST, MOST = 5, 50
"""Boxes of each answer that are looked at: those that count, but so many at least and at most, the best first."""

Floats = NDArray[np.float64]


class Likeness(NamedTuple):
    """Of each box that counts in either answer, (K,) float64.

    iou: its overlap with the one it is paired with; 0 if their scores are more than APART
    score: 1 - the difference of their scores, the largest over tokens
    """

    iou: Floats
    score: Floats


def overlap(a: Array, b: Array) -> Floats:
    """Intersection over union of each box of a (..., K, 4) with each of b (..., L, 4), x0 y0 x1 y1: (..., K, L).

    Two boxes without area have 0.
    """
    a, b = np.asarray(a, np.float64)[..., :, None, :], np.asarray(b, np.float64)[..., None, :, :]
    side = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = side.clip(0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).clip(0).prod(-1) + (b[..., 2:] - b[..., :2]).clip(0).prod(-1)
    either = areas - both
    return np.asarray(np.where(either > 0, both / np.where(either > 0, either, 1), 0.0))


def likeness(want: tuple[Array, Array], got: tuple[Array, Array], threshold: float) -> Likeness:
    """How alike two answers are; asked both ways, so that neither a lost nor an invented box goes unseen.

    want, got: boxes (Q, 4) and scores (Q, N) in [0, 1]; a box counts if any of its scores is above half of `threshold`
    A value that is not finite is like nothing.
    """
    one, other = _paired(want, got, threshold), _paired(got, want, threshold)
    return Likeness(*(np.concatenate(both) for both in zip(one, other, strict=True)))


def scores_of(outputs: Mapping[str, Array], row: int, said: Array) -> Floats:
    """Scores (Q, N) of row `row` of a detector's raw outputs; said: (N,) bool, tokens that a score can be of."""
    with np.errstate(over="ignore"):
        scores = 1 / (1 + np.exp(-np.asarray(outputs["logits"][row], np.float64)))
        if "centerness" in outputs:
            scores = np.sqrt(scores / (1 + np.exp(-np.asarray(outputs["centerness"][row], np.float64)))[:, None])
    return np.asarray(scores[:, np.asarray(said, bool)])


def said_by(inputs: Mapping[str, Array], row: int) -> NDArray[np.bool_]:
    """(N,): which of a detector's tokens can be of a phrase: not padding, and not alone, as start and end are."""
    mask: NDArray[np.bool_] = np.asarray(inputs["text_mask"][row], bool)
    if "attends" not in inputs:
        return mask
    phrases: NDArray[np.bool_] = mask & (np.asarray(inputs["attends"][row], bool).sum(-1) > 1)
    return phrases if phrases.any() else mask


def _paired(want: tuple[Array, Array], got: tuple[Array, Array], threshold: float) -> Likeness:
    (boxes, scores), (places, other) = _finite(*want, wrong=3.0), _finite(*got, wrong=-2.0)
    order = np.argsort(-scores.max(-1), kind="stable")
    count = int(np.clip((scores.max(-1) > threshold / 2).sum(), LEAST, MOST))
    iou = overlap(boxes[order[:count]], places)
    free = np.ones(len(places), bool)
    found = np.zeros((2, min(count, len(order))))
    for row, slot in enumerate(order[:count]):  # the surest first, each with the most alike that is left
        apart = np.abs(other - scores[slot]).max(-1)
        place = int(np.argmax(np.where(free, iou[row] - apart, -np.inf)))
        free[place] = False
        found[:, row] = iou[row, place] * (apart[place] <= APART), max(1 - apart[place], 0.0)
    return Likeness(*found)


def _finite(boxes: Array, scores: Array, wrong: float) -> tuple[Floats, Floats]:
    """Boxes (Q, 4) and scores (Q, N), without area and of the score `wrong` where any number of theirs is none."""
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    good = (np.isfinite(boxes).all(-1) & np.isfinite(scores).all(-1))[:, None]
    return np.where(good, boxes, 0.0), np.where(good, scores, wrong)
