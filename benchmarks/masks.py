"""mask_decode against what a SAM pipeline usually does: two resizes, statistics in NumPy, run lengths by pycocotools.

    opencv+pycocotools   cv2.resize twice a mask        torch+pycocotools   F.interpolate twice, all masks at once
    opencv, torch        the same where pycocotools is not installed: without run lengths
    numpy                the reference, where the masks are few

One thread, one process; the clock is the thread's own. Nothing is timed before every candidate equals the reference and
the areas of the peers differ from it by no more than a ten-thousandth of the picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from saccade.benchmarks.rows import compared, interleave
from saccade.kernels.mask_decode import CANDIDATES, DecodedMasks, mask_decode
from saccade.kernels.mask_decode.cases import BENCHMARKS, Case, logits
from saccade.kernels.mask_decode.reference import box

FEW = 3  # masks up to which the reference is a baseline too
Summary = tuple[Any, np.ndarray, int, float]  # run lengths or None, box, area, stability


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


def rows(rounds: int = 20, seconds: float = 20.0) -> list[dict[str, Any]]:
    """One row a case and usable candidate, times in ms; ratios are baseline over candidate, 10th to 90th percentile.

    seconds: how long a case may take once five rounds are done
    Raises ValueError if a candidate differs from the reference or a peer is too far from it.
    """
    with _one_thread():
        return [row for case in BENCHMARKS for row in _case_rows(case, rounds, seconds)]


def _case_rows(case: Case, rounds: int, seconds: float) -> list[dict[str, Any]]:
    low = logits(case)
    ours = [c.name for c in CANDIDATES if c.place == "cpu" and c.name != "reference" and not c.unusable()]
    decode = partial(mask_decode, low, case.model, case.valid, case.original)
    runs: dict[str, Callable[[], Any]] = {name: partial(decode, impl=name) for name in ours}
    expected = decode(impl="reference")
    for name in ours:
        if not _same(runs[name](), expected):
            raise ValueError(f"[benchmark] {case.name}: {name} differs from the reference")
    for name, peer in _peers().items():
        runs[name] = partial(peer, low, case)
        areas = np.array([area for _, _, area, _ in runs[name]()])
        if np.abs(areas - expected.area).max() > 1e-4 * case.original[0] * case.original[1]:
            raise ValueError(f"[benchmark] {case.name}: {name} is too far from the reference")
    if case.masks <= FEW:
        runs["numpy"] = partial(decode, impl="reference")
    times = interleave(runs, seconds=seconds, rounds=rounds, clock=time.thread_time)
    peers = {name: timing for name, timing in times.items() if name not in ours}
    return [
        {
            "op": "mask_decode",
            "case": case.name,
            "covered": round(float(expected.area.mean() / (case.original[0] * case.original[1])), 3),
            "impl": name,
            "p50_ms": round(times[name].p50_ms, 4),
            "p90_ms": round(times[name].p90_ms, 4),
            "runs": len(times[name].rounds_ms),
            "baselines": compared(times[name], peers),
        }
        for name in ours
    ]


def _same(a: DecodedMasks, b: DecodedMasks) -> bool:
    arrays = ((a.boxes, b.boxes), (a.area, b.area), (a.stability, b.stability))
    return a.rle == b.rle and all(np.array_equal(x, y) for x, y in arrays)


def _peers() -> dict[str, Callable[[np.ndarray, Case], list[Summary]]]:
    suffix = "+pycocotools" if find_spec("pycocotools") else ""
    found = {"cv2": ("opencv", by_opencv), "torch": ("torch", by_torch)}
    return {name + suffix: run for module, (name, run) in found.items() if find_spec(module)}


@contextmanager
def _one_thread() -> Iterator[None]:
    """The peers' thread pools at one thread, and back."""
    before: list[Callable[[], Any]] = []
    if find_spec("cv2"):
        import cv2

        before.append(partial(cv2.setNumThreads, cv2.getNumThreads()))
        cv2.setNumThreads(1)
    if find_spec("torch"):
        import torch

        before.append(partial(torch.set_num_threads, torch.get_num_threads()))
        torch.set_num_threads(1)
    try:
        yield
    finally:
        for restore in before:
            restore()
