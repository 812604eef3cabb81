"""GLIP checkpoints with random weights in the official layout, of real size or small: for speed and parity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Shapes = dict[str, tuple[int, ...]]
CELL = (8, 16, 32, 64, 128)
"""Pixels a side of a level's cell; its anchor is eight times as large."""


@dataclass(frozen=True)
class Sizes:
    """Of a GLIP; as they stand, GLIP-T's (231.8 M weights, of which 109 M are BERT's).

    fused: without fusion it is variant A; steps: of the head's tower
    """

    width: int = 96
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (3, 6, 12, 24)
    window: int = 7
    channels: int = 256
    words: int = 768
    layers: int = 12
    vocabulary: int = 30522
    positions: int = 512
    inner: int = 2048
    steps: int = 6
    fused: bool = True


SMALL = Sizes(16, (1, 1, 2, 1), (1, 2, 2, 4), 2, 32, 64, 2, 120, 64, 128, 1)
"""None that anybody trained. Windows of 2, so that small pictures have several."""


def names(s: Sizes) -> Shapes:
    """Names and shapes as microsoft/GLIP's GeneralizedVLRCNN has them, without "module."."""
    return {**_body(s), **_pyramid(s), **_bert(s), **_head(s)}


def make_glip(file: Path, sizes: Sizes, seed: int = 0) -> Path:
    """Write a .pth as the reference's trainer does: under "model", names with "module."."""
    import torch

    weights = drawn(names(sizes), seed)
    torch.save({"model": {f"module.{name}": tensor for name, tensor in weights.items()}, "iteration": 7}, file)
    return file


