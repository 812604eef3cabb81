"""The arguments of resize_normalize once checked: what every candidate takes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import gpu, native
from saccade.kernels.resize_normalize.reference import FILTERS
from saccade.runtime.errors import SpecError

MOST = 1 << 24  # pixels a side: float32, in which Pillow keeps the region, holds whole numbers up to here
DTYPES: list[np.dtype] = [np.dtype(np.float32), np.dtype(np.float16)]


class Request(NamedTuple):
    """Sizes are (height, width); image rows may have any stride, pixels are 3 bytes apart; `out` is C-contiguous."""

    image: np.ndarray
    size: tuple[int, int]
    filter: str
    region: tuple[float, float, float, float]
    crop: tuple[int, int, int, int]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    out: np.ndarray
    pad_value: float
    raw: bool
    threads: int


def check(image: Any, size: Any, *, filter: Any, region: Any, crop: Any, scale: Any, mean: Any, std: Any, out: Any,
          dtype: Any, pad_to: Any, pad_value: Any, raw: bool, threads: Any) -> Request:  # fmt: skip
    """The request that these arguments of resize_normalize make. Raises SpecError."""
    image = _image(image)
    size = _whole("size", size, 2, least=1)
    if filter not in FILTERS:
        raise _wrong("filter", filter, f"one of {', '.join(FILTERS)}")
    height, width = image.shape[:2]
    region = (0.0, 0.0, float(width), float(height)) if region is None else _region(region, height, width)
    crop = (0, 0, *size) if crop is None else _whole("crop", crop, 4, least=-MOST)
    if min(crop[2:]) < 1:
        raise _wrong("crop", crop, "(top, left, height, width) with a height and width of at least 1")
    scale, *mean = _reals("scale and mean", (scale, *_three("mean", mean)))
    std = _reals("std", _three("std", std))
    if not all(map(np.float32, std)):
        raise _wrong("std", std, "three numbers other than zero in float32")
    shape = _shape(crop[2:], pad_to, raw)
    wanted = [np.dtype(np.uint8)] if raw else DTYPES
    if out is not None:
        _check_out(out, shape, wanted, image)
    elif raw or np.dtype(dtype) in wanted:
        out = (gpu.cupy() if gpu.on_device(image) else np).empty(shape, np.uint8 if raw else dtype)
    else:
        raise _wrong("dtype", np.dtype(dtype).name, "float32 or float16, or raw=True for uint8")
    return Request(image, size, filter, region, crop, scale, tuple(mean), std, out, float(pad_value), raw,
                   native.thread_count("resize_normalize", threads))  # fmt: skip


def _wrong(name: str, given: Any, allowed: str) -> SpecError:
    return SpecError(f"[resize_normalize] {name}: got {given}", hint=f"give {allowed}")


def _image(image: Any) -> np.ndarray:
    if gpu.on_device(image):
        image = gpu.take(image)
    if not gpu.is_array(image) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        given = f"{image.shape} {image.dtype}" if gpu.is_array(image) else type(image).__name__
        raise _wrong("image", given, "a NumPy array (H, W, 3) uint8, RGB; saccade.runtime.image.decode makes one")
    if not 0 < min(image.shape) <= max(image.shape) <= MOST:
        raise _wrong("image", f"shape {image.shape}", f"from 1 to {MOST} pixels a side")
    if gpu.on_device(image):
        return image
    return image if image.strides[1:] == (3, 1) else np.ascontiguousarray(image)


def _whole(name: str, values: Any, count: int, *, least: int) -> tuple[int, ...]:
    try:
        whole = tuple(map(operator.index, values))
    except TypeError:
        whole = ()
    if len(whole) != count or not all(least <= value <= MOST for value in whole):
        raise _wrong(name, values, f"{count} whole numbers from {least} to {MOST}")
    return whole


def _three(name: str, values: Any) -> tuple[Any, ...]:
    three = tuple(values) if np.ndim(values) == 1 else ()
    if len(three) != 3:
        raise _wrong(name, values, "three numbers, one for each of red, green and blue")
    return three


def _reals(name: str, values: Any) -> tuple[float, ...]:
    try:
        reals = tuple(map(float, values))
    except (TypeError, ValueError):
        raise _wrong(name, values, "finite numbers") from None
    if not all(abs(real) < 3e38 for real in reals):  # float32's range; also refuses nan
        raise _wrong(name, values, "finite numbers that float32 can hold")
    return reals


def _region(region: Any, height: int, width: int) -> tuple[float, ...]:
    values = _reals("region", region)
    if len(values) == 4:
        left, top, right, bottom = (float(np.float32(value)) for value in values)
        if 0 <= left < right <= width and 0 <= top < bottom <= height:
            return left, top, right, bottom
    raise _wrong("region", region, f"(left, top, right, bottom) within 0, 0, {width}, {height} and not empty")


def _shape(size: tuple[int, ...], pad_to: Any, raw: bool) -> tuple[int, ...]:
    if raw and pad_to is not None:
        raise _wrong("pad_to", pad_to, "none with raw=True")
    if raw:
        return (*size, 3)
    padded = size if pad_to is None else _whole("pad_to", pad_to, 2, least=1)
    if padded[0] < size[0] or padded[1] < size[1]:
        raise _wrong("pad_to", padded, f"(height, width) of at least {size}")
    return (3, *padded)


def _check_out(out: Any, shape: tuple[int, ...], dtypes: Sequence[np.dtype], image: np.ndarray) -> None:
    host = not gpu.on_device(image)
    fits = gpu.is_array(out) and host != gpu.on_device(out) and out.shape == shape and out.dtype in dtypes
    if not fits or not out.flags.c_contiguous or (host and not out.flags.writeable):
        given = f"{out.shape} {out.dtype}" if gpu.is_array(out) else type(out).__name__
        raise _wrong("out", given, f"a writeable C-contiguous array {shape} {' or '.join(map(str, dtypes))}")
    if host and np.may_share_memory(out, image):
        raise _wrong("out", "memory of the image", "an array of its own")
