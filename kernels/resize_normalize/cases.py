"""Shapes and inputs of resize_normalize, for tests and benchmarks. Tolerance: none, every byte and float is equal."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

IMAGENET: dict[str, Any] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


class Case(NamedTuple):
    """source: (H, W) of the picture; options: keywords of resize_normalize."""

    name: str
    source: tuple[int, int]
    size: tuple[int, int]
    options: dict[str, Any]


BENCHMARKS = (
    Case("1080p to 224, bicubic, centre crop", (1080, 1920), (224, 398), {"crop": (0, 87, 224, 224)}),
    Case("1080p to 1024, bilinear, padded", (1080, 1920), (576, 1024), {"filter": "bilinear", "pad_to": (1024, 1024)}),
    Case("480x640 to 800x1066, bilinear", (480, 640), (800, 1066), {"filter": "bilinear"}),
)

ODD = (
    Case("one pixel", (1, 1), (1, 1), {}),
    Case("one pixel, larger", (1, 1), (7, 5), {"filter": "lanczos"}),
    Case("one row", (1, 50), (3, 20), {}),
    Case("one column", (50, 1), (20, 3), {"filter": "bilinear"}),
    Case("nothing to resize", (37, 53), (37, 53), {}),
    Case("same width", (37, 53), (20, 53), {}),
    Case("same height", (37, 53), (37, 30), {"filter": "box"}),
    Case("tall: vertical first", (300, 40), (20, 30), {}),
    Case("tall and wider", (90, 20), (30, 70), {"filter": "lanczos"}),
    Case("ratio beyond two table chunks", (30, 2000), (9, 40), {"filter": "bilinear"}),
    Case("ratio of 700", (3, 7001), (2, 10), {"filter": "hamming"}),
    Case("crop partly outside", (40, 60), (20, 30), {"crop": (-5, 25, 40, 40)}),
    Case("crop wholly outside", (40, 60), (20, 30), {"crop": (100, 100, 6, 6)}),
    Case("region of fractions", (40, 60), (20, 30), {"region": (3.25, 1.5, 50.75, 39.5)}),
    Case("nearest", (40, 60), (33, 91), {"filter": "nearest"}),
)


def work(case: Case) -> tuple[int, int]:
    """Bytes: the source that the crop needs, and the floats. Operations: 2 a tap that is not 0, 3 for normalising."""
    from saccade.kernels.resize_normalize.reference import taps

    top, left, height, width = case.options.get("crop", (0, 0, *case.size))
    axes = ((case.source[0], case.size[0], top, height), (case.source[1], case.size[1], left, width))
    needed, sums = [], []
    for source, resized, begin, count in axes:
        first, weights = taps(case.options.get("filter", "bicubic"), source, 0, source, resized)
        used = weights[begin : begin + count] != 0
        last = first[begin : begin + count] + used.shape[1] - np.argmax(used[:, ::-1], axis=1)
        needed.append(int(min(last.max(), source) - first[begin]))
        sums.append(int(used.sum()))
    padded = case.options.get("pad_to", (height, width))
    across, down = sums[1] * needed[0], sums[0] * width  # rows that the second pass needs go through the first
    return 3 * needed[0] * needed[1] + 12 * padded[0] * padded[1], 3 * (2 * across + 2 * down + 3 * height * width)


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8: noise on a ramp, with black and white pixels for the sums that leave 0..255."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.linspace(0.2, 1, height)[:, None, None]
    pixels = (ramp + rng.integers(0, 56, (height, width, 3))).astype(np.uint8)
    extreme = rng.random((height, width, 3)) < 0.1
    return np.where(extreme, rng.integers(0, 2, pixels.shape, np.uint8) * np.uint8(255), pixels)
