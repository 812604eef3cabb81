"""Swin against transformers', the pyramid against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from saccade.benchmarks.glip_checkpoint import SMALL
from saccade.export.models.glip_swin import Pyramid, Swin


def test_swin_is_that_of_transformers_where_windows_reach_over_the_edge(
    weights: dict[str, Tensor], plain: Any, noise: Any
) -> None:
    from transformers import SwinBackbone, SwinConfig

    w = plain.under(weights, "backbone.body.")
    body = Swin({name: array.shape for name, array in w.items()})
    body.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    config = SwinConfig(
        image_size=(56, 76), embed_dim=SMALL.width, depths=list(SMALL.depths), num_heads=list(SMALL.heads),
        window_size=SMALL.window, out_features=["stage2", "stage3", "stage4"], drop_path_rate=0.0,
    )  # fmt: skip
    theirs = SwinBackbone(config).eval()
    lost = theirs.load_state_dict(for_transformers(w), strict=False)
    assert set(lost.missing_keys) == {"swin.layernorm.weight", "swin.layernorm.bias"}  # behind the last map, unread
    assert not lost.unexpected_keys
    pixels = noise(5, 2, 3, 56, 76)
    with torch.no_grad():
        for got, want in zip(body(pixels), theirs(pixels).feature_maps, strict=True):
            plain.close(got, want, 1e-4)


def for_transformers(w: dict[str, Any]) -> dict[str, Tensor]:
    """The names of transformers' Swin, whose queries, keys and values are apart."""
    found: dict[str, Any] = {}
    renamed = (
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("patch_embed.norm", "embeddings.norm"),
        ("layers.", "encoder.layers."),
        ("norm1.", "layernorm_before."),
        ("norm2.", "layernorm_after."),
        ("attn.proj", "attention.o_proj"),
        ("attn.relative", "attention.relative_position_bias.relative"),
    )
    for name, array in w.items():
        if name.startswith("norm"):
            found[f"hidden_states_norms.stage{int(name[4]) + 1}{name[5:]}"] = array
            continue
        if ".qkv." in name:
            base, _, kind = name.replace("layers.", "swin.encoder.layers.").partition(".attn.qkv.")
            for part, piece in zip("qkv", np.split(array, 3), strict=True):
                found[f"{base}.attention.{part}_proj.{kind}"] = piece
            continue
        for old, new in renamed:
            name = name.replace(old, new, 1)
        found[f"swin.{name}"] = array
    return {name: torch.from_numpy(array).float() for name, array in found.items()}


def test_the_pyramid_is_that_of_numpy(weights: dict[str, Tensor], plain: Any, noise: Any) -> None:
    w = plain.under(weights, "backbone.fpn.")
    fpn = Pyramid({name: array.shape for name, array in w.items()})
    fpn.load_state_dict({name: torch.from_numpy(array).float() for name, array in w.items()})
    maps = [noise(i, 1, SMALL.width * 2 ** (i + 1), 12 >> i, 8 >> i) for i in range(3)]
    inner = [np.einsum("ec,chw->ehw", w[f"fpn_inner{i + 2}.weight"][:, :, 0, 0], maps[i][0]) for i in range(3)]
    inner = [one + w[f"fpn_inner{i + 2}.bias"][:, None, None] for i, one in enumerate(inner)]
    for i in (1, 0):
        inner[i] = inner[i] + inner[i + 1].repeat(2, 1).repeat(2, 2)
    conv = lambda x, name: plain.plain_conv(x, w[f"{name}.weight"], w[f"{name}.bias"])  # noqa: E731
    want = [conv(one, f"fpn_layer{i + 2}") for i, one in enumerate(inner)]
    want.append(conv(want[2], "top_blocks.p6")[:, ::2, ::2])  # a stride of 2 is every second answer
    want.append(conv(np.maximum(want[3], 0), "top_blocks.p7")[:, ::2, ::2])
    with torch.no_grad():
        for got, right in zip(fpn(maps), want, strict=True):
            plain.close(got[0], right)
