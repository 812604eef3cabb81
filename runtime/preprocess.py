"""Preprocess: a picture to a model's input, and the Frame that leads back. The bundle embeds it as JSON.

    Image ──resize──▶ ──crop──▶ ──(x · scale − mean) / std──▶ ──pad──▶ (1, 3, h, w) float32, Frame
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from saccade.kernels.resize_normalize import resize_normalize
from saccade.runtime.errors import SpecError
from saccade.runtime.frame import Frame
from saccade.runtime.image import Image

MOST = 1 << 14  # pixels a side of a model's input


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model wants its pictures; sizes are (height, width) in pixels.

    size: of the input; None where it follows the picture, as with detectors
    resize: "shortest" makes the shorter edge `edge` pixels long, rounded down as torchvision and transformers do;
        "longest" the longer one, rounded to the nearest as SAM does; "squash" goes to `size` whatever the shape;
        "none" leaves it
    edge: for shortest and longest; 0 means the shorter or longer edge of `size`
    limit: with shortest, the longer edge is at most this (DETR); 0 means any
    crop: "center" cuts or fills up to `size` with zero bytes; "none" pads at the bottom and the right with `pad_value`
    crop_rounding: of half a pixel; "floor" as transformers, "round" as torchvision
    filter: bilinear, bicubic, lanczos, box, hamming or nearest
    scale, mean, std: (byte · scale − mean) / std in float32, for red, green and blue
    pad_value: in normalised units
    antialias: whose resampling bytes these are; "pillow", as of Pillow 13, is the only one
    Raises SpecError for values that mean nothing.
    """

    size: tuple[int, int] | None = None
    resize: Literal["shortest", "longest", "squash", "none"] = "shortest"
    edge: int = 0
    limit: int = 0
    crop: Literal["center", "none"] = "none"
    crop_rounding: Literal["floor", "round"] = "floor"
    filter: Literal["bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"] = "bicubic"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad_value: float = 0.0
    antialias: Literal["pillow"] = "pillow"

    def __post_init__(self) -> None:
        try:  # a call of the class checks no types; one of the decoder has done so already
            msgspec.convert(msgspec.to_builtins(self), dict[str, Any])
            for field, kind in type(self).__annotations_resolved__().items():
                msgspec.convert(getattr(self, field), kind)
        except (msgspec.ValidationError, TypeError) as error:
            raise _nonsense(str(error).lower()) from None

    @property
    def digest(self) -> str:
        """BLAKE2b-256 of the fields, in hex: part of the key of what is computed from the pixels."""
        return hashlib.blake2b(msgspec.json.encode(self, order="sorted"), digest_size=32).hexdigest()


def _nonsense(what: str) -> SpecError:
    return SpecError(f"[preprocess] {what}", hint="docs/bundle.md lists the fields and what they allow")
