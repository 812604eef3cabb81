"""Small regions: against flood filling by hand, and against OpenCV as SAM's generator uses it."""

import numpy as np
import pytest

from saccade.runtime import rle
from saccade.runtime.regions import clean

SHAPES = [(1, 1), (1, 9), (9, 1), (13, 17), (60, 41)]


def regions(mask):
    """Components of a bool mask, 8-connected, by flooding."""
    left = {tuple(p) for p in np.argwhere(mask)}
    while left:
        stack, seen = [left.pop()], set()
        while stack:
            y, x = stack.pop()
            seen.add((y, x))
            around = {(y + a, x + b) for a in (-1, 0, 1) for b in (-1, 0, 1)} & left
            left -= around
            stack += around
        yield sorted(seen)


def plain(mask, least):
    """The same by hand: holes, then islands."""
    mask, changed = mask.copy(), False
    for hole in list(regions(~mask)):
        if len(hole) < least:
            changed = True
            mask[tuple(np.transpose(hole))] = True
    islands = sorted(regions(mask), key=lambda r: (-len(r), r[0]))
    small = [r for r in islands if len(r) < least]
    for island in small[1:] if len(small) == len(islands) else small:
        mask[tuple(np.transpose(island))] = False
    return mask, changed or bool(small)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.4, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("least", [1, 3, 12, 10_000])
def test_it_is_what_flooding_gives(shape, share, least):
    mask = np.random.default_rng(int(share * 100) + least).random(shape) < share
    got, changed = clean(rle.encode(mask), least)
    want, wanted = plain(mask, least)
    assert np.array_equal(rle.decode(got), want)
    assert changed == wanted


def test_a_spiral_is_one_region():
    mask = np.zeros((41, 41), bool)
    y, x, step, length = 20, 20, (0, 1), 2
    mask[y, x] = True
    for turn in range(36):
        for _ in range(length):
            y, x = y + step[0], x + step[1]
            if 0 <= y < 41 and 0 <= x < 41:
                mask[y, x] = True
        step, length = (step[1], -step[0]), length + 2 * (turn % 2)
    assert len(list(regions(mask))) == 1
    packed = rle.encode(mask)
    assert clean(packed, int(mask.sum())) == (packed, False)


@pytest.mark.parametrize("seed", range(12))
def test_opencv_agrees(seed):
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((150, 97)).astype(np.float32), (0, 0), 1 + seed % 4)
    mask, least = noise > noise.std() * rng.uniform(-1, 1), int(rng.integers(2, 120))
    got, changed = clean(rle.encode(mask), least)
    want, wanted = mask, False
    for inside in (False, True):
        count, where, stats, _ = cv2.connectedComponentsWithStats((want == inside).astype(np.uint8), connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        small = [i + 1 for i in range(count - 1) if sizes[i] < least]
        if small:
            wanted = True
            if inside:
                keep = [i + 1 for i in range(count - 1) if sizes[i] >= least] or [int(sizes.argmax()) + 1]
                want = np.isin(where, keep)
            else:
                want = want | np.isin(where, small)
    assert changed == wanted
    assert np.array_equal(rle.decode(got), want)
