"""Small regions of a mask, removed on its run lengths: holes are filled, islands taken away.

run lengths ──cut at columns──▶ pieces of both values ──those that touch──▶ components ──▶ run lengths

Two pieces touch if a pixel of one is a neighbour, corners included, of a pixel of the other: 8-connectivity for the
mask and for what is not the mask, as SAM's generator has it (arXiv 2304.02643, appendix B).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saccade.runtime import rle

Ints = NDArray[np.int64]


class _Pieces(NamedTuple):
    """Runs cut where a column ends, in order: column, first row, end (exclusive), and whether they are mask."""

    column: Ints
    top: Ints
    end: Ints
    inside: NDArray[np.bool_]


def clean(mask: rle.Rle, least: int) -> tuple[rle.Rle, bool]:
    """The mask without holes, then without islands, of fewer than `least` pixels; and whether there were any.

    Where all islands are smaller, the largest stays.
    """
    shape = rle.size(mask)
    pieces = _pieces(mask)
    holes = _small(pieces, ~pieces.inside, shape[0], least)
    filled = pieces._replace(inside=pieces.inside | holes)
    merged = _pieces(_packed(filled, shape)) if holes.any() else pieces
    islands = _small(merged, merged.inside, shape[0], least)
    if islands.any() and islands[merged.inside].all():
        largest = _largest(merged, shape[0])
        cut = merged._replace(inside=largest)
    else:
        cut = merged._replace(inside=merged.inside & ~islands)
    changed = bool(holes.any() or islands.any())
    return (_packed(cut, shape) if changed else mask), changed


def _pieces(mask: rle.Rle) -> _Pieces:
    height = rle.size(mask)[0]
    lengths = rle.runs(mask)
    ends = np.cumsum(lengths)
    real = lengths > 0
    begins, ends, inside = (ends - lengths)[real], ends[real], (np.arange(len(lengths)) % 2 == 1)[real]
    first = begins // height
    count = (ends - 1) // height - first + 1
    column = np.repeat(first - np.cumsum(count) + count, count) + np.arange(int(count.sum()))
    top = np.maximum(np.repeat(begins, count) - column * height, 0)
    end = np.minimum(np.repeat(ends, count) - column * height, height)
    return _Pieces(column, top, end, np.repeat(inside, count))


def _packed(pieces: _Pieces, shape: tuple[int, int]) -> rle.Rle:
    shift = pieces.column * shape[0]
    return rle.from_spans((pieces.top + shift)[pieces.inside], (pieces.end + shift)[pieces.inside], shape)


def _small(pieces: _Pieces, which: NDArray[np.bool_], height: int, least: int) -> NDArray[np.bool_]:
    """Of the pieces `which`, those whose component has fewer than `least` pixels."""
    made = np.zeros(len(which), bool)
    labels = components(pieces.column[which], pieces.top[which], pieces.end[which], height)
    areas = np.bincount(labels, pieces.end[which] - pieces.top[which], minlength=1)
    made[which] = areas[labels] < least
    return made


def _largest(pieces: _Pieces, height: int) -> NDArray[np.bool_]:
    """Pieces of the largest component of the mask; of equals, the one that a reader of rows meets first."""
    which = pieces.inside
    column, top, end = pieces.column[which], pieces.top[which], pieces.end[which]
    labels = components(column, top, end, height)
    areas = np.bincount(labels, end - top)
    order = np.lexsort((column, top, -areas[labels]))
    made = which.copy()
    made[which] = labels == labels[order[0]]
    return made


def components(column: Ints, top: Ints, end: Ints, height: int) -> Ints:
    """A number for each piece, the same for those that hang together: the smallest index of a piece among them.

    The pieces are ascending, and no two of one column touch.
    """
    stride = height + 1
    after = (column + 1) * stride
    low = np.searchsorted(column * stride + end, after + top, "left")  # the first of the next column that reaches it
    high = np.searchsorted(column * stride + top, after + end, "right")
    count = np.maximum(high - low, 0)
    ours = np.repeat(np.arange(len(column)), count)
    theirs = np.repeat(low - np.cumsum(count) + count, count) + np.arange(int(count.sum()))
    labels = np.arange(len(column))
    while True:  # hook the larger root below the smaller, then let every piece point at its root
        one, two = labels[ours], labels[theirs]
        apart = one != two
        if not apart.any():
            return labels
        ours, theirs, one, two = ours[apart], theirs[apart], one[apart], two[apart]
        np.minimum.at(labels, np.maximum(one, two), np.minimum(one, two))
        while (further := labels[labels]).tobytes() != labels.tobytes():
            labels = further
