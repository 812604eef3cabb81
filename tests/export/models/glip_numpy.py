"""GLIP's head in NumPy, place by place and loop by loop, from its papers: shares no code with saccade.export.models.

And what the tests compare by.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Array = np.ndarray


def deform_conv(x: Array, offset: Array, weight: Array, bias: Array, mask: Array, stride: int = 1) -> Array:
    """arXiv 1811.11168, eq. 1, one output number at a time. x: (C, H, W); offset: (18, h, w); mask: (9, h, w)."""
    made = np.zeros((len(weight), *mask.shape[1:]))
    for row in range(mask.shape[1]):
        for column in range(mask.shape[2]):
            for tap in range(9):
                y = row * stride - 1 + tap // 3 + offset[2 * tap, row, column]
                at = column * stride - 1 + tap % 3 + offset[2 * tap + 1, row, column]
                seen = bilinear(x, y, at) * mask[tap, row, column]
                made[:, row, column] += weight[:, :, tap // 3, tap % 3] @ seen
    return made + bias[:, None, None]


def bilinear(x: Array, row: float, column: float) -> Array:
    """The four pixels around a place, by their distance; those outside are zero. x: (C, H, W) → (C,)."""
    top, left = math.floor(row), math.floor(column)
    found = np.zeros(len(x))
    for y, at in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= y < x.shape[1] and 0 <= at < x.shape[2]:
            found += x[:, y, at] * (1 - abs(row - y)) * (1 - abs(column - at))
    return found


def softmax(x: Array) -> Array:
    made = np.exp(x - x.max(-1, keepdims=True))
    return made / made.sum(-1, keepdims=True)


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def norm(x: Array, w: dict[str, Array], name: str, eps: float = 1e-5) -> Array:
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: Array, w: dict[str, Array], name: str) -> Array:
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def gelu(x: Array) -> Array:
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def fused(maps: list[Array], t: Array, known: int, w: dict[str, Array], heads: int = 8) -> tuple[list[Array], Array]:
    """The fusion as published, every projection of every place made. maps: (C, h, w); t: (N, E), `known` of them
    words."""
    v = norm(np.concatenate([one.reshape(len(one), -1).T for one in maps]), w, "layer_norm_v")
    t = norm(t, w, "layer_norm_l")
    q, k = linear(v, w, "attn.v_proj"), linear(t, w, "attn.l_proj")
    value_v, value_t = linear(v, w, "attn.values_v_proj"), linear(t, w, "attn.values_l_proj")
    to_v, to_t = np.zeros_like(q), np.zeros_like(k)
    size = q.shape[1] // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        scores = q[:, part] @ k[:, part].T / math.sqrt(size)
        to_v[:, part] = softmax(scores[:, :known]) @ value_t[:known, part]
        to_t[:, part] = softmax(scores.T) @ value_v[:, part]
    v = v + w["gamma_v"] * linear(to_v, w, "attn.out_v_proj")
    t = t + w["gamma_l"] * linear(to_t, w, "attn.out_l_proj")
    sizes = [one.shape[1] * one.shape[2] for one in maps]
    parts = np.split(v, np.cumsum(sizes)[:-1])
    return [part.T.reshape(one.shape) for part, one in zip(parts, maps, strict=True)], t


def bert_layer(t: Array, known: int, w: dict[str, Array], heads: int) -> Array:
    """t: (N, E), of which the first `known` are seen."""
    q, k, v = (linear(t, w, f"attention.self.{name}") for name in ("query", "key", "value"))
    size, seen = q.shape[1] // heads, np.zeros_like(q)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        seen[:, part] = softmax(q[:, part] @ k[:known, part].T / math.sqrt(size)) @ v[:known, part]
    t = norm(t + linear(seen, w, "attention.output.dense"), w, "attention.output.LayerNorm", 1e-12)
    inner = gelu(linear(t, w, "intermediate.dense"))
    return norm(t + linear(inner, w, "output.dense"), w, "output.LayerNorm", 1e-12)


def dyconv(maps: list[Array], w: dict[str, Array]) -> list[Array]:
    """maps: (C, h, w), the finest first; the coarser map's offsets are the finer one's first numbers in memory."""
    mixed = []
    for level, here in enumerate(maps):
        said = plain_conv(here, w["offset.weight"], w["offset.bias"])
        offset, mask = said[:18], sigmoid(said[18:])
        seen = [_normed(w, 1, deform_conv(here, offset, *_kernel(w, 1), mask))]
        if level > 0:
            seen.append(_normed(w, 2, deform_conv(maps[level - 1], offset, *_kernel(w, 2), mask, 2)))
        if level + 1 < len(maps):
            _, h, width = maps[level + 1].shape
            few = offset.ravel()[: 18 * h * width].reshape(18, h, width)
            less = mask.ravel()[: 9 * h * width].reshape(9, h, width)
            small = _normed(w, 0, deform_conv(maps[level + 1], few, *_kernel(w, 0), less))
            seen.append(enlarged(small, *here.shape[1:]))
        shares = [_share(w, one) for one in seen]
        mixed.append(sum(one * share for one, share in zip(seen, shares, strict=True)) / len(seen))
    return [dynamic_relu(one, w) for one in mixed]


def _kernel(w: dict[str, Array], i: int) -> tuple[Array, Array]:
    return w[f"DyConv.{i}.conv.weight"], w[f"DyConv.{i}.conv.bias"]


def _normed(w: dict[str, Array], i: int, x: Array, groups: int = 16) -> Array:
    flat = x.reshape(groups, -1)
    flat = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-5)
    scale, shift = w[f"DyConv.{i}.bn.weight"], w[f"DyConv.{i}.bn.bias"]
    return flat.reshape(x.shape) * scale[:, None, None] + shift[:, None, None]


def _share(w: dict[str, Array], x: Array) -> float:
    said = float(w["AttnConv.1.weight"][0, :, 0, 0] @ x.mean((1, 2)) + w["AttnConv.1.bias"][0])
    return min(max(max(said, 0.0) + 3, 0.0), 6.0) / 6


def dynamic_relu(x: Array, w: dict[str, Array]) -> Array:
    """arXiv 2003.10027: two lines a channel; coefficients a1, b1, a2, b2."""
    inner = np.maximum(linear(x.mean((1, 2)), w, "relu.fc.0"), 0)
    said = np.clip(linear(inner, w, "relu.fc.2") + 3, 0, 6) / 6
    a1, b1, a2, b2 = np.split(said[:, None, None], 4)
    return np.maximum(x * ((a1 - 0.5) * 2 + 1) + b1 - 0.5, x * ((a2 - 0.5) * 2) + b2 - 0.5)


def plain_conv(x: Array, weight: Array, bias: Array) -> Array:
    still = np.zeros((18, *x.shape[1:]))
    return deform_conv(x, still, weight, bias, np.ones((9, *x.shape[1:])))


def enlarged(x: Array, height: int, width: int) -> Array:
    """Bilinear, the corners on the corners."""
    made = np.zeros((len(x), height, width))
    for row in range(height):
        for column in range(width):
            y = row * (x.shape[1] - 1) / max(height - 1, 1)
            made[:, row, column] = bilinear(x, y, column * (x.shape[2] - 1) / max(width - 1, 1))
    return made


def answers(maps: list[Array], t: Array, w: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Logits (Q, N), box numbers (Q, 4), centerness (Q,) of maps and words behind the tower."""
    unit = t / np.linalg.norm(t, axis=1, keepdims=True)
    told = linear(unit / 2, w, "dot_product_projection_text")
    logits, numbers, central = [], [], []
    for i, one in enumerate(maps):
        v = one.reshape(len(one), -1).T
        logits.append(v @ told.T / math.exp(w["log_scale"][0]) + unit @ w["bias_lang"] + w["bias0"][0])
        numbers.append((v @ w["bbox_pred.weight"][:, :, 0, 0].T + w["bbox_pred.bias"]) * w[f"scales.{i}.scale"][0])
        central.append(v @ w["centerness.weight"][0, :, 0, 0] + w["centerness.bias"][0])
    return np.concatenate(logits), np.concatenate(numbers), np.concatenate(central)


