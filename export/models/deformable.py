"""Multi-scale deformable attention (Deformable DETR, arXiv 2010.04159, eq. 3) in torch, and as one node when exported.

    deformable_attention(…) ──eager──▶ op saccade::deformable_attention, made of grid_sample
                            ──torch.onnx──▶ node saccade::DeformableAttention; to_onnx.add_bodies gives it its body

The op has a fake kernel, so torch.export and torch.compile see its shape alone, and a gradient.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from saccade.kernels.deformable_attention.onnx import DOMAIN, FAR, LEVELS, NAME, VERSION


def deformable_attention(value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """Σ over levels and points of weight · bilinear sample, (B, N, A · D) in the dtype of `value`.

    value: (B, S, A, D), the pixels of all levels row by row; sizes: (L, 2) int64 height and width, S = Σ H W
    locations: (B, N, A, L, T, 2), x and y from 0 to 1; weights: (B, N, A, L, T), softmaxed; all but sizes of one dtype
    Beyond the edges are zeros, NaN and infinite locations add nothing; coordinates and sums are float32 at least.
    """
    if torch.compiler.is_exporting():
        node: Tensor = torch.onnx.ops.symbolic(
            f"{DOMAIN}::{NAME}",
            (value, sizes, locations, weights),
            attrs={LEVELS: int(locations.shape[3])},  # for the body alone, which takes it off again
            dtype=value.dtype,
            shape=(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3]),
            version=VERSION,
        )
        return node
    out: Tensor = _op(value, sizes, locations, weights)
    return out


def by_grid_sample(value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    """The same by one grid_sample a level: what the op does, and what its gradient goes through."""
    wide = torch.promote_types(value.dtype, torch.float32)
    batch, _, heads, dim = value.shape
    queries, points = locations.shape[1], locations.shape[4]
    places = locations.to(wide)
    grid = 2 * torch.where(places.abs() < FAR, places, -FAR) - 1
    out = value.new_zeros((batch * heads, dim, queries), dtype=wide)
    levels = [(int(height), int(width)) for height, width in sizes.tolist()]
    for level, ((height, width), source) in enumerate(
        zip(levels, value.split([height * width for height, width in levels], 1), strict=True)
    ):
        if not height * width * points * queries:
            continue
        picture = source.to(wide).permute(0, 2, 3, 1).reshape(batch * heads, dim, height, width)
        at = grid[:, :, :, level].transpose(1, 2).reshape(batch * heads, queries, points, 2)
        share = weights[:, :, :, level].to(wide).transpose(1, 2).reshape(batch * heads, 1, queries, points)
        out = out + (F.grid_sample(picture, at, padding_mode="zeros", align_corners=False) * share).sum(3)
    return out.reshape(batch, heads * dim, queries).transpose(1, 2).contiguous().to(value.dtype)


@torch.library.custom_op("saccade::deformable_attention", mutates_args=())
def _op(value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return by_grid_sample(value, sizes, locations, weights)


def _fake(value: Tensor, sizes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty((value.shape[0], locations.shape[1], value.shape[2] * value.shape[3]))


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradient(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """By a second run with grid_sample: nothing but the inputs is kept until then."""
    value, sizes, locations, weights = ctx.saved_tensors
    leaves = [tensor.detach().requires_grad_() for tensor in (value, locations, weights)]
    with torch.enable_grad():
        out = by_grid_sample(leaves[0], sizes, leaves[1], leaves[2])
    of_value, of_locations, of_weights = torch.autograd.grad(out, leaves, grad, allow_unused=True)
    return of_value, None, of_locations, of_weights


_op.register_fake(_fake)
_op.register_autograd(_gradient, setup_context=_keep)
