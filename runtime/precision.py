"""How far a variant's answers are from the trained model's, and whether that is near enough. NumPy alone.

Figures are better when larger. A budget is a floor under the mean of the figure of its name; with `_worst` behind the
name under the worst sample; with `_drop` it is the most that a figure may fall below the trained model's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Engine
from saccade.runtime.errors import BundleError, SpecError
from saccade.runtime.manifest import Measured, Variant
from saccade.runtime.matching import THRESHOLD, likeness, said_by, scores_of
from saccade.runtime.spec import Array

EMBEDDING_BUDGETS = {"cosine": 0.999}
"""Of models that embed: a mean cosine of 0.999 turns a vector by 2.6 degrees, less than two crops of one picture."""

MASK_BUDGETS = {"mask_iou": 0.98}
"""Of models that segment: the mean overlap of a variant's masks with the trained model's, from the same prompts."""

BOX_BUDGETS = {"box_iou": 0.98, "score": 0.97}
"""Of models that find boxes for words: after pairing, the mean overlap of the boxes that count, and 1 - the mean
difference of their scores. A box of 100 pixels that moves by one has an overlap of 0.98; scores are shown as per cent,
and 0.03 is less than between two sizes of one picture."""

UNBUDGETED = 0.999
"""The least golden figure of a family whose own budget is of another metric, such as the IoU of masks."""

SLACK = 5e-4
"""Between two machines' int8 kernels, which round sums differently; it is half of what the default budget allows."""


def cosine(a: Array, b: Array) -> np.ndarray:
    """Cosine of each pair of rows, (S,) float64. a, b: (S, E). A row of zeros or with a NaN has cosine 0.

    Raises SpecError if the shapes differ.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape or a.ndim != 2:
        raise SpecError(
            f"[precision] two arrays (S, E) alike expected, got {a.shape} and {b.shape}", hint="see the spec"
        )
    length = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nan_to_num((a * b).sum(1) / length, nan=0.0, posinf=0.0, neginf=0.0))


def top1_agreement(a: Array, b: Array) -> np.ndarray:
    """For each row whether both scores (S, K) choose the same column: (S,) of 0.0 and 1.0."""
    return np.asarray(np.asarray(a).argmax(1) == np.asarray(b).argmax(1), np.float64)


def accuracy(scores: Array, ids: Array) -> np.ndarray:
    """For each row of scores (S, K) whether its largest column is the one in ids (S,): (S,) of 0.0 and 1.0."""
    return np.asarray(np.asarray(scores).argmax(1) == np.asarray(ids), np.float64)


def mask_iou(a: Array, b: Array) -> np.ndarray:
    """Intersection over union of each pair of masks, float64 of the leading dims. a, b: (..., H, W) bool.

    Two empty masks agree: 1. Raises SpecError if the shapes differ.
    """
    a, b = np.asarray(a, bool), np.asarray(b, bool)
    if a.shape != b.shape or a.ndim < 2:
        raise SpecError(
            f"[precision] two arrays (..., H, W) alike expected, got {a.shape} and {b.shape}", hint="see the spec"
        )
    both, either = (a & b).sum((-2, -1)), (a | b).sum((-2, -1))
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def figure(metric: str, values: Array, backend: str, reference: float | None = None) -> Measured:
    """A Measured of per-sample values, kept to six decimals: below lies the rounding of one machine or another."""
    values = np.asarray(values, np.float64)
    known = None if reference is None else round(float(reference), 6)
    return Measured(metric, round(float(values.mean()), 6), round(float(values.min()), 6), len(values), backend, known)


def within(measured: Iterable[Measured], budgets: Mapping[str, float]) -> bool:
    """Whether every figure that has a budget keeps to it. Figures without a budget are for reading."""
    for m in measured:
        if not m.mean >= budgets.get(m.metric, -np.inf) or not m.worst >= budgets.get(f"{m.metric}_worst", -np.inf):
            return False
        if m.reference is not None and not m.reference - m.mean <= budgets.get(f"{m.metric}_drop", np.inf):
            return False
    return True


def golden_check(bundle: Bundle, graph: str, engine: Engine) -> Measured:
    """The figure of an opened engine on the bundle's golden inputs, against the trained model's own outputs.

    Outputs are compared as vectors, one a sample, by cosine; with several outputs the least favourable counts. A
    detector's boxes are paired first, since engines order near ties differently, and judged by their overlap.
    Raises BundleError if the bundle has no golden set for the graph.
    """
    golden, spec = bundle.golden(), engine.spec
    names = [f"{graph}.{t.name}" for t in (*spec.inputs, *spec.outputs)]
    if missing := [name for name in names if name not in golden]:
        raise BundleError(f"[{graph}] the golden set lacks {', '.join(missing)}", hint="export the bundle again")
    got = engine(**{t.name: golden[f"{graph}.{t.name}"] for t in spec.inputs})
    if {"boxes", "logits"} <= {t.name for t in spec.outputs}:
        return figure("box_iou", _box_ious(graph, golden, got), str(engine.about.get("backend", "")))
    rows: list[Any] = [cosine(_rows(got[t.name]), _rows(golden[f"{graph}.{t.name}"])) for t in spec.outputs]
    return figure("cosine", np.min(rows, axis=0), str(engine.about.get("backend", "")))


def _box_ious(graph: str, golden: Mapping[str, Array], got: Mapping[str, Array]) -> list[float]:
    """Mean overlap of the paired boxes of each golden sample."""
    known = {name.removeprefix(f"{graph}."): array for name, array in golden.items() if name.startswith(f"{graph}.")}
    found = []
    for row in range(len(known["boxes"])):
        said = said_by(known, row) if "text_mask" in known else np.ones(known["logits"].shape[-1], bool)
        want, other = ((a["boxes"][row], scores_of(a, row, said)) for a in (known, got))
        found.append(float(likeness(want, other, THRESHOLD).iou.mean()))
    return found


def golden_passes(found: Measured, variant: Variant, budgets: Mapping[str, float]) -> bool:
    """Whether a golden check went as well here as the export measured it, up to SLACK.

    The golden set has a few samples, so their mean may lie below a budget that the variant keeps over many: what counts
    is that none is worse than the worst that was measured then, or that all are above the budget (UNBUDGETED without).
    """
    floors = [m.worst for m in variant.measured if m.metric == found.metric]
    floors.append(budgets.get(found.metric, UNBUDGETED))
    return found.worst >= min(floors) - SLACK


def _rows(array: Array) -> np.ndarray:
    array = np.asarray(array)
    return np.asarray(array.reshape(len(array), -1))
