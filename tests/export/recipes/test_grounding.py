"""Grounding DINO's two graphs against transformers' own forward: padded prompts of different length, pictures shown in
part, both classes, both kinds of backbone."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.benchmarks.grounding_checkpoints import SPECIAL, make_grounding
from saccade.export import export
from saccade.export.half import fp16
from saccade.export.load import hushed
from saccade.export.quantize import int8
from saccade.export.recipe import Checkpoint, GraphRecipe, Material, Recipe, read
from saccade.export.recipes import grounding
from saccade.export.to_onnx import reference, session, to_onnx
from saccade.export.verify import Trained, Verifier
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, open_engine
from saccade.runtime.errors import ExportError, SettingsError, UnknownModel
from saccade.runtime.phrases import layout
from saccade.runtime.precision import golden_check, golden_passes

SIZE = 64, 96
PROMPTS = [[101, 1, 4, 1012, 9, 2, 5, 1012, 102], [101, 8, 1012, 102]]  # [CLS] red circle . the blue square . [SEP]
TEXTS = ["red circle. the blue square.", "a cat. two dog."]
ARRAYS = dict[str, np.ndarray]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with hushed():
        return make_grounding(tmp_path_factory.mktemp("checkpoints") / "grounding-least", "least")


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Recipe:
    return read(Checkpoint(folder, "own/grounding-small", sizes=(SIZE,)))


@pytest.fixture(scope="module")
def verifier(recipe: Recipe) -> Verifier:
    from saccade.export.calibration import rendered

    ask = Trained()
    samples = recipe.samples(Material(rendered(2), TEXTS), [g.name for g in recipe.graphs], ask)
    return Verifier(recipe, samples, None, ask)


@pytest.fixture(scope="module")
def models(recipe: Recipe) -> dict[str, Any]:
    """Both graphs as onnx.ModelProto, each found equal to torch at three batches, lengths and shown parts."""
    return {graph.name: to_onnx(graph) for graph in recipe.graphs}


def asked(size: tuple[int, int], *rows: int, length: int = 9, seed: int = 0) -> ARRAYS:
    """Inputs of both graphs: these rows of PROMPTS, padded, on noise of which odd rows are shown in part."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((len(rows), length), np.int64)
    shown = np.ones((len(rows), *size), bool)
    for row, place in enumerate(rows):
        ids[row, : len(PROMPTS[place])] = PROMPTS[place]
        if place % 2:
            shown[row, size[0] * 3 // 4 :] = shown[row, :, size[1] * 2 // 3 :] = False
    attends, positions = layout(ids, (101, 102, 1012, 1029))
    pixels = rng.standard_normal((len(rows), 3, *size), np.float32) * shown[:, None]
    mask = np.arange(length) < np.array([[len(PROMPTS[place])] for place in rows])
    return {"ids": ids, "attends": attends, "positions": positions, "pixels": pixels, "shown": shown, "text_mask": mask}


def through(run: Any, graphs: tuple[GraphRecipe, ...], given: ARRAYS) -> ARRAYS:
    """What text and detector answer, one after the other. run: (graph, inputs) → outputs"""
    said = run(graphs[0], {t.name: given[t.name] for t in graphs[0].spec.inputs})
    found = run(graphs[1], {t.name: {**given, **said}[t.name] for t in graphs[1].spec.inputs})
    return {**said, **found}


def stock_answer(model: Any, given: ARRAYS) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, Q, N) and corners (B, Q, 4) by the class itself."""
    with torch.no_grad():
        out = model(
            pixel_values=torch.from_numpy(given["pixels"]),
            input_ids=torch.from_numpy(given["ids"]),
            attention_mask=torch.from_numpy(given["text_mask"]).long(),
            pixel_mask=torch.from_numpy(given["shown"]).long(),
        )
    centre, half = out.pred_boxes[..., :2], out.pred_boxes[..., 2:] / 2
    corners = torch.cat([centre - half, centre + half], -1).clamp(0, 1)
    return out.logits[..., : given["ids"].shape[1]].numpy(), corners.numpy()


def check(found: ARRAYS, want: tuple[np.ndarray, np.ndarray], mask: np.ndarray) -> None:
    logits, corners = want
    told = np.broadcast_to(mask[:, None], logits.shape)
    assert np.isfinite(found["logits"]).all()
    assert np.std(corners) > 0.1, "boxes differ, or nothing is tested"
    np.testing.assert_allclose(found["logits"][told], logits[told], atol=1e-4 * np.abs(logits[told]).max())
    np.testing.assert_allclose(found["boxes"], corners, atol=1e-4)


@pytest.mark.parametrize("kind", ["grounding-dino", "mm-grounding-dino"])
@pytest.mark.parametrize("size", ["small", "small-swin"])  # four levels, the last by a strided step
def test_the_modules_answer_as_the_class(tmp_path: Path, kind: str, size: str) -> None:
    import transformers

    name = "MMGroundingDino" if kind.startswith("mm") else "GroundingDino"
    with hushed():
        folder = make_grounding(tmp_path / "m", size, kind, seed=3)
        stock = getattr(transformers, f"{name}ForObjectDetection").from_pretrained(folder).eval()
    found = read(Checkpoint(folder, "m", sizes=(SIZE,)))
    given = asked(SIZE, 0, 1, seed=1)
    check(through(reference, found.graphs, given), stock_answer(stock, given), given["text_mask"])


def test_the_exported_graphs_answer_as_the_class(models: dict[str, Any], recipe: Recipe, folder: Path) -> None:
    from transformers import GroundingDinoForObjectDetection

    with hushed():
        stock = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    runs = {name: session(model) for name, model in models.items()}
    for given in (asked(SIZE, 1, 0, 1, seed=2), asked(SIZE, 0, seed=3)):
        found = through(lambda graph, inputs: runs[graph.name](inputs), recipe.graphs, given)
        check(found, stock_answer(stock, given), given["text_mask"])


def test_an_answer_does_not_depend_on_its_batch_nor_on_padding(models: dict[str, Any], recipe: Recipe) -> None:
    runs = {name: session(model, threads=1) for name, model in models.items()}
    ask = lambda given: through(lambda graph, inputs: runs[graph.name](inputs), recipe.graphs, given)  # noqa: E731
    alone = asked(SIZE, 1, length=4, seed=5)
    loud = asked(SIZE, 0, 1, length=12, seed=6)
    loud["pixels"][0] *= 50  # a neighbour whose scores are far larger
    for name in ("pixels", "shown"):
        loud[name][1] = alone[name][0]
    # as the scheduler pads: zeros, so that what is added attends to nothing
    loud["attends"][1], loud["positions"][1] = False, 0
    loud["attends"][1, :4, :4], loud["positions"][1, :4] = alone["attends"][0], alone["positions"][0]
    one, many = ask(alone), ask(loud)
    np.testing.assert_allclose(many["boxes"][1], one["boxes"][0], atol=2e-5)
    scale = np.abs(one["logits"]).max()
    np.testing.assert_allclose(many["logits"][1, :, :4], one["logits"][0], atol=2e-5 * scale)


def test_what_is_not_shown_and_not_said_is_not_seen(recipe: Recipe) -> None:
    """Places behind the shown part still pass through the backbone, so only what it cannot reach is changed."""
    given = asked((64, 96), 1, length=8)
    detector = recipe.graphs[1].module
    with torch.no_grad():
        boxes = detector.places(torch.from_numpy(given["shown"]), [(8, 12), (4, 6)])
    inside, usable, proposals = boxes[0][0], boxes[1][0], boxes[4][0]
    assert int(inside.sum()) == 6 * 8 + 3 * 4
    assert not (usable & ~inside).any()
    assert torch.isinf(proposals[~usable]).all()
    assert torch.isfinite(proposals[usable]).all()


def test_deformable_attention_is_one_node_with_a_body(models: dict[str, Any]) -> None:
    nodes = [n for n in models[f"detector_{SIZE[0]}x{SIZE[1]}"].graph.node if n.domain == "saccade"]
    assert [n.op_type for n in nodes] == ["DeformableAttention"] * 3  # one layer of the encoder, two of the decoder
    assert len(models[f"detector_{SIZE[0]}x{SIZE[1]}"].functions) == 1


def test_half_precision_leaves_selection_and_coordinates(
    models: dict[str, Any], recipe: Recipe, verifier: Verifier
) -> None:
    from onnx import TensorProto

    graph = recipe.graphs[1]
    half = fp16(models[graph.name], keep=graph.keep)
    kinds = {t.name: t.data_type for t in half.graph.initializer}
    products = [n for n in half.graph.node if n.op_type == "MatMul" and n.input[1] in kinds]
    exact = {n.name.partition("/")[0] for n in products if kinds[n.input[1]] == TensorProto.FLOAT}
    assert exact == {"@select", "@refine"}
    assert sum(kinds[n.input[1]] == TensorProto.FLOAT16 for n in products) > 20
    makers = {out: n for n in half.graph.node for out in n.output}
    (top,) = (n for n in half.graph.node if n.op_type == "TopK")
    before = makers[top.input[0]]
    assert before.name.startswith("@select/")
    found = verifier.variant(graph, "fp16", "", half)
    assert found.measured[0].metric == "box_iou"
    assert found.measured[0].mean > 0.9  # near-tied proposals of random weights; a trained one measures above 0.99


def test_int8_is_judged_by_its_boxes_and_a_damaged_variant_is_refused(
    models: dict[str, Any], recipe: Recipe, verifier: Verifier
) -> None:
    graph = recipe.graphs[1]
    rounded = int8(models[graph.name], verifier.samples[graph.name], keep=graph.keep)
    quantised = [n for n in rounded.graph.node if n.op_type == "QuantizeLinear"]
    assert len(quantised) > 8
    iou, score = verifier.variant(graph, "int8", "", rounded).measured
    assert (iou.metric, score.metric) == ("box_iou", "score")
    assert 0.3 < iou.mean < 1
    assert verifier.variant(graph, "fp32", "", models[graph.name]).within_budget
    damaged = copy.deepcopy(models[graph.name])
    _shift(damaged, "w.refine.1.head.layers.2.bias", 0.1)
    assert not verifier.variant(graph, "fp32", "", damaged).within_budget
    deaf = copy.deepcopy(models["text"])
    _shift(deaf, "w.projection.bias", np.random.default_rng(0).standard_normal(64))
    assert not verifier.variant(recipe.graphs[0], "fp32", "", deaf).within_budget


def _shift(model: Any, name: str, by: Any) -> None:
    from onnx import numpy_helper

    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.asarray(by, np.float32), name))


@pytest.fixture(scope="module")
def bundle(folder: Path, recipe: Recipe, models: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The whole road, with the graphs that are there already."""
    from saccade.export import to_onnx as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "to_onnx", lambda graph: copy.deepcopy(models[graph.name]))
        target = tmp_path_factory.mktemp("bundles") / "grounding.bundle"
        return export(folder, target, sizes=[SIZE], texts=TEXTS, calibrate=None)


