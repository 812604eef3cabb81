"""CLIP reranks SAM's masks: say what you look for, and get its mask. Two models, one request, no code of a server.

picture ──▶ SAM: masks of everything ──▶ a crop of each ──▶ CLIP ──▶ the mask that looks most like the words

python examples/rerank.py [-o rerank.png] [PICTURE PHRASE ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

import saccade
from saccade.runtime.call import All, Pipeline, Work
from saccade.runtime.image import decode
from saccade.runtime.overlay import colour
from saccade.zoo.shipped import bundle_path, pictures, truth

BACKDROP = 128


def find(sam: Any, clip: Any, picture: Any, phrases: list[str]) -> Pipeline[tuple[Any, np.ndarray]]:
    """SAM's masks of everything in a picture, and how much each looks like each phrase: (M masks, (M, K) cosines).

    sam, clip: the pipelines of two loaded models. Whoever drives this runs the texts beside the picture, and all crops
    in as few runs as there are free engines.
    """
    image = yield Work(decode, picture)
    said, masks = yield All(_phrases(clip, phrases), sam.everything(image, grid=16, min_score=0.7, min_region=30))
    if not len(masks):
        return masks, np.zeros((0, len(phrases)))
    crops = yield Work(cut, image.pixels, masks)
    seen = yield All(*(clip.encode_image(crop) for crop in crops))
    return masks, np.concatenate([one.vectors for one in seen]) @ said.T


def _phrases(clip: Any, phrases: list[str]) -> Pipeline[np.ndarray]:
    """(K, E) a unit vector for each phrase: the mean over the bundle's prompts."""
    return (yield from clip.classifier(phrases)).weights


def cut(pixels: np.ndarray, masks: Any, room: float = 0.6) -> list[np.ndarray]:
    """What each mask shows, on grey, in a square with some room around."""
    crops = []
    for i in range(len(masks)):
        shown = np.where(masks.at(i)[..., None], pixels, np.uint8(BACKDROP))
        left, top, right, bottom = (int(edge) for edge in masks.boxes[i])
        side = int(max(right - left, bottom - top) * (1 + 2 * room)) + 2
        canvas = np.full((side, side, 3), BACKDROP, np.uint8)
        part = shown[top:bottom, left:right]
        y, x = (side - part.shape[0]) // 2, (side - part.shape[1]) // 2
        canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
        crops.append(canvas)
    return crops


def sheet(picture: Path, phrases: list[str], masks: Any, scores: np.ndarray) -> Pillow.Image:
    """The picture with the best mask of each phrase, and beside it the three best crops of each with their cosine."""
    image, side, gap, scale = decode(picture), 96, 14, 2
    best = scores.argmax(axis=0)
    found = np.any([masks.at(int(i)) for i in best], axis=0)
    shown = np.where(found[..., None], image.pixels, image.pixels // 3)
    width, height = image.width * scale, image.height * scale
    rows = gap + len(phrases) * (side + 2 * gap + 20)
    page = Pillow.new("RGB", (width + 2 * gap + 3 * (side + gap), max(height + 2 * gap, rows)), "white")
    page.paste(Pillow.fromarray(shown).resize((width, height), Pillow.Resampling.LANCZOS), (gap, gap))
    pen, crops = ImageDraw.Draw(page), cut(image.pixels, masks)
    for k, phrase in enumerate(phrases):
        box = [int(edge) * scale + gap for edge in masks.boxes[best[k]]]
        top, x = gap + k * (side + 2 * gap + 20), width + 2 * gap
        pen.rectangle(box, outline=colour(k), width=3)
        for at in ((box[0], box[1] - 20), (x, top)):
            pen.rectangle((*at, at[0] + 20, at[1] + 20), fill=colour(k))
            pen.text((at[0] + 10, at[1] + 10), str(k + 1), fill="white", font_size=14, anchor="mm")
        pen.text((x + 28, top + 10), phrase, fill="black", font_size=15, anchor="lm")
        for i in np.argsort(-scores[:, k])[:3]:
            page.paste(Pillow.fromarray(crops[i]).resize((side, side), Pillow.Resampling.LANCZOS), (x, top + 24))
            pen.text((x + side - 4, top + 20 + side), f"{scores[i, k]:.2f}", fill="white", font_size=13, anchor="rs")
            x += side + gap
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("picture", nargs="?", type=Path, default=next(p for p in pictures() if p.stem == "crowd"))
    parser.add_argument("phrases", nargs="*")
    parser.add_argument("-o", "--output", type=Path, default=Path("rerank.png"))
    given = parser.parse_args()
    phrases = given.phrases or sorted(set(truth()[given.picture.name].labels))[:4]
    with (
        saccade.load(bundle_path("sam-tiny")) as sam,
        saccade.load(bundle_path("clip-tiny")) as clip,
        saccade.Scheduler(sam, clip) as scheduler,
    ):
        masks, scores = scheduler.call(find(sam.pipeline, clip.pipeline, given.picture, phrases))
    for k, phrase in enumerate(phrases):
        i = int(scores[:, k].argmax())
        print(f"{phrase}: mask {i} of {len(masks)}, box {[int(edge) for edge in masks.boxes[i]]}, {scores[i, k]:.3f}")
    sheet(given.picture, phrases, masks, scores).save(given.output)
    print(given.output)


if __name__ == "__main__":
    main()
