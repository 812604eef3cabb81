"""Everything mode end to end, a decoded picture to masks with run lengths, against the reference's procedure in torch.

    checkpoint ──the usual export──▶ bundle ──▶ saccade: Sam.everything                               (ours)
               ──transformers.SamModel──▶ the generator of segment-anything, written out: encoder, 64 clicks a run,
                 dense logits at the picture's size, filters, boxes, NMS, run lengths by pycocotools  (torch)

`tiny` is the zoo's trained checkpoint; `vit-b` has real size and random weights, whose scores mean nothing: there each
of the two filters is set to let about half of the masks through. Nothing is timed before both give the same masks, but
for what lies on a threshold: IoU 0.99 with a partner. The clock is the process's own, so that neighbours count less.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import saccade
from saccade.benchmarks.rows import compared, interleave
from saccade.kernels.nms import nms
from saccade.runtime import rle
from saccade.runtime.call import Call, Work
from saccade.runtime.errors import InputError, MissingExtra
from saccade.runtime.image import Image
from saccade.runtime.masks import Masks

NEEDS = {"torch": "export", "transformers": "export", "onnxruntime": "cpu", "pycocotools": "bench"}
MATCH, SHARE = 0.99, 0.97
"""IoU of a mask with its partner, and the share of masks that must have one, in both directions."""
BATCH = 64


@dataclass(frozen=True)
class Case:
    """What is measured: a checkpoint, a picture of height x width, points a side; filters, or None to choose them."""

    name: str
    picture: str
    size: tuple[int, int]
    grid: int
    filters: tuple[float, float] | None
    rounds: int


CASES = {
    "tiny": Case("tiny", "crowd", (256, 256), 32, (0.7, 0.75), 15),
    "tiny-1080": Case("tiny", "crowd", (1080, 1080), 32, (0.7, 0.75), 7),
    "vit-b": Case("vit-b", "coffee", (1080, 1620), 16, None, 3),
}


def prepare(case: Case, checkpoint: Path, work: Path) -> tuple[Path, Path]:
    """Checkpoint and bundle, made in `work` if they are not there yet. Raises MissingExtra, InputError."""
    for library, extra in NEEDS.items():
        if find_spec(library) is None:
            raise MissingExtra(library, extra, purpose="this benchmark")
    from saccade.benchmarks.checkpoints import make_sam
    from saccade.export import export

    source = checkpoint if case.name == "tiny" else work / f"sam-{case.name}"
    if case.name != "tiny" and not (source / "model.safetensors").exists():
        make_sam(source, case.name)
    if not (source / "config.json").exists():
        raise InputError(f"no checkpoint in {source}", hint="give the folder of sam-tiny with --checkpoint")
    bundle = work / f"sam-{case.name}.bundle"
    if not bundle.exists():
        export(str(source), bundle)
    return source, bundle


def picture(case: Case) -> Image:
    """The case's picture, brought to its size."""
    from PIL import Image as Pillow

    if case.picture == "crowd":
        from saccade.zoo.shipped import pictures

        pixels = saccade.decode(next(p for p in pictures() if p.stem == "crowd")).pixels
    else:
        from skimage import data

        pixels = getattr(data, case.picture)()
    return saccade.decode(Pillow.fromarray(pixels).resize(case.size[::-1], Pillow.Resampling.BICUBIC))


class Procedure:
    """The reference's generator without crops, on transformers' SamModel: what it computes, in the same steps."""

    def __init__(self, checkpoint: Path, preprocess: Any, low: tuple[int, int]):
        from transformers import SamModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.model = SamModel.from_pretrained(checkpoint).eval()
        self.preprocess, self.low = preprocess, low

    def __call__(self, image: Image, grid: int, score: float, steady: float) -> list[dict[str, Any]]:
        """Run lengths of the masks, best first."""
        import torch

        with torch.inference_mode():
            pixels, frame = self._pixels(image)
            seen = self.model.get_image_embeddings(pixels)
            line = (np.arange(grid) + 0.5) / grid
            points = np.array([(x * image.width, y * image.height) for y in line for x in line])
            found = [
                self._batch(seen, points[at : at + BATCH], frame, score, steady) for at in range(0, len(points), BATCH)
            ]
        kept = nms(np.concatenate([f[2] for f in found]), np.concatenate([f[1] for f in found]), iou=0.7)
        everything = [r for f in found for r in f[0]]
        return [everything[i] for i in kept]

    def _pixels(self, image: Image) -> tuple[Any, Any]:
        """The model's input by PIL and NumPy, as the reference's ResizeLongestSide and preprocess make it."""
        import torch
        from PIL import Image as Pillow

        wanted = self.preprocess
        frame = wanted.frame(image.height, image.width)
        small = Pillow.fromarray(image.pixels).resize(frame.resized[::-1], Pillow.Resampling.BILINEAR)
        mean, std = np.array(wanted.mean, np.float32), np.array(wanted.std, np.float32)
        made = np.zeros((3, *frame.size), np.float32)
        scaled = (np.asarray(small, np.float32) * np.float32(wanted.scale) - mean) / std
        made[:, : frame.resized[0], : frame.resized[1]] = scaled.transpose(2, 0, 1)
        return torch.from_numpy(made[None]), frame

    def _batch(self, seen: Any, points: Any, frame: Any, score: float, steady: float) -> tuple[Any, Any, Any]:
        import torch
        from pycocotools.mask import encode

        places = torch.from_numpy(frame.apply_points(points))[None, :, None]
        out = self.model(
            image_embeddings=seen, input_points=places, input_labels=torch.ones(places.shape[:3], dtype=torch.long),
            multimask_output=True,
        )  # fmt: skip
        low, scores = out.pred_masks[0].flatten(0, 1), out.iou_scores[0].flatten()
        low, scores = low[scores > score], scores[scores > score]
        resize = partial(torch.nn.functional.interpolate, mode="bilinear", align_corners=False)
        square = resize(low[:, None], frame.size)[..., : frame.resized[0], : frame.resized[1]]
        full = resize(square, frame.original)[:, 0]
        stability = (full > 1).sum((1, 2)) / (full > -1).sum((1, 2))
        masks, scores = full[stability >= steady] > 0, scores[stability >= steady]
        boxes = np.array([_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        return [encode(np.asfortranarray(m.numpy().view(np.uint8))) for m in masks], scores.numpy(), boxes


def _box(mask: Any) -> tuple[int, int, int, int]:
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return (int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])) if len(rows) else (0, 0, 0, 0)


