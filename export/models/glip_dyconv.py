"""The dynamic head's convolution over three scales (arXiv 2106.08322), with deformable kernels (arXiv 1811.11168).

    finer (stride 2) ─┐
    same level ───────┼─▶ each by its own 3 x 3 modulated deformable convolution ─▶ weighted mean ─▶ dynamic ReLU
    coarser ──────────┘

What GLIP was trained with is kept, also where it is odd: the coarser map is convolved before it is enlarged, with the
offsets of the finer one. Those are four times as many as are read, and the reference's kernel reads the first of them
in memory, whatever place they stand for (github.com/microsoft/DynamicHead/issues/25). See `_first`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

GROUPS = 16
"""Of the group norms, in every released model; no tensor's shape tells."""
TAPS = 9
"""Of a 3 x 3 kernel; each has two offsets and one weight."""
OPSET = 19
"""The version of ONNX that brought DeformConv."""


def deform_conv(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor, stride: int) -> Tensor:
    """Modulated deformable 3 x 3 convolution with a margin of 1; one DeformConv node when exported.

    x: (B, C, H, W); offset: (B, 18, h, w), pixels, for each tap y then x; mask: (B, 9, h, w); weight: (E, C, 3, 3)
    Returns (B, E, h, w). Outside the picture is zero, also for each of the four neighbours of a place.
    """
    size = [x.shape[0], weight.shape[0], *mask.shape[-2:]]
    if torch.compiler.is_exporting():
        node: Tensor = torch.onnx.ops.symbolic(
            "DeformConv",
            (x, weight, offset, bias, mask),
            attrs={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [stride, stride]},
            dtype=x.dtype,
            shape=size,
            version=OPSET,
        )
        return node
    rows = torch.arange(mask.shape[-2])[:, None] * stride - 1
    columns = torch.arange(mask.shape[-1]) * stride - 1
    made = bias[:, None].expand(size[0], -1, mask.shape[-2] * mask.shape[-1])
    for tap in range(TAPS):
        y = rows + tap // 3 + offset[:, 2 * tap]
        column = columns + tap % 3 + offset[:, 2 * tap + 1]
        seen = sampled(x, y.flatten(1), column.flatten(1)) * mask[:, tap].flatten(1)[:, None]
        made = made + weight[:, :, tap // 3, tap % 3] @ seen
    return made.reshape(size)


def sampled(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear values at places between pixels. x: (B, C, H, W); rows, columns: (B, N) pixels → (B, C, N)."""
    height, width = x.shape[-2:]
    top, left = rows.floor(), columns.floor()
    found = torch.zeros(())
    for down in (0, 1):
        for right in (0, 1):
            y, column = top + down, left + right
            share = (1 - (rows - y).abs()) * (1 - (columns - column).abs())
            inside = (y >= 0) & (y < height) & (column >= 0) & (column < width)
            at = (y.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            value = x.flatten(2).gather(2, at[:, None].expand(-1, x.shape[1], -1))
            found = found + value * (share * inside)[:, None]
    return found


class Deformed(nn.Module):
    """A deformable convolution `conv` and its group norm `bn`."""

    def __init__(self, given: int, made: int, stride: int):
        super().__init__()
        self.stride = stride
        self.conv, self.bn = nn.Conv2d(given, made, 3), nn.GroupNorm(GROUPS, made)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """x: (B, C, H, W); offset and mask say how large the answer is."""
        made: Tensor = self.bn(deform_conv(x, offset, self.conv.weight, self.conv.bias, mask, self.stride))
        return made


class DynamicReLU(nn.Module):
    """The larger of two lines whose slopes and heights come from the map's mean (arXiv 2003.10027, DY-ReLU-B)."""

    def __init__(self, width: int, squeezed: int):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(width, squeezed), nn.ReLU(), nn.Linear(squeezed, 4 * width))

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        said = F.hardsigmoid(self.fc(x.mean((2, 3)))) - 0.5
        slope, height, other, lower = said[..., None, None].chunk(4, 1)
        return torch.maximum(x * (2 * slope + 1) + height, x * (2 * other) + lower)


class DyConv(nn.Module):
    """One step of the head's tower over all levels."""

    def __init__(self, given: int, made: int, squeezed: int):
        super().__init__()
        self.DyConv = nn.ModuleList(Deformed(given, made, stride) for stride in (1, 1, 2))
        self.AttnConv = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(given, 1, 1), nn.ReLU())
        self.relu = DynamicReLU(made, squeezed)
        self.offset = nn.Conv2d(given, 3 * TAPS, 3, padding=1)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """maps: (B, C, h, w) of each level, the finest first."""
        return [self.relu(self._mixed(maps, level)) for level in range(len(maps))]

    def _mixed(self, maps: list[Tensor], level: int) -> Tensor:
        coarser, same, finer = self.DyConv
        said = self.offset(maps[level])
        offset, mask = said[:, : 2 * TAPS], said[:, 2 * TAPS :].sigmoid()
        seen = [same(maps[level], offset, mask)]
        if level > 0:
            seen.append(finer(maps[level - 1], offset, mask))
        if level < len(maps) - 1:
            above = maps[level + 1]
            small = coarser(above, _first(offset, above), _first(mask, above))
            seen.append(F.interpolate(small, size=maps[level].shape[-2:], mode="bilinear", align_corners=True))
        # AttnConv's pool, spelt out: a mean is one node where pooling to 1 x 1 is not.
        shares = [F.hardsigmoid(F.relu(self.AttnConv[1](one.mean((2, 3), keepdim=True)))) for one in seen]
        mixed: Tensor = torch.stack([one * share for one, share in zip(seen, shares, strict=True)]).mean(0)
        return mixed


def _first(x: Tensor, like: Tensor) -> Tensor:
    """The first numbers of each picture of x (B, T, H, W), in memory's order, as (B, T, h, w) of the smaller `like`."""
    taps, (height, width) = x.shape[1], like.shape[-2:]
    return x.flatten(1)[:, : taps * height * width].reshape(-1, taps, height, width)
