"""mask_decode against what a SAM pipeline usually does: two resizes, statistics in NumPy, run lengths by pycocotools.

    opencv+pycocotools   cv2.resize twice a mask        torch+pycocotools   F.interpolate twice, all masks at once
    opencv, torch        the same where pycocotools is not installed: without run lengths
    numpy                the reference, where the masks are few

Candidates equal the reference in every value; the areas of the peers differ from it by no more than a ten-thousandth of
the picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.kernels.problem import Peer, Problem
from saccade.kernels.mask_decode import DecodedMasks, mask_decode
from saccade.kernels.mask_decode.cases import BENCHMARKS, Case, logits, work
from saccade.kernels.mask_decode.reference import box

FEW = 3  # masks up to which the reference is a baseline too
APART = 1e-4  # share of the picture by which a peer's area may differ
Summary = tuple[Any, np.ndarray, int, float]  # run lengths or None, box, area, stability


def problems(quick: bool) -> Iterator[Problem]:
    """SAM's masks to 1080p and to 480 x 640: ragged, where much can be skipped, and noise, where nothing can."""
    yield from map(_problem, BENCHMARKS[2:3] if quick else BENCHMARKS)


def by_opencv(low: np.ndarray, case: Case) -> list[Summary]:
    """Mask by mask: two resizes and the summary."""
    import cv2

    out = []
    for mask in low:
        square = cv2.resize(mask, case.model[::-1], interpolation=cv2.INTER_LINEAR)
        full = cv2.resize(square[: case.valid[0], : case.valid[1]], case.original[::-1], interpolation=cv2.INTER_LINEAR)
        out.append(_summary(full))
    return out


def by_torch(low: np.ndarray, case: Case) -> list[Summary]:
    """SAM's own postprocessing: two interpolations of all masks, then the summaries."""
    import torch

    resize = partial(torch.nn.functional.interpolate, mode="bilinear", align_corners=False)
    with torch.inference_mode():
        square = resize(torch.from_numpy(low)[:, None], case.model)[..., : case.valid[0], : case.valid[1]]
        full = resize(square, case.original)[:, 0].numpy()
    return [_summary(mask) for mask in full]


def _summary(full: np.ndarray) -> Summary:
    mask, union = full > 0, np.count_nonzero(full > -1)
    stability = np.count_nonzero(full > 1) / union if union else 0.0
    counts = None
    if find_spec("pycocotools"):
        from pycocotools.mask import encode

        counts = encode(np.asfortranarray(mask.view(np.uint8)))
    return counts, np.array(box(mask)), int(np.count_nonzero(mask)), float(stability)


def differing(ours: DecodedMasks, expected: DecodedMasks) -> float:
    """Share of the masks of which anything differs."""
    if len(ours.rle) != len(expected.rle):
        return 1.0
    wrong = np.array([a != b for a, b in zip(ours.rle, expected.rle, strict=True)], np.bool_)
    wrong |= (ours.boxes != expected.boxes).any(1) | (ours.area != expected.area)
    return float((wrong | (ours.stability != expected.stability)).mean())


def _problem(case: Case) -> Problem:
    low = logits(case)
    run = partial(mask_decode, low, case.model, case.valid, case.original)
    expected, pixels = run(impl="reference"), case.original[0] * case.original[1]
    bytes_, flops = work(case, low, sum(len(rle["counts"]) for rle in expected.rle))

    def apart(summaries: list[Summary], right: DecodedMasks) -> float:
        areas = np.array([area for _, _, area, _ in summaries])
        return float(np.abs(areas - right.area).max() / pixels)

    suffix = "+pycocotools" if find_spec("pycocotools") else ""
    peers = [
        Peer(name + suffix, partial(summarise, low, case), apart, APART)
        for module, name, summarise in (("cv2", "opencv", by_opencv), ("torch", "torch", by_torch))
        if find_spec(module)
    ]
    if case.masks <= FEW:
        peers.append(Peer("numpy", partial(run, impl="reference"), differing, 0.0))
    return Problem(
        case=case.name,
        shape={"M": case.masks, "h": case.low[0], "w": case.low[1], "H": case.original[0], "W": case.original[1]},
        dtype="fp32",
        run=lambda impl: run(impl=impl),
        expected=lambda: expected,
        error=differing,
        tolerance=0.0,
        bytes=bytes_,
        flops=flops,
        peers=tuple(peers),
        facts={"covered": round(float(expected.area.mean() / pixels), 3)},
    )
