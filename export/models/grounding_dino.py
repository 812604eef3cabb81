"""Grounding DINO (arXiv 2303.05499) and MM-Grounding-DINO (arXiv 2401.02361), written anew over transformers' weights.

    ids, positions, attends ──▶ Text ──▶ text (B, N, E)
    pixels, shown ──backbone──▶ levels ──┐
    text ────────────────────────────────┴─▶ encoder ─▶ Select ─▶ decoder ──▶ logits (B, Q, N), boxes (B, Q, 4)

What differs from the class, in exact arithmetic nothing:

- who may attend to whom and where a phrase's positions start are inputs, since the class finds them with operators that
  have no ONNX form
- scores between picture and words are not shifted by the largest of the whole batch, so that a picture's answer does
  not depend, in its last digits, on what else is in the batch
- boxes of proposals are computed for those that are selected, not for every place of every level
- coordinates, their sines and the selection have modules of their own, whose names say what stays float32 (EXACT)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from saccade.export.models.grounding_layers import MASKED, DecoderLayer, EncoderLayer, Refine, Sine

EXACT = ("@places", "@order", "@select", "@around", "@locate", "DeformableAttention", "@refine", "@corners")
"""Parts that stay float32 in every variant: half precision cannot tell near-tied proposals or pixels apart."""


class Text(nn.Module):
    """A prompt's words as the detector takes them; independent of any picture."""

    def __init__(self, model: Any):
        super().__init__()
        self.bert, self.projection = model.text_backbone, model.text_projection

    def forward(self, ids: Tensor, positions: Tensor, attends: Tensor) -> Tensor:
        """ids, positions: (B, N) int64, attends: (B, N, N) bool → (B, N, E)."""
        bias = torch.where(attends, 0.0, MASKED)[:, None]
        seen = self.bert(ids, attention_mask=bias, token_type_ids=torch.zeros_like(ids), position_ids=positions)
        text: Tensor = self.projection(seen.last_hidden_state)
        return text


class Detector(nn.Module):
    """Boxes and their likeness to each word. It takes the modules of the class over."""

    def __init__(self, whole: Any):
        super().__init__()
        model, config = whole.model, whole.config
        self.backbone, self.inputs = model.backbone.conv_encoder.model, model.input_proj_vision
        self.places = Places(model)
        self.order = Sine(config.d_model, 10000.0, 2 * torch.pi)
        self.encoder = nn.ModuleList(EncoderLayer(layer) for layer in model.encoder.layers)
        self.decoder = nn.ModuleList(DecoderLayer(layer) for layer in model.decoder.layers)
        self.select = Select(model, int(config.num_queries), _bias(model.encoder_output_class_embed))
        self.refine = nn.ModuleList(Refine(head) for head in (*model.decoder.bbox_embed[:-1], whole.bbox_embed[-1]))
        self.point, self.norm = model.decoder.reference_points_head, model.decoder.layer_norm
        self.around, self.corners = Around(config.d_model), Corners()
        self.bias = _bias(whole.class_embed[-1])

    def forward(
        self, pixels: Tensor, shown: Tensor, text: Tensor, text_mask: Tensor, positions: Tensor, attends: Tensor
    ) -> tuple[Tensor, Tensor]:
        """pixels (B, 3, H, W), shown (B, H, W), text (B, N, E), text_mask, positions (B, N), attends (B, N, N)."""
        maps = self.levels(pixels)
        shapes = [(m.shape[2], m.shape[3]) for m in maps]
        sizes = _numbers(shapes)
        seen = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        inside, usable, where, reference, proposals, ratios = self.places(shown, shapes)
        words = torch.where(text_mask, 0.0, MASKED)[:, None, None]
        between = torch.where(attends, 0.0, MASKED)[:, None]
        order = self.order(positions[..., None].to(text.dtype))
        for layer in self.encoder:
            seen, text = layer(seen, text, where, reference, sizes, inside, words, order, between)
        query, boxes = self.select(seen, text, text_mask, usable, proposals)
        for layer, refine in zip(self.decoder, self.refine, strict=True):
            around, waves = self.around(boxes, ratios)
            query = layer(query, self.point(waves), around, seen, text, words, sizes, inside)
            last, boxes = boxes, refine(query, boxes)
        found = self.norm(query)
        return _likeness(found, text, self.bias), self.corners(self.refine[-1](found, last))

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """Feature maps (B, E, h, w), the finest first; those that the backbone does not give come by strided steps."""
        given = self.backbone(pixels, return_dict=True).feature_maps
        found = [project(one) for project, one in zip(self.inputs, given, strict=False)]
        for number, project in enumerate(self.inputs[len(given) :]):
            found.append(project(found[-1] if number else given[-1]))
        return found


