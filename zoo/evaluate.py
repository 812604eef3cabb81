"""How good a CLIP-like model is on the world: zero-shot accuracy and retrieval, for any pair of encoders.

    labelled_pictures / retrieval_pictures -> encode_image, encode_text (yours) -> zero_shot / retrieval -> a value

Nothing here knows torch or an engine, so a trained checkpoint and its exported int8 bundle are measured by one metric.
Pictures come from a stream of random numbers that training never draws from, whatever the seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from saccade.zoo.captions import Caption, describe, truth
from saccade.zoo.scene import PAIRS
from saccade.zoo.world import Scene, render, sample_scene

EncodeImage = Callable[[NDArray[np.uint8]], NDArray[np.floating]]  # (N, H, W, 3) -> (N, E)
EncodeText = Callable[[Sequence[str]], NDArray[np.floating]]  # N texts -> (N, E)

EVALUATION_STREAM = 0x6576616C  # with the seed, the entropy of every evaluation picture; training uses another


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures of one thing each. pixels: (N, H, W, 3) uint8; labels: (N,) int64 into texts, K class texts."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    texts: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures and captions, number i of each belonging together, and each caption false of all other pictures."""

    pixels: NDArray[np.uint8]
    captions: tuple[str, ...]
    scenes: tuple[Scene, ...]


@dataclass(frozen=True, slots=True)
class Recall:
    """Share of queries whose own partner ranks first, both ways."""

    text_to_image: float
    image_to_text: float


def evaluation_rng(seed: int) -> np.random.Generator:
    """Random numbers for measuring; no training draws from this stream."""
    return np.random.default_rng([EVALUATION_STREAM, seed])


def labelled_pictures(
    n: int,
    level: str = "middle",
    seed: int = 0,
    *,
    pairs: str = "held-out",
    among: str = "",
    size: int = 64,
    template: str = "a photo of {}",
) -> Labelled:
    """n pictures of a single thing, classes in turn so that each comes equally often.

    level: "easy", "middle" or "hard"; pairs: "held-out" (32 classes), "seen" (40) or "any" (72)
    among: the classes to choose from; by default those of `pairs`. Choosing among all 72 is much harder: in the
    32 or 40 alone, a colour comes with about half of the shapes
    template: of the class texts; {} becomes "a red circle"
    """
    rng = evaluation_rng(seed)
    classes, choices = PAIRS[pairs], PAIRS[among or pairs]
    pixels = np.empty((n, size, size, 3), np.uint8)
    for number in range(n):
        pixels[number] = render(scene_of(rng, level, *classes[number % len(classes)]), size).pixels
    labels = [choices.index(classes[number % len(classes)]) for number in range(n)]
    texts = tuple(template.format(f"{'an' if c[0] in 'aeiou' else 'a'} {c} {s}") for c, s in choices)
    return Labelled(pixels, np.array(labels, np.int64), texts)


def scene_of(rng: np.random.Generator, level: str, colour: str, shape: str) -> Scene:
    """A scene with one thing of this colour and shape and no parts."""
    return sample_scene(rng, level, pairs=((colour, shape),), count=1, parts=False)


def retrieval_pictures(
    n: int, level: str = "middle", seed: int = 0, *, pairs: str = "any", size: int = 64, detail: float = 0.0
) -> Gallery:
    """n pictures of one or two things with a caption each, drawn until every caption is true of its picture alone.

    detail: chance that a caption tells a texture or a size; 0 tells colours and shapes only
    """
    rng = evaluation_rng(seed)
    scenes: list[Scene] = []
    captions: list[Caption] = []
    while len(scenes) < n:
        scene = sample_scene(rng, level, pairs=pairs, count=1 + int(rng.random() < 0.9), parts=False)
        caption = describe(rng, scene, detail=detail, relation=0.0, paraphrase=False)
        crossed = truth([*captions, caption], [*scenes, scene])
        if crossed[-1].sum() == 1 and crossed[:, -1].sum() == 1:
            scenes.append(scene)
            captions.append(caption)
    pixels = np.stack([render(scene, size).pixels for scene in scenes])
    return Gallery(pixels, tuple(c.text for c in captions), tuple(scenes))


def zero_shot(encode_image: EncodeImage, encode_text: EncodeText, pictures: Labelled) -> float:
    """Share of pictures whose most similar class text is their own (cosine similarity), 0 to 1."""
    scores = similarity(encode_image(pictures.pixels), encode_text(list(pictures.texts)))
    return float((scores.argmax(1) == pictures.labels).mean())


def retrieval(encode_image: EncodeImage, encode_text: EncodeText, gallery: Gallery) -> Recall:
    """Recall at 1 in both directions over the gallery; chance is 1 / its size."""
    scores = similarity(encode_image(gallery.pixels), encode_text(list(gallery.captions)))
    own = np.arange(len(scores))
    return Recall(float((scores.argmax(0) == own).mean()), float((scores.argmax(1) == own).mean()))


def similarity(images: NDArray[np.floating], texts: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, K) cosines of N picture and K text embeddings, in float64."""
    cosines: NDArray[np.float64] = _unit(images) @ _unit(texts).T
    return cosines


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    exact = np.asarray(rows, np.float64)
    lengths: NDArray[np.float64] = np.sqrt((exact * exact).sum(1, keepdims=True))
    return exact / lengths
