"""Simulated clicks: depth is a distance, the deepest pixel is the middle, and a click goes where the mask is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from saccade.zoo.clicks import correction, deepest, depth, scattered


def disc(x: float, y: float, radius: float, height: int = 33, width: int = 41) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def distance(region: np.ndarray) -> np.ndarray:
    """Euclidean distance to the nearest pixel that is outside, the picture's frame included, by brute force."""
    framed = np.pad(region, 1)
    outside = np.argwhere(~framed)
    inside = np.argwhere(framed)
    found = np.zeros(framed.shape)
    found[framed] = np.sqrt(((inside[:, None] - outside[None]) ** 2).sum(2)).min(1)
    return found[1:-1, 1:-1]


def test_depth_is_near_to_the_euclidean_distance():
    rng = np.random.default_rng(3)
    regions = np.stack(
        [disc(20, 15, 11), disc(5, 2, 9), disc(20, 15, 14) & ~disc(24, 15, 4), rng.random((33, 41)) < 0.8]
    )
    for found, region in zip(depth(regions), regions, strict=True):
        exact = distance(region)
        assert ((found > 0) == region).all()
        assert np.abs(found - exact).max() <= 0.15 * exact.max() + 0.5
    assert depth(regions, most=3).max() == 3


def test_no_region_has_no_depth():
    assert not depth(np.zeros((2, 4, 5), bool)).any()
    assert depth(np.zeros((0, 4, 5), bool)).shape == (0, 4, 5)


def test_the_deepest_pixel_is_the_middle():
    regions = np.stack([disc(20, 15, 11), disc(7, 25, 4), np.zeros((33, 41), bool)])
    assert deepest(regions).tolist() == [[20, 15], [7, 25], [0, 0]]
    bar = np.zeros((1, 9, 21), bool)
    bar[0, 3:6, 2:19] = True  # all of the middle row is equally deep; the one in its middle is taken
    assert deepest(bar).tolist() == [[10, 4]]


def test_a_correction_goes_to_the_larger_mistake():
    wanted = np.stack([disc(20, 15, 10)] * 3)
    found = np.stack([disc(20, 15, 10) & ~disc(16, 15, 4), disc(20, 15, 10) | disc(35, 28, 3), disc(20, 15, 10)])
    points, labels = correction(wanted, found)
    assert points.tolist() == [[16, 15], [35, 28], [20, 15]]
    assert labels.tolist() == [1, 0, 1]  # missing, too much, and nothing wrong: affirmed


@pytest.mark.parametrize("power", [0.0, 1.0, 3.0])
def test_scattered_clicks_fall_on_what_is_wrong_and_know_what_is_wanted(power: float):
    wanted = np.stack([disc(20, 15, 10)] * 60)
    wrong = np.stack([disc(14, 15, 4)] * 30 + [disc(36, 15, 3)] * 20 + [np.zeros((33, 41), bool)] * 10)
    points, labels = scattered(np.random.default_rng(0), wanted, wrong, np.full(60, power))
    rows = np.arange(50)
    assert wrong[rows, points[:50, 1], points[:50, 0]].all()
    assert wanted[np.arange(50, 60), points[50:, 1], points[50:, 0]].all()  # nothing wrong: from the target
    assert labels.tolist() == wanted[np.arange(60), points[:, 1], points[:, 0]].astype(int).tolist()
    assert labels[:30].all()
    assert not labels[30:50].any()


def test_centred_clicks_are_deeper():
    region = np.stack([disc(20, 15, 10)] * 400)
    inside = depth(region[:1], most=8)[0]
    means = []
    for power in (0.0, 3.0):
        points, _ = scattered(np.random.default_rng(1), region, region, np.full(400, power))
        means.append(inside[points[:, 1], points[:, 0]].mean())
    assert means[1] > means[0] + 1
