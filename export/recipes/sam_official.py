"""SAM's official .pth: `image_encoder.*`, `prompt_encoder.*`, `mask_decoder.*`, renamed for transformers' SamModel.

    image_encoder.blocks.0.norm1.weight ──▶ vision_encoder.layers.0.layer_norm1.weight

The size is found from the tensors, never from the file's name. https://github.com/facebookresearch/segment-anything
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from saccade.export.load import hushed
from saccade.export.preprocessing import preprocess_of_sam
from saccade.export.recipe import Checkpoint, Recipe
from saccade.export.recipes.sam import build
from saccade.export.state_dict import load
from saccade.runtime.errors import ExportError

HEADS = 8
"""Of the mask decoder, in every released model; no tensor's shape tells."""
_NAMES = (
    (r"^image_encoder\.", "vision_encoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.blocks\.(\d+)\.norm(\d)\.", r".layers.\1.layer_norm\2."),
    (r"\.blocks\.", ".layers."),
    (r"\.neck\.0\.", ".neck.conv1."),
    (r"\.neck\.1\.", ".neck.layer_norm1."),
    (r"\.neck\.2\.", ".neck.conv2."),
    (r"\.neck\.3\.", ".neck.layer_norm2."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    (r"\.point_embeddings\.", ".point_embed."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.transformer\.layers\.(\d+)\.norm(\d)\.", r".transformer.layers.\1.layer_norm\2."),
    (r"\.transformer\.norm_final_attn\.", ".transformer.layer_norm_final_attn."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
)
_PERCEPTRON = re.compile(r"(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\.(.+)")
_MEND = "fetch the file again, or export from a transformers folder of the model"


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of an official SAM file (ViT-B, L, H or of any other size)."""
    from transformers import SamConfig, SamModel

    from saccade.export.models.sam_encoder import Encoder

    assert checkpoint.weights is not None
    weights = load(checkpoint.weights)
    try:
        config = SamConfig(vision_config=vision_config(weights), **prompt_configs(weights))
    except KeyError as error:
        raise ExportError(f"[export] {checkpoint.id}: no weight {error}", hint=_MEND) from None
    with hushed():
        model = SamModel(config)
    fill(model, renamed(weights), checkpoint.id)
    side = config.vision_config.image_size
    preprocess = preprocess_of_sam(checkpoint, side, squash=False)
    return build(model, Encoder(model.vision_encoder), checkpoint, preprocess, "sam")


def renamed(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Official names to transformers'. The position matrix, which transformers ties, gets both of its names."""
    ends = {"output_hypernetworks_mlps": 2, "iou_prediction_head": _last_layer(weights)}
    found = {}
    for name, tensor in weights.items():
        parts = _PERCEPTRON.fullmatch(name)
        if parts:
            base, layer, kind = parts[1], int(parts[2]), parts[3]
            end = ends[base.split(".")[1]]
            place = "proj_in" if layer == 0 else "proj_out" if layer == end else f"layers.{layer - 1}"
            found[f"{base}.{place}.{kind}"] = tensor.float()
            continue
        for old, new in _NAMES:
            name = re.sub(old, new, name)
        found[name] = tensor.float()
    positions = "shared_image_embedding.positional_embedding"
    if positions in found:
        found["prompt_encoder.shared_embedding.positional_embedding"] = found[positions]
    return found


def fill(model: Any, weights: Mapping[str, Any], name: str) -> None:
    """Give `model` the weights, every one of them and no other, ready to export. Raises ExportError."""
    want = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    if lost := sorted(set(want) - set(weights)):
        raise ExportError(f"[export] {name}: {len(lost)} weights are missing, {lost[0]} the first", hint=_MEND)
    if odd := sorted(set(weights) - set(want)):
        raise ExportError(f"[export] {name}: the weight {odd[0]} has no place in the model", hint=_MEND)
    for key, shape in want.items():
        if tuple(weights[key].shape) != shape:
            got = tuple(weights[key].shape)
            raise ExportError(f"[export] {name}: {key} is {got}, the other weights ask for {shape}", hint=_MEND)
    model.load_state_dict(dict(weights))
    model.eval().requires_grad_(False)


def vision_config(weights: Mapping[str, Any]) -> dict[str, Any]:
    """SamVisionConfig's fields from the shapes of `image_encoder.*`. Raises KeyError for a weight that is missing.

    A block whose table of relative positions spans the grid attends to all of it; the others' tells their window.
    """
    width, _, patch, _ = weights["image_encoder.patch_embed.proj.weight"].shape
    grid = weights["image_encoder.pos_embed"].shape[1]
    tables = [
        weights[f"image_encoder.blocks.{n}.attn.rel_pos_h"].shape for n in range(depth(weights, "image_encoder.blocks"))
    ]
    spans = [(length + 1) // 2 for length, _ in tables]
    return {
        "hidden_size": width,
        "num_hidden_layers": len(tables),
        "num_attention_heads": width // tables[0][1],
        "image_size": grid * patch,
        "patch_size": patch,
        "mlp_dim": weights["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
        "output_channels": weights["image_encoder.neck.0.weight"].shape[0],
        "window_size": next((span for span in spans if span != grid), 0),
        "global_attn_indexes": [n for n, span in enumerate(spans) if span == grid],
        "num_pos_feats": weights["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"].shape[1],
    }


def prompt_configs(weights: Mapping[str, Any], *, side: int = 0, patch: int = 16) -> dict[str, dict[str, Any]]:
    """The fields of SamConfig's prompt encoder and mask decoder, from the shapes.

    side, patch: of the input, where the picture encoder's weights do not say
    The reference's decoder has norms with torch's own epsilon of 1e-5; transformers' default is 1e-6.
    """
    if not side:
        patch = weights["image_encoder.patch_embed.proj.weight"].shape[2]
        side = weights["image_encoder.pos_embed"].shape[1] * patch
    width = weights["mask_decoder.iou_token.weight"].shape[1]
    block = "mask_decoder.transformer.layers.0"
    inner = weights[f"{block}.cross_attn_token_to_image.q_proj.weight"].shape[0]
    return {
        "prompt_encoder_config": {
            "hidden_size": width,
            "image_size": side,
            "patch_size": patch,
            "mask_input_channels": weights["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        },
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": weights[f"{block}.mlp.lin1.weight"].shape[0],
            "num_hidden_layers": depth(weights, "mask_decoder.transformer.layers"),
            "num_attention_heads": HEADS,
            "attention_downsample_rate": width // inner,
            "num_multimask_outputs": weights["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            "iou_head_depth": _last_layer(weights) + 1,
            "iou_head_hidden_dim": weights["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
            "layer_norm_eps": 1e-5,
        },
    }


def depth(weights: Mapping[str, Any], prefix: str) -> int:
    """How many numbered modules there are under `prefix`. Raises KeyError without any."""
    found = {int(match[1]) for name in weights if (match := re.match(re.escape(prefix) + r"\.(\d+)\.", name))}
    if not found:
        raise KeyError(f"{prefix}.0")
    return max(found) + 1


def _last_layer(weights: Mapping[str, Any]) -> int:
    return depth(weights, "mask_decoder.iou_prediction_head.layers") - 1
