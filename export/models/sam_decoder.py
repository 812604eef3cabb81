"""SAM's prompt encoder and mask decoder (arXiv 2304.02643, appendix A), one graph for all prompts of all pictures.

    points, labels ──▶ tokens (B, P, T, C) ──┐ two blocks of attention, both ways ┌─▶ mask tokens ─▶ weights ─┐
    mask, has_mask ──▶ dense ──▶ image (B, P, h w, C) ────────────────────────────┴─▶ ×4 upscaling ──▶ logits ┘

Written anew over the weights of transformers' SamModel or Sam2Model. It knows box corners (labels 2 and 3) and absent
points (label -2), which no token attends to. T is 5 (6 in SAM 2.1) and N; the image has 4,096 tokens, and there is
the work, so with few tokens it is arranged around them:

- scores of tokens over the image are (q Wk) xᵀ, not q (x Wkᵀ)ᵀ, and its answers (softmax x) Wv: the image is never
  projected, for attention either way; 56 columns (8 heads, 7 tokens) in place of 128, and half the passes over it
- biases that a softmax cannot hear are dropped, the others are folded into what comes next
- upscaling by stride-2 kernels of 2 is a MatMul; pixels are put in order once, at the end, when they are mask logits
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAR = -1e4
"""Added to the score of an absent token: its weight is 0 in float32 as in float16."""


class Heads(nn.Module):
    """Weights of one attention, by head; the scale is in the queries'.

    wq, wk, wv: (A, C, D); wo: (A, D, C); bq: (A, 1, D); bo: (C,), with the values' bias behind the output projection.
    The keys' bias adds the same to all scores of a query: dropped.
    """

    def __init__(self, attention: Any):
        super().__init__()
        out = attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj
        heads, scale = attention.num_attention_heads, float(attention.scaling)
        self.heads = heads
        for name, layer, factor in (
            ("q", attention.q_proj, scale),
            ("k", attention.k_proj, 1),
            ("v", attention.v_proj, 1),
        ):
            weight = layer.weight.detach() * factor
            self.register_buffer(f"w{name}", weight.unflatten(0, (heads, -1)).transpose(1, 2).contiguous())
        self.register_buffer("bq", (attention.q_proj.bias.detach() * scale).reshape(heads, 1, -1).contiguous())
        self.register_buffer("wo", out.weight.detach().T.unflatten(0, (heads, -1)).contiguous())
        self.register_buffer("bo", out.weight.detach() @ attention.v_proj.bias.detach() + out.bias.detach())

    def project(self, x: Tensor, name: str) -> Tensor:
        """(B, P, T, C) → (B, P, A, T, D)."""
        weight = getattr(self, f"w{name}")  # (A, C, D)
        flat = x @ weight.transpose(0, 1).flatten(1)
        if name == "q":
            flat = flat + self.bq.flatten()
        return flat.unflatten(-1, (self.heads, -1)).transpose(2, 3)

    def out(self, x: Tensor) -> Tensor:
        """(B, P, A, T, D) → (B, P, T, C)."""
        return x.transpose(2, 3).flatten(3) @ self.wo.flatten(0, 1) + self.bo

    def among(self, query: Tensor, value: Tensor, absent: Tensor) -> Tensor:
        """Tokens attend to tokens. query is the keys' source too; absent: (B, P, 1, 1, T), added to the scores."""
        q, k, v = self.project(query, "q"), self.project(query, "k"), self.project(value, "v")
        return self.out((q @ k.transpose(-1, -2) + absent).softmax(-1) @ v)

    def to_image(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Tokens (B, P, T, C) attend to the image; keys, values: (B, P or 1, h w, C)."""
        asked = (self.project(query, "q") @ self.wk.transpose(1, 2)).flatten(2, 3)  # (B, P, A T, C)
        seen = (asked @ keys.transpose(-1, -2)).softmax(-1) @ values
        return self.out(seen.unflatten(2, (self.heads, -1)) @ self.wv)

    def from_image(self, keys: Tensor, tokens: Tensor, values: Tensor, absent: Tensor) -> Tensor:
        """The image attends to the tokens: keys (B, P or 1, h w, C) ask; (B, P, h w, C)."""
        k, v = self.project(tokens, "k"), self.project(values, "v")  # (B, P, A, T, D)
        asked = (k @ self.wq.transpose(1, 2)).flatten(2, 3)  # (B, P, A T, C)
        always = ((k @ self.bq.transpose(1, 2)) + absent.transpose(-1, -2)).flatten(2).unsqueeze(2)  # (B, P, 1, A T)
        scores = keys @ asked.transpose(-1, -2) + always
        seen = scores.unflatten(-1, (self.heads, -1)).softmax(-1).flatten(-2)
        # Each head's weights add up to one, so a share of the bias in every row is the bias.
        return seen @ (v @ self.wo + self.bo / self.heads).flatten(2, 3)


class Block(nn.Module):
    """A two-way block: tokens among themselves, tokens to image, a perceptron, image to tokens."""

    def __init__(self, block: Any):
        super().__init__()
        self.first = block.skip_first_layer_pe
        self.own, self.there, self.back = (
            Heads(a) for a in (block.self_attn, block.cross_attn_token_to_image, block.cross_attn_image_to_token)
        )
        self.norms = nn.ModuleList([block.layer_norm1, block.layer_norm2, block.layer_norm3, block.layer_norm4])
        self.mlp = block.mlp

    def forward(
        self, tokens: Tensor, place: Tensor, image: Tensor, where: Tensor, absent: Tensor
    ) -> tuple[Tensor, Tensor]:
        """place: the tokens as they came; where: the image's positions; absent: (B, P, 1, 1, T)."""
        if self.first:
            tokens = self.norms[0](self.own.among(tokens, tokens, absent))
        else:
            tokens = self.norms[0](tokens + self.own.among(tokens + place, tokens, absent))
        placed = image + where
        tokens = self.norms[1](tokens + self.there.to_image(tokens + place, placed, image))
        tokens = self.norms[2](tokens + self.mlp(tokens))
        image = self.norms[3](image + self.back.from_image(placed, tokens + place, tokens, absent))
        return tokens, image


class Prompts(nn.Module):
    """Points and labels to tokens, masks to what is added to the image."""

    def __init__(self, model: Any):
        super().__init__()
        encoder = model.prompt_encoder
        self.side = encoder.image_embedding_size[0]
        basis = encoder.shared_embedding.positional_embedding.detach()  # (2, C/2)
        step = 4 * math.pi / encoder.input_image_size  # from pixels to 2π (2 x - 1)
        self.register_buffer("basis", basis * step)
        self.register_buffer("phase", basis.sum(0) * (step / 2 - 2 * math.pi))  # pixels are taken in their middle
        self.register_buffer("kinds", _kinds(encoder))
        embed = encoder.mask_embed
        self.norm1, self.norm2 = embed.layer_norm1, embed.layer_norm2
        self.norm1.data_format = self.norm2.data_format = "channels_last"
        self.act = embed.activation
        for name, conv in (("w1", embed.conv1), ("w2", embed.conv2)):  # (kernel and channels in, channels out)
            self.register_buffer(name, conv.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).contiguous())
        self.register_buffer("b1", embed.conv1.bias.detach())
        self.register_buffer("b2", embed.conv2.bias.detach())
        none = encoder.no_mask_embed.weight.detach()
        self.register_buffer("none", none.reshape(-1))
        self.register_buffer(
            "w3", torch.cat([embed.conv3.weight.detach().flatten(1).T, embed.conv3.bias.detach()[None] - none])
        )

    def sparse(self, points: Tensor, labels: Tensor) -> Tensor:
        """(B, P, N, 2) pixels and (B, P, N) labels → (B, P, N, C)."""
        angle = points @ self.basis + self.phase
        wave = torch.cat([angle.sin(), angle.cos()], -1)
        return wave * (labels >= 0).unsqueeze(-1).to(wave.dtype) + self.kinds[labels + 2]

    def dense(self, mask: Tensor, has_mask: Tensor) -> Tensor:
        """(B, P, 4 h, 4 w) logits → (B, P, h w, C) that replaces `none`, zero where there is no mask."""
        batch, count, n = mask.shape[0], mask.shape[1], self.side
        x = mask.reshape(batch, count, n, 2, 2, n, 2, 2).permute(0, 1, 2, 5, 3, 6, 4, 7)
        x = self.act(self.norm1(x.reshape(batch, count, n * n, 4, 4) @ self.w1 + self.b1))
        x = self.act(self.norm2(x.flatten(3) @ self.w2 + self.b2))
        there = has_mask[:, :, None, None]
        return torch.cat([x * there, there.expand(-1, -1, n * n, -1)], -1) @ self.w3


