"""sam-tiny: the real transformers.SamModel, small, trained from nothing on the world of shapes on one CPU core.

    python -m zoo.train sam --minutes 70 --seed 0

The folder that it writes has the official layout (config.json, model.safetensors, preprocessor_config.json), so
whatever exports facebook/sam-vit-base exports it. Kirillov et al. 2023, arXiv 2304.02643, appendix A.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import SamModel

from saccade.zoo.recipes.sam_loss import mask_losses, prompt_loss
from saccade.zoo.recipes.sam_model import MEAN, PATCH, SIZE, STD, decode, encode, new_model, pixel_values, sharpen
from saccade.zoo.recipes.sam_rounds import Rounds
from saccade.zoo.recipes.targets import NOTHING, PARTS, PARTS_FIRST, TRAINING_STREAM, Batch, draw_batch
from saccade.zoo.training import Average, Schedule, optimiser

PICTURES, TARGETS = 10, 4  # a step
PEAK_RATE, DECAY = 2e-3, 0.02
SHARPER = 4.0  # what the mask logits of a saved model are multiplied by; sam_model.sharpen
SINGLE_ROUNDS = 0.05  # share of the time in which a mask is not worth correcting yet
RECIPE = {
    "pictures_a_step": PICTURES, "targets_a_picture": TARGETS, "peak_rate": PEAK_RATE, "weight_decay": DECAY,
    "optimiser": "AdamW, betas 0.9 0.98, clip 1", "schedule": "200 steps warm-up, cosine by the clock to 1 %",
    "average": 0.998, "precision": "float32", "scenes_with_parts": PARTS, "parts_first": PARTS_FIRST,
    "clicks_on_nothing": NOTHING, "logits_scaled_at_saving": SHARPER,
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


def step_loss(
    model: SamModel, batch: Batch, rng: np.random.Generator, most_rounds: int = 3
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch over its rounds of prompts, and what to report of it."""
    rounds = Rounds(batch.masks, batch.backdrop, rng, PATCH // 4, most_rounds)
    embedding = encode(model, pixel_values(batch.pixels, batch.inside)).repeat_interleave(batch.masks.shape[1], 0)
    total, seen = torch.zeros(()), {}
    for number in range(rounds.count):
        logits, iou = decode(model, embedding, *rounds.prompt)
        per_mask, true = mask_losses(logits, rounds.wanted)
        total = total + prompt_loss(per_mask, iou, true, rounds.alone).mean() / rounds.count
        picked = rounds.advance(logits.detach(), iou.detach())
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


def start(seed: int, folder: Path | None = None) -> SamModel:
    """What a training begins with: a fresh model, or that of a folder as it was before it was saved."""
    if folder is None:
        return new_model(seed)
    model = SamModel.from_pretrained(folder)
    sharpen(model, 1 / SHARPER)
    return model


def save(model: SamModel, folder: Path) -> None:
    """Write the official layout, with sharper logits.

    The preprocessor's file is written by hand: its class needs torchvision.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sharper = copy.deepcopy(model)
    sharpen(sharper, SHARPER)
    sharper.save_pretrained(folder)
    preprocessor = {
        "do_convert_rgb": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
        "image_mean": MEAN, "image_processor_type": "SamImageProcessor", "image_std": STD,
        "pad_size": {"height": SIZE, "width": SIZE}, "processor_class": "SamProcessor", "resample": 2,
        "rescale_factor": 1 / 255, "size": {"longest_edge": SIZE},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    (folder / "README.md").write_text(CARD)
