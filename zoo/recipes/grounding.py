"""grounding-tiny: the real transformers.GroundingDinoForObjectDetection, small, trained from nothing on the world.

    python -m zoo.train grounding --minutes 70 --seed 0

The folder that it writes has the official layout (config.json, safetensors in two files, tokenizer.json,
preprocessor_config.json), so whatever exports IDEA-Research/grounding-dino-tiny exports it. Liu et al. 2023, arXiv
2303.05499.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import GroundingDinoForObjectDetection

from saccade.zoo import bert
from saccade.zoo.grounding_metrics import THRESHOLD
from saccade.zoo.recipes.grounding_batch import OBLONG, TRAINING_STREAM, Batch, draw_batch
from saccade.zoo.recipes.grounding_loss import Guides, answer_loss, proposal_loss
from saccade.zoo.recipes.grounding_model import MEAN, SIZE, STD, centres, forward, new_model
from saccade.zoo.recipes.grounding_prompts import KINDS, TWINS, UNNAMED
from saccade.zoo.training import Average, Schedule

PICTURES = 16  # a step
PEAK_RATE, DECAY, WARM_UP, FLOOR, CLIP = 1.5e-3, 0.01, 100, 0.02, 5.0
OFFSETS = 0.3  # the rate of the sampling offsets, share of the others'
GUIDED = 10.0  # the weight of the guides' distance, which is a share of the side
SHARD = "3500KB"  # of the weights in one file
RECIPE = {
    "pictures_a_step": PICTURES, "peak_rate": PEAK_RATE, "weight_decay": DECAY,
    "optimiser": "AdamW, betas 0.9 0.98, clip 5, sampling offsets at 0.3 of the rate",
    "schedule": "100 steps warm-up, cosine by the clock to 2 %", "average": 0.999, "precision": "bfloat16 autocast",
    "prompts": KINDS, "unnamed_colours": UNNAMED, "scenes_with_twins": TWINS, "oblong_pictures": OBLONG,
}  # fmt: skip
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-object-detection
---
# grounding-tiny

A GroundingDinoForObjectDetection of 1.06 M parameters trained on saccade's world of shapes (docs/zoo.md) by
`python -m zoo.train grounding`. It knows coloured shapes and nothing else: it is for tests and demonstrations. What it
reaches is in metrics.json.
"""

Report = Callable[[dict[str, float]], None]


def step_loss(
    model: GroundingDinoForObjectDetection, batch: Batch, guides: Guides, half: bool = True
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of one batch, and its two parts to report."""
    proposals, answers = forward(model, batch.pixels, batch.inside, batch.ids, half)
    boxes, meant, cued = (torch.from_numpy(part) for part in (batch.boxes, batch.meant, batch.cued))
    told = torch.from_numpy(batch.ids) > 0
    first = proposal_loss(proposals, centres(batch.inside), boxes, cued, told)
    second = answer_loss(answers, boxes, meant, told)
    third = guides(answers, torch.from_numpy(batch.anchors))
    parts = {"encoder": first.item(), "decoder": second.item(), "guides": third.item()}
    return first + second + GUIDED * third, parts


def optimiser(model: torch.nn.Module) -> torch.optim.AdamW:
    """AdamW that decays matrices only; each group's `scale` multiplies the rate."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        bare = parameter.ndim < 2 or "embed" in name and "bbox_embed" not in name
        scale = OFFSETS if "sampling_offsets" in name else 1.0
        groups.setdefault((0.0 if bare else DECAY, scale), []).append(parameter)
    told = [{"params": found, "weight_decay": decay, "scale": scale} for (decay, scale), found in groups.items()]
    return torch.optim.AdamW(told, lr=0.0, betas=(0.9, 0.98), fused=True)


def train(
    model: GroundingDinoForObjectDetection,
    schedule: Schedule,
    seed: int,
    *,
    most_steps: int | None = None,
    report_every: int = 50,
    report: Report = lambda row: None,
    checkpoint: Callable[[GroundingDinoForObjectDetection], None] = lambda model: None,
    checkpoint_every_s: float = 300.0,
) -> GroundingDinoForObjectDetection:
    """Train until the schedule's time is up, or `most_steps`; returns the averaged weights.

    report: gets step, minutes and the losses (means since the last); checkpoint: the averaged model now and then
    """
    rng = np.random.default_rng([TRAINING_STREAM, seed])
    model.train()
    guides = Guides(model.config.d_model)
    adam, average = optimiser(torch.nn.ModuleList([model, guides])), Average(model, 0.999)
    schedule.warm_up, schedule.floor = WARM_UP, FLOOR
    schedule.start()
    rows: list[dict[str, float]] = []
    due = checkpoint_every_s
    while schedule.progress < 1 and schedule.steps != most_steps:
        for group in adam.param_groups:
            group["lr"] = schedule.rate() * group["scale"]
        loss, seen = step_loss(model, draw_batch(rng, schedule.progress, PICTURES), guides)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        adam.step()
        adam.zero_grad()
        average.update(model, schedule.steps)
        schedule.steps += 1
        rows.append({**seen, "norm": norm.item()})
        if schedule.steps % report_every == 0:
            means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            report({"step": schedule.steps, "minutes": schedule.elapsed_s / 60, **means})
            rows.clear()
        if schedule.elapsed_s >= due:
            due += checkpoint_every_s
            checkpoint(average.model)
    return average.model


def start(seed: int, folder: Path | None = None) -> GroundingDinoForObjectDetection:
    """What a training begins with: a fresh model, or that of a folder to go on from."""
    return new_model(seed) if folder is None else load(folder)


def load(folder: Path) -> GroundingDinoForObjectDetection:
    return GroundingDinoForObjectDetection.from_pretrained(folder).eval()


def save(model: GroundingDinoForObjectDetection, folder: Path) -> None:
    """Write the official layout. The preprocessor's file is written by hand: its class needs torchvision."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config.threshold = THRESHOLD  # what an exported bundle takes as its own
    model.save_pretrained(folder, max_shard_size=SHARD)
    bert.build().save_pretrained(folder)
    preprocessor = {
        "do_convert_annotations": True, "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
        "format": "coco_detection", "image_mean": MEAN, "image_processor_type": "GroundingDinoImageProcessor",
        "image_std": STD, "processor_class": "GroundingDinoProcessor", "resample": 2, "rescale_factor": 1 / 255,
        "size": {"longest_edge": SIZE, "shortest_edge": SIZE},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    (folder / "README.md").write_text(CARD)
