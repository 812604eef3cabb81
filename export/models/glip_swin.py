"""Swin (arXiv 2103.14030) and the pyramid behind it (arXiv 1612.03144), under the names of GLIP's official weights.

    pixels (B, 3, H, W) ──4 x 4 patches──▶ H/4 ──▶ H/8 ──▶ H/16 ──▶ H/32 ──pyramid──▶ P3 … P7 (B, C, H/8 … H/128)

Depths, widths, heads and windows come from the weights. Nothing here knows H and W before it runs, but GLIP's graphs
are for one size each: maps are padded to whole windows, rolled and halved, and torch's export reasons about each such
step for all sizes. With named sizes the backbone alone exports, and rightly; a whole detector takes it many minutes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shapes = Mapping[str, tuple[int, ...]]
"""Of the official weights, by name."""
APART = -100.0
"""Added to the score of two tokens that lie in one window only because the map was rolled; the reference's number."""


class Attention(nn.Module):
    """Attention within a window, with a learnt bias for each distance."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        y, x = torch.arange(window * window) // window, torch.arange(window * window) % window
        far = (y[:, None] - y + window - 1) * (2 * window - 1) + x[:, None] - x + window - 1
        self.register_buffer("far", far, persistent=False)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """x: (B, n, T, C), n windows of T tokens; apart: (n, T, T), added to the scores."""
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        q, k, v = parts[0], parts[1], parts[2]  # (B, n, heads, T, D)
        bias = self.relative_position_bias_table[self.far].permute(2, 0, 1)
        if apart is not None:
            bias = bias + apart[:, None]
        scores = (q * self.scale) @ k.transpose(-1, -2) + bias
        made: Tensor = self.proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))
        return made


class Perceptron(nn.Module):
    """Two layers."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., C)."""
        made: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return made


class Block(nn.Module):
    """Window attention and a perceptron; every second block's windows are moved by `shift`."""

    def __init__(self, width: int, heads: int, window: int, hidden: int, shift: int):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = Attention(width, heads, window), Perceptron(width, hidden)

    def forward(self, x: Tensor, apart: Tensor) -> Tensor:
        """x: (B, H, W, C). Windows over the edge are filled with zeros, which are attended as in the original."""
        height, width = x.shape[1], x.shape[2]
        y = _filled(self.norm1(x), self.window)
        if self.shift:
            y = _rolled(_rolled(y, self.shift, 1), self.shift, 2)
        rows, columns = y.shape[1] // self.window, y.shape[2] // self.window
        y = self.attn(windows(y, self.window), apart if self.shift else None)
        y = y.reshape(-1, rows, columns, self.window, self.window, y.shape[-1]).transpose(2, 3)
        y = y.reshape(-1, rows * self.window, columns * self.window, y.shape[-1])
        if self.shift:
            y = _rolled(_rolled(y, -self.shift, 1), -self.shift, 2)
        x = x + y[:, :height, :width]
        made: Tensor = x + self.mlp(self.norm2(x))
        return made


class Merge(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, width: int, made: int):
        super().__init__()
        self.norm, self.reduction = nn.LayerNorm(4 * width), nn.Linear(4 * width, made, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, H, W, C); an odd edge gets a row or column of zeros."""
        x = _filled(x, 2)
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        made: Tensor = self.reduction(self.norm(torch.cat(corners, -1)))
        return made


class Layer(nn.Module):
    """The blocks of one resolution."""

    def __init__(self, shape: Shapes, base: str):
        super().__init__()
        self.blocks = nn.ModuleList()
        for b in range(depth(shape, f"{base}.blocks")):
            distances, heads = shape[f"{base}.blocks.{b}.attn.relative_position_bias_table"]
            self.window = (math.isqrt(distances) + 1) // 2
            hidden, width = shape[f"{base}.blocks.{b}.mlp.fc1.weight"]
            self.blocks.append(Block(width, heads, self.window, hidden, self.window // 2 if b % 2 else 0))
        merge = shape.get(f"{base}.downsample.reduction.weight")
        self.downsample = None if merge is None else Merge(merge[1] // 4, merge[0])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x: (B, H, W, C) → the same, and what the next layer takes."""
        apart = strangers(_whole(x.shape[1], self.window), _whole(x.shape[2], self.window), self.window)
        for block in self.blocks:
            x = block(x, apart)
        return x, x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """The backbone's `body`; shape: of the weights, without "backbone.body."."""

    def __init__(self, shape: Shapes):
        super().__init__()
        first, _, patch, _ = shape["patch_embed.proj.weight"]
        self.patch_embed = nn.Module()
        self.patch_embed.proj, self.patch_embed.norm = nn.Conv2d(3, first, patch, patch), nn.LayerNorm(first)
        self.layers = nn.ModuleList(Layer(shape, f"layers.{i}") for i in range(depth(shape, "layers")))
        for i in range(1, len(self.layers)):
            setattr(self, f"norm{i}", nn.LayerNorm(shape[f"norm{i}.weight"][0]))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """pixels: (B, 3, H, W), H and W whole patches → maps (B, C, h, w) of all layers but the first."""
        x = self.patch_embed.norm(self.patch_embed.proj(pixels).permute(0, 2, 3, 1))
        found = []
        for i, layer in enumerate(self.layers):
            seen, x = layer(x)
            if i:
                found.append(getattr(self, f"norm{i}")(seen).permute(0, 3, 1, 2))
        return found


