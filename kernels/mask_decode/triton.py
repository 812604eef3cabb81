"""mask_decode in Triton: logits to a bit a pixel, areas and box, in one pass.

Places, edges and run lengths are csrc/mask_decode/mask_decode.cu's: they are made of words and prefix sums, for which
Triton is not the tool. This kernel takes the place of its mask_bits, with the same arguments, grid and result, bit for
bit, but computes every pixel. Compiled ahead of time by saccade.kernels.aot; nothing imports this at run time.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit
def mix(a, b, c, w0, w1, w2):
    return (a * w0 + b * w1) + c * w2


@triton.jit
def across(row, first, last, w0, w1, w2, mask):
    """A row of the logits, resampled: `first` and the weights are of the columns."""
    a = tl.load(row + tl.minimum(first, last), mask=mask, other=0.0)
    b = tl.load(row + tl.minimum(first + 1, last), mask=mask, other=0.0)
    c = tl.load(row + tl.minimum(first + 2, last), mask=mask, other=0.0)
    return mix(a, b, c, w0, w1, w2)


@triton.jit
def mask_bits(
    low, x_axis, y_axis, bits, stats, low_height, low_width, height, width, lower, threshold, upper,
    COLUMNS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Program (m, x, z): COLUMNS columns and CHUNK words of 32 rows of mask m. Buffers as in mask_decode.cu."""
    m = tl.program_id(0).to(tl.int64)
    x = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    inside = x < width
    column = x_axis + 4 * x
    u0 = tl.load(column, mask=inside, other=0.0)[None, :]
    u1 = tl.load(column + 1, mask=inside, other=0.0)[None, :]
    u2 = tl.load(column + 2, mask=inside, other=0.0)[None, :]
    left = tl.load(column.to(tl.pointer_type(tl.int32)) + 3, mask=inside, other=0)[None, :]
    words = (height + 31) // 32
    logits = low + m * low_height * low_width
    sums = stats + m * 8
    for k in range(CHUNK):
        word = tl.program_id(2) * CHUNK + k
        y = 32 * word + tl.arange(0, 32)
        down = y < height
        line = y_axis + 4 * y
        top = tl.load(line.to(tl.pointer_type(tl.int32)) + 3, mask=down, other=0)[:, None]
        here = down[:, None] & inside[None, :]
        last = low_width - 1
        first = logits + tl.minimum(top, low_height - 1) * low_width
        second = logits + tl.minimum(top + 1, low_height - 1) * low_width
        third = logits + tl.minimum(top + 2, low_height - 1) * low_width
        v = mix(
            across(first, left, last, u0, u1, u2, here),
            across(second, left, last, u0, u1, u2, here),
            across(third, left, last, u0, u1, u2, here),
            tl.load(line, mask=down, other=0.0)[:, None],
            tl.load(line + 1, mask=down, other=0.0)[:, None],
            tl.load(line + 2, mask=down, other=0.0)[:, None],
        )
        mask = (v > threshold) & here
        bit = tl.full((32, COLUMNS), 1, tl.uint32) << tl.arange(0, 32).to(tl.uint32)[:, None]
        packed = tl.sum(tl.where(mask, bit, 0), 0).to(tl.uint32)
        tl.store(bits + (m * words + word) * width + x, packed, mask=inside & (word + 0 * x < words))
        area = tl.sum(mask.to(tl.int32))
        tl.atomic_add(sums, tl.sum(((v > lower) & here).to(tl.int32)))
        tl.atomic_add(sums + 1, area)
        tl.atomic_add(sums + 2, tl.sum(((v > upper) & here).to(tl.int32)))
        if area > 0:
            tl.atomic_max(sums + 3, tl.max(tl.where(mask, width - x[None, :], 0)))
            tl.atomic_max(sums + 4, tl.max(tl.where(mask, height - y[:, None], 0)))
            tl.atomic_max(sums + 5, tl.max(tl.where(mask, x[None, :] + 1, 0)))
            tl.atomic_max(sums + 6, tl.max(tl.where(mask, y[:, None] + 1, 0)))


KERNEL = mask_bits


def variants() -> list[dict[str, Any]]:
    """What aot compiles. Not fused: a multiply-add rounds once where the reference rounds twice."""
    pointers = {"low": "*fp32", "x_axis": "*fp32", "y_axis": "*fp32", "bits": "*u32", "stats": "*i32"}
    sizes = dict.fromkeys(("low_height", "low_width", "height", "width"), "i32")
    return [
        {
            "name": "fp32",
            "signature": {**pointers, **sizes, **dict.fromkeys(("lower", "threshold", "upper"), "fp32")},
            "constexprs": {"COLUMNS": 128, "CHUNK": 4},
            "divisible": [*pointers, "low_height", "low_width", "width"],
            "warps": 16,
            "stages": 1,
            "fuse": False,
        }
    ]
