"""resize_normalize against what a pipeline usually does: Pillow's resize, then NumPy. Every float is equal."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.kernels.resize_normalize import resize_normalize
from saccade.kernels.resize_normalize.cases import BENCHMARKS, IMAGENET, Case, picture, work

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def problems(quick: bool) -> Iterator[Problem]:
    """CLIP's and SAM's preprocessing of 1080p, and a detector's of 480 x 640."""
    yield from map(_problem, BENCHMARKS[-1:] if quick else BENCHMARKS)


def pil_numpy(image: Image.Image, case: Case) -> np.ndarray:
    """The peer: resize, crop, convert, normalise, transpose, pad."""
    crop, padded = case.options.get("crop"), case.options.get("pad_to")
    resized = image.resize(case.size[::-1], FILTERS[case.options.get("filter", "bicubic")])
    if crop:
        top, left, height, width = crop
        resized = resized.crop((left, top, left + width, top + height))
    floats = np.asarray(resized).astype(np.float32)
    floats *= np.float32(1 / 255)
    floats -= np.array(IMAGENET["mean"], np.float32)
    floats /= np.array(IMAGENET["std"], np.float32)
    planes = floats.transpose(2, 0, 1)
    if not padded:
        return np.ascontiguousarray(planes)
    out = np.zeros((3, *padded), np.float32)
    out[:, : planes.shape[1], : planes.shape[2]] = planes
    return out


def farthest(ours: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two floats; infinite if the shapes differ."""
    return float(np.abs(ours - expected).max()) if ours.shape == expected.shape else np.inf


def _problem(case: Case) -> Problem:
    pixels = picture(*case.source)
    run = partial(resize_normalize, pixels, case.size, **case.options, **IMAGENET)
    bytes_, flops = work(case)
    return Problem(
        case=case.name,
        shape={"H": case.source[0], "W": case.source[1], "RH": case.size[0], "RW": case.size[1]},
        dtype="uint8",
        run=lambda impl: run(impl=impl),
        expected=partial(run, impl="reference"),
        error=farthest,
        tolerance=0.0,
        bytes=bytes_,
        flops=flops,
        peers=(Peer("pil+numpy", partial(pil_numpy, Image.fromarray(pixels), case), farthest, 0.0),),
    )
