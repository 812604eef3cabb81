"""The figures of a SAM checkpoint of the zoo: mean IoU by kind of prompt, and how wrong the predicted IoU is.

encode, decode -> quick_metrics (the curve of a run) or segmentation_metrics -> what metrics.json and docs/zoo.md say
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.zoo.metrics import setting
from saccade.zoo.scene import LEVELS
from saccade.zoo.segmentation import (
    Decode,
    Encode,
    Score,
    Targets,
    boxed,
    clicks_on_nothing,
    one_click,
    target_pictures,
    three_clicks,
)

if TYPE_CHECKING:
    import torch

SEED, TARGETS = 1000, 600  # of every figure that is reported; the curve of a run uses another seed


def quick_metrics(encode: Encode, decode: Decode) -> dict[str, float]:
    """A few seconds' worth, for the curve: 160 targets of the middle level, and 160 where large things carry parts."""
    plain, carrying = target_pictures(160, "middle", 7), target_pictures(160, "middle", 7, parts=True)
    click, several, box = (way(encode, decode, plain) for way in (one_click, three_clicks, boxed))
    nested = one_click(encode, decode, carrying)
    figures = {
        "1 click": click.best, "picked": click.picked, "3 clicks": several.single, "box": box.single,
        "error": click.error[:, 1:], "whole with parts": nested.best[~carrying.part],
        "part": nested.best[carrying.part],
    }  # fmt: skip
    return {name: round(float(values.mean()), 4) for name, values in figures.items()}


def sam_metrics(model: torch.nn.Module, encode: Encode, decode: Decode) -> dict[str, Any]:
    """Everything that is reported of a SAM checkpoint, on pictures that training and curve never saw."""
    return {**setting(model), **segmentation_metrics(encode, decode)}


def segmentation_metrics(encode: Encode, decode: Decode, targets: int = TARGETS) -> dict[str, Any]:
    """The figures of any encoder and decoder: of each level, and of the middle one with parts on large things."""
    levels = {level: _figures(encode, decode, target_pictures(targets, level, SEED)) for level in LEVELS}
    held_out = _figures(encode, decode, target_pictures(targets, "middle", SEED, pairs="held-out"))
    resized = _figures(encode, decode, target_pictures(targets, "middle", SEED, finer=2))
    carrying = target_pictures(targets, "middle", SEED, parts=True)
    return {
        "seed": SEED,
        "levels": levels,
        "middle_held_out_pairs": held_out,
        "middle_drawn_at_twice_the_size": resized,
        "middle_clicks_on_nothing": nothing_metrics(encode, decode),
        "middle_with_parts": {
            "whole": _figures(encode, decode, carrying, ~carrying.part),
            "part": _figures(encode, decode, carrying, carrying.part),
        },
    }


def nothing_metrics(encode: Encode, decode: Decode, pictures: int = 400) -> dict[str, Any]:
    """How sure of a mask the model is where there is no thing; 0.88 is what SAM's automatic masks ask for."""
    sure = clicks_on_nothing(encode, decode, pictures, "middle", SEED)
    return {
        "pictures": pictures,
        "mean_predicted_iou": _mean(sure),
        "share_from_0.88": _mean((sure >= 0.88).astype(np.float64)),
    }


def bundle_metrics(folder: Path) -> dict[str, Any]:
    """For each precision of a bundle the figures of the middle level, on the same pictures as the checkpoint's."""
    from saccade.runtime.bundle import Bundle
    from saccade.zoo.bundled import halves

    bundle, targets = Bundle.open(folder), target_pictures(TARGETS, "middle", SEED)
    precisions = [variant.precision for variant in bundle.graphs["encoder"].variants]
    return {precision: _figures(*halves(bundle, precision), targets) for precision in precisions}


def _figures(encode: Encode, decode: Decode, targets: Targets, of: NDArray[np.bool_] | None = None) -> dict[str, Any]:
    kept = np.ones(len(targets), bool) if of is None else of
    click, several, box = (way(encode, decode, targets) for way in (one_click, three_clicks, boxed))
    points = three_clicks(encode, decode, targets, feed_back=False)
    return {
        "targets": int(kept.sum()),
        "one_click_best_of_3": _mean(click.best[kept]),
        "one_click_picked": _mean(click.picked[kept]),
        "one_click_single_mask": _mean(click.single[kept]),
        "three_clicks": _mean(several.single[kept]),
        "three_clicks_points_alone": _mean(points.single[kept]),
        "box": _mean(box.single[kept]),
        "iou_head_error": {
            "one_click_three_masks": _mean(click.error[kept, 1:]),
            "one_click_picked": _mean(_of_picked(click)[kept]),
            "three_clicks": _mean(several.error[kept, 0]),
            "box": _mean(box.error[kept, 0]),
        },
    }


def _of_picked(score: Score) -> NDArray[np.float64]:
    errors: NDArray[np.float64] = np.take_along_axis(score.error, score.chosen[:, None], 1)[:, 0]
    return errors


def _mean(values: NDArray[np.float64]) -> float:
    return round(float(values.mean()), 4)