class Places(nn.Module):
    """What follows from the sizes of the levels and from which part of the picture is shown."""

    def __init__(self, model: Any):
        super().__init__()
        self.level = model.level_embed
        self.sine = Sine(model.config.d_model // 2, float(model.config.positional_embedding_temperature), 2 * torch.pi)

    def forward(self, shown: Tensor, sizes: list[tuple[int, int]]) -> tuple[Tensor, ...]:
        """inside and usable (B, S) bool, position embeddings (B, S, E), reference points (B, S, L, 2), proposals
        (B, S, 4) as logits, ratios (B, L, 4) of the shown part, x y x y."""
        inside, where, centres, ratios, sides = [], [], [], [], []
        for number, (height, width) in enumerate(sizes):
            mask = _shrunk(shown, height, width)
            tall, wide = mask[:, :, 0].sum(1, dtype=torch.float32), mask[:, 0].sum(1, dtype=torch.float32)
            ratios.append(torch.stack([wide / width, tall / height], -1))
            y = (torch.arange(height, dtype=torch.float32) + 0.5)[None, :, None] / tall[:, None, None]
            x = (torch.arange(width, dtype=torch.float32) + 0.5)[None, None, :] / wide[:, None, None]
            centre = torch.stack([x.expand(-1, height, -1), y.expand(-1, -1, width)], -1).flatten(1, 2)
            centres.append(centre)
            sides.append(torch.full_like(centre, 0.05 * 2.0**number))
            where.append(self._embedded(mask).flatten(1, 2) + self.level[number])
            inside.append(mask.flatten(1))
        ratio, centre = torch.stack(ratios, 1), torch.cat(centres, 1)
        boxes = torch.cat([centre, torch.cat(sides, 1)], -1)
        known = torch.cat(inside, 1)
        usable = known & ((boxes > 0.01) & (boxes < 0.99)).all(-1)
        logits = torch.where(usable[..., None], torch.log(boxes / (1 - boxes)), torch.inf)
        reference = centre[:, :, None] * ratio[:, None]
        return known, usable, torch.cat(where, 1), reference, logits, torch.cat([ratio, ratio], -1)

    def _embedded(self, mask: Tensor) -> Tensor:
        """(B, h, w) → (B, h, w, E): how far along the shown part each place is."""
        y, x = mask.cumsum(1, dtype=torch.float32), mask.cumsum(2, dtype=torch.float32)
        y, x = y / (y[:, -1:] + 1e-6), x / (x[:, :, -1:] + 1e-6)
        return self.sine(torch.stack([x, y], -1))


class Around(nn.Module):
    """A query's box in each level, and as waves in the whole input."""

    def __init__(self, width: int):
        super().__init__()
        self.sine = Sine(width // 2, 10000.0, 2 * torch.pi)

    def forward(self, boxes: Tensor, ratios: Tensor) -> tuple[Tensor, Tensor]:
        """boxes (B, Q, 4), ratios (B, L, 4) → (B, Q, L, 4), (B, Q, 2 E)."""
        around = boxes[:, :, None] * ratios[:, None]
        return around, self.sine(around[:, :, 0])


class Corners(nn.Module):
    """Centre and size to x0 y0 x1 y1, cut to the shown part."""

    def forward(self, boxes: Tensor) -> Tensor:
        half = boxes[..., 2:] / 2
        return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1).clamp(0, 1)


class Select(nn.Module):
    """The places of the encoder that look most like any word become queries (section 3.2 of the paper)."""

    def __init__(self, model: Any, count: int, bias: Tensor | None):
        super().__init__()
        self.count, self.bias = count, bias
        self.output, self.norm, self.box = model.enc_output, model.enc_output_norm, model.encoder_output_bbox_embed
        self.query = getattr(model, "query_position_embeddings", None) if model.config.embedding_init_target else None

    def forward(
        self, seen: Tensor, text: Tensor, text_mask: Tensor, usable: Tensor, proposals: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, E) and their boxes (B, Q, 4), centre and size of the shown part."""
        found = self.norm(self.output(torch.where(usable[..., None], seen, 0.0)))
        likeness = _likeness(found, text, self.bias).masked_fill(~text_mask[:, None], -torch.inf)
        chosen = torch.topk(likeness.max(-1).values, self.count, dim=1).indices[..., None]
        best = torch.gather(found, 1, chosen.expand(-1, -1, found.shape[-1]))
        boxes = self.box(best) + torch.gather(proposals, 1, chosen.expand(-1, -1, 4))
        query = best if self.query is None else self.query.weight.expand(best.shape[0], -1, -1)
        return query, boxes.sigmoid()


def _numbers(shapes: list[tuple[int, int]]) -> Tensor:
    """(L, 2) int64 of sizes that may be named dims while exporting."""
    flat = [torch.scalar_tensor(n, dtype=torch.int64) for shape in shapes for n in shape]
    return torch.stack(flat).unflatten(0, (-1, 2))


def _likeness(found: Tensor, text: Tensor, bias: Tensor | None) -> Tensor:
    """(B, Q, N): the dot product; MM-Grounding-DINO scales it and adds a bias."""
    product = found @ text.transpose(1, 2)
    return product if bias is None else product / found.shape[-1] ** 0.5 + bias


def _bias(head: Any) -> Tensor | None:
    return getattr(head, "bias", None)


def _shrunk(shown: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W) → (B, h, w) by the nearest above and left, in whole numbers: no rounding decides what is shown."""
    rows = torch.arange(height) * shown.shape[1] // height
    cols = torch.arange(width) * shown.shape[2] // width
    return shown[:, rows][:, :, cols]