class Decoder(nn.Module):
    """The decoder graph of a SamModel or Sam2Model: all masks and their scores, for every prompt of every picture."""

    def __init__(self, model: Any):
        super().__init__()
        decoder = model.mask_decoder
        self.prompts, self.side = Prompts(model), model.prompt_encoder.image_embedding_size[0]
        self.judged = hasattr(decoder, "obj_score_token")
        start = [decoder.obj_score_token] if self.judged else []
        tokens = [layer.weight.detach() for layer in (*start, decoder.iou_token, decoder.mask_tokens)]
        self.first, self.masks = len(start), decoder.num_mask_tokens
        self.register_buffer("tokens", torch.cat(tokens))
        self.register_buffer(
            "where", model.get_image_wide_positional_embeddings().detach()[0].flatten(1).T.contiguous()
        )
        transformer = decoder.transformer
        self.blocks = nn.ModuleList(Block(layer) for layer in transformer.layers)
        self.last, self.norm = Heads(transformer.final_attn_token_to_image), transformer.layer_norm_final_attn
        self.upscale = Upscale(decoder)
        self.hyper = Hyper(decoder.output_hypernetworks_mlps)
        self.iou = decoder.iou_prediction_head
        self.judge = decoder.pred_obj_score_head if self.judged else None

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """embedding [, fine0, fine1], points, labels, mask, has_mask → logits (B, P, M, 4 h, 4 w), iou (B, P, M)
        [, object_score (B, P)].
        """
        embedding, *fine = given[:-4]
        points, labels, mask, has_mask = given[-4:]
        batch, count = labels.shape[0], labels.shape[1]
        place = torch.cat([self.tokens.expand(batch, count, -1, -1), self.prompts.sparse(points, labels)], 2)
        gone = F.pad((labels == -2).to(place.dtype) * FAR, (len(self.tokens), 0))
        absent = gone[:, :, None, None, :]
        image = (embedding.flatten(2).transpose(1, 2) + self.prompts.none).unsqueeze(1) + self.prompts.dense(
            mask, has_mask
        )
        tokens = place
        for block in self.blocks:
            tokens, image = block(tokens, place, image, self.where, absent)
        tokens = self.norm(tokens + self.last.to_image(tokens + place, image + self.where, image))
        told = tokens[:, :, self.first + 1 : self.first + 1 + self.masks]
        logits = self.upscale(image, self.hyper(told), *fine)
        iou = self.iou(tokens[:, :, self.first])
        if self.judge is None:
            return logits, iou
        return logits, iou, self.judge(tokens[:, :, 0]).squeeze(-1)


