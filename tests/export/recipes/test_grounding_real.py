"""Text-prompted detectors of real size, random weights, against transformers. Minutes and gigabytes: run by hand with
`pytest --real tests/export/recipes/test_grounding_real.py`; docs/export-grounding.md has what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.benchmarks.grounding_checkpoints import make_grounding
from saccade.export.load import hushed
from saccade.export.recipe import Checkpoint, read
from saccade.export.to_onnx import session, to_onnx
from saccade.runtime.matching import likeness, said_by, scores_of
from saccade.runtime.phrases import layout

PROMPTS = [[101, 1, 4, 1012, 9, 2, 5, 1012, 102], [101, 8, 1012, 102]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with hushed():
        return make_grounding(tmp_path_factory.mktemp("checkpoints") / "swin-t", "swin-t")


@pytest.mark.real
@pytest.mark.parametrize("size", [(480, 640), (640, 480)])
def test_grounding_dino_tiny_answers_as_the_class(folder: Path, size: tuple[int, int]) -> None:
    from transformers import GroundingDinoForObjectDetection

    given = _asked(size)
    with hushed():
        stock = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    with torch.no_grad():
        out = stock(
            pixel_values=torch.from_numpy(given["pixels"]),
            input_ids=torch.from_numpy(given["ids"]),
            attention_mask=torch.from_numpy(given["text_mask"]).long(),
            pixel_mask=torch.from_numpy(given["shown"]).long(),
        )
    centre, half = out.pred_boxes[..., :2], out.pred_boxes[..., 2:] / 2
    want = {"logits": out.logits[..., :12].numpy(), "boxes": torch.cat([centre - half, centre + half], -1).clamp(0, 1)}
    del stock
    recipe = read(Checkpoint(folder, "swin-t", sizes=(size,)))
    found: dict[str, Any] = dict(given)
    for graph in recipe.graphs:  # to_onnx itself compares with torch at other batches and lengths
        found |= session(to_onnx(graph))({t.name: found[t.name] for t in graph.spec.inputs})
    for row in range(2):
        said = said_by(given, row)
        boxes = np.asarray(want["boxes"][row])
        assert boxes.std() > 0.2
        apart = np.abs(found["boxes"][row] - boxes).max(-1)
        assert (apart > 1e-4).mean() < 0.02  # near-tied proposals change places
        alike = likeness((boxes, scores_of(want, row, said)), (found["boxes"][row], scores_of(found, row, said)), 0.3)
        assert alike.iou.mean() > 0.998
        assert alike.score.mean() > 0.999


def _asked(size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Two prompts of different length, and two pictures, the second of which fills half of the input."""
    rng = np.random.default_rng(7)
    ids, shown = np.zeros((2, 12), np.int64), np.ones((2, *size), bool)
    for row, prompt in enumerate(PROMPTS):
        ids[row, : len(prompt)] = prompt
    shown[1, size[0] * 3 // 4 :] = shown[1, :, size[1] * 2 // 3 :] = False
    attends, positions = layout(ids, (101, 102, 1012, 1029))
    return {
        "ids": ids,
        "attends": attends,
        "positions": positions,
        "pixels": rng.standard_normal((2, 3, *size), np.float32) * shown[:, None],
        "shown": shown,
        "text_mask": np.arange(12) < np.array([[9], [4]]),
    }
