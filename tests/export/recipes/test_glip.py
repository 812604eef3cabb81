"""GLIP's official .pth: recognised by its names, read safely, and the graphs that come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.benchmarks.glip_checkpoint import SMALL, drawn, make_glip, names
from saccade.export.box_figures import figures
from saccade.export.load import bert_tokenizer
from saccade.export.recipe import Checkpoint, Recipe, Trial, kind_of
from saccade.export.recipes import glip
from saccade.export.source import resolve
from saccade.export.to_onnx import parity, reference, to_onnx
from saccade.runtime.errors import ExportError, SettingsError
from saccade.runtime.text import Tokenizer, TokenizerSpec

SIZE = (64, 96)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "?", "a", "red", "cub", "##e", "ball"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return make_glip(folder / "glip_tiny_model_o365_goldg.pth", SMALL)


@pytest.fixture(scope="module")
def recipe(file: Path) -> Recipe:
    checkpoint = resolve(file)
    spec, data = bert_tokenizer(checkpoint, glip.LONGEST)
    return glip.build(glip.loaded(checkpoint), checkpoint, Tokenizer(data, spec), data, [SIZE, SIZE[::-1]])


def test_the_layout_is_known_by_a_name_that_only_it_has(file: Path) -> None:
    assert kind_of(resolve(file)) == "glip"


def test_the_recipe_says_what_the_pipeline_needs(recipe: Recipe) -> None:
    assert recipe.family == "grounding"
    assert recipe.name == "glip_tiny_model_o365_goldg"
    assert [graph.name for graph in recipe.graphs] == ["text", "detector_64x96", "detector_96x64"]
    config = recipe.config
    assert config["architecture"] == "glip"
    assert config["sizes"] == [[64, 96], [96, 64]]
    assert (config["blocks"], config["aggregate"], config["nms"]) == (False, "mean", 0.6)
    assert config["separators"] == [WORDS.index(token) for token in ("[CLS]", "[SEP]", ".", "?")]


def test_a_vocabulary_alone_makes_berts_tokenizer(recipe: Recipe) -> None:
    tokenizer = Tokenizer(recipe.files["tokenizer.json"], TokenizerSpec.of(recipe.tokenizer))
    line = ["[CLS]", "a", "red", "cub", "##e", ".", "[UNK]", "[SEP]"]
    assert tokenizer.encode(["A Red cube. giraffe"])[0].tolist() == [WORDS.index(word) for word in line]


def test_a_file_without_a_vocabulary_beside_it_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"no tokenizer.json or vocab.txt"):
        bert_tokenizer(Checkpoint(tmp_path, "glip"), 256)


@pytest.mark.parametrize("size", [(64, 100), (0, 32)])
def test_a_size_that_is_no_whole_step_is_refused(file: Path, recipe: Recipe, size: tuple[int, int]) -> None:
    checkpoint = resolve(file)
    tokenizer = Tokenizer(recipe.files["tokenizer.json"], TokenizerSpec.of(recipe.tokenizer))
    with pytest.raises(SettingsError, match=f"{size[0]}x{size[1]}"):
        glip.build(glip.loaded(checkpoint), checkpoint, tokenizer, b"", [size])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("rpn.head.scales.3.scale"), "1 weights are missing"),
        (lambda w: w.pop("rpn.head.dyhead_tower.2.relu.fc.0.weight"), "no weight"),
        (lambda w: w.update({"rpn.head.odd": torch.zeros(1)}), "no place"),
        (lambda w: w.update({"rpn.head.bias0": torch.zeros(2)}), "bias0 is"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, said: str) -> None:
    weights = drawn(names(SMALL))
    change(weights)
    torch.save({"model": weights}, tmp_path / "odd.pth")
    with pytest.raises(ExportError, match=said):
        glip.loaded(resolve(tmp_path / "odd.pth"))


def test_what_training_leaves_in_a_file_is_not_read(tmp_path: Path) -> None:
    weights = drawn(names(replace(SMALL, fused=False)))
    weights["language_backbone.body.model.pooler.dense.weight"] = torch.zeros(2, 2)
    weights["language_backbone.body.model.embeddings.position_ids"] = torch.arange(9)[None]
    weights["rpn.head.mlm_head.bias"] = torch.zeros(3)
    torch.save({"model": weights, "optimizer": {"state": {0: torch.zeros(3)}}}, tmp_path / "a.pth")
    assert not glip.loaded(resolve(tmp_path / "a.pth")).rpn["head"].fused


def test_samples_are_pictures_with_a_prompt_each_at_the_top_left(recipe: Recipe) -> None:
    from saccade.export.recipe import Material
    from saccade.runtime.image import Image

    tall = Image(np.full((90, 30, 3), 255, np.uint8), "tall")
    found = recipe.samples(Material([tall], ["a red cube. a ball."]), [g.name for g in recipe.graphs], reference)
    one = found["detector_64x96"][0]
    assert one["shown"][0].any(0).sum() == 21
    assert one["shown"][0].any(1).all()
    assert not one["pixels"][0][:, ~one["shown"][0]].any()
    assert one["text"].shape[1] == found["text"][0]["ids"].shape[1] == one["attends"].shape[1]


def test_figures_fall_with_boxes_and_scores(recipe: Recipe) -> None:
    graph = recipe.graphs[1]
    sample = {name: array[:1] for name, array in graph.example.items()}
    exact = reference(graph, sample)
    samples, trained = {graph.name: [sample]}, {graph.name: [exact]}

    def figure(**changed: np.ndarray) -> dict[str, float]:
        trial = Trial(graph.name, samples, trained, {graph.name: [exact | changed]}, None, "", reference)
        return {m.metric: m.mean for m in figures(trial, recipe.graphs[1:])}

    assert figure() == {"box_iou": 1.0, "score": 1.0}
    assert figure(logits=exact["logits"] + 1)["score"] < 0.97
    assert figure(boxes=exact["boxes"] * 0.9)["box_iou"] < 0.98
    assert figure(logits=exact["logits"] * np.nan)["score"] < 0.5


@pytest.mark.slow
def test_the_graphs_are_exported_and_agree_with_torch(recipe: Recipe) -> None:
    for graph in recipe.graphs[:2]:
        model = to_onnx(graph)
        assert parity(model, graph) < 1e-4
        if graph.name != "text":
            assert sum(node.op_type == "DeformConv" for node in model.graph.node) == 13