class Upscale(nn.Module):
    """Two transposed convolutions of stride 2, and each mask's weights on what they give."""

    def __init__(self, decoder: Any):
        super().__init__()
        for name, conv in (("1", decoder.upscale_conv1), ("2", decoder.upscale_conv2)):
            self.register_buffer(f"w{name}", conv.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous())
            self.register_buffer(f"b{name}", conv.bias.detach())
        self.norm = decoder.upscale_layer_norm
        self.norm.data_format = "channels_last"
        self.channels = decoder.upscale_conv1.out_channels, decoder.upscale_conv2.out_channels

    def forward(self, image: Tensor, weights: Tensor, *fine: Tensor) -> Tensor:
        """image: (B, P, h w, C); weights: (B, P, M, C/8); fine: (B, C/8, 4 h, 4 w) and (B, C/4, 2 h, 2 w), or none."""
        batch, count, area, _ = image.shape
        side = math.isqrt(area)
        x = (image @ self.w1).reshape(batch, count, area * 4, self.channels[0]) + self.b1
        if fine:
            x = x + _by_token(fine[1], side, 1).unsqueeze(1)
        x = (F.gelu(self.norm(x)) @ self.w2).reshape(batch, count, area * 16, self.channels[1]) + self.b2
        if fine:
            x = x + _by_token(fine[0], side, 2).unsqueeze(1)
        logits = weights @ F.gelu(x).transpose(-1, -2)  # (B, P, M, h w 4 4)
        parts = logits.reshape(batch, count, -1, side, side, 2, 2, 2, 2).permute(0, 1, 2, 3, 5, 7, 4, 6, 8)
        return parts.reshape(batch, count, -1, side * 4, side * 4)


class Hyper(nn.Module):
    """A perceptron a mask token, all of them side by side: (B, P, M, C) → (B, P, M, C/8)."""

    def __init__(self, mlps: Any):
        super().__init__()
        stacks = [[mlp.proj_in, *mlp.layers, mlp.proj_out] for mlp in mlps]
        self.depth = len(stacks[0])
        for n, layers in enumerate(zip(*stacks, strict=True)):
            self.register_buffer(f"w{n}", torch.stack([layer.weight.detach().T for layer in layers]))
            self.register_buffer(f"b{n}", torch.stack([layer.bias.detach() for layer in layers])[:, None])

    def forward(self, told: Tensor) -> Tensor:
        """told: (B, P, M, C)."""
        batch, count = told.shape[0], told.shape[1]
        x = told.flatten(0, 1).transpose(0, 1)  # (M, B P, C): one product a mask for all prompts
        for n in range(self.depth):
            x = x @ getattr(self, f"w{n}") + getattr(self, f"b{n}")
            x = x.relu() if n + 1 < self.depth else x
        return x.transpose(0, 1).unflatten(0, (batch, count))


def _kinds(encoder: Any) -> Tensor:
    """(6, C): what label + 2 adds: absent, no point, background, foreground, box's top left, box's bottom right."""
    known = encoder.point_embed
    rows = torch.cat([layer.weight for layer in known]) if isinstance(known, nn.ModuleList) else known.weight
    return torch.cat([torch.zeros(1, rows.shape[1]), encoder.not_a_point_embed.weight, rows[:4]]).detach()


def _by_token(fine: Tensor, side: int, times: int) -> Tensor:
    """(B, C, 2ᵗ h, 2ᵗ w) in the order of the upscaled tokens, (B, h w 4ᵗ, C)."""
    batch, channels = fine.shape[:2]
    if times == 1:
        parts = fine.reshape(batch, channels, side, 2, side, 2).permute(0, 2, 4, 3, 5, 1)
    else:
        parts = fine.reshape(batch, channels, side, 2, 2, side, 2, 2).permute(0, 2, 5, 3, 6, 4, 7, 1)
    return parts.reshape(batch, -1, channels)
