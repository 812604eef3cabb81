"""open_clip's own layout: open_clip_config.json beside safetensors weights, renamed for transformers' CLIPModel.

    visual.transformer.resblocks.0.attn.in_proj_weight ──▶ vision_model.encoder.layers.0.self_attn.{q,k,v}_proj.weight

Plain vision transformers with CLIP's text tower only; what differs from that by configuration is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from saccade.export.load import clip_tokenizer
from saccade.export.preprocessing import preprocess_of_open_clip
from saccade.export.recipe import Checkpoint, Recipe
from saccade.export.recipes.clip import build
from saccade.runtime.errors import ExportError, UnknownModel

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio", "ls_init_value", "patch_dropout"}
TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio", "ls_init_value"}
_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_WHOLE = {
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "logit_scale": "logit_scale",
}
_TURNED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}
_IGNORED = {"attn_mask"}


def read(checkpoint: Checkpoint) -> Recipe:
    """The recipe of an open_clip folder. Raises UnknownModel for an architecture that is not CLIP's ViT."""
    import torch
    from transformers import CLIPModel

    said = checkpoint.json(CONFIG)
    config = _config(checkpoint, said.get("model_cfg", {}))
    model = CLIPModel(config)
    named = {name: torch.from_numpy(array) for name, array in renamed(_weights(checkpoint), checkpoint.id)}
    try:
        model.load_state_dict(named, strict=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:240]
        raise ExportError(
            f"[export] {checkpoint.id}: weights do not fit {CONFIG}: {text}", hint="fetch it again"
        ) from None
    preprocess = preprocess_of_open_clip(checkpoint, said.get("preprocess_cfg", {}), config.vision_config.image_size)
    spec, data = clip_tokenizer(checkpoint, config.text_config.max_position_embeddings)
    return build(model.eval().requires_grad_(False), checkpoint, preprocess, spec, data)


def renamed(weights: Mapping[str, np.ndarray], name: str) -> Iterator[tuple[str, np.ndarray]]:
    """open_clip's weights under transformers' names, in float32. Raises ExportError for a weight that has no place."""
    for key, array in weights.items():
        key = key.removeprefix("module.").removeprefix("text.")
        array = array.astype(np.float32)
        found = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", key)
        if key in _IGNORED:
            continue
        if key in _WHOLE:
            yield _WHOLE[key], array
        elif key in _TURNED:
            yield _TURNED[key], np.ascontiguousarray(array.T)
        elif found:
            vision, number, part, kind = found.groups()
            yield from _layer(vision, number, part, kind, array)
        else:
            raise ExportError(f"[export] {name}: the weight {key} has no place in a CLIP model", hint=_PLAIN)


_PLAIN = "only CLIP's vision transformer and text tower are read from open_clip's layout"


def _layer(
    vision: str | None, number: str, part: str, kind: str, array: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    base = f"{'vision' if vision else 'text'}_model.encoder.layers.{number}"
    if part == "attn.in_proj":
        for letter, third in zip("qkv", np.split(array, 3), strict=True):
            yield f"{base}.self_attn.{letter}_proj.{kind}", np.ascontiguousarray(third)
    elif part in _LAYER:
        yield f"{base}.{_LAYER[part]}.{kind}", array
    else:
        raise ExportError(f"[export] the weight resblocks.{number}.{part} has no place in a CLIP model", hint=_PLAIN)


def _config(checkpoint: Checkpoint, said: Mapping[str, Any]) -> Any:
    from transformers import CLIPConfig

    seen, read = dict(said.get("vision_cfg", {})), dict(said.get("text_cfg", {}))
    odd = [k for k, v in (*((k, seen[k]) for k in set(seen) - VISION), *((k, read[k]) for k in set(read) - TEXT)) if v]
    odd += [k for k in set(said) - {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"} if said[k]]
    odd += [k for k in ("ls_init_value",) if seen.get(k) or read.get(k)]
    if odd or not isinstance(seen.get("layers"), int) or "embed_dim" not in said:
        why = f"has {', '.join(sorted(odd))}" if odd else "describes no vision transformer"
        raise UnknownModel(f"[export] {checkpoint.id}: {CONFIG} {why}, not known here", hint=_PLAIN)
    act = "quick_gelu" if said.get("quick_gelu") else "gelu"
    width, high = seen["width"], read["width"]
    return CLIPConfig(
        projection_dim=said["embed_dim"],
        vision_config={
            "hidden_size": width,
            "intermediate_size": int(width * seen.get("mlp_ratio", 4.0)),
            "num_hidden_layers": seen["layers"],
            "num_attention_heads": width // seen.get("head_width", 64),
            "image_size": seen["image_size"],
            "patch_size": seen["patch_size"],
            "hidden_act": act,
            "projection_dim": said["embed_dim"],
        },
        text_config={
            "hidden_size": high,
            "intermediate_size": int(high * read.get("mlp_ratio", 4.0)),
            "num_hidden_layers": read["layers"],
            "num_attention_heads": read["heads"],
            "max_position_embeddings": read.get("context_length", 77),
            "vocab_size": read.get("vocab_size", 49408),
            "hidden_act": act,
            "projection_dim": said["embed_dim"],
            # 2 selects pooling at the largest id, which is open_clip's argmax; the true end token is the largest.
            "eos_token_id": 2,
            "bos_token_id": 0,
            "pad_token_id": 1,
        },
        attn_implementation="eager",
    )


def _weights(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = next((checkpoint.folder / name for name in WEIGHTS if (checkpoint.folder / name).is_file()), Path())
    if not file.is_file():
        raise ExportError(f"[export] {checkpoint.id}: no {WEIGHTS[0]}", hint="fetch the safetensors file of the model")
    try:
        return {name: tensor.float().numpy() for name, tensor in load_file(file).items()}
    except SafetensorError as error:
        raise ExportError(f"[export] {checkpoint.id}/{file.name}: {str(error)[:120]}", hint="fetch it again") from None
