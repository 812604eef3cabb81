"""The figures of a Grounding DINO of the zoo: average precision, false alarms, and what it makes of relations.

detect -> quick_metrics (the curve of a run) or detection_metrics -> what metrics.json and docs/zoo.md say
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.zoo import detection
from saccade.zoo.detection import Case, Detect, Found, average_precision, found_in
from saccade.zoo.metrics import setting
from saccade.zoo.scene import LEVELS
from saccade.zoo.words import RELATIONS, SHAPES

if TYPE_CHECKING:
    import torch

SEED, PICTURES = 1000, 400  # of every figure that is reported; the curve of a run uses another seed
THRESHOLD = 0.6  # of a phrase's score; what the bundle has as its own
OTHERS = (0.4, 0.5, 0.7)


def quick_metrics(detect: Detect, n: int = 80) -> dict[str, float]:
    """Half a minute's worth, for the curve, of the middle level."""
    figures: dict[str, float] = {}
    cases = detection.category_cases(n, seed=7)
    found = found_in(detect, cases)
    figures["category"] = class_mean(cases, found, 0.5)
    figures["category recall"] = detection.recall(cases, found, THRESHOLD)
    for pairs in ("seen", "held-out"):
        cases = detection.attribute_cases(n, seed=7, pairs=pairs)
        figures[pairs] = average_precision(cases, found_in(detect, cases))
    for kind in ("shape", "pair"):
        cases = detection.absent_cases(n, kind, seed=7)
        figures[f"no such {kind}"] = detection.alarms(found_in(detect, cases), THRESHOLD)
    for name, sentence in (("relation", False), ("sentence", True)):
        cases = detection.relation_cases(n, seed=7, sentence=sentence)
        figures[name] = detection.pointed(cases, found_in(detect, cases))
    figures["chance"] = float(np.mean([case.chance for case in cases]))
    return {name: round(value, 4) for name, value in figures.items()}


def grounding_metrics(model: torch.nn.Module, detect: Detect) -> dict[str, Any]:
    """Everything that is reported of a checkpoint, on pictures that training and curve never saw."""
    return {**setting(model), **detection_metrics(detect), "absent_unknown_word": _absent(detect, "unknown", PICTURES)}


def detection_metrics(detect: Detect, n: int = PICTURES) -> dict[str, Any]:
    """The figures of any detector, of n pictures each, at THRESHOLD where a threshold is needed.

    A word that is not in the world is left out: a pipeline refuses it.
    """
    return {
        "seed": SEED,
        "threshold": THRESHOLD,
        "category": {level: _categories(detect, level, n) for level in LEVELS},
        "attribute": {pairs: _attributes(detect, pairs, n) for pairs in ("seen", "held-out")},
        "absent": {kind: _absent(detect, kind, n) for kind in ("shape", "pair")},
        "relation": {pairs: _relations(detect, n, pairs) for pairs in ("seen", "held-out", "any")},
        "relation_in_a_sentence": _relations(detect, n, "any", sentence=True),
    }


def short_metrics(detect: Detect, n: int = PICTURES) -> dict[str, Any]:
    """The middle level's, seen and held-out, of the same pictures: what a precision of a bundle is judged by."""
    return {
        "category": _categories(detect, "middle", n),
        "attribute_held_out": _attributes(detect, "held-out", n),
        "absent_pair": _absent(detect, "pair", n),
        "relation": _relations(detect, n, "any"),
    }


def bundle_metrics(folder: Path) -> dict[str, Any]:
    """For each precision of a bundle the short figures, through the pipeline that users call."""
    from saccade.runtime.bundle import Bundle
    from saccade.zoo.bundled import detector

    bundle = Bundle.open(folder)
    graph = next(entry for name, entry in bundle.graphs.items() if name.startswith("detector"))
    return {v.precision: short_metrics(detector(folder, v.precision)) for v in graph.variants}


def class_mean(cases: Sequence[Case], found: Sequence[Found], iou: float) -> float:
    """The mean over the shapes of the average precision of each."""
    return float(np.nanmean([average_precision(cases, found, k, iou) for k in range(len(SHAPES))]))


def _categories(detect: Detect, level: str, n: int) -> dict[str, Any]:
    cases = detection.category_cases(n, level, SEED)
    found = found_in(detect, cases)
    return {
        "pictures": n,
        "ap50": _round(class_mean(cases, found, 0.5)),
        "ap75": _round(class_mean(cases, found, 0.75)),
        **_at_thresholds(cases, found),
    }


def _attributes(detect: Detect, pairs: str, n: int) -> dict[str, Any]:
    cases = detection.attribute_cases(n, "middle", SEED, pairs)
    found = found_in(detect, cases)
    return {
        "pictures": n,
        "ap50": _round(average_precision(cases, found)),
        "ap75": _round(average_precision(cases, found, iou=0.75)),
        "right_box_first": _round(detection.pointed(cases, found)),
        **_at_thresholds(cases, found),
    }


def _at_thresholds(cases: Sequence[Case], found: Sequence[Found]) -> dict[str, Any]:
    others = {str(t): _round(detection.recall(cases, found, t)) for t in OTHERS}
    return {"recall": _round(detection.recall(cases, found, THRESHOLD)), "recall_at": others}


def _absent(detect: Detect, kind: str, n: int) -> dict[str, Any]:
    found = found_in(detect, detection.absent_cases(n, kind, "middle", SEED))
    others = {str(t): _round(detection.alarms(found, t)) for t in OTHERS}
    return {"pictures": n, "false_positives": _round(detection.alarms(found, THRESHOLD)), "false_positives_at": others}


def _relations(detect: Detect, n: int, pairs: str, *, sentence: bool = False) -> dict[str, Any]:
    cases = detection.relation_cases(n, "middle", SEED, pairs, sentence)
    found = found_in(detect, cases)
    by_word: dict[str, float] = {}
    for word in RELATIONS:
        some = [i for i, case in enumerate(cases) if word in case.text]
        if some:
            by_word[word] = _round(detection.pointed([cases[i] for i in some], [found[i] for i in some]))
    return {
        "pictures": n,
        "right_box_first": _round(detection.pointed(cases, found)),
        "chance": _round(float(np.mean([case.chance for case in cases]))),
        "by_word": by_word,
    }


def _round(value: float) -> float:
    return round(value, 4)
