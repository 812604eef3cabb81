"""deformable_attention: each query looks at a few points of a pyramid of feature maps, between their pixels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import gpu, native
from saccade.kernels.deformable_attention import launch, reference
from saccade.kernels.dispatch import Candidate, pick
from saccade.runtime.errors import SpecError

DTYPES = ("float16", "float32", "float64")
DEVICE_DTYPES = ("float16", "bfloat16", "float32")
MOST_SIDE = 1 << 20  # of a level: a coordinate in float32 keeps a fraction


class Request(NamedTuple):
    """What every candidate takes: value, locations, weights and out of one dtype, sizes int64. `out` is filled.

    All are NumPy's, or all but sizes CuPy's and contiguous.
    """

    value: np.ndarray
    sizes: np.ndarray
    locations: np.ndarray
    weights: np.ndarray
    threads: int
    out: np.ndarray


def _run(name: str, r: Request) -> None:
    native.module.deformable_attention(name, *r)


def _native(name: str) -> Candidate:
    compiled = native.candidate("deformable_attention", name, _run)

    def unusable(request: Request | None = None) -> str:
        if request is not None and request.value.dtype == np.float64:
            return "float64 is for the reference alone"
        return compiled.unusable()

    return Candidate(name, unusable, compiled.run)


CANDIDATES = (
    *launch.CANDIDATES,
    Candidate("reference", lambda *_: "", reference.run),
)


def deformable_attention(
    value: np.ndarray,
    sizes: Any,
    locations: np.ndarray,
    weights: np.ndarray,
    *,
    threads: int = 1,
    impl: str | None = None,
) -> np.ndarray:
    """Σ over levels and points of weight · bilinear sample, as (B, N, A · D) in the dtype of `value`.

    value: (B, S, A, D) float16, float32 or float64: the pixels of all levels, one level after the other, row by row
    sizes: (L, 2) integers, height and width of each level; S is the sum of their products
    locations: (B, N, A, L, T, 2), x and y from 0 to 1 over the whole of the level; what lies beyond adds nothing, nor
        does NaN or infinity
    weights: (B, N, A, L, T), softmaxed by the caller; both of the dtype of `value`. Coordinates are computed in float32
    threads: over which batch and heads are shared out; the bits do not depend on it
    Arrays are NumPy's, or all but sizes on a GPU (CuPy's or any with __cuda_array_interface__), as float16, bfloat16 or
    float32; the result is where they are.
    impl: a candidate to force: avx512, avx2, neon, base or reference; on a GPU triton. On the host half precision is
        computed in float32 by all
    Raises SpecError for arguments that do not fit, KernelError if `impl` cannot run.
    Source: Deformable DETR (arXiv 2010.04159, eq. 3).
    """
    request = _check(value, sizes, locations, weights, threads)
    pick("deformable_attention", CANDIDATES, request, force=impl).run(request)
    out: np.ndarray = request.out
    return out


def _check(value: Any, sizes: Any, locations: Any, weights: Any, threads: Any) -> Request:
    arrays = {"value": value, "locations": locations, "weights": weights}
    if apart := gpu.together(arrays):
        raise _wrong(apart, "it on another side than value", "all on the host or all on a GPU")
    if on_device := gpu.on_device(value):
        arrays = {name: gpu.take(array) for name, array in arrays.items()}
        value, locations, weights = arrays.values()
    dtypes = DEVICE_DTYPES if on_device else DTYPES
    for (name, array), axes in zip(arrays.items(), (4, 6, 5), strict=True):
        good = gpu.is_array(array) and array.ndim == axes and array.dtype.name in dtypes
        if not good or not array.dtype.isnative:
            raise _wrong(name, array, f"an array of {axes} axes, {' or '.join(dtypes)}")
        if array.dtype != value.dtype:
            raise _wrong(name, array, f"{value.dtype}, the dtype of value")
    levels = _levels(sizes, value)
    batch, _, heads, dim = value.shape
    if not dim:
        raise _wrong("value", value, "at least one number a head")
    queries, points = locations.shape[1], locations.shape[4]
    if locations.shape != (batch, queries, heads, len(levels), points, 2):
        raise _wrong("locations", locations, f"(B, N, A, L, T, 2) with B, A, L = {batch}, {heads}, {len(levels)}")
    if weights.shape != locations.shape[:5]:
        raise _wrong("weights", weights, f"(B, N, A, L, T) as locations have it: {locations.shape[:5]}")
    shared = native.thread_count("deformable_attention", threads)
    out = (gpu.cupy() if on_device else np).empty((batch, queries, heads * dim), value.dtype)
    value, locations, weights = _rows(value, 1), _rows(locations, 3), _rows(weights, 2)
    return Request(value, levels, locations, weights, shared, out)


def _levels(sizes: Any, value: Any) -> np.ndarray:
    """sizes as (L, 2) int64 on the host. Raises SpecError."""
    try:
        given = gpu.cupy().asnumpy(sizes) if gpu.on_device(sizes) else np.asarray(sizes)
    except (TypeError, ValueError):
        raise _wrong("sizes", sizes, "(L, 2) integers: height and width of each level") from None
    if not given.size:
        given = np.zeros((0, 2), np.int64)
    if given.ndim != 2 or given.shape[1] != 2 or given.dtype.kind not in "iu":
        raise _wrong("sizes", sizes, "(L, 2) integers: height and width of each level")
    if (given < 0).any() or (given > MOST_SIDE).any():
        raise _wrong("sizes", sizes, f"heights and widths from 0 to {MOST_SIDE}")
    levels = np.ascontiguousarray(given, np.int64)
    if (places := int(levels.prod(1).sum())) != value.shape[1]:
        raise _wrong("sizes", sizes, f"levels of S = {value.shape[1]} places in all; these have {places}")
    return levels


def _rows(array: Any, inner: int) -> Any:
    """`array` itself if the native code can walk it: the last `inner` axes contiguous, the others whole items apart."""
    if gpu.on_device(array):
        return array
    size, whole = array.itemsize, True
    for axis in range(array.ndim - 1, array.ndim - 1 - inner, -1):
        whole, size = whole and (array.strides[axis] == size or array.shape[axis] == 1), size * array.shape[axis]
    walkable = whole and not any(stride % array.itemsize for stride in array.strides)
    return array if walkable and array.flags.aligned else np.ascontiguousarray(array)


def _wrong(name: str, given: Any, allowed: str) -> SpecError:
    shown = f"{given.shape} {given.dtype}" if isinstance(given, np.ndarray) else repr(given)[:64]
    return SpecError(f"[deformable_attention] {name}: got {shown}", hint=f"give {allowed}")
