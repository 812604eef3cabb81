"""Figures of a detector whose boxes answer place by place: what a variant's user would see differ.

Slot k is one anchor in both answers, so it is compared with slot k; nothing is matched.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from saccade.export.recipe import GraphRecipe, Trial
from saccade.runtime.classifier import sigmoid
from saccade.runtime.manifest import Measured
from saccade.runtime.precision import cosine, figure

BUDGETS = {"box_iou": 0.98, "score": 0.97}
"""A box of 100 pixels that moves by one has an overlap of 0.98; 0.03 of a score is less than between two sizes."""
COUNTED = 50
"""Boxes of each answer that count, the best first."""


def figures(trial: Trial, detectors: Sequence[GraphRecipe]) -> tuple[Measured, ...]:
    """How far boxes and scores move, over each answer's best boxes; the words' are seen through the (first) trained
    detector.

    Sample i of the detector was asked with sample i of the text. box_iou: mean overlap; score: 1 - the largest
    difference over tokens, mean over boxes; cosine: of the words, for reading
    """
    detector = next((one for one in detectors if one.name == trial.graph), detectors[0])
    ious, scores, turned = [], [], []
    for i, (want, given) in enumerate(zip(trial.trained[detector.name], trial.samples[detector.name], strict=True)):
        got = trial.variant[trial.graph][i]
        if trial.graph == "text":
            turned.append(cosine(got["text"][0], given["text"][0]).mean())
            got = trial.ask(detector, {**given, **got})
        exact, moved = _scores(want), _scores(got)
        best = np.union1d(*(np.argsort(-one.max(-1), kind="stable")[:COUNTED] for one in (exact, moved)))
        ious.append(_overlap(want["boxes"][0, best], got["boxes"][0, best]).mean())
        scores.append(1 - np.abs(exact[best] - moved[best]).max(-1).mean())
    found = [figure("box_iou", ious, trial.backend), figure("score", scores, trial.backend)]
    return tuple([*found, figure("cosine", turned, trial.backend)] if turned else found)


def _scores(answer: Any) -> np.ndarray:
    """(Q, N): what a phrase of that token alone would score."""
    both = sigmoid(answer["logits"][0]).astype(np.float64) * sigmoid(answer["centerness"][0])[:, None]
    return np.asarray(np.nan_to_num(np.sqrt(both), nan=-1.0))  # NaN is like nothing


def _overlap(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of each box of a (K, 4) with the same of b: (K,). Two without area agree if they are at one place."""
    side = (np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])).clip(0)
    both, areas = side.prod(1), [(one[:, 2:] - one[:, :2]).prod(1) for one in (a, b)]
    either = areas[0] + areas[1] - both
    same = np.abs(a - b).max(1) < 1e-3
    return np.asarray(np.nan_to_num(np.where(either > 0, both / np.where(either > 0, either, 1), same)))
