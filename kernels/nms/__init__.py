"""nms: of boxes that overlap, the best; greedy and exact, within each class."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from saccade.kernels import gpu, native
from saccade.kernels.dispatch import Candidate, pick
from saccade.kernels.nms import launch, reference
from saccade.runtime.errors import SpecError

MOST = (1 << 31) - 1  # boxes


class Request(NamedTuple):
    """boxes (N, 4) float32, scores (N,) float32, classes (N,) int64 or None, all C-contiguous, all on one side."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray | None
    iou: np.float32
    limit: int


def _run(name: str, r: Request) -> np.ndarray:
    kept: np.ndarray = native.module.nms(name, r.boxes, r.scores, r.classes, float(r.iou), r.limit)
    return kept


CANDIDATES = (
    *launch.CANDIDATES,
    *(native.candidate("nms", name, _run) for name in ("avx512", "avx2", "neon", "base")),
    Candidate("reference", lambda *_: "", reference.run),
)


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray | None = None,
    *,
    iou: float = 0.5,
    limit: int | None = None,
    impl: str | None = None,
) -> np.ndarray:
    """Indices of the boxes that stay, (K,) int64, by descending score; equal scores by index.

    Arrays are NumPy's, or all on a GPU: CuPy's or any with __cuda_array_interface__; the result is where they are.
    boxes: (N, 4) float32, x1 y1 x2 y2; a box that is inverted or holds NaN suppresses nothing and stays
    scores: (N,) float32; a NaN drops its box
    classes: (N,) integers, any values; boxes of two classes never suppress each other. None: all are of one class
    iou: 0 to 1, rounded to float32; a box goes if its overlap with a better one that stayed is greater
    limit: most boxes to keep; none further down are looked at
    impl: a candidate to force: avx512, avx2, neon, base or reference; on a GPU cuda or triton
    Raises SpecError for arguments that do not fit, KernelError if `impl` cannot run.
    """
    request = _check(boxes, scores, classes, iou, limit)
    kept: np.ndarray = pick("nms", CANDIDATES, request, force=impl).run(request)
    return kept


def _check(boxes: Any, scores: Any, classes: Any, iou: Any, limit: Any) -> Request:
    boxes = _array("boxes", boxes, "f", (None, 4))
    count = len(boxes)
    scores = _array("scores", scores, "f", (count,))
    if apart := gpu.together({"boxes": boxes, "scores": scores, "classes": classes}):
        raise _wrong(apart, "it on another side than the boxes", "all on the host or all on a GPU")
    if classes is not None:
        classes = _array("classes", classes, "iu", (count,)).astype(np.int64, copy=False)
    try:
        threshold = np.float32(iou)
        most = count if limit is None else operator.index(limit)
    except (TypeError, ValueError):
        raise _wrong("iou and limit", f"{iou!r} and {limit!r}", "a number and a whole number or None") from None
    if not 0 <= threshold <= 1:
        raise _wrong("iou", iou, "a number from 0 to 1")
    if most < 0 or count > MOST:
        raise _wrong("limit", limit, f"None or a whole number from 0; and at most {MOST} boxes")
    return Request(boxes, scores, classes, threshold, min(most, count))


def _array(name: str, array: Any, kinds: str, shape: tuple[int | None, ...]) -> Any:
    if gpu.on_device(array):
        array = gpu.take(array)
    given = f"{array.shape} {array.dtype}" if gpu.is_array(array) else type(array).__name__
    wanted = f"({', '.join('N' if n is None else str(n) for n in shape)}) " + (
        "float32" if kinds == "f" else "integers"
    )
    fits = gpu.is_array(array) and array.ndim == len(shape) and array.dtype.kind in kinds
    if not fits or any(n is not None and n != m for n, m in zip(shape, array.shape, strict=True)):
        raise _wrong(name, given, f"a NumPy array {wanted}")
    if kinds == "f" and array.dtype != np.float32:  # rounding scores could change ties, so it is the caller's to do
        raise _wrong(name, given, f"a NumPy array {wanted}: {name}.astype(np.float32)")
    return gpu.contiguous(array)


def _wrong(name: str, given: Any, allowed: str) -> SpecError:
    return SpecError(f"[nms] {name}: got {given}", hint=f"give {allowed}")
