"""clip-tiny: the real transformers.CLIPModel, small, trained from nothing on the world of shapes on one CPU core.

    python -m zoo.train clip --minutes 45 --seed 0

The folder that it writes has the official layout (config.json, model.safetensors, tokenizer.json,
tokenizer_config.json, preprocessor_config.json), so whatever exports openai/clip-vit-base-patch32 exports it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from saccade.zoo import tokenizer as words
from saccade.zoo.recipes.contrast import TRAINING_STREAM, UNNAMED, Batch, contrastive_loss, draw_batch, mix_at
from saccade.zoo.training import Average, Schedule, optimiser

SIZE, PATCH = 64, 8
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's CLIP, kept so that one preprocessing serves both
STD = (0.26862954, 0.26130258, 0.27577711)

PICTURES, NEAR_MISSES = 128, 96  # a step
PEAK_RATE, DECAY = 1.5e-3, 0.05
MAX_LOGIT_SCALE = 4.6052  # ln 100, as CLIP
RECIPE = {
    "pictures_a_step": PICTURES, "near_misses_a_step": NEAR_MISSES, "peak_rate": PEAK_RATE, "weight_decay": DECAY,
    "optimiser": "AdamW, betas 0.9 0.98, clip 1", "schedule": "200 steps warm-up, cosine by the clock to 1 %",
    "average": 0.998, "precision": "float32", "unnamed_colours": UNNAMED,
}  # fmt: skip
# The model card's head is where the Hugging Face layout keeps a checkpoint's licence.
CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: zero-shot-image-classification
---
# clip-tiny

A CLIPModel of 0.63 M parameters trained on saccade's world of shapes (docs/zoo.md) by `python -m zoo.train clip`. It
knows coloured shapes and nothing else: it is for tests and demonstrations. What it reaches is in metrics.json.
"""

Report = Callable[[dict[str, float]], None]


def config(vocab: CLIPTokenizer) -> CLIPConfig:
    """0.63 M parameters: 4 layers of 96 for 64 patches, 2 layers of 64 for at most 32 tokens, 64 shared dimensions.

    "gelu" in place of "quick_gelu": a step takes three quarters of the time.
    """
    shared = {"projection_dim": 64, "num_attention_heads": 4, "hidden_act": "gelu"}
    text = {
        "vocab_size": len(vocab), "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
        "max_position_embeddings": words.MAX_TOKENS, **shared,
        # transformers pools at the first eos token, unless its id is 2: then at the largest id (a legacy path)
        "bos_token_id": vocab.bos_token_id, "eos_token_id": vocab.eos_token_id, "pad_token_id": vocab.pad_token_id,
    }  # fmt: skip
    vision = {
        "image_size": SIZE, "patch_size": PATCH, "hidden_size": 96, "intermediate_size": 384,
        "num_hidden_layers": 4, **shared,
    }  # fmt: skip
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=shared["projection_dim"])


def new_model(vocab: CLIPTokenizer, seed: int) -> CLIPModel:
    """A fresh model. Patches and places start larger than stock: 0.02 is made for a width of 768, not of 96."""
    torch.manual_seed(seed)
    model = CLIPModel(config(vocab))
    vision = model.vision_model.embeddings
    torch.nn.init.normal_(vision.patch_embedding.weight, std=(3 * PATCH * PATCH) ** -0.5)
    torch.nn.init.normal_(vision.position_embedding.weight, std=0.2)
    torch.nn.init.normal_(model.text_model.embeddings.token_embedding.weight, std=0.1)
    torch.nn.init.normal_(model.text_model.embeddings.position_embedding.weight, std=0.03)
    return model


