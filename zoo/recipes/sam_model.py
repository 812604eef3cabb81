"""sam-tiny's network: transformers.SamModel at a small size, and its two halves as training and measuring call them.

pixels ──encode──▶ embedding, prompts ──decode──▶ four masks and their predicted IoU
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import SamConfig, SamModel

from saccade.zoo.segmentation import Decode, Encode

SIZE, PATCH = 128, 8
MEAN = (0.485, 0.456, 0.406)  # of SAM, kept so that one preprocessing serves both
STD = (0.229, 0.224, 0.225)


def config() -> SamConfig:
    """4 layers of 96 for 16 x 16 patches, windows of 8 and two global layers; a decoder of 96."""
    vision = {
        "image_size": SIZE, "patch_size": PATCH, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3,
        "window_size": 8, "global_attn_indexes": [1, 3], "mlp_ratio": 3.0, "output_channels": 96, "num_pos_feats": 48,
        "initializer_range": 0.02,
        "scale": 1.0,  # of the positional Gaussian; transformers would take hidden_size // 2, the original has 1
    }  # fmt: skip
    prompt = {"hidden_size": 96, "image_size": SIZE, "patch_size": PATCH, "mask_input_channels": 16}
    decoder = {"hidden_size": 96, "mlp_dim": 192, "num_attention_heads": 3, "iou_head_hidden_dim": 96}
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)


def new_model(seed: int) -> SamModel:
    """A fresh model with PyTorch's own start values: those of the class are made for fine-tuning (std 1e-10)."""
    torch.manual_seed(seed)
    model = SamModel(config())
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.reset_parameters()
        elif isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.5)
    torch.nn.init.normal_(model.vision_encoder.pos_embed, std=0.1)
    torch.nn.init.normal_(model.shared_image_embedding.positional_embedding, std=1.0)
    return model


def sharpen(model: SamModel, factor: float) -> None:
    """Multiply the mask logits by `factor` and divide what is given back as a mask by it: the same masks and scores.

    Soft targets teach gentle logits: one grid cell of 64 is worth few units, so a mask moves more with the threshold
    than one of SAM, and its stability, which is counted in units, would fail the defaults made for SAM.
    """
    with torch.no_grad():
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight *= factor
            mlp.proj_out.bias *= factor
        model.prompt_encoder.mask_embed.conv1.weight /= factor


def pixel_values(pixels: NDArray[np.uint8], inside: NDArray[np.int64] | None = None) -> torch.Tensor:
    """(N, 3, S, S) float32 in SAM's normalisation from (N, S, S, 3) uint8.

    inside: (N, 2) height and width of each picture within its square; beyond them the normalised values are 0
    """
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    values = scaled.sub_(mean).div_(std).contiguous()
    if inside is not None:
        for value, (height, width) in zip(values, inside, strict=True):
            value[:, height:] = 0
            value[:, :, width:] = 0
    return values


def encode(model: SamModel, values: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) embeddings of (B, 3, S, S) pictures, with gradients."""
    embedding: torch.Tensor = model.vision_encoder(values).last_hidden_state
    return embedding


def decode(
    model: SamModel,
    embedding: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    has_mask: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """All four masks of each prompt, from the modules of the class: its own forward gives three or one of them.

    embedding: (Q, C, h, w), one row a prompt; points: (Q, N, 2) x, y pixels; labels: (Q, N) 1, 0, 2 and 3 for a box's
    corners, -1 for "not a point"; mask: (Q, 4h, 4w) logits; has_mask: (Q,) bool
    Returns logits (Q, 4, 4h, 4w) and predicted IoU (Q, 4). SamModel takes one mask a picture, this one a prompt.
    """
    prompts, decoder = model.prompt_encoder, model.mask_decoder
    sparse = prompts._embed_points(points[:, None], labels[:, None], pad=False)
    for corner in (2, 3):
        sparse = sparse + (labels == corner)[:, None, :, None] * prompts.point_embed[corner].weight
    none = prompts.no_mask_embed.weight[:, :, None, None]
    dense = none
    if has_mask.any():
        dense = torch.where(has_mask[:, None, None, None], prompts.mask_embed(mask[:, None]), none)
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(labels), 1, -1, -1), sparse], 2)
    place = model.get_image_wide_positional_embeddings()
    queries, keys = decoder.transformer(tokens, embedding + dense, place, attention_similarity=None)
    return _masks(decoder, queries[:, 0], keys[:, 0], embedding.shape[2:])


def _masks(
    decoder: torch.nn.Module, queries: torch.Tensor, keys: torch.Tensor, grid: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    picture = keys.transpose(1, 2).unflatten(2, grid)
    fine = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(picture)))
    fine = decoder.activation(decoder.upscale_conv2(fine))
    hyper = [mlp(queries[:, 1 + k]) for k, mlp in enumerate(decoder.output_hypernetworks_mlps)]
    logits = (torch.stack(hyper, 1) @ fine.flatten(2)).unflatten(2, fine.shape[2:])
    return logits, decoder.iou_prediction_head(queries[:, 0])


def halves(model: SamModel) -> tuple[Encode, Decode]:
    """(encode, decode) on arrays, as segmentation.one_click and its neighbours want them."""

    def encode_pictures(pixels: NDArray[np.uint8]) -> torch.Tensor:
        with torch.no_grad():
            return encode(model, pixel_values(pixels))

    def decode_prompts(
        embeddings: torch.Tensor,
        picture: NDArray[np.int64],
        points: NDArray[np.float32],
        labels: NDArray[np.int64],
        mask: NDArray[np.float32],
        has_mask: NDArray[np.float32],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        asked = (torch.from_numpy(x) for x in (points, labels, mask, has_mask > 0))
        with torch.no_grad():
            logits, iou = decode(model, embeddings[torch.from_numpy(picture)], *asked)
        return logits.numpy(), iou.numpy()

    return encode_pictures, decode_prompts