class Pyramid(nn.Module):
    """The backbone's `fpn`: the last three maps from the top down, and two coarser ones made of the last."""

    def __init__(self, shape: Shapes):
        super().__init__()
        for i in (2, 3, 4):
            made, given = shape[f"fpn_inner{i}.weight"][:2]
            setattr(self, f"fpn_inner{i}", nn.Conv2d(given, made, 1))
            setattr(self, f"fpn_layer{i}", nn.Conv2d(made, made, 3, padding=1))
        self.top_blocks = nn.Module()
        self.top_blocks.p6 = nn.Conv2d(made, made, 3, 2, 1)
        self.top_blocks.p7 = nn.Conv2d(made, made, 3, 2, 1)

    def forward(self, seen: list[Tensor]) -> list[Tensor]:
        """seen: three maps, the finest first → P3 to P7."""
        found: list[Tensor] = []
        above: Tensor | None = None
        for i in (4, 3, 2):
            here = getattr(self, f"fpn_inner{i}")(seen[i - 2])
            if above is not None:
                here = here + F.interpolate(above, size=here.shape[-2:], mode="nearest")
            found.insert(0, getattr(self, f"fpn_layer{i}")(here))
            above = here
        found.append(self.top_blocks.p6(found[-1]))
        found.append(self.top_blocks.p7(F.relu(found[-1])))
        return found


def windows(x: Tensor, side: int) -> Tensor:
    """(B, h side, w side, C) → (B, h w, side², C)."""
    rows, columns, width = x.shape[1] // side, x.shape[2] // side, x.shape[3]
    x = x.reshape(-1, rows, side, columns, side, width).transpose(2, 3)
    return x.reshape(-1, rows * columns, side * side, width)


def strangers(rows: int, columns: int, side: int) -> Tensor:
    """(rows columns, T, T): APART between tokens of a rolled map that were no neighbours before, else 0."""
    region = [
        (at >= count * side - side).float() + (at >= count * side - side // 2).float()
        for count in (rows, columns)
        for at in (torch.arange(count * side),)
    ]
    which = (3 * region[0][:, None] + region[1])[None, :, :, None]
    of = windows(which, side)[0, :, :, 0]
    return (of[:, None] != of[:, :, None]).float() * APART


def depth(shape: Shapes, prefix: str) -> int:
    """How many numbered modules there are under `prefix`. Raises KeyError without any."""
    level = prefix.count(".") + 1
    found = {int(name.split(".")[level]) for name in shape if name.startswith(f"{prefix}.")}
    if not found:
        raise KeyError(f"{prefix}.0")
    return max(found) + 1


def _filled(x: Tensor, side: int) -> Tensor:
    """Zeros at the bottom and the right, up to whole multiples of `side`. x: (B, H, W, C)."""
    height, width = x.shape[1], x.shape[2]
    return F.pad(x, (0, 0, 0, _whole(width, side) * side - width, 0, _whole(height, side) * side - height))


def _whole(size: int, side: int) -> int:
    """How many of `side` hold `size`. Not -(-size // side): ONNX divides towards zero."""
    return (size + side - 1) // side


def _rolled(x: Tensor, by: int, dim: int) -> Tensor:
    """The first `by` rows go behind the last; a negative `by` brings them back."""
    size = x.shape[dim]
    at = by if by > 0 else size + by
    return torch.cat([x.narrow(dim, at, size - at), x.narrow(dim, 0, at)], dim)
