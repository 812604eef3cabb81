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
    """What a recipe of the zoo gives. A model is a torch module, or what the family's `new` and `load` make of one."""

    peak_rate: float
    pictures: int  # a step
    recipe: Mapping[str, object]  # as metrics.json tells it
    new: Callable[[int], Any]  # from a seed
    load: Callable[[Path], Any]
    train: Callable[..., Any]  # (model, schedule, seed, *, report, checkpoint) -> the averaged model
    save: Callable[[Any, Path], None]
    quick: Callable[[Any], dict[str, float]]  # a few seconds' worth, for the curve
    measure: Callable[[Any], dict[str, Any]]  # everything that is reported


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
        new=lambda seed: recipe.new_model(vocab, seed),
        load=load,
        train=lambda model, schedule, seed, **told: recipe.train(model, vocab, schedule, seed, **told),
        save=lambda model, folder: recipe.save(model, vocab, folder),
        quick=lambda model: quick_metrics(*recipe.encoders(model, vocab)),
        measure=lambda model: clip_metrics(model, *recipe.encoders(model, vocab)),
    )


def sam() -> Family:
    from transformers import SamModel

    from saccade.zoo.recipes import sam as recipe
    from saccade.zoo.sam_metrics import quick_metrics, sam_metrics

    return Family(
        recipe.PEAK_RATE,
        recipe.PICTURES,
        recipe.RECIPE,
        new=recipe.new_model,
        load=lambda folder: SamModel.from_pretrained(folder).eval(),
        train=recipe.train,
        save=recipe.save,
        quick=lambda model: quick_metrics(*recipe.halves(model)),
        measure=lambda model: sam_metrics(model, *recipe.halves(model)),
    )


FAMILIES: dict[str, Callable[[], Family]] = {"clip": clip, "sam": sam}


def checkpoint_of(name: str) -> Path:
    """Where the committed checkpoint of a family is, from the repository's root."""
    return Path("zoo/checkpoints") / f"{name}-tiny"
