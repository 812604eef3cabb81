"""Layers of Grounding DINO's encoder and decoder (arXiv 2303.05499, appendix), over transformers' weights."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.export.models.deformable import deformable_attention

MASKED = -1e4
"""What is added to a score that does not count: its exponential is 0 in float32 and float16, and a row of nothing but
these stays finite."""


class Sine(nn.Module):
    """Coordinates as sines and cosines of growing wavelength, y before x as DETR has it."""

    def __init__(self, width: int, temperature: float, scale: float):
        super().__init__()
        steps = torch.arange(width, dtype=torch.float32)
        self.register_buffer("waves", temperature ** (2 * torch.div(steps, 2, rounding_mode="floor") / width))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """(..., 1), (..., 2) or (..., 4) → (..., width of each, concatenated)."""
        angle = (x * self.scale)[..., None] / self.waves
        both = torch.stack([angle[..., 0::2].sin(), angle[..., 1::2].cos()], -1).flatten(-2)
        parts = list(both.unbind(-2))
        if len(parts) > 1:
            parts[:2] = parts[1], parts[0]
        return torch.cat(parts, -1)


class Attention(nn.Module):
    """Attention of many heads with a bias on the scores."""

    def __init__(self, layer: Any):
        super().__init__()
        self.query, self.key, self.value, self.out = layer.query, layer.key, layer.value, layer.out_proj
        self.heads, self.width = layer.num_attention_heads, layer.attention_head_size

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """query (B, N, E), key and value (B, K, E), bias (B, 1, N or 1, K)."""
        q, k, v = (_split(x, self.heads) for x in (self.query(query), self.key(key), self.value(value)))
        scores = q @ k.transpose(2, 3) / self.width**0.5
        weights = F.softmax(scores if bias is None else scores + bias, -1)
        found: Tensor = self.out(_joined(weights @ v))
        return found


class Fusion(nn.Module):
    """Picture and words attend to each other; one table of scores serves both directions."""

    def __init__(self, layer: Any):
        super().__init__()
        a = layer.attn
        self.seen_norm, self.text_norm = layer.layer_norm_vision, layer.layer_norm_text
        self.seen_scale, self.text_scale = layer.vision_param, layer.text_param
        self.query, self.key, self.seen_value, self.text_value = (
            a.vision_proj,
            a.text_proj,
            a.values_vision_proj,
            a.values_text_proj,
        )
        self.seen_out, self.text_out = a.out_vision_proj, a.out_text_proj
        self.heads, self.scale = a.num_heads, a.scale

    def forward(self, seen: Tensor, text: Tensor, words: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """seen (B, S, E), text (B, N, E), words (B, 1, 1, N) and places (B, 1, 1, S) biases."""
        seen, text = self.seen_norm(seen), self.text_norm(text)
        q, k = _split(self.query(seen) * self.scale, self.heads), _split(self.key(text), self.heads)
        scores = q @ k.transpose(2, 3)
        to_seen = F.softmax(scores + words, -1) @ _split(self.text_value(text), self.heads)
        to_text = F.softmax(scores.transpose(2, 3) + places, -1) @ _split(self.seen_value(seen), self.heads)
        seen = seen + self.seen_scale * self.seen_out(_joined(to_seen))
        return seen, text + self.text_scale * self.text_out(_joined(to_text))


class Enhancer(nn.Module):
    """Words of a phrase attend to each other."""

    def __init__(self, layer: Any):
        super().__init__()
        self.attention = Attention(layer.self_attn)
        self.mlp = Mlp(layer)
        self.norm1, self.norm2 = layer.layer_norm_before, layer.layer_norm_after

    def forward(self, text: Tensor, order: Tensor, between: Tensor) -> Tensor:
        placed = text + order
        text = self.norm1(text + self.attention(placed, placed, text, between))
        found: Tensor = self.norm2(text + self.mlp(text))
        return found


class Mlp(nn.Module):
    """Two products with an activation in between."""

    def __init__(self, layer: Any):
        super().__init__()
        self.up, self.down = layer.fc1, layer.fc2
        self.activation = layer.activation if hasattr(layer, "activation") else layer.activation_fn

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.down(self.activation(self.up(x)))
        return found


class Deformable(nn.Module):
    """Each query reads a few places of every level, near its own (arXiv 2010.04159, eq. 3)."""

    def __init__(self, layer: Any):
        super().__init__()
        self.value, self.out = layer.value_proj, layer.output_proj
        self.offsets, self.weights = layer.sampling_offsets, layer.attention_weights
        self.shape = layer.n_heads, layer.n_levels, layer.n_points
        self.locate = Locate()

    def forward(self, query: Tensor, reference: Tensor, seen: Tensor, sizes: Tensor, inside: Tensor) -> Tensor:
        """query (B, N, E), reference (B, N, L, 2) points or (B, N, L, 4) boxes, seen (B, S, E), sizes (L, 2), inside
        (B, S)."""
        heads, levels, points = self.shape
        value = self.value(seen).masked_fill(~inside[..., None], 0.0).unflatten(-1, (heads, -1))
        offsets = self.offsets(query).unflatten(-1, (heads, levels, points, 2))
        weights = F.softmax(self.weights(query).unflatten(-1, (heads, levels * points)), -1)
        places = self.locate(reference, offsets, sizes)
        read = deformable_attention(value, sizes, places, weights.unflatten(-1, (levels, points)))
        found: Tensor = self.out(read)
        return found


class Locate(nn.Module):
    """Where to read: around a point by pixels of the level, around a box by shares of half its size."""

    def forward(self, reference: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
        """reference (B, N, L, 2 or 4), offsets (B, N, A, L, T, 2) → (B, N, A, L, T, 2) in [0, 1] of the level."""
        centre = reference[:, :, None, :, None, :2]
        if reference.shape[-1] == 4:
            return centre + offsets / offsets.shape[4] * reference[:, :, None, :, None, 2:] * 0.5
        return centre + offsets / sizes.flip(1).to(offsets.dtype)[:, None]


class EncoderLayer(nn.Module):
    """Fusion, then words among themselves, then the picture's places among theirs."""

    def __init__(self, layer: Any):
        super().__init__()
        inner = layer.deformable_layer
        self.fusion, self.enhancer = Fusion(layer.fusion_layer), Enhancer(layer.text_enhancer_layer)
        self.deformable, self.mlp = Deformable(inner.self_attn), Mlp(inner)
        self.norm1, self.norm2 = inner.self_attn_layer_norm, inner.final_layer_norm

    def forward(
        self,
        seen: Tensor,
        text: Tensor,
        where: Tensor,
        reference: Tensor,
        sizes: Tensor,
        inside: Tensor,
        words: Tensor,
        order: Tensor,
        between: Tensor,
    ) -> tuple[Tensor, Tensor]:
        places = torch.where(inside, 0.0, MASKED)[:, None, None]
        seen, text = self.fusion(seen, text, words, places)
        text = self.enhancer(text, order, between)
        seen = self.norm1(seen + self.deformable(seen + where, reference, seen, sizes, inside))
        return self.norm2(seen + self.mlp(seen)), text


