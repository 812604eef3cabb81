"""resize_normalize against what a pipeline usually does: Pillow's resize, then NumPy. One thread, one process.

Rounds interleave the baseline and every candidate, and the ratio is of the same round, with its spread. The clock is
the thread's own: everything here runs on one thread and waits for nothing, and on a shared machine the wall's clock
would count the neighbours, more often against the longer run. Nothing is timed before all floats were found equal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from saccade.kernels.resize_normalize import CANDIDATES, resize_normalize
from saccade.kernels.resize_normalize.cases import BENCHMARKS, IMAGENET, Case, picture

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def pil_numpy(image: Image.Image, case: Case) -> np.ndarray:
    """The baseline: resize, crop, convert, normalise, transpose, pad."""
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


def rows(rounds: int = 30) -> list[dict[str, Any]]:
    """One row a case and usable candidate, times in ms; ratios are baseline over candidate, 10th to 90th percentile.

    Raises ValueError if a candidate's floats are not those of the baseline.
    """
    return [row for case in BENCHMARKS for row in _case_rows(case, rounds)]


def _case_rows(case: Case, rounds: int) -> list[dict[str, Any]]:
    pixels = picture(*case.source)
    image = Image.fromarray(pixels)
    ours = partial(resize_normalize, pixels, case.size, **case.options, **IMAGENET)
    runs: dict[str, Callable[[], np.ndarray]] = {"pil+numpy": partial(pil_numpy, image, case)}
    for candidate in CANDIDATES:
        if candidate.name != "reference" and not candidate.unusable():
            runs[candidate.name] = partial(ours, impl=candidate.name)
    expected = runs["pil+numpy"]()
    for name, run in runs.items():
        if run().tobytes() != expected.tobytes():
            raise ValueError(f"[benchmark] {case.name}: {name} differs from pil+numpy")
    times = _interleaved(runs, rounds)
    return [_row(case, name, times[name], times["pil+numpy"]) for name in runs if name != "pil+numpy"]


def _interleaved(runs: dict[str, Callable[[], np.ndarray]], rounds: int) -> dict[str, np.ndarray]:
    """CPU milliseconds of each run in each round; whoever goes first changes from round to round."""
    names = list(runs)
    times = {name: np.empty(rounds) for name in names}
    for round_ in range(rounds):
        first = round_ % len(names)
        for name in names[first:] + names[:first]:
            begin = time.thread_time()
            runs[name]()
            times[name][round_] = (time.thread_time() - begin) * 1e3
    return times


def _row(case: Case, name: str, ours: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    ratios = base / ours
    baseline = {
        "name": "pil+numpy",
        "p50_ms": float(np.median(base)),
        "ratio": float(np.median(ratios)),
        "ratio_low": float(np.percentile(ratios, 10)),
        "ratio_high": float(np.percentile(ratios, 90)),
    }
    p50, p90 = (float(np.percentile(ours, p)) for p in (50, 90))
    return {"case": case.name, "impl": name, "p50_ms": p50, "p90_ms": p90, "runs": len(ours), "baselines": [baseline]}
