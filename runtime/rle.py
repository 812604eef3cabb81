"""Run lengths of masks as COCO writes them, in NumPy: what pycocotools does, without it.

    {"size": [H, W], "counts": b"..."}   runs of 0 and 1 in turn, the first of 0 and possibly empty, column after column

`counts` may be bytes, text, or a list of numbers (COCO's uncompressed form). The text form: from the fourth on, a run
is the difference to the one two before; 5 bits a character, the lowest first, bit 5 says that more follow, plus 48.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saccade.runtime.errors import InputError

Rle = dict[str, Any]
Ints = NDArray[np.int64]
_LONGEST = 12  # characters of one number: 60 bits


def runs(rle: Rle) -> Ints:
    """(R,) int64 lengths of the runs, checked to fill the picture. Raises InputError for what is no run lengths."""
    height, width = size(rle)
    counts = rle["counts"]
    found = _numbers(counts) if isinstance(counts, list | tuple) else _parse(counts)
    if (found < 0).any() or int(found.sum()) != height * width:
        raise _bad(f"runs that add up to {int(found.sum())}", f"{height} x {width} pixels need {height * width}")
    return found


def size(rle: Rle) -> tuple[int, int]:
    """(H, W). Raises InputError for what is no run lengths."""
    try:
        height, width = map(int, rle["size"])
        rle["counts"]
    except (TypeError, ValueError, KeyError):
        raise _bad(f"not run lengths: {str(rle)[:60]!a}", 'give {"size": [H, W], "counts": ...}') from None
    if min(height, width) < 1 or height * width >= 1 << 40:
        raise _bad(f"size {height} x {width}", "both sides are at least 1")
    return height, width


def pack(lengths: Any, shape: Sequence[int]) -> Rle:
    """Compressed run lengths of `lengths`, which fill (H, W)."""
    lengths = np.asarray(lengths, np.int64)
    values = lengths.copy()
    values[3:] -= lengths[1:-2]
    ahead = np.where(values < 0, ~values, values)
    groups = np.ones(len(values), np.int64)  # 5 bits a character, the sign bit included
    while (longer := ahead >> (5 * groups - 1) > 0).any():
        groups += longer
    at = np.repeat(np.cumsum(groups) - groups, groups)
    place = np.arange(len(at)) - at
    bits = (np.repeat(values, groups) >> (5 * place)) & 31
    text = bits + 48 + np.where(place < np.repeat(groups, groups) - 1, 32, 0)
    return {"size": [int(n) for n in shape], "counts": text.astype(np.uint8).tobytes()}


def encode(mask: NDArray[Any]) -> Rle:
    """Run lengths of a mask (H, W); what is not zero belongs to it."""
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise _bad(f"a mask {mask.shape}", "give (H, W)")
    return pack(lengths_of(np.ravel(mask, order="F") != 0), mask.shape)


def lengths_of(pixels: NDArray[np.bool_]) -> Ints:
    """(R,) lengths of the runs in a line of pixels, the first of False."""
    edges = np.flatnonzero(np.diff(pixels, prepend=False))
    return np.diff(np.concatenate([[0], edges, [pixels.size]])).astype(np.int64)


def decode(rle: Rle) -> NDArray[np.bool_]:
    """The mask (H, W) bool, in Fortran order."""
    lengths = runs(rle)
    line = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return line.reshape(size(rle), order="F")


def area(rle: Rle) -> int:
    """Pixels of the mask."""
    return int(runs(rle)[1::2].sum())


def box(rle: Rle) -> tuple[int, int, int, int]:
    """Left, top, right, bottom, all inclusive; zeros for an empty mask."""
    starts, ends = spans(rle)
    if not len(starts):
        return 0, 0, 0, 0
    height = size(rle)[0]
    left, right = starts // height, (ends - 1) // height
    wraps = bool((left != right).any())  # a run that goes on in the next column touches both ends
    top = 0 if wraps else int((starts % height).min())
    bottom = height - 1 if wraps else int(((ends - 1) % height).max())
    return int(left[0]), top, int(right[-1]), bottom


def spans(rle: Rle) -> tuple[Ints, Ints]:
    """Starts and ends (exclusive) of the mask's runs, counted down the columns; no run is empty."""
    bounds = np.cumsum(runs(rle))
    starts, ends = bounds[0:-1:2], bounds[1::2]
    real = ends > starts
    return starts[real], ends[real]


