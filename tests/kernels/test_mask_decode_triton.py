"""mask_decode's bits and statistics in Triton, by its interpreter: equal to the reference on odd shapes."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.kernels.mask_decode import reference
from saccade.kernels.mask_decode.cases import ODD, logits

SEEN = int(np.random.SeedSequence().entropy % 2**32)  # fresh each run; a failure prints it
COLUMNS, CHUNK = 128, 4


def axis(case, at):
    index, weights = reference.taps(case.low[at], case.model[at], case.valid[at], case.original[at])
    return np.concatenate([weights, index[:, :1].astype(np.int32).view(np.float32)], axis=1)


def expected(mask, lower, upper):
    """The eight numbers that a mask leaves; the last, of its edges, is another kernel's."""
    if not mask.any():
        return [lower, 0, upper, 0, 0, 0, 0, 0]
    left, top, right, bottom = reference.box(mask)
    height, width = mask.shape
    return [lower, int(mask.sum()), upper, width - left, height - top, right + 1, bottom + 1, 0]


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_bits_and_statistics_equal_the_reference(interpreted, case):
    if case.original[0] * case.original[1] > 50_000:
        case = case._replace(masks=1)  # the interpreter takes its time
    low, (height, width) = np.ascontiguousarray(logits(case, SEEN)), case.original
    words = -(-height // 32)
    bits = np.full((case.masks, words, width), 0xDEADBEEF, np.uint32)
    stats = np.zeros((case.masks, 8), np.int32)
    y, x = axis(case, 0), axis(case, 1)
    grid = (case.masks, -(-width // COLUMNS), -(-words // CHUNK))
    levels = (-0.9, 0.1, 1.1)
    given = (low, x, y, bits, stats, *case.low, height, width, *levels)
    interpreted("mask_decode", grid, *given, COLUMNS=COLUMNS, CHUNK=CHUNK)
    taps = [reference.taps(case.low[i], case.model[i], case.valid[i], case.original[i]) for i in (0, 1)]
    for m in range(case.masks):
        full = reference.resample(low[m], *taps)
        lower, mask, upper = (full > np.float32(level) for level in levels)
        rows = (bits[m, :, None] >> np.arange(32, dtype=np.uint32)[None, :, None] & 1).reshape(-1, width)
        np.testing.assert_array_equal(rows[:height], mask, err_msg=f"seed {SEEN}")
        assert not rows[height:].any()
        assert stats[m].tolist() == expected(mask, lower.sum(), upper.sum()), f"seed {SEEN}"
