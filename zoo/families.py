"""The families that the zoo trains: what train.py and metrics.py need to know of each, and nothing of how.

    FAMILIES["sam"]() -> Family: a new model, its training, its folder, its figures

A family is made when it is asked for, since that imports torch and transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Family:
    """What a recipe of the zoo gives. A model is a torch module."""

    peak_rate: float
    pictures: int  # a step
    recipe: Mapping[str, object]  # as metrics.json tells it
    start: Callable[[int, Path | None], Any]  # what a training begins with: of a seed, or of a folder to go on from
    load: Callable[[Path], Any]
    train: Callable[..., Any]  # (model, schedule, seed, *, report, checkpoint) -> the averaged model
    save: Callable[[Any, Path], None]
    quick: Callable[[Any], dict[str, float]]  # a few seconds' worth, for the curve
    measure: Callable[[Any], dict[str, Any]]  # everything that is reported
    measure_bundle: Callable[[Path], dict[str, Any]] | None = None  # where bundle.json does not hold the task's figures


def clip() -> Family:
    from transformers import CLIPModel, CLIPTokenizer

    from saccade.zoo import tokenizer
    from saccade.zoo.clip_metrics import clip_metrics, quick_metrics
    from saccade.zoo.recipes import clip as recipe

    vocab = tokenizer.build()

    def load(folder: Path) -> CLIPModel:
        if CLIPTokenizer.from_pretrained(folder).get_vocab() != vocab.get_vocab():
            raise ValueError(f"{folder}: its words are not those of this world")
        return CLIPModel.from_pretrained(folder).eval()

    return Family(
        recipe.PEAK_RATE,
        recipe.PICTURES,
        recipe.RECIPE,
        start=lambda seed, folder: recipe.new_model(vocab, seed) if folder is None else load(folder),
        load=load,
        train=lambda model, schedule, seed, **told: recipe.train(model, vocab, schedule, seed, **told),
        save=lambda model, folder: recipe.save(model, vocab, folder),
        quick=lambda model: quick_metrics(*recipe.encoders(model, vocab)),
        measure=lambda model: clip_metrics(model, *recipe.encoders(model, vocab)),
    )


def sam() -> Family:
    from transformers import SamModel

    from saccade.zoo.recipes import sam as recipe
    from saccade.zoo.recipes.sam_model import halves
    from saccade.zoo.sam_metrics import bundle_metrics, quick_metrics, sam_metrics

    return Family(
        recipe.PEAK_RATE,
        recipe.PICTURES,
        recipe.RECIPE,
        start=recipe.start,
        load=lambda folder: SamModel.from_pretrained(folder).eval(),
        train=recipe.train,
        save=recipe.save,
        quick=lambda model: quick_metrics(*halves(model)),
        measure=lambda model: sam_metrics(model, *halves(model)),
        measure_bundle=bundle_metrics,
    )


def grounding() -> Family:
    from saccade.zoo.grounding_metrics import bundle_metrics, grounding_metrics, quick_metrics
    from saccade.zoo.recipes import grounding as recipe
    from saccade.zoo.recipes.grounding_model import detector

    return Family(
        recipe.PEAK_RATE,
        recipe.PICTURES,
        recipe.RECIPE,
        start=recipe.start,
        load=recipe.load,
        train=recipe.train,
        save=recipe.save,
        quick=lambda model: quick_metrics(detector(model)),
        measure=lambda model: grounding_metrics(model, detector(model)),
        measure_bundle=bundle_metrics,
    )


FAMILIES: dict[str, Callable[[], Family]] = {"clip": clip, "grounding": grounding, "sam": sam}


def checkpoint_of(name: str) -> Path:
    """Where the committed checkpoint of a family is, from the repository's root."""
    return Path("zoo/checkpoints") / f"{name}-tiny"
