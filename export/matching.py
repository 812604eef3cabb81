"""Figures of text-prompted detectors: what a variant's user would see differ, box by box, whatever the slots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saccade.export.recipe import GraphRecipe, Inputs, Trial
from saccade.runtime.manifest import Measured
from saccade.runtime.matching import Floats, likeness, said_by, scores_of
from saccade.runtime.precision import cosine, figure

Answer = Mapping[str, np.ndarray]


def figures(trial: Trial, graphs: Sequence[GraphRecipe], threshold: float) -> tuple[Measured, ...]:
    """How far boxes and scores move; a text graph's are seen through the trained detector (the first, if there are
    several), whose sample i has text sample i for its prompt.

    box_iou, score: means over the boxes that count (runtime/matching.py), sample by sample
    cosine: of a text graph's own output, for reading
    """
    text, detector = graphs[0], next(g for g in graphs[1:] if trial.graph in (g.name, graphs[0].name))
    ious, scores = [], []
    for i, want in enumerate(trial.trained[detector.name]):
        given = trial.samples[detector.name][i]
        got = trial.variant[detector.name][i]
        if trial.graph == text.name:
            got = trial.ask(detector, {**given, "text": trial.variant[text.name][i]["text"]})
        alike = likeness(_seen(want, given), _seen(got, given), threshold)
        ious.append(alike.iou.mean())
        scores.append(alike.score.mean())
    found = [figure("box_iou", np.array(ious), trial.backend), figure("score", np.array(scores), trial.backend)]
    if trial.graph == text.name:
        pairs = zip(trial.variant[text.name], trial.trained[text.name], strict=True)
        rows = [cosine(a["text"][0], b["text"][0]).mean() for a, b in pairs]
        found.append(figure("cosine", np.array(rows), trial.backend))
    return tuple(found)


def _seen(answer: Answer, given: Inputs) -> tuple[np.ndarray, Floats]:
    """The boxes and scores of a single sample's answer."""
    return answer["boxes"][0], scores_of(answer, 0, said_by(given, 0))
