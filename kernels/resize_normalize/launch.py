"""resize_normalize on a GPU: a pass an axis, then the normalisation; queued, and nothing is waited for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.kernels import cubins, gpu
from saccade.kernels.resize_normalize import reference

if TYPE_CHECKING:
    from saccade.kernels.resize_normalize.request import Request

FUNCTIONS = {  # parameters and threads, as csrc/resize_normalize/resize_normalize.cu has them
    "resize_pass": ("ppppliili", 256),
    "resize_finish": ("ppiiiiiiiii" + 8 * "f", 256),
}
_OUTPUTS = {"uint8": 0, "float32": 1, "float16": 2}  # enum saccade_output

Kernels = dict[str, Any]


def cuda(*_: Any) -> Kernels:
    """The kernels in CUDA C++. Raises KernelError where none were built."""
    return cubins.cuda("resize_normalize", FUNCTIONS)


def run(r: Request) -> np.ndarray:
    """Fills request.out, on the device."""
    queue, (top, left, height, width) = gpu.queue(r.image), r.crop
    with gpu.device(r.image):
        kernels = cuda()
        rows = (max(top, 0), max(min(top + height, r.size[0]), 0))
        columns = (max(left, 0), max(min(left + width, r.size[1]), 0))
        empty = rows[0] >= rows[1] or columns[0] >= columns[1]
        pixels = r.image if empty else _resized(kernels, queue, r, rows, columns)
        inner = (
            (0, 0, 0, 0) if empty else (rows[0] - top, columns[0] - left, rows[1] - rows[0], columns[1] - columns[0])
        )
        padded = r.out.shape[:2] if r.raw else r.out.shape[1:]
        values = (r.pad_value, r.scale, *r.mean, *r.std)
        queue.launch(
            kernels["resize_finish"], (-(-padded[0] * padded[1] // 256),), pixels, r.out, _OUTPUTS[r.out.dtype.name],
            *inner, height, width, *padded, *values,
        )  # fmt: skip
    return r.out


def _resized(kernels: Kernels, queue: gpu.Queue, r: Request, rows: tuple[int, int], columns: tuple[int, int]) -> Any:
    """(rows, columns, 3) uint8: this part of the resized picture."""
    (source_h, source_w), (left, top, right, bottom) = r.image.shape[:2], r.region
    y = _taps(queue.device, r.filter, source_h, top, bottom, r.size[0], *rows)
    x = _taps(queue.device, r.filter, source_w, left, right, r.size[1], *columns)
    shrunk_y, shrunk_x = source_h - r.size[0], source_w - r.size[1]
    out_h, out_w = rows[1] - rows[0], columns[1] - columns[0]
    if shrunk_y > 0 and shrunk_y > 2 * shrunk_x:  # as in Pillow 13
        between = _pass(kernels, queue, r.image, y, (1, source_h, source_w * 3), out_h)
        return _pass(kernels, queue, between, x, (out_h, source_w, 3), out_w)
    between = _pass(kernels, queue, r.image, x, (source_h, source_w, 3), out_w)
    return _pass(kernels, queue, between, y, (1, source_h, out_w * 3), out_h)


def _pass(
    kernels: Kernels, queue: gpu.Queue, image: Any, taps: tuple[Any, Any], shape: tuple[int, int, int], target: int
) -> Any:
    outer, source, inner = shape
    first, weights = taps
    out = gpu.cupy().empty(outer * target * inner, "uint8")
    grid = (-(-out.size // 256),)
    sizes = (outer, source, target, inner, weights.shape[1])
    queue.launch(kernels["resize_pass"], grid, image, first, weights, out, *sizes)
    return out


@lru_cache(64)
def _taps(
    device: int, filter: str, source: int, low: float, high: float, resized: int, start: int, stop: int
) -> tuple[Any, Any]:
    """first (T,) and weights (T, taps) int32 of places start..stop, on the device."""
    del device  # the current one; it is here for the cache
    first, weights = (part[start:stop] for part in reference.taps(filter, source, low, high, resized))
    cp = gpu.cupy()
    return cp.asarray(first.astype(np.int32)), cp.asarray(np.ascontiguousarray(weights))


CANDIDATES = (gpu.candidate("resize_normalize", "cuda", cuda, run),)
