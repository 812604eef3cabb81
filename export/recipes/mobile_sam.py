"""MobileSAM's official file: SAM's prompt encoder and mask decoder behind a TinyViT (arXiv 2306.14289).

    image_encoder.{patch_embed,layers,neck}.* ──as they are──▶ TinyViT
    prompt_encoder.*, mask_decoder.*          ──as SAM's────▶ SamModel's decoder

https://github.com/ChaoningZhang/MobileSAM
"""

from __future__ import annotations

from typing import Any

from saccade.export.load import hushed
from saccade.export.preprocessing import preprocess_of_sam
from saccade.export.recipe import Checkpoint, Recipe
from saccade.export.recipes.sam import build
from saccade.export.recipes.sam_official import fill, prompt_configs, renamed
from saccade.export.state_dict import load
from saccade.runtime.errors import ExportError

SIDE = 1024
"""Pixels a side of the input: the released model's; no tensor's shape tells."""
_ENCODER = "image_encoder."
_IGNORED = ("norm_head.", "head.")
"""The classifier that TinyViT was trained as; nothing reads it."""


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of an official MobileSAM file."""
    from saccade.export.models.tiny_vit import TinyViT

    assert checkpoint.weights is not None
    weights = load(checkpoint.weights)
    seen = {name.removeprefix(_ENCODER): tensor for name, tensor in weights.items() if name.startswith(_ENCODER)}
    seen = {name: tensor for name, tensor in seen.items() if not name.startswith(_IGNORED)}
    rest = {name: tensor for name, tensor in weights.items() if not name.startswith(_ENCODER)}
    try:
        encoder, configs = TinyViT(seen), prompt_configs(weights, side=SIDE)
    except KeyError as error:
        raise ExportError(f"[export] {checkpoint.id}: no weight {error}", hint="fetch the file again") from None
    # attention_bias_idxs is a table of places that some versions save; here it is computed.
    tensors = {n: t for n, t in seen.items() if not n.endswith((".attention_bias_idxs", ".num_batches_tracked"))}
    counted = {n: t for n, t in encoder.state_dict().items() if n.endswith(".num_batches_tracked")}
    fill(encoder, {**{name: tensor.float() for name, tensor in tensors.items()}, **counted}, checkpoint.id)
    model = _prompted(configs, rest, checkpoint.id)
    return build(model, encoder, checkpoint, preprocess_of_sam(checkpoint, SIDE, squash=False), "mobile_sam")


def _prompted(configs: dict[str, Any], weights: dict[str, Any], name: str) -> Any:
    """A SamModel with the prompt encoder and mask decoder of `weights`, and no picture encoder."""
    import torch
    from transformers import SamConfig, SamModel

    positions = weights["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape[1]
    with hushed():
        config = SamConfig(vision_config={"num_hidden_layers": 0, "num_pos_feats": positions}, **configs)
        model = SamModel(config)
    model.vision_encoder = torch.nn.Identity()
    fill(model, renamed(weights), name)
    return model
