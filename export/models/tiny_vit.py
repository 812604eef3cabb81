"""TinyViT (arXiv 2207.10666) as MobileSAM's picture encoder (arXiv 2306.14289), under its official weights' names.

    pixels (B, 3, S, S) ──two convolutions──▶ S/4 ──MBConv──▶ S/8 ──windows──▶ S/16 ──windows──▶ windows ──neck──▶
    embedding (B, C, S/16, S/16)

No library is needed for it: timm's carries other names, has to be told that the last merge does not halve, and imports
torchvision. Widths, depths, heads and windows come from the weights; the blocks say nothing of S.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normed(nn.Sequential):
    """A convolution `c` without bias and its batch norm `bn`."""

    def __init__(self, given: int, made: int, kernel: int = 1, stride: int = 1, groups: int = 1):
        super().__init__()
        self.c = nn.Conv2d(given, made, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(made)


class Inverted(nn.Module):
    """MBConv: wide, depthwise, narrow, and around it the shortcut."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.conv1, self.conv2 = Normed(width, hidden), Normed(hidden, hidden, 3, groups=hidden)
        self.conv3 = Normed(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        return F.gelu(x + self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x))))))


class Merge(nn.Module):
    """To the next width, at half the size unless stride is 1."""

    def __init__(self, given: int, made: int, stride: int):
        super().__init__()
        self.conv1, self.conv2 = Normed(given, made), Normed(made, made, 3, stride, groups=made)
        self.conv3 = Normed(made, made)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        made: Tensor = self.conv3(F.gelu(self.conv2(F.gelu(self.conv1(x)))))
        return made


class Attention(nn.Module):
    """Attention within a window, with a learnt bias for each distance (|Δy|, |Δx|)."""

    def __init__(self, width: int, heads: int, window: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm, self.qkv, self.proj = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        # Distances are numbered as they are first met from the window's first token: by row, then by column.
        y, x = torch.arange(window * window) // window, torch.arange(window * window) % window
        far = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer("far", far, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: (windows, N, C)."""
        parts = self.qkv(self.norm(x)).unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        scores = (q * self.scale) @ k.transpose(-1, -2) + self.attention_biases[:, self.far]
        made: Tensor = self.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return made


class Perceptron(nn.Module):
    """A norm and two layers."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(width), nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., C)."""
        made: Tensor = self.fc2(F.gelu(self.fc1(self.norm(x))))
        return made


class Block(nn.Module):
    """Window attention, a depthwise convolution over the whole map, a perceptron."""

    def __init__(self, width: int, heads: int, window: int, hidden: int):
        super().__init__()
        self.window = window
        self.attn, self.mlp = Attention(width, heads, window), Perceptron(width, hidden)
        self.local_conv = Normed(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W). Windows over the edge are filled with zeros, which are attended as in the original."""
        side, window, width = x.shape[-1], self.window, x.shape[1]
        n = -(-side // window)
        y = F.pad(x.permute(0, 2, 3, 1), (0, 0, 0, n * window - side, 0, n * window - side))
        y = y.reshape(-1, n, window, n, window, width).transpose(2, 3).reshape(-1, window * window, width)
        y = self.attn(y).reshape(-1, n, n, window, window, width).transpose(2, 3)
        y = y.reshape(-1, n * window, n * window, width)[:, :side, :side]
        x = self.local_conv(x + y.permute(0, 3, 1, 2))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Layer(nn.Module):
    """Blocks, and the merge behind them."""

    def __init__(self, blocks: list[nn.Module], downsample: nn.Module | None):
        super().__init__()
        self.blocks, self.downsample = nn.ModuleList(blocks), downsample or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        for block in self.blocks:
            x = block(x)
        made: Tensor = self.downsample(x)
        return made


class Norm2d(nn.LayerNorm):
    """Over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TinyViT(nn.Module):
    """MobileSAM's `image_encoder`, without the classifier's norm_head and head that its file also has.

    weights: by the official names, without "image_encoder."; only their shapes are read. Raises KeyError if one that
    says a size is missing.
    """

    def __init__(self, weights: Mapping[str, Any]):
        super().__init__()
        shape = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        first, narrow = shape["patch_embed.seq.2.c.weight"][:2]
        self.patch_embed = nn.Module()
        self.patch_embed.seq = nn.Sequential(Normed(3, narrow, 3, 2), nn.GELU(), Normed(narrow, first, 3, 2))
        self.layers, width = nn.ModuleList(), first
        last = max(int(name.split(".")[1]) for name in shape if name.startswith("layers."))
        for i in range(last + 1):
            base = f"layers.{i}"
            depth = 1 + max(int(n.split(".")[3]) for n in shape if n.startswith(f"{base}.blocks."))
            blocks = [_block(shape, f"{base}.blocks.{b}", width) for b in range(depth)]
            merged = shape[f"{base}.downsample.conv1.c.weight"][0] if i < last else width
            # The last merge keeps the size: MobileSAM's map is a sixteenth of the picture, as SAM's is.
            merge = Merge(width, merged, 1 if i == last - 1 else 2) if i < last else None
            self.layers.append(Layer(blocks, merge))
            width = merged
        out = shape["neck.0.weight"][0]
        self.neck = nn.Sequential(
            nn.Conv2d(width, out, 1, bias=False),
            Norm2d(out, eps=1e-6),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            Norm2d(out, eps=1e-6),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (B, 3, S, S) → (B, C, S/16, S/16)."""
        x = self.patch_embed.seq(pixels)
        for layer in self.layers:
            x = layer(x)
        embedding: Tensor = self.neck(x)
        return embedding


def _block(shape: Mapping[str, tuple[int, ...]], base: str, width: int) -> nn.Module:
    if f"{base}.conv1.c.weight" in shape:
        return Inverted(width, shape[f"{base}.conv1.c.weight"][0])
    heads, distances = shape[f"{base}.attn.attention_biases"]
    return Block(width, heads, math.isqrt(distances), shape[f"{base}.mlp.fc1.weight"][0])
