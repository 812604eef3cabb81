"""What torch offers for the same work on a GPU: the peers of benchmarks/gpu.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np


def sdpa(q: Any, k: Any, v: Any, rh: Any, rw: Any) -> Any:
    """What torch offers: the bias of every pair in memory, then its fastest attention that takes one."""
    import torch

    bias = (rh[..., :, None] + rw[..., None, :]).flatten(-2)
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def flex_attention(q: Any, k: Any, v: Any, rh: Any, rw: Any) -> Callable[[], Any] | None:
    """FlexAttention with the bias as its score's change, compiled; None where that does not work."""
    import torch

    columns = rw.shape[-1]

    def biased(score: Any, b: Any, h: Any, n: Any, m: Any) -> Any:
        return score + rh[b, h, n, m // columns] + rw[b, h, n, m % columns]

    try:
        from torch.nn.attention.flex_attention import flex_attention as flex

        run = partial(torch.compile(flex), q, k, v, score_mod=biased)
        run()
    except Exception as error:  # a peer's trouble is not ours; it is said
        sys.stderr.write(f"torch-flex is left out: {str(error)[:200]}\n")
        return None
    return run


def postprocess(low: Any, model: Any, valid: Any, original: Any, *, rle: bool = False) -> tuple[Any, ...]:
    """SAM's own steps on the device: two interpolations, threshold, stability, area, box; run lengths as its generator.

    Returns stability (M,), area (M,), boxes (M, 4) and the run lengths or None.
    """
    import torch

    resize = partial(torch.nn.functional.interpolate, mode="bilinear", align_corners=False)
    full = resize(resize(low[:, None], model)[..., : valid[0], : valid[1]], original)[:, 0]
    mask = full > 0
    stability = (full > 1).sum((1, 2)) / (full > -1).sum((1, 2))
    rows, columns = mask.any(2).int(), mask.any(1).int()
    last = [side.shape[1] - 1 - side.flip(1).argmax(1) for side in (columns, rows)]
    boxes = torch.stack([columns.argmax(1), rows.argmax(1), *last], 1)
    return stability, mask.sum((1, 2)), boxes, run_lengths(mask) if rle else None


def run_lengths(mask: Any) -> list[list[int]]:
    """Of each mask, column after column: edges found on the device, differences on the host."""
    flat = mask.transpose(1, 2).flatten(1)
    where = (flat[:, 1:] ^ flat[:, :-1]).nonzero().cpu().numpy()
    first = flat[:, 0].cpu().numpy()
    made = []
    for m in range(len(mask)):
        edges = np.concatenate([[0], where[where[:, 0] == m, 1] + 1, [flat.shape[1]]])
        made.append(([0] if first[m] else []) + np.diff(edges).tolist())
    return made
