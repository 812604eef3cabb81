"""What a promptable segmenter is asked when it is calibrated and verified: every kind of prompt, on every picture.

picture i ──seed i──▶ 3 single points, 3 points together, a box, a box and a point, a point with the last mask
"""

from __future__ import annotations

import numpy as np

from saccade.export.recipe import Inputs

KINDS = 7
SLOTS = 4
ABSENT, NONE, BACK, FORE, TOP_LEFT, BOTTOM_RIGHT = -2, -1, 0, 1, 2, 3


def prompts(seed: int, height: int, width: int, low: tuple[int, int]) -> Inputs:
    """The decoder's inputs but for the picture's: points (1, 7, 4, 2), labels, mask and has_mask of KINDS prompts.

    height, width: of the part of the input that shows the picture; low: of a mask. The last prompt's mask is empty and
    has to be filled in.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    points = np.zeros((KINDS, SLOTS, 2), np.float32)
    labels = np.full((KINDS, SLOTS), ABSENT, np.int64)
    size = np.array([width, height], np.float64)

    def ask(kind: int, *what: int) -> None:
        points[kind, : len(what)] = rng.uniform(0.05, 0.95, (len(what), 2)) * size
        points[kind, : len(what)][np.array(what) == NONE] = 0
        labels[kind, : len(what)] = what

    for kind in (0, 1, 2):
        ask(kind, FORE, NONE)
    ask(3, FORE, FORE, BACK, NONE)
    ask(4, TOP_LEFT, BOTTOM_RIGHT)
    ask(5, FORE, TOP_LEFT, BOTTOM_RIGHT)
    for kind, at in ((4, 0), (5, 1)):
        corners = np.sort(points[kind, at : at + 2], axis=0)
        points[kind, at : at + 2] = corners + np.array([[0, 0], [1, 1]]) * 0.05 * size
        points[5, 0] = points[5, 1:3].mean(0)
    points[6], labels[6] = points[0], labels[0]  # the first click again, with the mask that it gave
    has_mask = (np.arange(KINDS) == 6).astype(np.float32)
    mask = np.zeros((1, KINDS, *low), np.float32)
    return {"points": points[None], "labels": labels[None], "mask": mask, "has_mask": has_mask[None]}
