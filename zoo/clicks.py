"""Simulated clicks: where a person would put the next point, in training (scattered) and in measuring (the deepest).

    wanted mask, found mask -> the region that is wrong -> its depth -> a pixel of it, and whether to add or take away

The depth of a pixel is how often the region can be eroded before the pixel goes, its neighbours taken alternately as
four and as eight, which is near to the Euclidean distance and needs no distance transform.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Masks = NDArray[np.bool_]


def depth(regions: Masks, most: int = 255) -> NDArray[np.uint8]:
    """(N, H, W) how deep each pixel lies in its region: 0 outside, 1 at the edge. The picture's border is an edge.

    regions: (N, H, W) bool; most: the depth at which counting stops
    """
    count, height, width = regions.shape
    found = np.zeros(regions.shape, np.uint8)
    left = np.zeros((count, height + 2, width + 2), bool)
    inner = left[:, 1:-1, 1:-1]
    inner[...] = regions
    for step in range(most):
        if not inner.any():
            break
        found += inner
        rows = left[:, :-2] & left[:, 1:-1] & left[:, 2:]
        across = rows if step % 2 else left[:, 1:-1]
        kept = across[:, :, :-2] & across[:, :, 2:] & rows[:, :, 1:-1]
        inner[...] = kept
    return found


def deepest(regions: Masks) -> NDArray[np.int64]:
    """(N, 2) x, y of the pixel deepest in each region; of equals the one nearest to their mean. (0, 0) if empty."""
    places = np.zeros((len(regions), 2), np.int64)
    for place, map_ in zip(places, depth(regions), strict=True):
        if map_.any():
            rows, columns = np.nonzero(map_ == map_.max())
            away = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
            place[:] = columns[away.argmin()], rows[away.argmin()]
    return places


def correction(wanted: Masks, found: Masks) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The click that a careful person makes next: in the middle of the deeper of what is missing and what is too much.

    wanted, found: (N, H, W) bool. Returns points (N, 2) x, y in pixels and labels (N,), 1 to add and 0 to take away.
    Where nothing is wrong, the click affirms: the deepest pixel of the wanted mask, label 1.
    """
    missing, surplus = wanted & ~found, found & ~wanted
    labels = np.where(depth(surplus).max((1, 2)) > depth(missing).max((1, 2)), 0, 1)
    regions = np.where(labels[:, None, None] == 1, missing, surplus)
    regions = np.where(_some(regions), regions, wanted)
    return deepest(regions), labels


def scattered(
    rng: np.random.Generator, wanted: Masks, wrong: Masks, centred: NDArray[np.floating]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A click drawn from each region of `wrong`, as training does it; where that is empty, from the wanted mask.

    wanted, wrong: (N, H, W) bool; centred: (N,) the power of the depth that chances are proportional to, 0 for even
    Returns points (N, 2) x, y in pixels and labels (N,): 1 where the pixel is wanted, else 0.
    """
    count, _, width = wrong.shape
    regions = np.where(_some(wrong), wrong, wanted)
    chances = depth(regions, most=8).reshape(count, -1).astype(np.float64)
    chances = np.where(chances > 0, chances ** centred[:, None], 0)
    totals = np.cumsum(chances, 1)
    drawn = (rng.random(count) * totals[:, -1])[:, None]
    index = np.minimum((totals <= drawn).sum(1), chances.shape[1] - 1)
    labels = wanted.reshape(count, -1)[np.arange(count), index].astype(np.int64)
    return np.stack([index % width, index // width], 1), labels


def _some(regions: Masks) -> Masks:
    """(N, 1, 1): whether a region has any pixel."""
    return np.asarray(regions.any((1, 2)))[:, None, None]