def drawn(shapes: Shapes, seed: int = 0) -> dict[str, Any]:
    """Weights under these names that keep signals of one size through the network."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {name: _one(name, shape, generator) for name, shape in shapes.items()}


def _one(name: str, shape: tuple[int, ...], generator: Any) -> Any:
    import torch

    if ".cell_anchors." in name:
        cell = CELL[int(name[-1])]
        return torch.tensor([[-3.5 * cell, -3.5 * cell, 4.5 * cell - 1, 4.5 * cell - 1]])
    noise = torch.randn(shape, generator=generator)
    if name.endswith("relative_position_index"):
        return noise.long()
    if ".gamma_" in name or "_embeddings." in name:
        return 0.3 * noise
    if ".offset.weight" in name:  # offsets of a pixel or so
        return noise / math.prod(shape[1:]) ** 0.5
    if len(shape) > 1:
        return noise / math.prod(shape[1:]) ** 0.5
    return (1 if name.endswith(("weight", "scale")) else 0) + 0.2 * noise


def _linear(name: str, made: int, *given: int) -> Shapes:
    return {f"{name}.weight": (made, *given), f"{name}.bias": (made,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _body(s: Sizes) -> Shapes:
    found = _linear("patch_embed.proj", s.width, 3, 4, 4) | _norm("patch_embed.norm", s.width)
    for i, (depth, heads) in enumerate(zip(s.depths, s.heads, strict=True)):
        width, last = s.width * 2**i, i == len(s.depths) - 1
        for b in range(depth):
            base = f"layers.{i}.blocks.{b}"
            found |= _norm(f"{base}.norm1", width) | _norm(f"{base}.norm2", width)
            found[f"{base}.attn.relative_position_bias_table"] = ((2 * s.window - 1) ** 2, heads)
            found[f"{base}.attn.relative_position_index"] = (s.window**2, s.window**2)
            found |= _linear(f"{base}.attn.qkv", 3 * width, width) | _linear(f"{base}.attn.proj", width, width)
            found |= _linear(f"{base}.mlp.fc1", 4 * width, width) | _linear(f"{base}.mlp.fc2", width, 4 * width)
        if not last:
            found |= _norm(f"layers.{i}.downsample.norm", 4 * width)
            found[f"layers.{i}.downsample.reduction.weight"] = (2 * width, 4 * width)
        if i:
            found |= _norm(f"norm{i}", width)
    return {f"backbone.body.{name}": shape for name, shape in found.items()}


def _pyramid(s: Sizes) -> Shapes:
    found: Shapes = {}
    for i in (2, 3, 4):
        found |= _linear(f"fpn_inner{i}", s.channels, s.width * 2 ** (i - 1), 1, 1)
        found |= _linear(f"fpn_layer{i}", s.channels, s.channels, 3, 3)
    for i in (6, 7):
        found |= _linear(f"top_blocks.p{i}", s.channels, s.channels, 3, 3)
    return {f"backbone.fpn.{name}": shape for name, shape in found.items()}


def _bert(s: Sizes) -> Shapes:
    counts = {"word": s.vocabulary, "position": s.positions, "token_type": 2}
    found: Shapes = {f"embeddings.{kind}_embeddings.weight": (count, s.words) for kind, count in counts.items()}
    found |= _norm("embeddings.LayerNorm", s.words)
    for i in range(s.layers):
        found |= _bert_layer(f"encoder.layer.{i}", s.words)
    return {f"language_backbone.body.model.{name}": shape for name, shape in found.items()}


def _bert_layer(base: str, width: int) -> Shapes:
    found: Shapes = {}
    for part in ("query", "key", "value"):
        found |= _linear(f"{base}.attention.self.{part}", width, width)
    found |= _linear(f"{base}.attention.output.dense", width, width) | _norm(
        f"{base}.attention.output.LayerNorm", width
    )
    found |= _linear(f"{base}.intermediate.dense", 4 * width, width)
    return found | _linear(f"{base}.output.dense", width, 4 * width) | _norm(f"{base}.output.LayerNorm", width)


def _fusion(base: str, s: Sizes) -> Shapes:
    found: Shapes = {f"{base}.gamma_v": (s.channels,), f"{base}.gamma_l": (s.words,)}
    found |= _norm(f"{base}.layer_norm_v", s.channels) | _norm(f"{base}.layer_norm_l", s.words)
    for kind, width in (("v", s.channels), ("l", s.words)):
        found |= _linear(f"{base}.attn.{kind}_proj", s.inner, width)
        found |= _linear(f"{base}.attn.values_{kind}_proj", s.inner, width)
        found |= _linear(f"{base}.attn.out_{kind}_proj", width, s.inner)
    return found


def _dyconv(base: str, width: int) -> Shapes:
    found = _linear(f"{base}.AttnConv.1", 1, width, 1, 1) | _linear(f"{base}.offset", 27, width, 3, 3)
    for i in range(3):
        found |= _linear(f"{base}.DyConv.{i}.conv", width, width, 3, 3) | _norm(f"{base}.DyConv.{i}.bn", width)
    return found | _linear(f"{base}.relu.fc.0", width // 4, width) | _linear(f"{base}.relu.fc.2", 4 * width, width // 4)


def _head(s: Sizes) -> Shapes:
    found: Shapes = {"log_scale": (1,), "bias_lang": (s.words,), "bias0": (1,)}
    for i in range(s.steps):
        if s.fused:
            found |= _fusion(f"dyhead_tower.{3 * i}.b_attn", s) | _bert_layer(f"dyhead_tower.{3 * i + 1}", s.words)
        found |= _dyconv(f"dyhead_tower.{3 * i + 2 if s.fused else i}", s.channels)
    found |= _linear("cls_logits", 80, s.channels, 1, 1) | _linear("bbox_pred", 4, s.channels, 1, 1)
    found |= _linear("centerness", 1, s.channels, 1, 1)
    found |= _linear("dot_product_projection_text", s.channels, s.words)
    found |= {f"scales.{i}.scale": (1,) for i in range(len(CELL))}
    anchors: Shapes = {f"rpn.anchor_generator.cell_anchors.{i}": (1, 4) for i in range(len(CELL))}
    return {f"rpn.head.{name}": shape for name, shape in found.items()} | anchors