def place(rle: Rle, left: int, top: int, shape: Sequence[int]) -> Rle:
    """The mask laid into a picture of `shape` (H, W), its corner at (left, top). Raises InputError if it sticks out."""
    height, width = size(rle)
    if left < 0 or top < 0 or left + width > shape[1] or top + height > shape[0]:
        raise _bad(f"a mask {height} x {width} at ({left}, {top})", f"it fits into {shape[0]} x {shape[1]}")
    starts, ends = spans(rle)
    first, last = starts // height, (ends - 1) // height
    pieces = last - first + 1  # a run goes through so many columns
    column = np.repeat(first - np.cumsum(pieces) + pieces, pieces) + np.arange(int(pieces.sum()))
    start = np.maximum(np.repeat(starts, pieces), column * height)
    end = np.minimum(np.repeat(ends, pieces), (column + 1) * height)
    shift = (column + left) * shape[0] + top - column * height
    return from_spans(start + shift, end + shift, shape)


def from_spans(starts: Ints, ends: Ints, shape: Sequence[int]) -> Rle:
    """Run lengths of a mask of `shape` (H, W) with these ascending runs; runs that touch become one."""
    apart = np.ones(len(starts) + 1, bool)
    apart[1:-1] = starts[1:] > ends[:-1]
    bounds = np.stack([starts[apart[:-1]], ends[apart[1:]]], axis=1).ravel()
    total = int(shape[0]) * int(shape[1])
    whole = bounds if len(bounds) and bounds[-1] == total else np.append(bounds, total)
    return pack(np.diff(whole, prepend=0), shape)


def intersections(ours: Sequence[Rle], others: Sequence[Rle]) -> Ints:
    """(A, B) int64: pixels that each of `ours` shares with each of `others`. Raises InputError for unequal sizes."""
    shapes = {size(rle) for rle in (*ours, *others)}
    if len(shapes) > 1:
        raise _bad("masks of several sizes", "compare masks of one picture")
    made = np.zeros((len(ours), len(others)), np.int64)
    mine, theirs = [spans(rle) for rle in ours], [spans(rle) for rle in others]
    for j, (starts, ends) in enumerate(theirs):
        if not len(starts):
            continue
        bounds = np.stack([starts, ends], axis=1).ravel()
        covered = np.cumsum(np.diff(bounds, prepend=0) * (np.arange(len(bounds)) % 2))
        for i, (begins, stops) in enumerate(mine):
            if len(begins) and begins[0] < ends[-1] and starts[0] < stops[-1]:
                inside = np.interp(stops, bounds, covered) - np.interp(begins, bounds, covered)  # exact: whole numbers
                made[i, j] = int(np.rint(inside.sum()))
    return made


def iou(ours: Sequence[Rle], others: Sequence[Rle]) -> NDArray[np.float64]:
    """(A, B) intersection over union; 0 for two empty masks."""
    shared = intersections(ours, others)
    mine = np.array([area(rle) for rle in ours], np.int64)
    union = mine[:, None] + np.array([area(rle) for rle in others], np.int64) - shared
    share: NDArray[np.float64] = np.divide(shared, union, out=np.zeros(shared.shape), where=union > 0)
    return share


def text(rle: Rle) -> dict[str, Any]:
    """The same with counts as text, fit for JSON."""
    counts = rle["counts"]
    return {"size": [int(n) for n in rle["size"]], "counts": counts.decode() if isinstance(counts, bytes) else counts}


def _numbers(counts: Sequence[Any]) -> Ints:
    try:
        made = np.array(counts, np.float64)
        if made.ndim == 1 and np.isfinite(made).all() and (made == np.rint(made)).all() and (abs(made) < 2**40).all():
            return made.astype(np.int64)
    except (TypeError, ValueError):
        pass
    raise _bad("counts that are no list of whole numbers", "give lengths of runs")


def _parse(counts: Any) -> Ints:
    if not isinstance(counts, bytes | str):
        raise _bad(f"counts of type {type(counts).__name__}", "give bytes, text or a list")
    raw = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    codes = np.frombuffer(raw, np.uint8).astype(np.int64) - 48
    last = codes & 32 == 0
    if (codes < 0).any() or (codes > 63).any() or (len(codes) and not last[-1]):
        raise _bad("counts that are no run lengths", "the text is damaged")
    ends = np.flatnonzero(last)
    begins = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    place_in = np.arange(len(codes)) - np.repeat(begins, ends - begins + 1)
    if (place_in >= _LONGEST).any():
        raise _bad("a run of more than 60 bits", "the text is damaged")
    values = np.add.reduceat((codes & 31) << (5 * place_in), begins) if len(ends) else np.zeros(0, np.int64)
    values -= np.where(codes[ends] & 16, np.int64(1) << (5 * (ends - begins + 1)), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _bad(what: str, allowed: str) -> InputError:
    return InputError(f"[rle] {what}", hint=allowed)