def rows(
    cases: list[str], checkpoint: Path, work: Path, *, grid: int | None = None, report: Any = None
) -> list[dict[str, Any]]:
    """A row for each case: ours and torch in ms, one thread, and where our time goes.

    Raises ValueError if the masks are not the same.
    """
    import torch

    before, made = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        for at, name in enumerate(cases):
            made.append(_row(name, CASES[name], checkpoint, work, grid))
            if report:
                report(at + 1, len(cases))
    finally:
        torch.set_num_threads(before)
    return made


def _row(name: str, case: Case, checkpoint: Path, work: Path, grid: int | None) -> dict[str, Any]:
    source, bundle = prepare(case, checkpoint, work)
    image, side = picture(case), grid or case.grid
    with saccade.load(bundle, threads=1) as model:
        pipeline = model.pipeline
        theirs = Procedure(source, pipeline.preprocess, pipeline.low)
        score, steady = case.filters or _filters(model, image, side)
        asked = {"grid": side, "min_score": score, "min_stability": steady}
        found, reference = model.everything(image, **asked), theirs(image, side, score, steady)
        matched = _matched(found, reference)
        if matched < SHARE:
            raise ValueError(f"[benchmark] {name}: only {matched:.3f} of the masks have a partner of IoU {MATCH}")
        runs: dict[str, Callable[[], Any]] = {
            "ours": lambda: model.everything(image, **asked),
            "torch": lambda: theirs(image, side, score, steady),
        }
        times = interleave(runs, seconds=60, rounds=case.rounds, pause_ms=20, clock=time.process_time)
        return {
            "case": name,
            "picture": list(case.size),
            "points": side * side,
            "masks": len(found),
            "masks_reference": len(reference),
            "matched": round(matched, 4),
            "filters": [round(score, 4), round(steady, 4)],
            "p50_ms": round(times["ours"].p50_ms, 2),
            "p90_ms": round(times["ours"].p90_ms, 2),
            "runs": len(times["ours"].rounds_ms),
            "parts_ms": _parts(model, image, asked),
            "baselines": compared(times["ours"], {"torch": times["torch"]}),
        }


def _filters(model: saccade.Model, image: Image, grid: int) -> tuple[float, float]:
    """A score and a stability that about half of the masks pass, in a gap, so that rounding moves none across."""
    scores: list[NDArray[np.float32]] = []

    def watch() -> Any:
        pipeline, answer = model.pipeline.everything(image, grid=grid, min_score=1e9), None
        while True:
            try:
                step = pipeline.send(answer)
            except StopIteration:
                return None
            answer = yield step
            if isinstance(step, Call) and step.graph.name == "decoder":
                scores.append(answer["iou"][0, :, 1:].ravel())

    model.run(watch())
    score = _gap(np.concatenate(scores))
    loose = model.everything(image, grid=grid, min_score=score, min_stability=0.0, box_nms=1.0)
    return score, _gap(loose.stability)


def _gap(values: NDArray[np.float32]) -> float:
    """The middle of the widest gap among the middle tenth of `values`."""
    ordered = np.sort(values)
    part = ordered[int(len(ordered) * 0.45) : int(len(ordered) * 0.55) + 2]
    if len(part) < 2:
        return float(np.median(values))
    at = int(np.diff(part).argmax())
    return float(max((part[at] + part[at + 1]) / 2, 1e-6))


def _matched(found: Masks, reference: list[dict[str, Any]]) -> float:
    """The lesser of the shares of either side's masks that have a partner on the other."""
    if not len(found) or not reference:
        return 0.0
    overlap = rle.iou(found.rle, reference)
    return float(min((overlap.max(axis=axis) >= MATCH).mean() for axis in (0, 1)))


def _parts(model: saccade.Model, image: Image, asked: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of one run in each graph, and in work on the host."""
    spent: dict[str, float] = {}

    def watch() -> Any:
        pipeline, answer = model.pipeline.everything(image, **asked), None
        while True:
            try:
                step = pipeline.send(answer)
            except StopIteration:
                return None
            start = time.process_time()
            answer = yield step
            name = step.graph.name if isinstance(step, Call) else "host" if isinstance(step, Work) else "other"
            spent[name] = spent.get(name, 0.0) + (time.process_time() - start) * 1e3

    model.run(watch())
    return {name: round(ms, 2) for name, ms in spent.items()}
