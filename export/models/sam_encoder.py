"""SAM's picture encoder (arXiv 2304.02643, §3 and appendix A): a plain ViT with windows and relative positions.

    pixels (B, 3, S, S) ──patches──▶ (B, h w, E) ──blocks──▶ (B, h w, E) ──neck──▶ embedding (B, C, h, w)

The forward is written anew over the weights of transformers' SamVisionEncoder, for what engines are good at:

- tokens stay a matrix (B, h w, E): every product is one MatMul behind its LayerNorm, which is what int8 wants
- projections come before the windows are padded, and after: 4,096 tokens in place of 4,900
- that is exact: a padded token is zero behind the norm, so its projections are their biases; a key's bias adds the same
  to all scores of a query, and a value's bias adds itself to every answer. So only queries keep a bias, the values'
  moves behind the output projection, and padded keys and values are plain zeros, which are attended as in the original
- relative positions are MatMul with a table a row (and a column), and the attention is one node
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from saccade.kernels.relpos_attention.onnx import DOMAIN, NAME, VERSION


def relpos_attention(q: Tensor, k: Tensor, v: Tensor, rh: Tensor, rw: Tensor, scale: float) -> Tensor:
    """softmax(scale · q kᵀ + rh[n, row m] + rw[n, column m]) v; one `saccade::RelPosAttention` node when exported.

    q, k, v: (B, A, N, D); rh, rw: (B, A, N, Hk) and (B, A, N, Wk), N = Hk Wk. arXiv 2112.01526, eq. 4.
    """
    if torch.compiler.is_exporting():
        node: Tensor = torch.onnx.ops.symbolic(
            f"{DOMAIN}::{NAME}",
            (q, k, v, rh, rw),
            attrs={"scale": scale},
            dtype=q.dtype,
            shape=q.shape,
            version=VERSION,
        )
        return node
    heads = []
    for a in range(q.shape[1]):  # one head's bias at a time: at real size all of them are 0.8 GB a picture
        bias = (rh[:, a, :, :, None] + rw[:, a, :, None, :]).flatten(-2)
        heads.append(F.scaled_dot_product_attention(q[:, a], k[:, a], v[:, a], attn_mask=bias, scale=scale))
    return torch.stack(heads, 1)


class Block(nn.Module):
    """One transformer block; window 0 means attention over the whole picture."""

    def __init__(self, layer: Any, grid: int):
        super().__init__()
        attention = layer.attn
        self.norm1, self.norm2, self.mlp = layer.layer_norm1, layer.layer_norm2, layer.mlp
        self.heads, self.scale = attention.num_attention_heads, float(attention.scale)
        self.grid, self.window = grid, layer.window_size or grid
        self.padding = -grid % self.window
        for name, weight in zip(("wq", "wk", "wv"), attention.qkv.weight.chunk(3), strict=True):
            self.register_buffer(name, weight.detach().T.contiguous())
        width = attention.proj.weight.shape[0]
        bias = torch.zeros(3 * width) if attention.qkv.bias is None else attention.qkv.bias.detach()
        self.register_buffer("bq", bias[:width].clone())
        self.register_buffer("wo", attention.proj.weight.detach().T.contiguous())
        self.register_buffer("bo", attention.proj.weight.detach() @ bias[2 * width :] + attention.proj.bias.detach())
        for name, table in (
            ("rows", _table(attention, "h", self.window)),
            ("cols", _table(attention, "w", self.window)),
        ):
            self.register_buffer(name, table)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, h w, E)."""
        seen = self.norm1(x)
        q, k, v = (self._windows(y) for y in (seen @ self.wq + self.bq, seen @ self.wk, seen @ self.wv))
        side, depth = self.window, q.shape[-1]
        square = q.reshape(-1, self.heads, side, side, depth)
        rh = (square @ self.rows).reshape(-1, self.heads, side * side, side)
        rw = (square.transpose(2, 3) @ self.cols).transpose(2, 3).reshape(-1, self.heads, side * side, side)
        x = x + (self._whole(relpos_attention(q, k, v, rh, rw, self.scale)) @ self.wo + self.bo)
        return x + self.mlp(self.norm2(x))

    def _windows(self, y: Tensor) -> Tensor:
        """(B, h w, E) → (B windows, A, side², D), zeros where a window reaches over the edge."""
        grid, side, padding = self.grid, self.window, self.padding
        y = y.reshape(-1, grid, grid, y.shape[-1])
        if padding:
            y = F.pad(y, (0, 0, 0, padding, 0, padding))
        n = (grid + padding) // side
        y = y.reshape(-1, n, side, n, side, self.heads, y.shape[-1] // self.heads)
        return y.permute(0, 1, 3, 5, 2, 4, 6).reshape(-1, self.heads, side * side, y.shape[-1])

    def _whole(self, y: Tensor) -> Tensor:
        """(B windows, A, side², D) → (B, h w, E), without what lies over the edge."""
        grid, side = self.grid, self.window
        n = (grid + self.padding) // side
        y = y.reshape(-1, n, n, self.heads, side, side, y.shape[-1]).permute(0, 1, 4, 2, 5, 3, 6)
        y = y.reshape(-1, n * side, n * side, self.heads * y.shape[-1])
        if self.padding:
            y = y[:, :grid, :grid]
        return y.reshape(-1, grid * grid, y.shape[-1])


class Neck(nn.Module):
    """Two convolutions, each with a norm over channels: (B, h w, E) → (B, C, h, w)."""

    def __init__(self, neck: Any, grid: int):
        super().__init__()
        self.grid = grid
        self.register_buffer("reduce", neck.conv1.weight.detach().flatten(1).T.contiguous())
        self.norm1, self.conv, self.norm2 = neck.layer_norm1, neck.conv2, neck.layer_norm2
        self.norm1.data_format = self.norm2.data_format = "channels_last"

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, h w, E)."""
        x = self.norm1(x @ self.reduce).transpose(1, 2).unflatten(2, (self.grid, self.grid))
        x = self.norm2(self.conv(x).flatten(2).transpose(1, 2))
        return x.transpose(1, 2).unflatten(2, (self.grid, self.grid))


class Encoder(nn.Module):
    """A SamVisionEncoder's weights under the forward that is described above. It takes the encoder over."""

    def __init__(self, encoder: Any):
        super().__init__()
        patch = encoder.patch_embed.projection
        self.patch = patch.kernel_size[0]
        self.grid = encoder.config.image_size // self.patch
        self.register_buffer("embed", patch.weight.detach().flatten(1).T.contiguous())
        start = patch.bias.detach()
        if encoder.pos_embed is not None:
            start = start + encoder.pos_embed.detach().flatten(1, 2)
        self.register_buffer("start", start)
        self.blocks = nn.ModuleList(Block(layer, self.grid) for layer in encoder.layers)
        self.neck = Neck(encoder.neck, self.grid)

    def forward(self, pixels: Tensor) -> Tensor:
        """pixels: (B, 3, S, S) → (B, C, h, w)."""
        n, k = self.grid, self.patch
        patches = (
            pixels.reshape(-1, pixels.shape[1], n, k, n, k)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(-1, n * n, self.embed.shape[0])
        )
        x = patches @ self.embed + self.start
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.neck(x)
        return embedding


def _table(attention: Any, axis: str, side: int) -> Tensor:
    """(side, D, side): for each row (or column) of queries what its keys' rows add; zeros without such positions."""
    if not attention.use_rel_pos:
        depth = attention.qkv.weight.shape[1] // attention.num_attention_heads
        return torch.zeros(side, depth, side)
    table: Tensor = attention.get_rel_pos(side, side, getattr(attention, f"rel_pos_{axis}"))
    return table.detach().transpose(1, 2).contiguous()
