"""BERT (arXiv 1810.04805), under the names of GLIP's official weights: as the language backbone, and in the head.

    ids, positions (B, N) ──embeddings──▶ layers, attending where `attends` (B, N, N) says ──▶ (B, N, E)

transformers' BertModel has the same layers; GLIP's head puts one behind each fusion and clamps in it, and what attends
to what is given from outside, so they are written here once for both.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from saccade.export.models.glip_swin import Shapes, depth

HEAD = 64
"""Width of an attention head, in every BERT that is released; no tensor's shape tells."""
EPS = 1e-12
MOST = 50_000.0
"""What the head clamps to; half precision ends at 65,504. In float32 no trained model comes near."""
ABSENT = -1e9
"""The score of what is not attended to."""


class Lexicon(nn.Module):
    """Word, position and kind (always 0), and a norm."""

    def __init__(self, shape: Shapes, base: str):
        super().__init__()
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            setattr(self, name, nn.Embedding(*shape[f"{base}.{name}.weight"]))
        self.LayerNorm = nn.LayerNorm(shape[f"{base}.LayerNorm.weight"][0], eps=EPS)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """ids, positions: (B, N) int64."""
        kind = self.token_type_embeddings.weight[0]
        made: Tensor = self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(positions) + kind)
        return made


class Projections(nn.Module):
    """Names alone: query, key, value."""

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))


class Dense(nn.Module):
    """Names alone: a product, and the norm behind the shortcut."""

    def __init__(self, given: int, made: int, *, normed: bool):
        super().__init__()
        self.dense = nn.Linear(given, made)
        if normed:
            self.LayerNorm = nn.LayerNorm(made, eps=EPS)


class BertLayer(nn.Module):
    """Attention and a perceptron, each with its norm behind; clamped: as GLIP's head has it."""

    def __init__(self, width: int, hidden: int, *, clamped: bool):
        super().__init__()
        self.heads, self.clamped = width // HEAD, clamped
        self.attention = nn.ModuleDict({"self": Projections(width), "output": Dense(width, width, normed=True)})
        self.intermediate, self.output = Dense(width, hidden, normed=False), Dense(hidden, width, normed=True)

    def forward(self, x: Tensor, attends: Tensor) -> Tensor:
        """x: (B, N, E); attends: (B, N, N) bool, True where a row's token sees a column's."""
        part = self.attention["self"]
        q, k, v = (p(x).unflatten(-1, (self.heads, HEAD)).transpose(1, 2) for p in (part.query, part.key, part.value))
        scores = self._held(q @ k.transpose(-1, -2) * HEAD**-0.5)
        seen = scores.masked_fill(~attends[:, None], ABSENT).softmax(-1) @ v
        told = self.attention["output"]
        x = told.LayerNorm(told.dense(seen.transpose(1, 2).flatten(2)) + x)
        inner = self._held(F.gelu(self._held(self.intermediate.dense(x))))
        return self._held(self.output.LayerNorm(self._held(self.output.dense(inner)) + x))

    def _held(self, x: Tensor) -> Tensor:
        return x.clamp(-MOST, MOST) if self.clamped else x


class Bert(nn.Module):
    """The language backbone's `body.model`, without the pooler that some files have and GLIP never reads."""

    def __init__(self, shape: Shapes):
        super().__init__()
        self.embeddings = Lexicon(shape, "embeddings")
        hidden, width = shape["encoder.layer.0.intermediate.dense.weight"]
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(
            BertLayer(width, hidden, clamped=False) for _ in range(depth(shape, "encoder.layer"))
        )

    def forward(self, ids: Tensor, positions: Tensor, attends: Tensor) -> Tensor:
        """ids, positions: (B, N) int64; attends: (B, N, N) bool → (B, N, E)."""
        x: Tensor = self.embeddings(ids, positions)
        for layer in self.encoder.layer:
            x = layer(x, attends)
        return x
