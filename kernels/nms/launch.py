"""nms on a GPU: four kernels and a sort, queued one after the other; the host waits for nothing but the count.

keys ──sort──▶ gather ──▶ for each panel of rows: matrix, scan ──▶ kept, kept_count
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from saccade.kernels import cubins, gpu
from saccade.runtime.errors import KernelError

if TYPE_CHECKING:
    from saccade.kernels.nms import Request

FUNCTIONS = {  # parameters and threads, as csrc/nms/nms.cu has them
    "nms_keys": ("ppppi", 256),
    "nms_gather": ("ppppppi", 256),
    "nms_matrix": ("pppiiif", 256),
    "nms_scan": ("ppppppiil", 1024),
}
STEP = 1024  # rows that nms_scan decides together; a panel is a whole number of them
TILE = 256  # boxes of a block of the matrix, across and down
PANEL_WORDS = 1 << 26  # of the matrix at a time: 256 MB
MOST = TILE * 65_535  # boxes: the grid's second axis

Kernels = dict[str, Any]


def cuda(*_: Any) -> Kernels:
    """The kernels in CUDA C++. Raises KernelError where none were built."""
    return cubins.cuda("nms", FUNCTIONS)


def triton(capability: int, *_: Any) -> Kernels:
    """The same with the matrix by Triton, and no more of it. Raises KernelError where none were built."""
    return {**cuda(), "nms_matrix": cubins.triton("nms", "fp32", capability)[0]}


def suppress(kernels: Kernels, r: Request) -> tuple[Any, Any]:
    """kept (N,) int64 and how many of them count, (1,) int64, both on the device; the host waits for nothing.

    Its launches can be captured in a graph if they ran once before.
    """
    count = len(r.scores)
    if count > MOST:
        raise KernelError(f"[nms] {count} boxes; a GPU takes at most {MOST}", hint="give arrays on the host")
    cp, queue = gpu.cupy(), gpu.queue(r.scores)
    kept, kept_count = cp.empty(count, "int64"), cp.empty(1, "int64")
    alive, keys = cp.empty(1, "int32"), cp.empty(count, "uint64")
    queue.launch(kernels["nms_keys"], (max(-(-count // 256), 1),), r.scores, keys, alive, kept_count, count)
    keys.sort()
    fields = cp.empty((5, count), "float32")
    classes = cp.empty(count, "int64")
    given = 0 if r.classes is None else r.classes
    queue.launch(
        kernels["nms_gather"], (-(-count // 256),), keys, r.boxes, given, fields, classes, alive, count
    )  # fmt: skip
    panel, words = panels(count)
    matrix, stayed = cp.empty(words * panel, "uint32"), cp.empty(STEP // 32 * -(-count // STEP), "uint32")
    for first in range(0, count, panel):
        tiles = -(-min(first + panel, count) // TILE)
        grid = (-(-panel // TILE), tiles)
        queue.launch(kernels["nms_matrix"], grid, fields, classes, matrix, count, first, panel, float(r.iou))
        queue.launch(
            kernels["nms_scan"], (1,), matrix, keys, alive, stayed, kept, kept_count, first, panel, r.limit
        )  # fmt: skip
    return kept, kept_count


def panels(count: int) -> tuple[int, int]:
    """Rows that are compared with all before them at a time, and the words that a row of the last panel takes."""
    words = TILE // 32 * -(-count // TILE)
    most = max(PANEL_WORDS // max(words, 1) // STEP, 1) * STEP
    return min(most, STEP * max(-(-count // STEP), 1)), words


def run(kernels_of: Any, r: Request) -> Any:
    """(K,) int64 kept indices, on the device; waits for their number."""
    queue = gpu.queue(r.scores)
    with gpu.device(r.scores):
        kept, kept_count = suppress(kernels_of(gpu.capability(queue.device)), r)
        return kept[: int(kept_count.get()[0])]


CANDIDATES = (
    gpu.candidate("nms", "cuda", cuda, partial(run, cuda)),
    gpu.candidate("nms", "triton", triton, partial(run, triton)),
)
