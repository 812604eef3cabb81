"""relpos_attention: attention over a picture with SAM's decomposed relative positions, windows and global alike."""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import gpu, native
from saccade.kernels.dispatch import Candidate, pick
from saccade.kernels.relpos_attention import launch, reference
from saccade.runtime.errors import SpecError

DTYPES = ("float16", "float32", "float64")
DEVICE_DTYPES = ("float16", "bfloat16", "float32")
MOST = 1 << 12  # threads


class Request(NamedTuple):
    """What every candidate takes: arrays of one dtype whose last axis is contiguous. `out` (B, A, N, D) is filled.

    All are NumPy's, or all CuPy's and contiguous.
    """

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    rh: np.ndarray
    rw: np.ndarray
    scale: float
    threads: int
    out: np.ndarray


def _run(name: str, r: Request) -> None:
    native.module.relpos_attention(name, *r)


def _native(name: str) -> Candidate:
    compiled = native.candidate("relpos_attention", name, _run)

    def unusable(request: Request | None = None) -> str:
        if request is not None and request.q.dtype == np.float64:
            return "float64 is for the reference alone"
        return compiled.unusable()

    return Candidate(name, unusable, compiled.run)


CANDIDATES = (
    *launch.CANDIDATES,
    *(_native(name) for name in ("avx512", "avx2", "base")),
    Candidate("reference", lambda *_: "", reference.run),
)


def relpos_attention(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rh: np.ndarray,
    rw: np.ndarray,
    *,
    scale: float | None = None,
    threads: int = 1,
    impl: str | None = None,
) -> np.ndarray:
    """softmax(scale · q kᵀ + rh[n, row of m] + rw[n, column of m]) v, as (B, A, N, D) in the dtype of `q`.

    q, k, v: (B, A, N, D) float16, float32 or float64; N = Hk · Wk places of a picture, row after row
    rh, rw: (B, A, N, Hk) and (B, A, N, Wk), same dtype: unscaled q times the tables of relative positions. A row of
        which every bias is −inf gives zeros
    scale: 1/√D by default
    threads: over which batch, heads and blocks of queries are shared out; the bits do not depend on it
    Arrays are NumPy's, or all on a GPU (CuPy's or any with __cuda_array_interface__): Wk up to 64, and float16
    or bfloat16 with D up to 128 or float32 with D up to 64 there; the result is where they are.
    impl: a candidate to force: avx512, avx2, base or reference; on a GPU triton. On the host half precision is computed
        in float32 by all
    Raises SpecError for arguments that do not fit, KernelError if `impl` cannot run.
    Source: SAM (arXiv 2304.02643) after MViTv2 (arXiv 2112.01526, eq. 4); in blocks as arXiv 2205.14135.
    """
    request = _check(q, k, v, rh, rw, scale, threads)
    pick("relpos_attention", CANDIDATES, request, force=impl).run(request)
    out: np.ndarray = request.out
    return out


def _check(q: Any, k: Any, v: Any, rh: Any, rw: Any, scale: Any, threads: Any) -> Request:
    arrays = {"q": q, "k": k, "v": v, "rh": rh, "rw": rw}
    if apart := gpu.together(arrays):
        raise _wrong(apart, "it on another side than q", "all on the host or all on a GPU")
    if on_device := gpu.on_device(q):
        arrays = {name: gpu.take(array) for name, array in arrays.items()}
        q, rh, rw = (arrays[name] for name in ("q", "rh", "rw"))
    dtypes = DEVICE_DTYPES if on_device else DTYPES
    for name, array in arrays.items():
        good = gpu.is_array(array) and array.ndim == 4 and array.dtype.name in dtypes
        if not good or not array.dtype.isnative:
            raise _wrong(name, array, f"a NumPy array of 4 axes, {' or '.join(dtypes)}")
        if array.dtype != q.dtype:
            raise _wrong(name, array, f"{q.dtype}, the dtype of q")
        same = array.shape == q.shape if name in ("k", "v") else array.shape[:3] == q.shape[:3]
        if not same:
            raise _wrong(name, array, f"(B, A, N, …) as q has them: {q.shape}")
    if q.shape[3] == 0:
        raise _wrong("q", q, "at least one number a token")
    if rh.shape[3] * rw.shape[3] != q.shape[2]:
        raise _wrong("rh and rw", rw, f"Hk · Wk = {q.shape[2]} places; rh has Hk = {rh.shape[3]}")
    try:
        factor = 1 / math.sqrt(q.shape[3]) if scale is None else float(scale)
        shared = operator.index(threads)
    except (TypeError, ValueError):
        factor, shared = math.nan, 0
    if not math.isfinite(factor) or not 1 <= shared <= MOST:
        raise _wrong("scale and threads", (scale, threads), f"a finite number or None, and threads from 1 to {MOST}")
    out = (gpu.cupy() if on_device else np).empty(q.shape, q.dtype)
    q, k, v, rh, rw = map(_rows, arrays.values())
    return Request(q, k, v, rh, rw, factor, shared, out)


def _rows(array: Any) -> Any:
    """`array` itself if the native code can walk it: the last axis contiguous, the others whole items apart."""
    if gpu.on_device(array):
        return array
    size = array.itemsize
    walkable = array.strides[3] == size and not any(stride % size for stride in array.strides)
    return array if walkable and array.flags.aligned else np.ascontiguousarray(array)


def _wrong(name: str, given: Any, allowed: str) -> SpecError:
    shown = f"{given.shape} {given.dtype}" if isinstance(given, np.ndarray) else repr(given)[:64]
    return SpecError(f"[relpos_attention] {name}: got {shown}", hint=f"give {allowed}")