class DecoderLayer(nn.Module):
    """Queries attend to each other, to the words, and to places around their boxes."""

    def __init__(self, layer: Any):
        super().__init__()
        self.own, self.own_norm = Attention(layer.self_attn), layer.self_attn_layer_norm
        self.read, self.read_norm = Attention(layer.encoder_attn_text), layer.encoder_attn_text_layer_norm
        self.look, self.look_norm = Deformable(layer.encoder_attn), layer.encoder_attn_layer_norm
        self.mlp, self.norm = Mlp(layer), layer.final_layer_norm

    def forward(
        self,
        query: Tensor,
        place: Tensor,
        around: Tensor,
        seen: Tensor,
        text: Tensor,
        words: Tensor,
        sizes: Tensor,
        inside: Tensor,
    ) -> Tensor:
        placed = query + place
        query = self.own_norm(query + self.own(placed, placed, query))
        query = self.read_norm(query + self.read(query + place, text, text, words))
        query = self.look_norm(query + self.look(query + place, around, seen, sizes, inside))
        found: Tensor = self.norm(query + self.mlp(query))
        return found


class Refine(nn.Module):
    """A query moves its box."""

    def __init__(self, head: Any):
        super().__init__()
        self.head = head

    def forward(self, query: Tensor, boxes: Tensor) -> Tensor:
        return torch.sigmoid(self.head(query) + torch.special.logit(boxes, eps=1e-5))


def _split(x: Tensor, heads: int) -> Tensor:
    """(B, N, E) → (B, A, N, D)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(B, A, N, D) → (B, N, E)."""
    return x.transpose(1, 2).flatten(2)
