"""The figures of a CLIP checkpoint of the zoo: zero-shot accuracy and retrieval.

encode_image, encode_text -> quick_metrics (the curve of a run) or clip_metrics -> what docs/zoo.md says
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from saccade.zoo.evaluate import (
    EncodeImage,
    EncodeText,
    Labelled,
    labelled_pictures,
    retrieval,
    retrieval_pictures,
    zero_shot,
)
from saccade.zoo.metrics import setting
from saccade.zoo.scene import LEVELS

if TYPE_CHECKING:
    import torch

SEED = 1000  # of every figure that is reported; the curve of a run uses another


def quick_metrics(encode_image: EncodeImage, encode_text: EncodeText) -> dict[str, float]:
    """A few seconds' worth, for the curve: zero-shot accuracy on 640 and recall on 64 pictures."""
    accuracy = {
        f"{pairs} {level}": zero_shot(encode_image, encode_text, labelled_pictures(640, level, 7, pairs=pairs))
        for pairs, level in (("held-out", "easy"), ("held-out", "middle"), ("held-out", "hard"), ("seen", "middle"))
    }
    among_all = labelled_pictures(640, "middle", 7, pairs="held-out", among="any")
    accuracy["held-out middle among all 72"] = zero_shot(encode_image, encode_text, among_all)
    recall = retrieval(encode_image, encode_text, retrieval_pictures(64, "middle", 7))
    return {**accuracy, "text to image R@1": recall.text_to_image, "image to text R@1": recall.image_to_text}


def clip_metrics(model: torch.nn.Module, encode_image: EncodeImage, encode_text: EncodeText) -> dict[str, Any]:
    """Everything that is reported of a CLIP checkpoint, on pictures that training and curve never saw."""
    return {
        **setting(model),
        "zero_shot": _zero_shot(encode_image, encode_text),
        "retrieval": _retrieval(encode_image, encode_text),
    }


def _zero_shot(encode_image: EncodeImage, encode_text: EncodeText) -> dict[str, Any]:
    def accuracy(level: str, pairs: str, n: int = 1152, **options: Any) -> float:
        return round(zero_shot(encode_image, encode_text, labelled_pictures(n, level, SEED, pairs=pairs, **options)), 4)

    large = labelled_pictures(1152, "middle", SEED, pairs="held-out", size=256)
    shrunk = Labelled(_shrink(large.pixels), large.labels, large.texts)
    return {
        "pictures": 1152,
        "seed": SEED,
        "held_out_32_way": {level: accuracy(level, "held-out") for level in LEVELS},
        "seen_40_way": {level: accuracy(level, "seen") for level in LEVELS},
        "held_out_among_all_72": {level: accuracy(level, "held-out", among="any") for level in LEVELS},
        "seen_among_all_72": {level: accuracy(level, "seen", among="any") for level in LEVELS},
        "held_out_32_way_middle_drawn_at_256": round(zero_shot(encode_image, encode_text, shrunk), 4),
        "held_out_32_way_middle_by_template": {
            template: accuracy("middle", "held-out", template=template)
            for template in ("{}", "a picture of {}", "a photo of {}.", "there is {}")
        },
    }


def _retrieval(encode_image: EncodeImage, encode_text: EncodeText) -> dict[str, Any]:
    figures: dict[str, Any] = {"level": "middle", "things": "1 or 2", "seed": SEED}
    for size in (64, 200):
        found = retrieval(encode_image, encode_text, retrieval_pictures(size, "middle", SEED))
        figures[f"of_{size}"] = {
            "text_to_image_r1": round(found.text_to_image, 4), "image_to_text_r1": round(found.image_to_text, 4)
        }  # fmt: skip
    return figures


def _shrink(pixels: NDArray[np.uint8], size: int = 64) -> NDArray[np.uint8]:
    resized = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in pixels]
    return np.stack([np.asarray(p) for p in resized])
