"""deformable_attention on a GPU: a program is some queries of one head, and gathers their points' corners.

A corner of a point is one row of the head, `dim` numbers beside each other, so that what is loaded is used whole.
Coordinates, shares and sums are float32. Compiled ahead of time by saccade.kernels.aot; nothing imports this at run
time.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit
def deformable_attention(
    value,
    sizes,
    locations,
    weights,
    out,
    places,
    queries,
    heads,
    dim,
    levels,
    points,
    QB: tl.constexpr,
    BD: tl.constexpr,
):
    """One program: QB queries of one head. Arrays as in reference.py, contiguous; sizes is int32.

    dim ≤ BD: what lies beyond is masked. Grid: batch · heads · ⌈queries / QB⌉, a head's programs beside each other.
    """
    blocks = tl.cdiv(queries, QB)
    both = (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = both // heads, both % heads
    n, d = (tl.program_id(0) % blocks) * QB + tl.arange(0, QB), tl.arange(0, BD)
    real, deep = n < queries, d < dim

    first = (batch * queries + n) * heads + head  # of (B, N, A), so that of a point is next
    point = first * (levels * points)
    source = value + (batch * places * heads + head) * dim + d[None, :]
    step = heads.to(tl.int64) * dim  # from a pixel to the next
    total = tl.zeros((QB, BD), tl.float32)
    for level in range(levels):
        height, width = tl.load(sizes + 2 * level), tl.load(sizes + 2 * level + 1)
        for _ in range(points):
            share = tl.load(weights + point, mask=real, other=0.0).to(tl.float32)
            x = tl.load(locations + 2 * point, mask=real, other=-1.0).to(tl.float32) * width - 0.5
            y = tl.load(locations + 2 * point + 1, mask=real, other=-1.0).to(tl.float32) * height - 0.5
            # NaN and what is far away: all four are outside, and no number is too large to be whole.
            near = (x > -1.0) & (x < width) & (y > -1.0) & (y < height) & real
            x, y = tl.where(near, x, -8.0), tl.where(near, y, -8.0)
            left, top = tl.floor(x), tl.floor(y)
            right, low = x - left, y - top
            column, row = left.to(tl.int32), top.to(tl.int32)
            at = source + (row.to(tl.int64) * width + column)[:, None] * step
            west, east = near & (column >= 0), near & (column + 1 < width)
            north, south = row >= 0, row + 1 < height
            # An outer corner's share is zero, not only its value: NaN times zero is NaN.
            nw = tl.load(at, mask=(west & north)[:, None] & deep[None, :], other=0.0).to(tl.float32)
            total += tl.where(west & north, (1 - right) * (1 - low) * share, 0.0)[:, None] * nw
            ne = tl.load(at + step, mask=(east & north)[:, None] & deep[None, :], other=0.0).to(tl.float32)
            total += tl.where(east & north, right * (1 - low) * share, 0.0)[:, None] * ne
            below = at + width * step
            sw = tl.load(below, mask=(west & south)[:, None] & deep[None, :], other=0.0).to(tl.float32)
            total += tl.where(west & south, (1 - right) * low * share, 0.0)[:, None] * sw
            se = tl.load(below + step, mask=(east & south)[:, None] & deep[None, :], other=0.0).to(tl.float32)
            total += tl.where(east & south, right * low * share, 0.0)[:, None] * se
            point += 1
        source += height.to(tl.int64) * width * step
    target = out + first[:, None] * dim + d[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=real[:, None] & deep[None, :])


KERNEL = deformable_attention
POINTERS = ("value", "locations", "weights", "out")
INTEGERS = ("places", "queries", "heads", "dim", "levels", "points")


def variants() -> list[dict[str, Any]]:
    """What aot compiles: heads of up to 32, 64 and 128; a program has 2 rows of numbers a thread at most."""
    return [
        {
            "name": f"{dtype}.d{depth}",
            "signature": {
                **dict.fromkeys(POINTERS, f"*{dtype}"),
                "sizes": "*i32",
                **dict.fromkeys(INTEGERS, "i32"),
            },
            "constexprs": {"QB": 512 // depth, "BD": depth},
            "divisible": ["value", "out", "dim"],
            "warps": 4 if depth > 32 else 2,
            "stages": 1,
            "fuse": True,
        }
        for dtype in ("fp16", "bf16", "fp32")
        for depth in (32, 64, 128)
    ]
