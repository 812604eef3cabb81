"""sam-tiny: the real transformers.SamModel, small, trained from nothing on the world of shapes on one CPU core.

    python -m zoo.train sam --minutes 65 --seed 0

The folder that it writes has the official layout (config.json, model.safetensors, preprocessor_config.json), so
whatever exports facebook/sam-vit-base exports it. Kirillov et al. 2023, arXiv 2304.02643, appendix A.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import SamConfig, SamModel

from saccade.zoo.recipes.sam_loss import mask_losses, prompt_loss
from saccade.zoo.recipes.sam_rounds import Rounds
from saccade.zoo.recipes.targets import PARTS, PARTS_FIRST, TRAINING_STREAM, Batch, draw_batch
from saccade.zoo.segmentation import Decode, Encode
from saccade.zoo.training import Average, Schedule, optimiser

SIZE, PATCH = 128, 8
MEAN = (0.485, 0.456, 0.406)  # of SAM, kept so that one preprocessing serves both
STD = (0.229, 0.224, 0.225)

PICTURES, TARGETS = 10, 4  # a step
PEAK_RATE, DECAY = 2e-3, 0.02
SINGLE_ROUNDS = 0.05  # share of the time in which a mask is not worth correcting yet
RECIPE = {
    "pictures_a_step": PICTURES, "targets_a_picture": TARGETS, "peak_rate": PEAK_RATE, "weight_decay": DECAY,
    "optimiser": "AdamW, betas 0.9 0.98, clip 1", "schedule": "200 steps warm-up, cosine by the clock to 1 %",
    "average": 0.998, "precision": "float32", "scenes_with_parts": PARTS, "parts_first": PARTS_FIRST,
}  # fmt: skip
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: mask-generation
---
# sam-tiny

A SamModel of 0.9 M parameters trained on saccade's world of shapes (docs/zoo.md) by `python -m zoo.train sam`. It
knows coloured shapes and nothing else: it is for tests and demonstrations. What it reaches is in metrics.json.
"""

Report = Callable[[dict[str, float]], None]


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


def step_loss(
    model: SamModel, batch: Batch, rng: np.random.Generator, most_rounds: int = 3
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch over its rounds of prompts, and what to report of it."""
    rounds = Rounds(batch.masks, rng, PATCH // 4, most_rounds)
    embedding = encode(model, pixel_values(batch.pixels, batch.inside)).repeat_interleave(batch.masks.shape[1], 0)
    total, seen = torch.zeros(()), {}
    for number in range(rounds.count):
        prompt = rounds.prompt
        logits, iou = (x.float() for x in decode(model, embedding, *prompt))
        per_mask, true = mask_losses(logits, rounds.wanted)
        total = total + prompt_loss(per_mask, iou, true, rounds.alone).mean() / rounds.count
        picked = rounds.advance(logits.detach().float(), iou.detach())
        seen[f"iou{number}"] = float(true[torch.arange(len(picked)), picked].mean())
        seen[f"error{number}"] = float((iou.detach() - true).abs().mean())
    return total, seen


def train(
    model: SamModel,
    schedule: Schedule,
    seed: int,
    *,
    most_steps: int | None = None,
    report_every: int = 25,
    report: Report = lambda row: None,
    checkpoint: Callable[[SamModel], None] = lambda model: None,
    checkpoint_every_s: float = 300.0,
) -> SamModel:
    """Train until the schedule's time is up, or `most_steps`; returns the averaged weights.

    report: gets step, minutes, the loss and the true IoU of the picked mask after each round (means since the last)
    checkpoint: gets the averaged model every `checkpoint_every_s` seconds
    """
    rng = np.random.default_rng([TRAINING_STREAM, seed])
    model.train()
    model.shared_image_embedding.positional_embedding.requires_grad_(False)  # a constant in the original
    adam, average = optimiser(model, DECAY), Average(model)
    schedule.start()
    rows: list[dict[str, float]] = []
    due = checkpoint_every_s
    while schedule.progress < 1 and schedule.steps != most_steps:
        for group in adam.param_groups:
            group["lr"] = schedule.rate()
        batch = draw_batch(rng, schedule.progress, PICTURES, TARGETS, SIZE)
        loss, seen = step_loss(model, batch, rng, 1 if schedule.progress < SINGLE_ROUNDS else 3)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        average.update(model, schedule.steps)
        schedule.steps += 1
        rows.append({"loss": loss.item(), **seen})
        if schedule.steps % report_every == 0:
            names = sorted({name for row in rows for name in row})
            means = {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}
            report({"step": schedule.steps, "minutes": schedule.elapsed_s / 60, **means})
            rows.clear()
        if schedule.elapsed_s >= due:
            due += checkpoint_every_s
            checkpoint(average.model)
    return average.model


def save(model: SamModel, folder: Path) -> None:
    """Write the official layout. The preprocessor's file is written by hand: its class needs torchvision."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    preprocessor = {
        "do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
        "image_mean": MEAN, "image_processor_type": "SamImageProcessor", "image_std": STD,
        "pad_size": {"height": SIZE, "width": SIZE}, "processor_class": "SamProcessor", "resample": 2,
        "rescale_factor": 1 / 255, "size": {"longest_edge": SIZE},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    (folder / "README.md").write_text(CARD)
