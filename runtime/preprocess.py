"""Preprocess: a picture to a model's input, and the Frame that leads back. The bundle embeds it as JSON.

Image ──resize──▶ ──crop──▶ ──(x · scale − mean) / std──▶ ──pad──▶ (1, 3, h, w) float32, Frame
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from saccade.kernels.resize_normalize import resize_normalize
from saccade.runtime.errors import SpecError
from saccade.runtime.frame import Frame
from saccade.runtime.image import Image

MOST = 1 << 14  # pixels a side of a model's input
CHOICES = {
    "resize": ("shortest", "longest", "fit", "squash", "none"),
    "crop": ("center", "none"),
    "crop_rounding": ("floor", "round"),
    "filter": ("bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"),
    "antialias": ("pillow",),
}


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model wants its pictures; sizes are (height, width) in pixels.

    size: of the input; None where it follows the picture, as with detectors
    resize: "shortest" makes the shorter edge `edge` pixels long and rounds the longer down, as torchvision and
        transformers do; "longest" makes the longer edge `edge` and rounds to the nearest, as SAM does; "fit" is the
        largest that fits into `size` with its shape kept; "squash" goes to `size` whatever the shape; "none" leaves
        the picture
    edge: for shortest and longest; 0 means the shorter or longer edge of `size`
    limit: with shortest, the most that the longer edge may have (DETR); 0 means any
    crop: "center" cuts, or fills up with zero bytes, to `size`; "none" pads the bottom and the right with `pad_value`
    crop_rounding: of half a pixel; "floor" as transformers, "round" as torchvision
    filter: as resize_normalize names them
    scale, mean, std: (byte · scale − mean) / std in float32, for red, green and blue
    pad_value: in normalised units
    antialias: whose resampling bytes these are; "pillow", as of Pillow 13, is the only one
    Raises SpecError for values that mean nothing.
    """

    size: tuple[int, int] | None = None
    resize: str = "shortest"
    edge: int = 0
    limit: int = 0
    crop: str = "none"
    crop_rounding: str = "floor"
    filter: str = "bicubic"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad_value: float = 0.0
    antialias: str = "pillow"

    def __post_init__(self) -> None:
        if not all(isinstance(values, tuple) for values in (self.size or (), self.mean, self.std)):
            raise _nonsense("size, mean or std", "they are tuples")
        for field, allowed in CHOICES.items():
            if getattr(self, field) not in allowed:
                raise _nonsense(f"{field} is {getattr(self, field)!r}", f"it is one of {', '.join(allowed)}")
        edges = [self.edge or 1, self.limit or 1, *(() if self.size is None else self.size)]
        if len(edges) not in (2, 4) or not all(isinstance(n, int) and 1 <= n <= MOST for n in edges):
            raise _nonsense(f"size {self.size}, edge {self.edge}, limit {self.limit}", f"1 to {MOST} pixels a side")
        if self.size is None and (self.crop == "center" or self.resize in ("fit", "squash") or self._needs_edge):
            raise _nonsense(f"size is missing for resize {self.resize}, crop {self.crop}", "give (height, width)")
        numbers = (self.scale, self.pad_value, *self.mean, *self.std)
        real = all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
        if not real or len(self.mean) != 3 or len(self.std) != 3:
            raise _nonsense("scale, mean, std or pad_value", "three finite means and stds, one scale, one pad_value")
        if not all(map(np.float32, (self.scale, *self.std))):
            raise _nonsense(f"scale {self.scale}, std {self.std}", "none of them is zero in float32")

    @classmethod
    def read(cls, fields: Any) -> Preprocess:
        """The value that JSON-like `fields` describe. Raises SpecError."""
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise _nonsense(str(error).lower(), "docs/bundle.md lists the fields") from None

    def fields(self) -> dict[str, Any]:
        """What `read` takes, fit for JSON."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields

    @property
    def digest(self) -> str:
        """BLAKE2b-256 of the fields, in hex: part of the key of what is computed from the pixels."""
        return hashlib.blake2b(msgspec.json.encode(self, order="sorted"), digest_size=32).hexdigest()

    def shape_for(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture is resized to, before crop and padding."""
        if self.resize == "none":
            return height, width
        if self.resize == "squash":
            assert self.size is not None  # __post_init__ saw to it
            return self.size
        if self.resize == "fit":
            assert self.size is not None
            factor = min(self.size[0] / height, self.size[1] / width)
            return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)
        short, long = min(height, width), max(height, width)
        if self.resize == "longest":
            factor = (self.edge or max(self.size or ())) / long
            return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)
        edge = self.edge or min(self.size or ())
        exact: float = edge
        if self.limit and long / short * edge > self.limit:
            exact = self.limit * float(short) / long
            edge = round(exact)
            if edge == short:
                return height, width
        edges = max(edge, 1), max(int(exact * long / short), 1)
        return edges if height <= width else edges[::-1]

    def frame(self, height: int, width: int) -> Frame:
        """Where a picture of this size will lie in the input. Raises SpecError if it does not fit."""
        resized = self.shape_for(height, width)
        if self.crop == "center":
            assert self.size is not None
            top, left = (self._cut(n, most) for n, most in zip(resized, self.size, strict=True))
            return Frame((height, width), resized, self.size, (-top, -left))
        size = self.size or resized
        if resized[0] > size[0] or resized[1] > size[1] or max(size) > MOST:
            raise SpecError(
                f"[preprocess] a picture {height} x {width} becomes {resized[0]} x {resized[1]}; the input is "
                f"{size[0]} x {size[1]}, at most {MOST} a side",
                hint="crop the picture, or use a model with crop='center' or resize='squash'",
            )
        return Frame((height, width), resized, size)

    def __call__(self, image: Image, out: np.ndarray | None = None) -> tuple[np.ndarray, Frame]:
        """The model's input (1, 3, h, w) float32, in `out` if given, and the frame. Raises SpecError."""
        frame = self.frame(image.height, image.width)
        pixels = np.empty((1, 3, *frame.size), np.float32) if out is None else out
        if pixels.ndim != 4 or len(pixels) != 1:
            raise SpecError(
                f"[preprocess] out: got {pixels.shape}", hint=f"give (1, 3, {frame.size[0]}, {frame.size[1]})"
            )
        return pixels, self._fill(image, frame, pixels[0])

    def batch(self, images: Sequence[Image]) -> tuple[np.ndarray, list[Frame]]:
        """One array (B, 3, h, w) float32 and a frame for each picture; without `size` all are padded to the largest.

        Raises SpecError.
        """
        frames = [self.frame(image.height, image.width) for image in images]
        size = tuple(max((frame.size[axis] for frame in frames), default=0) for axis in (0, 1))
        pixels = np.empty((len(frames), 3, *size), np.float32)
        return pixels, [self._fill(*each) for each in zip(images, frames, pixels, strict=True)]

    def _fill(self, image: Image, frame: Frame, out: np.ndarray) -> Frame:
        top, left = (-n for n in frame.offset)
        crop = (top, left, *frame.size) if self.crop == "center" else None
        resize_normalize(
            image.pixels, frame.resized, filter=self.filter, crop=crop, scale=self.scale, mean=self.mean, std=self.std,
            out=out, pad_to=out.shape[1:], pad_value=self.pad_value,
        )  # fmt: skip
        return replace(frame, size=out.shape[1:])

    def _cut(self, resized: int, size: int) -> int:
        """First row or column of the centre crop; negative where the picture is smaller."""
        if self.crop_rounding == "floor":
            return (resized - size) // 2
        return round((resized - size) / 2) if resized >= size else -((size - resized) // 2)

    @property
    def _needs_edge(self) -> bool:
        return self.resize in ("shortest", "longest") and not self.edge


def _nonsense(what: str, allowed: str) -> SpecError:
    return SpecError(f"[preprocess] {what}", hint=allowed)
