"""mask_decode on a GPU: bits and statistics, then places, then edges. Counts, boxes and edges cross the bus, no pixels.

bits ──▶ columns ──▶ statistics to the host ──▶ edges ──▶ to the host, which writes the text of the run lengths
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.kernels import cubins, gpu, native
from saccade.kernels.mask_decode import reference

if TYPE_CHECKING:
    from saccade.kernels.mask_decode.request import Request

FUNCTIONS = {  # parameters and threads, as csrc/mask_decode/mask_decode.cu has them
    "mask_bits": ("pppppiiiifff", 128),
    "mask_columns": ("pppii", 1024),
    "mask_edges": ("ppppii", 128),
    "mask_dense": ("pppii", 128),
}
STATS = ("lower", "mask", "upper", "left", "top", "right", "bottom", "edges")  # of a mask, as the kernels count them
COLUMNS, CHUNK = 128, 4  # columns, and words of 32 rows, of a block of mask_bits

Kernels = dict[str, Any]


def cuda(*_: Any) -> Kernels:
    """The kernels in CUDA C++. Raises KernelError where none were built."""
    return cubins.cuda("mask_decode", FUNCTIONS)


def triton(capability: int, *_: Any) -> Kernels:
    """The same with bits and statistics by Triton. Raises KernelError where none were built."""
    return {**cuda(), "mask_bits": cubins.triton("mask_decode", "fp32", capability)[0]}


def run(kernels_of: Any, r: Request) -> list[bytes]:
    """The compressed run lengths of each mask; fills the arrays of the request. Waits for the device twice."""
    queue = gpu.queue(r.low)
    with gpu.device(r.low):
        kernels = kernels_of(gpu.capability(queue.device))
        bits, places, stats = sums(kernels, r)
        counted = stats.get()
        _statistics(r, counted)
        _dense(kernels, queue, r, bits)
        return _run_lengths(kernels, queue, r, bits, places, counted[:, STATS.index("edges")])


def sums(kernels: Kernels, r: Request) -> tuple[Any, Any, Any]:
    """bits (M, words, W), places (M, W) and stats (M, 8), uint32 on the device; the host waits for nothing."""
    cp, queue = gpu.cupy(), gpu.queue(r.low)
    masks, (height, width) = len(r.low), r.original
    words = -(-height // 32)
    bits = cp.empty((masks, words, width), "uint32")
    places, stats = cp.empty((masks, width), "uint32"), cp.zeros((masks, len(STATS)), "uint32")
    sizes = (r.low.shape[1:], r.model, r.valid, r.original)
    y, x = (_axis(queue.device, *(size[axis] for size in sizes)) for axis in (0, 1))
    grid = (masks, -(-width // COLUMNS), -(-words // CHUNK))
    queue.launch(
        kernels["mask_bits"], grid, r.low, x, y, bits, stats, *r.low.shape[1:], height, width, *r.thresholds
    )  # fmt: skip
    queue.launch(kernels["mask_columns"], (masks,), bits, places, stats, height, width)
    return bits, places, stats


@lru_cache(64)
def _axis(device: int, low: int, model: int, valid: int, original: int) -> Any:
    """(original, 4) float32 on the device: the weights of an axis, and its first logit as the bits of an int32."""
    del device  # the current one; it is here for the cache
    index, weights = reference.taps(low, model, valid, original)
    first = index[:, :1].astype(np.int32).view(np.float32)
    return gpu.cupy().asarray(np.concatenate([weights, first], axis=1))


def _statistics(r: Request, counted: np.ndarray) -> None:
    height, width = r.original
    lower, mask, upper, left, top, right, bottom, _ = counted.astype(np.int64).T
    r.area[:] = mask
    union = lower.astype(np.float32)
    r.stability[:] = np.divide(upper.astype(np.float32), union, out=np.zeros_like(union), where=union > 0)
    boxes = np.stack([width - left, height - top, right - 1, bottom - 1], axis=1)
    r.boxes[:] = np.where(mask[:, None] > 0, boxes, 0)


def _dense(kernels: Kernels, queue: gpu.Queue, r: Request, bits: Any) -> None:
    chosen = np.argsort(r.places, kind="stable")[len(r.places) - len(r.dense) :]
    grid = (len(chosen), -(-r.original[1] // COLUMNS), bits.shape[1])
    queue.launch(kernels["mask_dense"], grid, bits, gpu.cupy().asarray(chosen), r.dense, *r.original)


def _run_lengths(
    kernels: Kernels, queue: gpu.Queue, r: Request, bits: Any, places: Any, counts: np.ndarray
) -> list[bytes]:
    cp, (height, width) = gpu.cupy(), r.original
    ends = np.cumsum(counts, dtype=np.int64)
    starts = ends - counts
    edges = cp.empty(int(ends[-1]) if len(ends) else 0, "uint32")
    grid = (len(counts), -(-width // COLUMNS))
    queue.launch(kernels["mask_edges"], grid, bits, places, cp.asarray(starts), edges, height, width)
    texts: list[bytes] = native.module.mask_decode_text(edges.get(), starts, height * width)
    return texts


CANDIDATES = (
    gpu.candidate("mask_decode", "cuda", cuda, partial(run, cuda)),
    gpu.candidate("mask_decode", "triton", triton, partial(run, triton)),
)
