"""The arguments of mask_decode once checked: what every candidate takes."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import gpu, native
from saccade.runtime.errors import SpecError

MOST = 65_535  # pixels a side
PIXELS = (1 << 31) - 1  # of the original


class Request(NamedTuple):
    """Sizes are (height, width). boxes, area and stability are filled; so is dense (D, H, W) bool, by `places`.

    low and dense are NumPy's, or both CuPy's.
    """

    low: np.ndarray  # (M, h, w) float32, C-contiguous
    model: tuple[int, int]
    valid: tuple[int, int]
    original: tuple[int, int]
    thresholds: tuple[float, float, float]  # of the lower stability area, of the mask, of the upper area
    boxes: np.ndarray  # (M, 4) int32
    area: np.ndarray  # (M,) int64
    stability: np.ndarray  # (M,) float32
    places: np.ndarray  # (M,) int64: where in `dense` a mask goes, -1 for none
    dense: np.ndarray
    threads: int


def check(
    low: Any, model: Any, valid: Any, original: Any, threshold: Any, offset: Any, dense: Any, threads: Any
) -> Request:
    """The request that these arguments of mask_decode make. Raises SpecError."""
    if gpu.on_device(low):
        low = gpu.take(low)
    if not gpu.is_array(low) or low.dtype != np.float32 or low.ndim != 3:
        given = f"{low.shape} {low.dtype}" if gpu.is_array(low) else type(low).__name__
        raise _wrong("low", given, "a NumPy array (M, h, w) float32")
    model, valid, original = _size("model", model), _size("valid", valid), _size("original", original)
    if not all(1 <= side <= most for side, most in zip(low.shape[1:], model, strict=True)):
        raise _wrong("low", f"shape {low.shape}", f"logits of at least 1 pixel a side and no larger than model={model}")
    if valid[0] > model[0] or valid[1] > model[1]:
        raise _wrong("valid", valid, f"a part of model={model}")
    if original[0] * original[1] > PIXELS:
        raise _wrong("original", original, f"at most {PIXELS} pixels")
    masks = len(low)
    chosen = _chosen(dense, masks)
    places = np.full(masks, -1, np.int64)
    places[chosen] = np.arange(len(chosen))
    return Request(
        gpu.contiguous(low), model, valid, original, _thresholds(threshold, offset),
        np.zeros((masks, 4), np.int32), np.zeros(masks, np.int64), np.zeros(masks, np.float32), places,
        (gpu.cupy() if gpu.on_device(low) else np).empty((len(chosen), *original), np.bool_),
        native.thread_count("mask_decode", threads),
    )  # fmt: skip


def _wrong(name: str, given: Any, allowed: str) -> SpecError:
    return SpecError(f"[mask_decode] {name}: got {given}", hint=f"give {allowed}")


def _size(name: str, size: Any) -> tuple[int, int]:
    try:
        height, width = map(operator.index, size)
    except (TypeError, ValueError):
        height = width = 0
    if not (1 <= height <= MOST and 1 <= width <= MOST):
        raise _wrong(name, size, f"(height, width), whole numbers from 1 to {MOST}")
    return height, width


def _thresholds(threshold: Any, offset: Any) -> tuple[float, float, float]:
    try:
        middle, apart = float(threshold), float(offset)
    except (TypeError, ValueError):
        middle, apart = 0.0, float("nan")
    if not (abs(middle) < 1e29 and 0 <= apart < 1e29):
        raise _wrong("threshold and offset", f"{threshold!r} and {offset!r}", "finite numbers, an offset of at least 0")
    return float(np.float32(middle - apart)), float(np.float32(middle)), float(np.float32(middle + apart))


def _chosen(dense: Any, masks: int) -> list[int]:
    if isinstance(dense, bool | np.bool_):
        return list(range(masks)) if dense else []
    try:
        chosen = [operator.index(index) for index in dense]
    except TypeError:
        chosen = [-1]
    if len(set(chosen)) != len(chosen) or not all(0 <= index < masks for index in chosen):
        raise _wrong("dense", dense, f"True, False or indices from 0 to {masks - 1}, each once")
    return chosen
