"""From a detector's scores of tokens to boxes of phrases, in float32.

logits (Q, N) of tokens ──max | mean over a phrase's tokens──▶ (Q, K) of phrases ──decode_boxes──▶ boxes in pixels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.kernels.decode_boxes import decode_boxes
from saccade.runtime.classifier import sigmoid
from saccade.runtime.errors import BadOutput
from saccade.runtime.phrases import Said
from saccade.runtime.spec import Array

Floats = NDArray[np.float32]
SAME = 0.8
"""IoU above which boxes that two runs found are of one object; the better one stays, as one run has one label a box."""


class Found(NamedTuple):
    """M boxes of one picture, best first. run: which of several found each."""

    boxes: Floats
    score: Floats
    label: NDArray[np.int64]
    run: NDArray[np.int64]


def phrase_logits(logits: Floats, said: Sequence[Said], rule: str, centerness: Floats | None = None) -> Floats:
    """(Q, K) logits of phrases, of the tokens' (Q, N).

    rule "max": a phrase's score is the largest sigmoid of its tokens (Grounding DINO's post-processing); "mean": their
    mean (GLIP, arXiv 2112.03857), and with `centerness` (Q,) the root of it times the sigmoid of that (ATSS).
    """
    columns = np.concatenate([tokens for _, tokens in said])
    starts = np.cumsum([0] + [len(tokens) for _, tokens in said[:-1]])
    picked = logits[:, columns]
    if rule == "max":
        best: Floats = np.maximum.reduceat(picked, starts, axis=1)
        return best
    counts = np.array([len(tokens) for _, tokens in said], np.float32)
    share = np.add.reduceat(sigmoid(picked), starts, axis=1).astype(np.float64) / counts
    if centerness is not None:
        share = np.sqrt(share * sigmoid(centerness)[:, None])
    with np.errstate(divide="ignore"):
        back: Floats = (np.log(share) - np.log1p(-share)).astype(np.float32)
    return back


def boxes_of(
    out: Mapping[str, Array],
    row: int,
    said: Sequence[Said],
    size: tuple[int, int],
    rule: str,
    threshold: float,
    every: bool,
) -> Found:
    """Boxes of picture `row` above the threshold. every: each phrase of a box above it, not only the best one.

    Raises BadOutput for NaN: a box must not vanish because a half-precision engine overflowed.
    """
    logits = np.asarray(out["logits"][row], np.float32)
    corners = np.asarray(out["boxes"][row], np.float32)
    centerness = np.asarray(out["centerness"][row], np.float32) if "centerness" in out else None
    scores = phrase_logits(logits, said, rule, centerness)
    if np.isnan(scores).any() or not np.isfinite(corners).all():
        raise BadOutput("[detector] NaN among logits or boxes", hint="run another precision or back end")
    found = decode(scores, corners, size, threshold, every)
    label = np.array([k for k, _ in said], np.int64)[found.label]
    return found._replace(label=label)


def decode(scores: Floats, corners: Floats, size: tuple[int, int], threshold: float, every: bool) -> Found:
    """Boxes of logits (Q, K) above the threshold: corners (Q, 4) are x0 y0 x1 y1 as shares of `size` (H, W)."""
    if not every and scores.shape[1] > 1:
        best = scores.argmax(axis=1)
        alone = np.full_like(scores, -np.inf)
        rows = np.arange(len(scores))
        alone[rows, best] = scores[rows, best]
        scores = alone
    centred = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    found = decode_boxes(np.ascontiguousarray(scores), centred.astype(np.float32), size, threshold=threshold)
    real = (found.boxes[:, 2:] > found.boxes[:, :2]).all(axis=1)
    classes = found.classes[real]
    return Found(found.boxes[real], found.scores[real], classes, np.zeros(len(classes), np.int64))


def merge(parts: Sequence[Found], every: bool) -> Found:
    """What several runs found of one picture, best first."""
    boxes, score, label = (np.concatenate([getattr(part, name) for part in parts]) for name in Found._fields[:3])
    best = np.argsort(-score, kind="stable")
    many = Found(boxes[best], score[best], label[best], _runs(parts)[best])
    if every or len(parts) == 1:
        return many
    stays = _apart(many)
    return Found(many.boxes[stays], many.score[stays], many.label[stays], many.run[stays])


def _runs(parts: Sequence[Found]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(parts)), [len(part.score) for part in parts])


def _apart(many: Found) -> NDArray[np.bool_]:
    """(M,) whether no better box of another run that stays is on the same object."""
    stays = np.ones(len(many.score), bool)
    area = (many.boxes[:, 2:] - many.boxes[:, :2]).prod(axis=1)
    for i in range(len(stays)):
        if not stays[i]:
            continue
        rest = slice(i + 1, None)
        low = np.maximum(many.boxes[i, :2], many.boxes[rest, :2])
        high = np.minimum(many.boxes[i, 2:], many.boxes[rest, 2:])
        both = np.maximum(high - low, 0).prod(axis=1)
        same = both > SAME * (area[i] + area[rest] - both)
        stays[rest] &= ~(same & (many.run[rest] != many.run[i]))
    return stays
