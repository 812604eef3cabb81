"""GLIP (arXiv 2112.03857): grounding, and detection as grounding of a list; under its official weights' names.

    text      ids, positions (B, N), attends (B, N, N) ──BERT──▶ text (B, N, E)
    detector  pixels (B, 3, H, W) ──Swin, pyramid──▶ maps ─┐
              text, text_mask (B, N), attends ─────────────┴─head─▶ logits (B, Q, N), boxes (B, Q, 4), centerness (B, Q)

No library carries it: the original (github.com/microsoft/GLIP) is a fork of maskrcnn-benchmark that runs on CUDA only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from saccade.export.models.glip_head import Anchors, Head
from saccade.export.models.glip_swin import Pyramid, Swin
from saccade.export.models.glip_text import Bert


class GLIP(nn.Module):
    """All of it, so that its state dict is the official one's; Text and Detector are what is exported.

    weights: by the official names, without "module."; only their shapes are read. Raises KeyError if one that says a
    size is missing.
    """

    def __init__(self, weights: Mapping[str, Any]):
        super().__init__()
        shape = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        self.backbone = nn.ModuleDict(
            {"body": Swin(_under(shape, "backbone.body.")), "fpn": Pyramid(_under(shape, "backbone.fpn."))}
        )
        self.language_backbone = nn.ModuleDict(
            {"body": nn.ModuleDict({"model": Bert(_under(shape, "language_backbone.body.model."))})}
        )
        self.rpn = nn.ModuleDict({"head": Head(_under(shape, "rpn.head.")), "anchor_generator": Anchors()})

    @property
    def text(self) -> Bert:
        """The language backbone."""
        found: Bert = self.language_backbone["body"]["model"]
        return found


class Detector(nn.Module):
    """From pixels and text to answers; made of a GLIP that has its weights."""

    def __init__(self, model: GLIP):
        super().__init__()
        self.body, self.fpn = model.backbone["body"], model.backbone["fpn"]
        self.head, self.anchors = model.rpn["head"], model.rpn["anchor_generator"]
        # The reference sees blue first. Turning the first kernel round once is turning every picture.
        first = self.body.patch_embed.proj
        first.weight = nn.Parameter(first.weight.detach().flip(1), requires_grad=False)

    def forward(
        self, pixels: Tensor, shown: Tensor, text: Tensor, text_mask: Tensor, attends: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """pixels: (B, 3, H, W) red first, H and W multiples of 32; shown: (B, H, W) bool, the picture at the top left;
        text: (B, N, E); text_mask: (B, N) bool; attends: (B, N, N) bool.

        Returns logits (B, Q, N), boxes (B, Q, 4) x0 y0 x1 y1 in [0, 1] of what is shown, centerness (B, Q). As in the
        reference the network sees the padding, as zeros: `shown` says how large the picture is and masks nothing.
        """
        maps = self.fpn(self.body(pixels))
        logits, numbers, centerness = self.head(maps, text, text_mask, attends)
        size = torch.stack([shown[:, 0].float().sum(1), shown[:, :, 0].float().sum(1)], 1)  # width, height
        return logits, self.anchors(numbers, maps, size), centerness


def _under(shape: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): size for name, size in shape.items() if name.startswith(prefix)}
