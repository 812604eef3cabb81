"""deformable_attention on a GPU: the Triton kernel that suits the arrays' dtype and head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from saccade.kernels import cubins, gpu
from saccade.runtime.errors import KernelError

if TYPE_CHECKING:
    from saccade.kernels.deformable_attention import Request

DTYPES = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32"}
DEPTHS = (32, 64, 128)  # as kernels/deformable_attention/triton.py lists them


def kernel(capability: int, r: Request | None = None) -> tuple[Any, dict[str, Any]]:
    """The kernel for these arrays, or for heads of 32 without any, and its constants.

    Raises KernelError where there is none.
    """
    return cubins.triton("deformable_attention", "fp16.d32" if r is None else variant(r), capability)


def variant(r: Request) -> str:
    """Which of the compiled kernels takes these arrays: the narrowest that they fit. Raises KernelError."""
    dim, dtype = r.value.shape[3], r.value.dtype.name
    fits = [depth for depth in DEPTHS if dim <= depth]
    if dtype not in DTYPES or not fits:
        raise KernelError(
            f"[deformable_attention] no kernel for {dtype} heads of {dim}",
            hint=f"{', '.join(DTYPES)}; heads of up to {DEPTHS[-1]}",
        )
    return f"{DTYPES[dtype]}.d{fits[0]}"


def run(r: Request) -> None:
    """Fills `r.out`, which is on the device; the host waits for nothing but the levels' sizes on their way."""
    if not r.out.size:
        return
    queue = gpu.queue(r.value)
    found, constants = kernel(gpu.capability(queue.device), r)
    batch, places, heads, dim = r.value.shape
    _, queries, _, levels, points, _ = r.locations.shape
    blocks = batch * heads * -(-queries // constants["QB"])
    with gpu.device(r.value):
        sizes = gpu.cupy().asarray(r.sizes.astype(np.int32))
        arrays = (r.value, sizes, r.locations, r.weights, r.out)
        queue.launch(found, (blocks,), *arrays, places, queries, heads, dim, levels, points)


CANDIDATES = (gpu.candidate("deformable_attention", "triton", kernel, run),)
