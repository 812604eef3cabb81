"""deformable_attention, the specification: multi-scale sampling (Deformable DETR, arXiv 2010.04159, eq. 3).

    out[n] = Σₗ Σₜ w[n, l, t] · bilinear(level l, (x · W, y · H) − ½)        pixels' centres are at whole numbers

Each of the four corners of a point counts if it lies in its level, as grid_sample(align_corners=False, "zeros") has it.
One that does not adds nothing, whatever stands in the weight; nor does a point with a NaN or infinite coordinate. A NaN
or inf in a value, or in the weight of a corner that counts, goes where the arithmetic takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saccade.kernels.deformable_attention import Request


def attend(value: np.ndarray, sizes: np.ndarray, locations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One head: value (S, D), sizes (L, 2), locations (N, L, T, 2), weights (N, L, T); (N, D), in their one dtype."""
    out = np.zeros((len(locations), value.shape[1]), value.dtype)
    start = 0
    with np.errstate(all="ignore"):
        for level, (height, width) in enumerate(sizes.tolist()):
            source = value[start : start + height * width]
            start += height * width
            if len(source):
                _add_level(out, source, (height, width), locations[:, level], weights[:, level])
    return out


def _add_level(
    out: np.ndarray, source: np.ndarray, size: tuple[int, int], locations: np.ndarray, weights: np.ndarray
) -> None:
    """Adds what one level, source (H W, D), gives for locations (N, T, 2) and weights (N, T)."""
    (height, width), half = size, source.dtype.type(0.5)
    x, y = locations[..., 0] * width - half, locations[..., 1] * height - half
    left, top = np.floor(x), np.floor(y)
    for down in (0, 1):
        for right in (0, 1):
            column, row = left + right, top + down
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)  # false for NaN
            share = np.abs(1 - right - (x - left)) * np.abs(1 - down - (y - top)) * weights
            place = np.where(inside, row * width + column, 0).astype(np.int64)
            corner = share[..., None] * source[place]
            out += np.where(inside[..., None], corner, source.dtype.type(0)).sum(1)


def run(r: Request) -> None:
    """Fills `r.out`, head by head; half precision is computed in float32 and rounded once."""
    wide = np.float32 if r.value.dtype == np.float16 else r.value.dtype
    dim = r.value.shape[3]
    for b, a in np.ndindex(r.value.shape[0], r.value.shape[2]):
        value, locations, weights = (array.astype(wide, copy=False) for array in (r.value, r.locations, r.weights))
        r.out[b, :, a * dim : (a + 1) * dim] = attend(value[b, :, a], r.sizes, locations[b, :, a], weights[b, :, a])
