"""OWL-ViT's and OWLv2's three graphs against transformers' own forward, asked by words and by example."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.benchmarks.grounding_checkpoints import make_owl
from saccade.export.load import hushed
from saccade.export.quantize import int8
from saccade.export.recipe import Checkpoint, Material, Recipe, read
from saccade.export.to_onnx import reference, session, to_onnx
from saccade.export.verify import Trained, Verifier
from saccade.runtime.errors import ExportError
from saccade.runtime.image import Image
from saccade.runtime.preprocess import Preprocess

SIDE = 48
KINDS = {"owlvit": "OwlViTForObjectDetection", "owlv2": "Owlv2ForObjectDetection"}
ARRAYS = dict[str, np.ndarray]


@pytest.fixture(scope="module", params=list(KINDS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with hushed():
        return make_owl(tmp_path_factory.mktemp("checkpoints") / request.param, "small", request.param)


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return read(Checkpoint(folder, folder.name))


@pytest.fixture(scope="module")
def stock(folder: Path) -> Any:
    import transformers

    with hushed():
        return getattr(transformers, KINDS[folder.name]).from_pretrained(folder).eval()


def normalised(raw: np.ndarray) -> torch.Tensor:
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return (torch.from_numpy(raw) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def given_to(recipe: Recipe, raw: np.ndarray) -> ARRAYS:
    """Pixels as the graph takes them: OWLv2's from 0 to 1, OWL-ViT's normalised."""
    return {"pixels": raw if recipe.config["architecture"] == "owlv2" else normalised(raw).numpy()}


def corners(boxes: torch.Tensor) -> np.ndarray:
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1).clamp(0, 1).numpy()


def test_words_find_what_the_class_finds(recipe: Recipe, stock: Any) -> None:
    raw = np.random.default_rng(1).random((2, 3, SIDE, SIDE), np.float32)
    ids = np.array([[30, 1, 4, 31, 0, 0], [30, 9, 31, 0, 0, 0], [30, 2, 5, 7, 8, 31]])
    with torch.no_grad():
        tokens = torch.from_numpy(ids)
        want = stock(
            input_ids=tokens.repeat(2, 1), pixel_values=normalised(raw), attention_mask=(tokens > 0).long().repeat(2, 1)
        )
    image, text, query = recipe.graphs
    seen = reference(image, given_to(recipe, raw))
    said = reference(text, {"ids": ids})
    found = reference(query, {**{name: seen[name] for name in ("classes", "shift", "scale")}, **said})
    assert np.std(want.logits.numpy()) > 0.05
    np.testing.assert_allclose(found["logits"], want.logits.numpy(), atol=2e-5 * float(want.logits.abs().max()))
    np.testing.assert_allclose(seen["boxes"], corners(want.pred_boxes), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(said["queries"], axis=1), 1, atol=1e-5)
    if "objectness" in seen:
        np.testing.assert_allclose(seen["objectness"], want.objectness_logits.numpy(), atol=1e-5)


def test_an_example_finds_what_the_class_finds(recipe: Recipe, stock: Any) -> None:
    """The class embedding of the example's best box is the query, whichever box the class takes."""
    raw = np.random.default_rng(2).random((2, 3, SIDE, SIDE), np.float32)
    with torch.no_grad():
        want = stock.image_guided_detection(normalised(raw[:1]), query_pixel_values=normalised(raw[1:]))
        features = stock.image_embedder(pixel_values=normalised(raw[1:]))[0]
        chosen = stock.embed_image_query(features.flatten(1, 2), features)[1]
    image, _, query = recipe.graphs
    seen, shown = (reference(image, given_to(recipe, one)) for one in (raw[:1], raw[1:]))
    queries = shown["classes"][0, chosen.reshape(-1).numpy()]
    found = reference(query, {**{name: seen[name] for name in ("classes", "shift", "scale")}, "queries": queries})
    np.testing.assert_allclose(found["logits"], want.logits.numpy(), atol=2e-5 * float(want.logits.abs().max()))


@pytest.mark.slow
def test_every_graph_exports_and_judges_its_variants(recipe: Recipe) -> None:
    from saccade.export.calibration import rendered

    ask = Trained()
    samples = recipe.samples(Material(rendered(2), ["red circle", "a cat."]), ["image", "text", "query"], ask)
    verifier = Verifier(recipe, samples, None, ask)
    models = {graph.name: to_onnx(graph) for graph in recipe.graphs}
    short, long = np.array([[30, 4, 31]]), np.array([[30, 4, 31, 0, 0, 0, 0], [30, 1, 2, 3, 4, 5, 31]])
    run = session(models["text"])
    np.testing.assert_allclose(run({"ids": long})["queries"][0], run({"ids": short})["queries"][0], atol=1e-5)
    for graph in recipe.graphs:
        variant = verifier.variant(graph, "fp32", "", models[graph.name])
        assert variant.within_budget
        assert [m.metric for m in variant.measured] == ["box_iou", "score", "cosine"]
    rounded = verifier.variant(recipe.graphs[0], "int8", "", int8(models["image"], samples["image"]))
    assert rounded.measured[0].mean > 0.9
    damaged = copy.deepcopy(models["image"])
    from onnx import numpy_helper

    (bias,) = (t for t in damaged.graph.initializer if t.name == "w.box.dense2.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.3), bias.name))
    assert not verifier.variant(recipe.graphs[0], "fp32", "", damaged).within_budget


def test_black_fills_the_square_of_owlv2(recipe: Recipe, folder: Path) -> None:
    preprocess = Preprocess.read(recipe.preprocess)
    wide = Image(np.full((20, 40, 3), 128, np.uint8), "grey")
    pixels = preprocess.batch([wide])[0][0]
    if recipe.config["architecture"] == "owlvit":
        assert preprocess.resize == "squash"
        assert np.ptp(pixels.reshape(3, -1), axis=1).max() == 0
    else:
        assert not pixels[:, SIDE // 2 :].any()
        np.testing.assert_allclose(pixels[:, : SIDE // 2], 128 / 255, atol=1e-6)


def test_a_size_that_does_not_agree_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 64, "width": 64}}))
    with pytest.raises(ExportError, match=f"sees {SIDE} x {SIDE}"):
        read(Checkpoint(tmp_path / "m", "m"))
