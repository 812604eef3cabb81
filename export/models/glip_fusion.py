"""GLIP's early fusion (arXiv 2112.03857, §3.2): pictures and words look at each other, eight heads of 256 each.

    v (B, P, C) places ──norm──▶ v + gamma_v · softmax over words of (v Wq)(t Wk)ᵀ  (t Wt) Wo
    t (B, N, E) words  ──norm──▶ t + gamma_l · softmax over places, transposed,     (v Wv) Wo'

A picture has thousands of places, a prompt tens of words. So what is linear in a place is never computed place by
place: (v Wq)(t Wk)ᵀ is v (Wq (t Wk)ᵀ), a C x N matrix a head; the words' values go through the output product before
they are spread over places; places are averaged before they are projected. The answers are the reference's, but for
the order of sums. Of its 1.6 million + 6,144 N multiplications a place only the second part is left, since a head is
as wide as a place: at 16 words a seventeenth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from saccade.export.models.glip_text import ABSENT, MOST

HEADS = 8
"""In every released model; no tensor's shape tells."""


class BiAttention(nn.Module):
    """Names of the six products; C of places, E of words, A = HEADS · D inside."""

    def __init__(self, width: int, words: int, inner: int):
        super().__init__()
        self.scale = (inner // HEADS) ** -0.5
        self.v_proj, self.l_proj = nn.Linear(width, inner), nn.Linear(words, inner)
        self.values_v_proj, self.values_l_proj = nn.Linear(width, inner), nn.Linear(words, inner)
        self.out_v_proj, self.out_l_proj = nn.Linear(inner, width), nn.Linear(inner, words)

    def forward(self, v: Tensor, t: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """v: (B, P, C); t: (B, N, E); present: (B, N) bool → what is added to v and to t."""
        batch, words = t.shape[:2]
        keys = self.l_proj(t).unflatten(-1, (HEADS, -1)).transpose(1, 2) * self.scale  # (B, heads, N, D)
        asked = keys @ self.v_proj.weight.unflatten(0, (HEADS, -1))  # (B, heads, N, C)
        offset = keys @ self.v_proj.bias.reshape(HEADS, -1, 1)  # (B, heads, N, 1)
        # One product for all heads; words by places, since both softmaxes read it along its long rows or short columns.
        scores = (asked.flatten(1, 2) @ v.transpose(1, 2) + offset.flatten(1, 2)).clamp(-MOST, MOST)
        scores = scores.reshape(batch, HEADS, words, -1)

        shares = scores.masked_fill(~present[:, None, :, None], ABSENT).softmax(2)  # of words, for each place
        told = self.values_l_proj(t).unflatten(-1, (HEADS, -1)).transpose(1, 2)  # (B, heads, N, D)
        told = told @ self.out_v_proj.weight.unflatten(1, (HEADS, -1)).permute(1, 2, 0)  # (B, heads, N, C)
        to_v = shares.flatten(1, 2).transpose(1, 2) @ told.flatten(1, 2) + self.out_v_proj.bias

        places = (scores - scores.amax(-1, keepdim=True)).clamp(min=-MOST).softmax(-1)  # of places, for each word
        seen = (places.flatten(1, 2) @ v).reshape(batch, HEADS, words, -1)  # (B, heads, N, C)
        seen = seen @ self.values_v_proj.weight.unflatten(0, (HEADS, -1)).transpose(1, 2)
        seen = seen.transpose(1, 2).flatten(2) + self.values_v_proj.bias
        return to_v, self.out_l_proj(seen)


class BiAttentionBlock(nn.Module):
    """Norms, attention both ways, and how much of it is added: to the normed map, as in the reference."""

    def __init__(self, width: int, words: int, inner: int):
        super().__init__()
        self.layer_norm_v, self.layer_norm_l = nn.LayerNorm(width), nn.LayerNorm(words)
        self.attn = BiAttention(width, words, inner)
        self.gamma_v, self.gamma_l = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(words))

    def forward(self, maps: list[Tensor], t: Tensor, present: Tensor) -> tuple[list[Tensor], Tensor]:
        """maps: (B, C, h, w) of each level; t: (B, N, E); present: (B, N) bool."""
        sizes = [one.shape[-2:] for one in maps]
        v = self.layer_norm_v(torch.cat([one.flatten(2) for one in maps], 2).transpose(1, 2))
        t = self.layer_norm_l(t)
        to_v, to_t = self.attn(v, t, present)
        v, t = v + self.gamma_v * to_v, t + self.gamma_l * to_t
        parts = v.transpose(1, 2).split([height * width for height, width in sizes], 2)
        return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)], t


class Fusion(nn.Module):
    """VLFuse: the block under the name that the official weights have for it."""

    def __init__(self, width: int, words: int, inner: int):
        super().__init__()
        self.b_attn = BiAttentionBlock(width, words, inner)

    def forward(self, maps: list[Tensor], t: Tensor, present: Tensor) -> tuple[list[Tensor], Tensor]:
        """As BiAttentionBlock."""
        made: tuple[list[Tensor], Tensor] = self.b_attn(maps, t, present)
        return made
