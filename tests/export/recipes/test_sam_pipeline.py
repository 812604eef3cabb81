"""What a user asks of an exported SAM, in pixels of his picture, against transformers' SamModel asked the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import saccade
from saccade.export.load import hushed
from saccade.runtime.bundle import Bundle
from saccade.runtime.prompt import Prompt

HEIGHT, WIDTH, SIDE, LOW = 57, 101, 80, 40
SCALE = (SIDE / WIDTH, round(HEIGHT * SIDE / WIDTH) / HEIGHT)  # x, y
POINTS, LABELS, BOX = [[30.0, 40.0], [77.5, 12.0]], [1, 0], [10.0, 5.0, 80.0, 50.0]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope="module")
def sam(sam_exported: Bundle) -> Iterator[saccade.Model]:
    with saccade.load(sam_exported, threads=1, precision="fp32") as model:
        yield model


@pytest.fixture(scope="module")
def view(sam: saccade.Model, picture: np.ndarray) -> saccade.View:
    return sam.encode(picture)


@pytest.fixture(scope="module")
def stock(sam_folder: Path) -> Any:
    from transformers import SamModel

    with hushed():
        return SamModel.from_pretrained(sam_folder).eval()


def asked(stock: Any, sam: saccade.Model, picture: np.ndarray, multimask: bool, **prompts: Any) -> Any:
    """transformers' masks at the picture's size, low-res logits and scores, from the same pixels."""
    pixels, frame = sam.pipeline.preprocess(saccade.decode(picture))
    with torch.no_grad():
        out = stock(pixel_values=torch.from_numpy(pixels), multimask_output=multimask, **prompts)
        resize = torch.nn.functional.interpolate
        square = resize(out.pred_masks[0], (SIDE, SIDE), mode="bilinear")[..., : frame.resized[0], : frame.resized[1]]
        full = resize(square, (HEIGHT, WIDTH), mode="bilinear").flatten(0, 1) > 0
    return full.numpy(), out.pred_masks[0].flatten(0, 1).numpy(), out.iou_scores[0].flatten().numpy()


def points(given: list[Any]) -> torch.Tensor:
    return torch.tensor(np.array(given) * SCALE, dtype=torch.float32)


def boxes(given: list[list[float]]) -> torch.Tensor:
    return torch.tensor(np.array(given) * (*SCALE, *SCALE), dtype=torch.float32)[None]


def same(got: saccade.Masks, want: Any) -> None:
    full, low, score = want
    np.testing.assert_allclose(got.low, low, atol=1e-4 * np.abs(low).max())
    np.testing.assert_allclose(got.score, score, atol=1e-4)
    assert (got.dense() != full).mean() < 1e-3


@pytest.mark.parametrize("multimask", [True, False])
def test_points_boxes_and_both(sam: Any, view: Any, stock: Any, picture: np.ndarray, multimask: bool) -> None:
    clicks = {"input_points": points([[POINTS]]), "input_labels": torch.tensor([[LABELS]])}
    box = {"input_boxes": boxes([BOX])}
    for ours, theirs in (
        ({"points": POINTS, "labels": LABELS}, clicks),
        ({"boxes": BOX}, box),
        ({"points": POINTS, "labels": LABELS, "boxes": BOX}, {**clicks, **box}),
    ):
        same(view.segment(**ours, multimask=multimask), asked(stock, sam, picture, multimask, **theirs))


def test_many_objects_together(sam: Any, view: Any, stock: Any, picture: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    clicks = rng.uniform((0, 0), (WIDTH, HEIGHT), (70, 1, 2))
    want = asked(stock, sam, picture, True, input_points=points([clicks]), input_labels=torch.ones(1, 70, 1).long())
    same(view.segment(points=clicks), want)
    several = [BOX, [0, 0, WIDTH, HEIGHT], [3, 4, 9, 12]]
    same(view.segment(boxes=several), asked(stock, sam, picture, False, input_boxes=boxes(several)))


def test_refinement(sam: Any, view: Any, stock: Any, picture: np.ndarray) -> None:
    first = view.segment(points=POINTS[:1])
    clicks = {"input_points": points([[POINTS]]), "input_labels": torch.tensor([[LABELS]])}
    fed = torch.from_numpy(first.low[2])[None, None]
    want = asked(stock, sam, picture, False, **clicks, input_masks=fed)
    same(view.segment(points=POINTS, labels=LABELS, mask=first.low[2]), want)


def test_different_kinds_in_one_run_are_what_each_is_alone(view: Any) -> None:
    rng = np.random.default_rng(3)
    kinds = [
        Prompt(points=POINTS[:1]),
        Prompt(box=BOX),
        Prompt(points=POINTS, labels=LABELS, box=BOX, mask=rng.normal(0, 8, (LOW, LOW))),
        Prompt(points=rng.uniform(0, 50, (9, 2))),
    ]
    together = view.segment(prompts=kinds)
    for i, prompt in enumerate(kinds):
        alone, part = view.segment(prompts=prompt), together[together.prompt == i]
        np.testing.assert_allclose(part.low, alone.low, atol=1e-4 * np.abs(alone.low).max())
        np.testing.assert_allclose(part.score, alone.score, atol=1e-4)
        assert part.iou(alone).diagonal().min() > 0.99


def test_everything_is_what_the_procedure_in_torch_gives(sam: Any, sam_folder: Path) -> None:
    """The benchmark's own peer and gate, on weights that both sides run for themselves."""
    pytest.importorskip("pycocotools")
    from saccade.benchmarks.everything import MATCH, Procedure, _filters, _matched, _parts

    image = saccade.decode(np.random.default_rng(9).integers(0, 255, (90, 120, 3), np.uint8))
    score, steady = _filters(sam, image, 6)
    asked = {"grid": 6, "min_score": score, "min_stability": steady}
    found = sam.everything(image, **asked)
    reference = Procedure(sam_folder, sam.pipeline.preprocess, sam.pipeline.low)(image, 6, score, steady)
    assert len(found) == len(reference) > 0
    assert _matched(found, reference) == 1.0
    assert _matched(found, []) == 0.0
    assert found.iou(saccade.Masks.from_rle(reference, found.size)).max(axis=1).min() >= MATCH
    assert set(_parts(sam, image, asked)) == {"decoder", "encoder", "host"}
