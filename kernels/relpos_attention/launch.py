"""relpos_attention on a GPU: the Triton kernel that suits the arrays' dtype, head and row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from saccade.kernels import cubins, gpu
from saccade.runtime.errors import KernelError

if TYPE_CHECKING:
    from saccade.kernels.relpos_attention import Request

DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
DEPTHS, COLUMNS = (64, 128), (16, 64)  # as kernels/relpos_attention/triton.py lists them
WIDE = ("float16", "bfloat16")  # dtypes that have the deeper ones


def kernel(capability: int, r: Request | None = None) -> tuple[Any, dict[str, Any]]:
    """The kernel for these arrays, or for SAM's windows without any, and its constants.

    Raises KernelError where there is none.
    """
    return cubins.triton("relpos_attention", "fp16.d64.n16" if r is None else variant(r), capability)


def variant(r: Request) -> str:
    """Which of the compiled kernels takes these arrays: the narrowest that they fit. Raises KernelError."""
    depth, columns, dtype = r.q.shape[3], r.rw.shape[3], r.q.dtype.name
    depths = DEPTHS if dtype in WIDE else DEPTHS[:1]
    fits = [(d, n) for d in depths for n in COLUMNS if depth <= d and columns <= n]
    if dtype not in DTYPES or not fits:
        raise KernelError(
            f"[relpos_attention] no kernel for {dtype} heads of {depth} and rows of {columns}",
            hint=f"{', '.join(DTYPES)}; heads of up to {depths[-1]}, rows of up to {COLUMNS[-1]}",
        )
    return f"{DTYPES[dtype]}.d{fits[0][0]}.n{fits[0][1]}"


def run(r: Request) -> None:
    """Fills `r.out`, which is on the device; the host waits for nothing."""
    if not r.q.size:
        return
    queue = gpu.queue(r.q)
    found, constants = kernel(gpu.capability(queue.device), r)
    batch, heads, tokens, depth = r.q.shape
    blocks = batch * heads * -(-tokens // constants["BM"])
    sizes = (tokens, r.rh.shape[3], r.rw.shape[3], depth)
    with gpu.device(r.q):
        queue.launch(found, (blocks,), *r[:5], r.out, *sizes, r.scale)


CANDIDATES = (gpu.candidate("relpos_attention", "triton", kernel, run),)
