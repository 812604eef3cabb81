"""resize_normalize, the specification: Pillow's resampling in integers, a crop, and a normalisation in float32.

Resampling is `Resample.c` of Pillow 13: each axis has weights in float64, normalised, rounded to 22 fractional bits; a
pass is clip8((2²¹ + Σ weight · byte) >> 22) and its result is bytes again, so the order of the passes shows. Vertical
comes first where H − H' > 0 and H − H' > 2 (W − W'), a rule that is new in Pillow 13.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from saccade.kernels.resize_normalize.request import Request

BITS = 22
_sin, _cos = np.vectorize(math.sin, [float]), np.vectorize(math.cos, [float])  # libm's last bit, not NumPy's


def _box(x: np.ndarray) -> np.ndarray:
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _bilinear(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    return np.where(x < 1, 1 - x, 0.0)


def _hamming(x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    safe = np.where(x == 0, 1.0, x) * math.pi
    window = float(np.float32(0.54)) + float(np.float32(0.46)) * _cos(safe)  # Pillow's constants are single
    return np.where(x == 0, 1.0, np.where(x < 1, _sin(safe) / safe * window, 0.0))


def _bicubic(x: np.ndarray) -> np.ndarray:
    """Keys, Cubic convolution interpolation (1981), eq. 15, a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _sinc(x: np.ndarray) -> np.ndarray:
    safe = np.where(x == 0, 1.0, x) * math.pi
    return np.where(x == 0, 1.0, _sin(safe) / safe)


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where((x >= -3) & (x < 3), _sinc(x) * _sinc(x / 3), 0.0)


FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray] | None, float]] = {
    "nearest": (None, 0.0),
    "box": (_box, 0.5),
    "bilinear": (_bilinear, 1.0),
    "hamming": (_hamming, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}


def taps(filter: str, source: int, low: float, high: float, resized: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights that map the interval low..high of an axis of `source` pixels to `resized` pixels.

    Returns first (resized,), the first source index of each output, and weights (resized, T) int32, in units of 2⁻²².
    """
    weigh, support = FILTERS[filter]
    low, step = float(np.float32(low)), float(np.float32(high) - np.float32(low)) / resized
    if weigh is None:
        at = np.add.accumulate(np.r_[low + step * 0.5, np.full(resized - 1, step)])  # summed, as Pillow does
        inside = (at >= 0) & (at < source)
        return np.where(inside, at, 0).astype(np.int64), np.where(inside, 1 << BITS, 0).astype(np.int32)[:, None]
    stretch = max(step, 1.0)
    support *= stretch
    centre = low + (np.arange(resized) + 0.5) * step
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    end = np.minimum((centre + support + 0.5).astype(np.int64), source)
    steps = np.arange(max(int((end - first).max()), 1))
    weights = weigh((steps + first[:, None] - centre[:, None] + 0.5) * (1.0 / stretch))
    weights[steps >= (end - first)[:, None]] = 0.0
    total = np.add.accumulate(weights, axis=1)[:, -1:]  # in order: np.sum adds pairwise
    weights /= np.where(total == 0, 1.0, total)
    return first, np.trunc(weights * (1 << BITS) + np.where(weights < 0, -0.5, 0.5)).astype(np.int32)


def _pass(image: np.ndarray, first: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Resamples axis 0 of uint8 `image`."""
    total = np.full((len(first), *image.shape[1:]), 1 << (BITS - 1), np.int32)
    for t in range(weights.shape[1]):
        rows = image[np.minimum(first + t, len(image) - 1)].astype(np.int32)  # a clamped index has weight 0
        total += rows * weights[:, t].reshape(-1, *[1] * (image.ndim - 1))
    clipped: np.ndarray = np.clip(total >> BITS, 0, 255).astype(np.uint8)
    return clipped


def resize(
    image: np.ndarray, size: Sequence[int], filter: str, region: Sequence[float], crop: Sequence[int]
) -> np.ndarray:
    """(h, w, 3) uint8: what Image.resize((RW, RH), filter, region) and then Image.crop give.

    image: (H, W, 3) uint8; size: (RH, RW); region: left, top, right, bottom; crop: top, left, h, w
    """
    top, left, height, width = crop
    out = np.zeros((height, width, 3), np.uint8)
    rows = slice(max(top, 0), max(min(top + height, size[0]), 0))
    columns = slice(max(left, 0), max(min(left + width, size[1]), 0))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return out
    y = [part[rows] for part in taps(filter, image.shape[0], region[1], region[3], size[0])]
    x = [part[columns] for part in taps(filter, image.shape[1], region[0], region[2], size[1])]
    shrunk_y, shrunk_x = image.shape[0] - size[0], image.shape[1] - size[1]
    if shrunk_y > 0 and shrunk_y > 2 * shrunk_x:
        inner = _pass(_pass(image, *y).swapaxes(0, 1), *x).swapaxes(0, 1)
    else:
        inner = _pass(_pass(image.swapaxes(0, 1), *x).swapaxes(0, 1), *y)
    out[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = inner
    return out


def run(request: Request) -> np.ndarray:
    """Fills request.out: ((x · scale) − mean) / std, each operation rounded to float32, then to the dtype of `out`."""
    out, (height, width) = request.out, request.crop[2:]
    pixels = resize(request.image, request.size, request.filter, request.region, request.crop)
    if request.raw:
        out[:] = pixels
        return out
    mean, std = np.array(request.mean, np.float32), np.array(request.std, np.float32)
    with np.errstate(over="ignore", under="ignore"):  # tiny scales and float16 are the caller's choice
        normal = (pixels.astype(np.float32) * np.float32(request.scale) - mean) / std
        out[:, height:] = out[:, :, width:] = request.pad_value
        out[:, :height, :width] = normal.transpose(2, 0, 1).astype(out.dtype)
    return out
