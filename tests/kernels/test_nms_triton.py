"""nms's matrix in Triton, by its interpreter: every pair as the reference says, strange floats included."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.nms.cases import ODD, inputs
from saccade.kernels.nms.reference import box_iou

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
TILE = 256


def fields_of(boxes):
    with np.errstate(all="ignore"):
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.ascontiguousarray(np.concatenate([boxes.T, areas[None]]))


def suppressors(interpreted, boxes, classes, iou, first, rows):
    """(rows, count) bool: whether a box that comes before box first + row suppresses it."""
    count = len(boxes)
    tiles = -(-min(first + rows, count) // TILE)
    matrix = np.zeros((TILE // 32 * tiles, rows), np.uint32)
    given = (fields_of(boxes), classes, matrix, count, first, rows, iou)
    interpreted("nms", (-(-rows // TILE), tiles), *given, TILE=TILE, ROWS=64)
    bits = matrix[:, None, :] >> np.arange(32, dtype=np.uint32)[:, None] & 1
    return bits.reshape(-1, rows).T[: max(count - first, 0), :count].astype(bool)


def expected(boxes, classes, iou, first):
    out = np.zeros((len(boxes) - first, len(boxes)), bool)
    for i in range(first, len(boxes)):
        out[i - first, :i] = (box_iou(boxes[i], boxes[:i]) > np.float32(iou)) & (classes[:i] == classes[i])
    return out


@pytest.mark.parametrize("case", [case for case in ODD if case.boxes], ids=lambda case: case.name)
def test_every_pair_equals_the_reference(interpreted, case):
    boxes, _, classes = inputs(case, SEEN)
    for iou in (0.0, 0.5):
        ours = suppressors(interpreted, boxes, classes, iou, 0, case.boxes)
        np.testing.assert_array_equal(ours, expected(boxes, classes, iou, 0), err_msg=f"seed {SEEN}")


def test_a_panel_of_rows_is_the_same_rows(interpreted):
    boxes, _, classes = inputs(ODD[-1], SEEN)
    ours = suppressors(interpreted, boxes, classes, 0.3, 1024, 1024)
    np.testing.assert_array_equal(ours, expected(boxes, classes, 0.3, 1024))


def test_strange_floats(interpreted):
    rng = np.random.default_rng(SEEN)
    boxes, _, classes = inputs(ODD[5], SEEN)
    strange = np.array([np.nan, np.inf, -np.inf, -0.0, 3e38, 1e-40], np.float32)
    boxes = np.where(rng.random(boxes.shape) < 0.1, rng.choice(strange, boxes.shape), boxes)
    ours = suppressors(interpreted, boxes, classes, 0.2, 0, len(boxes))
    np.testing.assert_array_equal(ours, expected(boxes, classes, 0.2, 0), err_msg=f"seed {SEEN}")
