"""nms in Triton: the bit matrix of who suppresses whom, which is nearly all of the arithmetic.

The order before it and the greedy scan after it are csrc/nms/nms.cu's; this kernel takes the place of its nms_matrix,
with the same arguments, grid and result, bit for bit. Compiled ahead of time by saccade.kernels.aot; nothing imports
this at run time.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl


@triton.jit
def nms_matrix(fields, classes, matrix, count, first, rows, iou, TILE: tl.constexpr, ROWS: tl.constexpr):
    """Program (x, y): TILE boxes from first + TILE x on, against TILE boxes before them, from TILE y on.

    fields (5, count) float32: x1, y1, x2, y2, area; classes (count,) int64. matrix (words, rows) uint32: bit b of word
    w says that box 32 w + b comes before box first + row, is of its class and overlaps it by more than `iou`.
    """
    start = tl.program_id(1) * TILE
    wide = tl.cast(count, tl.int64)
    if start <= first + (tl.program_id(0) + 1) * TILE:
        for part in range(TILE // ROWS):  # of the tile: all of it would not fit in registers
            row = tl.program_id(0) * TILE + part * ROWS + tl.arange(0, ROWS)
            i = first + row
            here = (row < rows) & (i < count)
            x1 = tl.load(fields + i, mask=here)[:, None]
            y1 = tl.load(fields + wide + i, mask=here)[:, None]
            x2 = tl.load(fields + 2 * wide + i, mask=here)[:, None]
            y2 = tl.load(fields + 3 * wide + i, mask=here)[:, None]
            area = tl.load(fields + 4 * wide + i, mask=here)[:, None]
            kind = tl.load(classes + i, mask=here)[:, None]
            for word in range(TILE // 32):
                j = start + 32 * word + tl.arange(0, 32)
                there = j < count
                a1 = tl.load(fields + j, mask=there)[None, :]
                b1 = tl.load(fields + wide + j, mask=there)[None, :]
                a2 = tl.load(fields + 2 * wide + j, mask=there)[None, :]
                b2 = tl.load(fields + 3 * wide + j, mask=there)[None, :]
                other = tl.load(fields + 4 * wide + j, mask=there)[None, :]
                same = tl.load(classes + j, mask=there)[None, :] == kind
                # Comparisons as in nms.cu: what they make of NaN does not matter, its area is NaN too.
                width = tl.where(a2 < x2, a2, x2) - tl.where(a1 > x1, a1, x1)
                height = tl.where(b2 < y2, b2, y2) - tl.where(b1 > y1, b1, y1)
                common = width * height
                over = tl.div_rn(common, (other + area) - common) > iou
                hit = same & (j[None, :] < i[:, None]) & (width > 0) & (height > 0) & over
                bit = tl.full((ROWS, 32), 1, tl.uint32) << tl.arange(0, 32).to(tl.uint32)[None, :]
                bits = tl.sum(tl.where(hit, bit, 0), 1).to(tl.uint32)
                tl.store(matrix + (start // 32 + word).to(tl.int64) * rows + row, bits, mask=here)


KERNEL = nms_matrix


def variants() -> list[dict[str, Any]]:
    """What aot compiles. Not fused: a multiply-add rounds once where the reference rounds twice."""
    return [
        {
            "name": "fp32",
            "signature": {
                "fields": "*fp32", "classes": "*i64", "matrix": "*u32", "count": "i32", "first": "i32", "rows": "i32",
                "iou": "fp32",
            },
            "constexprs": {"TILE": 256, "ROWS": 64},
            "divisible": ["fields", "classes", "matrix", "count", "first", "rows"],
            "warps": 8,
            "stages": 1,
            "fuse": False,
        }
    ]  # fmt: skip