def boxes(numbers: Array, sizes: list[tuple[int, int]], height: int, width: int) -> Array:
    """The reference's decoding, in pixels with the last one inside, then as edges in [0, 1]."""
    made: list[Any] = []
    places = [(level, y, x) for level, (h, w) in enumerate(sizes) for y in range(h) for x in range(w)]
    for (level, y, x), (dx, dy, dw, dh) in zip(places, numbers, strict=True):
        cell = 8 * 2**level
        side, middle = 8 * cell, (cell - 1) / 2
        wide = math.exp(min(dw / 5, math.log(1000 / 16))) * side
        high = math.exp(min(dh / 5, math.log(1000 / 16))) * side
        cx, cy = dx / 10 * side + middle + x * cell, dy / 10 * side + middle + y * cell
        # A box ends behind its last pixel.
        x0, x1 = (min(max(e, 0), width) for e in (cx - (wide - 1) / 2, cx + (wide - 1) / 2 + 1))
        y0, y1 = (min(max(e, 0), height) for e in (cy - (high - 1) / 2, cy + (high - 1) / 2 + 1))
        made.append((x0 / width, y0 / height, x1 / width, y1 / height))
    return np.array(made)


def under(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The weights behind a prefix, in double precision, which NumPy's loops keep."""
    found = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    return {name: tensor.numpy().astype(np.float64) for name, tensor in found.items()}


def close(got: Any, want: Any, share: float = 2e-5) -> None:
    want = np.asarray(want)
    assert np.shape(got) == want.shape
    assert np.abs(np.asarray(got) - want).max() <= share * np.abs(want).max()