def pixel_values(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(N, 3, H, W) float32 in CLIP's normalisation from (N, H, W, 3) uint8 of the model's own size."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return scaled.sub_(mean).div_(std).contiguous()


def image_features(model: CLIPModel, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """(N, E) projected, not normalised."""
    return model.visual_projection(model.vision_model(pixel_values(pixels)).pooler_output)


def text_features(model: CLIPModel, vocab: CLIPTokenizer, texts: Sequence[str]) -> torch.Tensor:
    """(N, E) projected, not normalised."""
    tokens = vocab(list(texts), padding=True, truncation=True, return_tensors="pt")
    return model.text_projection(model.text_model(**tokens).pooler_output)


def encoders(
    model: CLIPModel, vocab: CLIPTokenizer
) -> tuple[Callable[[NDArray[np.uint8]], NDArray[np.float32]], Callable[[Sequence[str]], NDArray[np.float32]]]:
    """(encode_image, encode_text) on arrays, as evaluate.zero_shot and evaluate.retrieval want them."""

    def encode_image(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.no_grad():
            parts = [image_features(model, pixels[i : i + 128]) for i in range(0, len(pixels), 128)]
        found: NDArray[np.float32] = torch.cat(parts).numpy()
        return found

    def encode_text(texts: Sequence[str]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = text_features(model, vocab, texts).numpy()
        return found

    return encode_image, encode_text


def step_loss(model: CLIPModel, vocab: CLIPTokenizer, batch: Batch) -> torch.Tensor:
    """The contrastive loss of one batch."""
    images = torch.nn.functional.normalize(image_features(model, batch.pixels), dim=-1)
    texts = torch.nn.functional.normalize(text_features(model, vocab, batch.texts), dim=-1)
    return contrastive_loss(model.logit_scale.exp() * texts @ images.T, torch.from_numpy(batch.true))


def train(
    model: CLIPModel,
    vocab: CLIPTokenizer,
    schedule: Schedule,
    seed: int,
    *,
    most_steps: int | None = None,
    report_every: int = 50,
    report: Report = lambda row: None,
    checkpoint: Callable[[CLIPModel], None] = lambda model: None,
    checkpoint_every_s: float = 300.0,
) -> CLIPModel:
    """Train until the schedule's time is up, or `most_steps`; returns the averaged weights.

    report: gets step, minutes, loss (mean since the last report), rate and scale
    checkpoint: gets the averaged model every `checkpoint_every_s` seconds
    """
    rng = np.random.default_rng([TRAINING_STREAM, seed])
    adam, average = optimiser(model, DECAY), Average(model)
    schedule.start()
    losses: list[float] = []
    due = checkpoint_every_s
    while schedule.progress < 1 and schedule.steps != most_steps:
        rate = schedule.rate()
        for group in adam.param_groups:
            group["lr"] = rate
        batch = draw_batch(rng, mix_at(schedule.progress), PICTURES, NEAR_MISSES, SIZE)
        loss = step_loss(model, vocab, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
        average.update(model, schedule.steps)
        schedule.steps += 1
        losses.append(loss.item())
        if schedule.steps % report_every == 0:
            report({"step": schedule.steps, "minutes": schedule.elapsed_s / 60, "loss": float(np.mean(losses)),
                    "rate": rate, "scale": model.logit_scale.exp().item()})  # fmt: skip
            losses.clear()
        if schedule.elapsed_s >= due:
            due += checkpoint_every_s
            checkpoint(average.model)
    return average.model


def save(model: CLIPModel, vocab: CLIPTokenizer, folder: Path) -> None:
    """Write the official layout. The preprocessor's file is written by hand: its class needs torchvision."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    vocab.save_pretrained(folder)
    preprocessor = {
        "crop_size": {"height": SIZE, "width": SIZE}, "do_center_crop": True, "do_convert_rgb": True,
        "do_normalize": True, "do_rescale": True, "do_resize": True, "feature_extractor_type": "CLIPFeatureExtractor",
        "image_mean": MEAN, "image_processor_type": "CLIPImageProcessor", "image_std": STD, "resample": 3,
        "rescale_factor": 1 / 255, "size": {"shortest_edge": SIZE},
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")
    (folder / "README.md").write_text(CARD)
