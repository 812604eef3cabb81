"""Crops: rounded outward, never empty, never beyond the picture."""

import numpy as np
import pytest

from saccade.runtime.crops import crop
from saccade.runtime.image import decode

PIXELS = np.random.default_rng(2).integers(0, 255, (20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("box", "margin", "want"),
    [
        ((3, 4, 10, 12), 0.0, (3, 4, 10, 12)),
        ((3.2, 4.9, 9.1, 11.1), 0.0, (3, 4, 10, 12)),
        ((10, 10, 20, 14), 0.25, (7, 9, 23, 15)),
        ((-5, -5, 99, 99), 0.5, (0, 0, 30, 20)),
        ((5, 5, 5, 5), 0.0, (5, 5, 6, 6)),
        ((30, 20, 30, 20), 0.0, (29, 19, 30, 20)),
        ((90, 90, 95, 99), 0.0, (29, 19, 30, 20)),
    ],
)
def test_what_is_cut_out(box, margin, want):
    part, at = crop(decode(PIXELS), box, margin)
    left, top, right, bottom = want
    assert np.array_equal(part.pixels, PIXELS[top:bottom, left:right])
    assert at == (left, top)
    assert not part.pixels.flags.writeable
