"""GLIP's head: the tower, and of each place its likeness to each word, a box, and how central it is.

    maps P3 … P7, text ──(fusion, BERT layer, DyConv) x 6──▶ logits (B, Q, N), boxes (B, Q, 4), centerness (B, Q)

Q is all places of all levels, the finest first, one anchor each: a square around the cell's centre (ATSS, arXiv
1912.02424). Boxes are decoded here; which of them to keep is the pipeline's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.export.models.glip_dyconv import DyConv
from saccade.export.models.glip_fusion import Fusion
from saccade.export.models.glip_swin import Shapes, depth
from saccade.export.models.glip_text import MOST, BertLayer

LEVELS = 5
WEIGHTS = (10.0, 5.0)
"""What a box's place and its log size were multiplied with in training."""
LARGEST = math.log(1000 / 16)
"""Of a log width: no box is more than 62.5 anchors wide."""


class Scale(nn.Module):
    """A level's factor on its box numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


class Head(nn.Module):
    """The official `rpn.head`; shape: of the weights, without "rpn.head.".

    The variant shows in the tower: (DyConv) x 6 is GLIP-T (A), whose logits compare with the text as BERT gives it;
    (fusion, BERT layer, DyConv) x 6 are (B), (C) and GLIP-T, x 8 is GLIP-L, whose logits compare with the fused text.
    """

    def __init__(self, shape: Shapes):
        super().__init__()
        made, words = shape["dot_product_projection_text.weight"]
        self.dyhead_tower = nn.ModuleList(
            _step(shape, f"dyhead_tower.{i}") for i in range(depth(shape, "dyhead_tower"))
        )
        self.fused = any(isinstance(step, Fusion) for step in self.dyhead_tower)
        self.bbox_pred, self.centerness = nn.Conv2d(made, 4, 1), nn.Conv2d(made, 1, 1)
        self.dot_product_projection_text = nn.Linear(words, made)
        self.log_scale, self.bias0 = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.bias_lang = nn.Parameter(torch.zeros(words))
        self.scales = nn.ModuleList(Scale() for _ in range(LEVELS))

    def forward(
        self, maps: list[Tensor], text: Tensor, present: Tensor, attends: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """maps: P3 to P7; text: (B, N, E); present: (B, N) bool; attends: (B, N, N) bool.

        Returns logits (B, Q, N), box numbers (B, Q, 4), centerness (B, Q).
        """
        words = text if self.fused else text * present[..., None]
        for step in self.dyhead_tower:
            if isinstance(step, Fusion):
                maps, words = step(maps, words, present)
            elif isinstance(step, BertLayer):
                words = step(words, attends)
            else:
                maps = step(maps)
        numbers = [self.bbox_pred(one).flatten(2) * level.scale for one, level in zip(maps, self.scales, strict=True)]
        places = torch.cat([one.flatten(2) for one in maps], 2)
        central = torch.cat([self.centerness(one).flatten(1) for one in maps], 1)
        return self._logits(places, words), torch.cat(numbers, 2).transpose(1, 2), central

    def _logits(self, places: Tensor, words: Tensor) -> Tensor:
        """Places (B, C, Q) against words (B, N, E), as a cosine would be but that only the words have length one."""
        words = F.normalize(words, dim=-1)
        bias = words @ self.bias_lang + self.bias0
        told = self.dot_product_projection_text(words / 2) / self.log_scale.exp()
        logits: Tensor = places.transpose(1, 2) @ told.transpose(1, 2) + bias[:, None]
        return logits.clamp(-MOST, MOST)


class Anchors(nn.Module):
    """The official `rpn.anchor_generator`: of each level the first cell's anchor, x0 y0 x1 y1, last pixel included.

    Nothing in it is learnt, but the files carry it, and it says strides and sizes: x0 + x1 + 1 and x1 - x0 + 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cell_anchors = nn.Module()
        for i in range(LEVELS):
            self.cell_anchors.register_buffer(str(i), torch.zeros(1, 4))

    def forward(self, numbers: Tensor, maps: list[Tensor], size: Tensor) -> Tensor:
        """numbers: (B, Q, 4); maps: (B, C, h, w) of each level; size: (B, 2), pixels shown, width first.

        Returns boxes (B, Q, 4) x0 y0 x1 y1 in [0, 1]. The reference counts pixels, and a box's last one is inside: half
        a pixel on either side is what centres its anchors and boxes on the cells. Here they are edges from the start.
        """
        centres, sides = [], []
        for i, one in enumerate(maps):
            first, _, last, _ = self.cell_anchors.get_buffer(str(i))[0]
            rows, columns = ((torch.arange(n) + 0.5) * (first + last + 1) for n in one.shape[-2:])
            x, y = columns.expand(one.shape[-2], -1), rows[:, None].expand(-1, one.shape[-1])
            centres.append(torch.stack([x, y], -1).flatten(0, 1))
            sides.append((last - first + 1).expand(centres[-1].shape[0], 1))
        centre, side = torch.cat(centres), torch.cat(sides)
        moved = numbers[..., :2] / WEIGHTS[0] * side + centre
        half = (numbers[..., 2:] / WEIGHTS[1]).clamp(max=LARGEST).exp() * (side / 2)
        edges = torch.stack([moved - half, moved + half], 2)  # (B, Q, 2 corners, 2)
        return (edges / size[:, None, None]).clamp(0, 1).flatten(2)


def _step(shape: Shapes, base: str) -> nn.Module:
    if f"{base}.b_attn.gamma_v" in shape:
        width, words = shape[f"{base}.b_attn.gamma_v"][0], shape[f"{base}.b_attn.gamma_l"][0]
        return Fusion(width, words, shape[f"{base}.b_attn.attn.v_proj.weight"][0])
    if f"{base}.intermediate.dense.weight" in shape:
        hidden, width = shape[f"{base}.intermediate.dense.weight"]
        return BertLayer(width, hidden, clamped=True)
    made, given = shape[f"{base}.DyConv.0.conv.weight"][:2]
    return DyConv(given, made, shape[f"{base}.relu.fc.0.weight"][0])
