"""OWL-ViT (arXiv 2205.06230) and OWLv2 (arXiv 2306.09683) over transformers' weights: what is seen, what is asked.

    pixels ──▶ Image ──▶ classes, shift, scale, boxes [, objectness]     ids ──▶ Text ──▶ queries
    classes, shift, scale, queries ──▶ Query ──▶ logits

The cut is before the product with the words, so that a picture is seen once for any words, and so that the embedding of
one picture's box can be the query of another (arXiv 2205.06230, section 4.4).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EXACT = ("@place",)
"""Parts that stay float32 in every variant."""
EPSILON = 1e-6
"""Added to lengths, as the reference adds it."""


class Image(nn.Module):
    """Each patch of a picture as a box, and as a direction that words are compared with.

    raw: take pixels from 0 to 1 and normalise inside, so that zeros are black, which OWLv2 fills its squares with. It
        costs nothing: mean and deviation go into the weights of the patches.
    """

    def __init__(self, model: Any, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()):
        super().__init__()
        inner = model.owlv2 if hasattr(model, "owlv2") else model.owlvit
        self.vision, self.after, self.norm = inner.vision_model, inner.vision_model.post_layernorm, model.layer_norm
        head = model.class_head
        self.direction, self.shift, self.scale = head.dense0, head.logit_shift, head.logit_scale
        self.box, self.place = model.box_head, Place(model.box_bias)
        self.objectness = getattr(model, "objectness_head", None)
        if mean:
            _fold(self.vision.embeddings, mean, std)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """pixels (B, 3, S, S) → classes (B, Q, E) of unit length, shift and scale (B, Q), boxes (B, Q, 4), and for
        OWLv2 objectness (B, Q), a logit."""
        seen = self.after(self.vision(pixel_values=pixels).last_hidden_state)
        seen = self.norm(seen[:, 1:] * seen[:, :1])
        classes = unit(self.direction(seen))
        found = classes, self.shift(seen)[..., 0], F.elu(self.scale(seen))[..., 0] + 1, self.place(self.box(seen))
        return found if self.objectness is None else (*found, self.objectness(seen)[..., 0])


class Place(nn.Module):
    """A patch's box: moved from where the patch is, then corners, cut to the picture."""

    def __init__(self, bias: Tensor):
        super().__init__()
        self.register_buffer("bias", bias.detach().clone())

    def forward(self, moved: Tensor) -> Tensor:
        centre, size = torch.sigmoid(moved + self.bias).split(2, -1)
        return torch.cat([centre - size / 2, centre + size / 2], -1).clamp(0, 1)


class Text(nn.Module):
    """Words as directions. They are read causally up to the end token, so padding behind it changes nothing."""

    def __init__(self, model: Any):
        super().__init__()
        inner = model.owlv2 if hasattr(model, "owlv2") else model.owlvit
        self.text, self.projection = inner.text_model, inner.text_projection

    def forward(self, ids: Tensor) -> Tensor:
        """ids (B, N) → (B, E) of unit length."""
        return unit(self.projection(self.text(input_ids=ids).pooler_output))


class Query(nn.Module):
    """How much each patch is what each query says."""

    def forward(self, classes: Tensor, shift: Tensor, scale: Tensor, queries: Tensor) -> Tensor:
        """classes (B, Q, E), shift and scale (B, Q), queries (K, E) → (B, Q, K)."""
        return (classes @ unit(queries).T + shift[..., None]) * scale[..., None]


def unit(x: Tensor) -> Tensor:
    """Vectors of unit length."""
    return x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + EPSILON)


def _fold(embeddings: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Let the patches' weights do (x - mean) / std. The class token and the positions see no pixels."""
    patch = embeddings.patch_embedding
    weight = patch.weight.detach().double()
    by = weight / torch.tensor(std, dtype=torch.float64)[:, None, None]
    offset = -(by * torch.tensor(mean, dtype=torch.float64)[:, None, None]).sum((1, 2, 3))
    start = torch.zeros(len(weight), dtype=torch.float64) if patch.bias is None else patch.bias.detach().double()
    patch.weight = nn.Parameter(by.float(), requires_grad=False)
    patch.bias = nn.Parameter((start + offset).float(), requires_grad=False)
