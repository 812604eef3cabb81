"""relpos_attention on a GPU: flash attention whose key block is one row of the picture.

The rh term is then one number a query and block, and the rw block stays in registers for the whole loop: no N × N
bias exists. Softmax state and biases are float32; products are the tensor cores' for float16 and bfloat16, and IEEE
float32 else. Compiled ahead of time by saccade.kernels.aot; nothing imports this at run time.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit
def relpos_attention(
    q, k, v, rh, rw, out, tokens, rows, columns, depth, scale, BM: tl.constexpr, BN: tl.constexpr, BD: tl.constexpr
):
    """One program: BM queries of one head. Arrays as in reference.py, contiguous; tokens = rows · columns.

    columns ≤ BN and depth ≤ BD: what lies beyond is masked. scale: of q·kᵀ. Grid: heads · ⌈tokens / BM⌉.
    """
    blocks = tl.cdiv(tokens, BM)
    head = (tl.program_id(0) // blocks).to(tl.int64)
    m = (tl.program_id(0) % blocks) * BM + tl.arange(0, BM)
    n, d = tl.arange(0, BN), tl.arange(0, BD)
    LOG2E: tl.constexpr = 1.4426950408889634

    first = head * tokens
    query = first + m
    here = (m < tokens)[:, None] & (d < depth)[None, :]
    a = tl.load(q + query[:, None] * depth + d[None, :], mask=here, other=0.0)
    across = tl.load(
        rw + query[:, None] * columns + n[None, :], mask=(m < tokens)[:, None] & (n < columns)[None, :], other=0.0
    )
    across = tl.where((n < columns)[None, :], across.to(tl.float32) * LOG2E, float("-inf"))
    key = (first + n)[:, None] * depth + d[None, :]
    there = (n < columns)[:, None] & (d < depth)[None, :]

    most = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    sums = tl.zeros((BM, BD), tl.float32)
    for row in range(rows):
        down = tl.load(rh + query * rows + row, mask=m < tokens, other=0.0).to(tl.float32) * LOG2E
        b = tl.load(k + key, mask=there, other=0.0)
        score = tl.dot(a, tl.trans(b), input_precision="ieee") * (scale * LOG2E) + across + down[:, None]
        highest = tl.maximum(most, tl.max(score, 1))
        # A query that may attend to nothing so far has only -inf, and -inf - -inf is NaN.
        shift = tl.where(highest == float("-inf"), 0.0, highest)
        weight = tl.exp2(score - shift[:, None])
        fade = tl.exp2(most - shift)
        c = tl.load(v + key, mask=there, other=0.0)
        total = total * fade + tl.sum(weight, 1)
        sums = tl.dot(weight.to(c.dtype), c, sums * fade[:, None], input_precision="ieee")
        most = highest
        key += columns * depth
    sums = sums / tl.where(total == 0.0, 1.0, total)[:, None]
    tl.store(out + query[:, None] * depth + d[None, :], sums.to(out.dtype.element_ty), mask=here)


KERNEL = relpos_attention
POINTERS = ("q", "k", "v", "rh", "rw", "out")
INTEGERS = ("tokens", "rows", "columns", "depth")

# Queries a program by (dtype, depth, columns): the most that do not spill. IEEE products have no tensor cores and hold
# whole rows in registers, so wide float32 heads are left out.
_BLOCKS = {
    **{(dtype, 64, columns): 128 for dtype in ("fp16", "bf16") for columns in (16, 64)},
    **{(dtype, 128, columns): rows for dtype in ("fp16", "bf16") for columns, rows in ((16, 128), (64, 64))},
    ("fp32", 64, 16): 64,
    ("fp32", 64, 64): 32,
}


def variants() -> list[dict[str, Any]]:
    """What aot compiles: SAM's windows of 14, pictures of up to 64 tokens a side; heads of up to 64 and up to 128."""
    return [
        {
            "name": f"{dtype}.d{depth}.n{columns}",
            "signature": {**dict.fromkeys(POINTERS, f"*{dtype}"), **dict.fromkeys(INTEGERS, "i32"), "scale": "fp32"},
            "constexprs": {"BM": rows, "BN": columns, "BD": depth},
            "divisible": [*POINTERS, "depth"],
            "warps": 8,
            "stages": 2,
            "fuse": True,
        }
        for (dtype, depth, columns), rows in _BLOCKS.items()
    ]