def test_the_manifest_says_what_the_pipeline_needs(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.family == "grounding"
    assert manifest.config == {
        "architecture": "grounding_dino",
        "sizes": [list(SIZE)],
        "max_tokens": 48,
        "blocks": True,
        "separators": [101, 102, SPECIAL["."], SPECIAL["?"]],
        "threshold": 0.3,
        "text_threshold": 0.25,
    }
    assert set(manifest.graphs) == {"text", f"detector_{SIZE[0]}x{SIZE[1]}"}
    assert (manifest.preprocess["size"], manifest.preprocess["resize"]) == (list(SIZE), "fit")
    assert manifest.preprocess["filter"] == "bilinear"


def test_the_golden_set_is_judged_by_boxes_wherever_their_slots_are(bundle: Bundle) -> None:
    name = f"detector_{SIZE[0]}x{SIZE[1]}"
    engine = open_engine(bundle, name, Options(backend="onnx_runtime"))

    class Shuffled:
        spec, about = engine.spec, engine.about

        def __init__(self, by: float):
            self.by = by

        def __call__(self, **inputs: np.ndarray) -> ARRAYS:
            found = engine(**inputs)
            return {"logits": found["logits"][:, ::-1], "boxes": found["boxes"][:, ::-1] + np.float32(self.by)}

    variant = bundle.manifest.graphs[name].variants[0]
    budgets = bundle.manifest.budgets
    assert golden_passes(golden_check(bundle, name, engine), variant, budgets)
    assert golden_passes(golden_check(bundle, name, Shuffled(0)), variant, budgets)  # type: ignore[arg-type]
    assert not golden_passes(golden_check(bundle, name, Shuffled(0.05)), variant, budgets)  # type: ignore[arg-type]


def test_prompts_are_made_of_everyday_captions() -> None:
    assert grounding.prompts(["a cat", "a dog. two birds.", "map", "tree", "car"]) == [
        "a dog. two birds.",
        "a cat. map. tree.",
        "car.",
    ]


def test_sizes_follow_the_preprocessing(folder: Path) -> None:
    assert read(Checkpoint(folder, "m")).config["sizes"] == [[96, 128], [128, 96]]


@pytest.mark.slow
def test_one_graph_serves_all_sizes_where_the_backbone_allows(folder: Path) -> None:
    from transformers import GroundingDinoForObjectDetection

    recipe = read(Checkpoint(folder, "m", sizes=((64, 96), (96, 64))))
    text, detector = recipe.graphs
    assert detector.spec.inputs[0].dims == ("B", 3, "H", "W")
    runs = {graph.name: session(to_onnx(graph)) for graph in recipe.graphs}
    with hushed():
        stock = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    for size in ((64, 96), (72, 120), (96, 72)):
        given = asked(size, 0, 1, seed=8)
        found = through(lambda graph, inputs: runs[graph.name](inputs), recipe.graphs, given)
        check(found, stock_answer(stock, given), given["text_mask"])


def test_bad_wishes_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="30 queries") as caught:
        read(Checkpoint(folder, "m", sizes=((32, 32),)))
    assert caught.value.hint
    for sizes in ([(480,)], [(0, 640)], [(480, 1e9)], [(480, "x")]):
        with pytest.raises(SettingsError, match="sizes"):
            export(folder, tmp_path / "x.bundle", sizes=sizes)  # type: ignore[arg-type]
    import shutil

    shutil.copytree(folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(
        json.dumps({**config, "two_stage": False, "embedding_init_target": True})
    )
    with pytest.raises((UnknownModel, ExportError)):
        read(Checkpoint(tmp_path / "m", "m"))
