"""SAM's two graphs against transformers' own forward: every kind of prompt, windows over the edge, B, P, N at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.export import export
from saccade.export.load import hushed
from saccade.export.recipe import Checkpoint, Material, read
from saccade.export.to_onnx import reference, session
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, open_engine
from saccade.runtime.errors import ExportError
from saccade.runtime.precision import golden_check, golden_passes

SIDE, LOW, WIDTH = 80, 40, 32
TOP_LEFT, BOTTOM_RIGHT, NONE, ABSENT = 2, 3, -1, -2


@pytest.fixture(scope="module")
def stock(sam_folder: Path) -> Any:
    from transformers import SamModel

    with hushed():
        return SamModel.from_pretrained(sam_folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def graphs(sam_exported: Bundle) -> Any:
    """The exported fp32 files, run as plain ONNX Runtime runs them."""
    import onnx

    return {name: session(onnx.load(sam_exported.path / f"{name}.fp32.onnx")) for name in ("encoder", "decoder")}


def asked(batch: int, count: int, *labels: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Decoder inputs with `labels` for each prompt, at random places, without masks."""
    rng = np.random.default_rng(seed)
    return {
        "embedding": rng.standard_normal((batch, WIDTH, 10, 10), np.float32),
        "points": (rng.random((batch, count, len(labels), 2)) * SIDE).astype(np.float32),
        "labels": np.broadcast_to(np.array(labels), (batch, count, len(labels))).copy(),
        "mask": np.zeros((batch, count, LOW, LOW), np.float32),
        "has_mask": np.zeros((batch, count), np.float32),
    }


def answer(stock: Any, given: dict[str, np.ndarray], **prompts: Any) -> tuple[np.ndarray, np.ndarray]:
    """What transformers says: all four masks, (B, P, 4, h, w), and their scores."""
    both = []
    for multimask in (False, True):
        with torch.no_grad():
            embedding = torch.from_numpy(given["embedding"])
            out = stock(image_embeddings=embedding, multimask_output=multimask, **prompts)
        both.append((out.pred_masks.numpy(), out.iou_scores.numpy()))
    return tuple(np.concatenate(parts, 2) for parts in zip(*both, strict=True))  # type: ignore[return-value]


def close(got: dict[str, np.ndarray], want: tuple[np.ndarray, np.ndarray]) -> None:
    for array, exact in zip((got["logits"], got["iou"]), want, strict=True):
        assert array.shape == exact.shape
        np.testing.assert_allclose(array, exact, atol=2e-5 * np.abs(exact).max())


def test_the_manifest_says_what_the_pipeline_needs(sam_exported: Bundle) -> None:
    manifest = sam_exported.manifest
    assert manifest.family == "sam"
    assert manifest.config == {
        "architecture": "sam",
        "size": SIDE,
        "low": [LOW, LOW],
        "mask_threshold": 0.0,
        "single": "first",
    }
    said = manifest.preprocess
    assert (said["resize"], said["filter"], said["size"], said["pad_value"]) == ("longest", "bilinear", [80, 80], 0.0)
    encoder, decoder = (manifest.graphs[name].spec for name in ("encoder", "decoder"))
    assert [t.text for t in (*encoder.inputs, *encoder.outputs)] == [
        "(B, 3, 80, 80) float32",
        "(B, 32, 10, 10) float32",
    ]
    assert {t.name: t.dims for t in decoder.inputs} == {
        "embedding": ("B", WIDTH, 10, 10),
        "points": ("B", "P", "N", 2),
        "labels": ("B", "P", "N"),
        "mask": ("B", "P", LOW, LOW),
        "has_mask": ("B", "P"),
    }
    assert {t.name: t.dims for t in decoder.outputs} == {"logits": ("B", "P", 4, LOW, LOW), "iou": ("B", "P", 4)}
    assert {pad.dim: pad.values["labels"] for pad in decoder.pads} == {"N": -2, "P": -2}
    assert (encoder.batch, decoder.batch) == ("B", "B")


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_encoder_is_transformers(graphs: Any, stock: Any, batch: int) -> None:
    pixels = np.random.default_rng(batch).standard_normal((batch, 3, SIDE, SIDE), np.float32)
    with torch.no_grad():
        want = stock.get_image_embeddings(torch.from_numpy(pixels)).numpy()
    got = graphs["encoder"]({"pixels": pixels})["embedding"]
    assert np.abs(want[0] - stock_mean(want)).max() > 0.1, "pictures must differ, or nothing is compared"
    np.testing.assert_allclose(got, want, atol=2e-5 * np.abs(want).max())


def stock_mean(want: np.ndarray) -> np.ndarray:
    return np.asarray(want[0].mean((1, 2), keepdims=True))


def test_padded_tokens_are_attended(sam_folder: Path, stock: Any) -> None:
    """10 patches in windows of 4: were the 2 beyond the edge left out, the answer would be another."""
    from saccade.export.models.sam_encoder import Encoder

    with hushed():
        own = type(stock).from_pretrained(sam_folder).eval()
    encoder = Encoder(own.vision_encoder).eval()
    assert [block.padding for block in encoder.blocks] == [2, 0, 2]
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        want, right = stock.get_image_embeddings(pixels), encoder(pixels)
        torch.testing.assert_close(right, want, atol=1e-4, rtol=1e-4)
        for block in encoder.blocks:
            if block.padding:  # keys and values are zeros there; a large key bias would be heard if they were not
                block.rows[:, :, -1] += 3.0
        assert (encoder(pixels) - want).abs().max() > 1e-2


@pytest.mark.parametrize(("batch", "count"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("labels", [(1,), (0, 1, 1)])
def test_points(graphs: Any, stock: Any, batch: int, count: int, labels: tuple[int, ...]) -> None:
    given = asked(batch, count, *labels, NONE)
    points, kinds = (torch.from_numpy(given[name][:, :, :-1]) for name in ("points", "labels"))
    close(graphs["decoder"](given), answer(stock, given, input_points=points, input_labels=kinds))


def test_boxes_and_boxes_with_points(graphs: Any, stock: Any) -> None:
    given = asked(2, 3, TOP_LEFT, BOTTOM_RIGHT)
    boxes = torch.from_numpy(given["points"].reshape(2, 3, 4))
    close(graphs["decoder"](given), answer(stock, given, input_boxes=boxes))
    given = asked(2, 3, 1, 0, TOP_LEFT, BOTTOM_RIGHT, seed=1)
    points, kinds = (torch.from_numpy(given[name][:, :, :2]) for name in ("points", "labels"))
    boxes = torch.from_numpy(given["points"][:, :, 2:].reshape(2, 3, 4))
    close(graphs["decoder"](given), answer(stock, given, input_points=points, input_labels=kinds, input_boxes=boxes))


def test_masks_and_no_masks_side_by_side(graphs: Any, stock: Any) -> None:
    """transformers takes one mask a picture, so each prompt is asked alone."""
    given = asked(2, 3, 1, NONE, seed=2)
    given["mask"] = 4 * np.random.default_rng(3).standard_normal(given["mask"].shape).astype(np.float32)
    given["has_mask"] = np.array([[1, 0, 1], [0, 0, 1]], np.float32)
    got = graphs["decoder"](given)
    for b in range(2):
        for p in range(3):
            one = {name: array[b : b + 1] for name, array in given.items()}
            more: dict[str, Any] = {
                "input_points": torch.from_numpy(one["points"][:, p : p + 1, :1]),
                "input_labels": torch.from_numpy(one["labels"][:, p : p + 1, :1]),
            }
            if given["has_mask"][b, p]:
                more["input_masks"] = torch.from_numpy(one["mask"][:, p : p + 1])
            alone = {name: array[b : b + 1, p : p + 1] for name, array in got.items()}
            close(alone, answer(stock, one, **more))


@pytest.mark.parametrize("padding", [1, 4, 9])
def test_absent_points_change_nothing(graphs: Any, padding: int) -> None:
    given = asked(2, 3, 1, 0, NONE)
    more = asked(2, 3, *[ABSENT] * padding, seed=7)
    padded = {**given, **{name: np.concatenate([given[name], more[name]], 2) for name in ("points", "labels")}}
    got, want = graphs["decoder"](padded), graphs["decoder"](given)
    close(got, (want["logits"], want["iou"]))
    elsewhere = {**padded, "points": padded["points"] + np.where(padded["labels"] == ABSENT, 1e4, 0)[..., None]}
    elsewhere["points"] = elsewhere["points"].astype(np.float32)
    got = graphs["decoder"](elsewhere)
    close(got, (want["logits"], want["iou"]))


def test_absent_is_not_the_same_as_no_point(graphs: Any) -> None:
    one, other = asked(1, 1, 1, NONE), asked(1, 1, 1, ABSENT)
    assert np.abs(graphs["decoder"](one)["logits"] - graphs["decoder"](other)["logits"]).max() > 1e-3


def test_neighbours_and_prompts_together_are_each_alone(graphs: Any) -> None:
    given = asked(3, 4, 1, 0, NONE, seed=5)
    together = graphs["decoder"](given)
    for b in range(3):
        alone = {name: array[b : b + 1] for name, array in given.items()}
        for p in range(4):
            one = {name: array[:, p : p + 1] if name != "embedding" else array for name, array in alone.items()}
            got = graphs["decoder"](one)
            close(got, (together["logits"][b : b + 1, p : p + 1], together["iou"][b : b + 1, p : p + 1]))


def test_the_attention_is_one_node_with_a_body(sam_exported: Bundle) -> None:
    import onnx

    for precision in ("fp32", "fp16", "int8"):
        model = onnx.load(sam_exported.path / f"encoder.{precision}.onnx")
        nodes = [node for node in model.graph.node if node.domain == "saccade"]
        assert [node.op_type for node in nodes] == ["RelPosAttention"] * 3
        assert [(body.domain, body.name) for body in model.functions] == [("saccade", "RelPosAttention")]
        assert {a.name: a.f for a in nodes[0].attribute} == {"scale": pytest.approx(24**-0.5)}
        assert not any(node.op_type == "Einsum" for node in model.graph.node)
        assert not any(node.op_type == "Conv" and "1x1" in node.name for node in model.graph.node)
        products = [node for node in model.graph.node if node.op_type == "MatMul"]
        assert len(products) == 1 + 3 * 8 + 1  # patches; q, k, v, rows, columns, out, two of the perceptron; neck


def test_the_body_can_be_written_out_for_openvino(sam_exported: Bundle) -> None:
    import onnx
    import onnx.inliner

    model = onnx.load(sam_exported.path / "encoder.fp32.onnx")
    plain = onnx.inliner.inline_local_functions(model)
    assert not plain.functions
    assert {node.domain for node in plain.graph.node} == {""}
    pixels = {"pixels": np.random.default_rng(0).standard_normal((2, 3, SIDE, SIDE), np.float32)}
    np.testing.assert_allclose(session(plain)(pixels)["embedding"], session(model)(pixels)["embedding"], atol=1e-4)


def test_the_decoder_stays_float_in_int8(sam_exported: Bundle) -> None:
    files = {v.precision: v.file for v in sam_exported.graphs["decoder"].variants}
    assert files == {"fp32": "decoder.fp32.onnx", "fp16": "decoder.fp16.onnx", "int8": "decoder.fp32.onnx"}
    assert sam_exported.graphs["encoder"].variant("int8").file == "encoder.int8.onnx"  # type: ignore[union-attr]


def test_figures_are_of_masks(sam_exported: Bundle) -> None:
    for entry in sam_exported.graphs.values():
        for variant in entry.variants:
            found = {m.metric: m for m in variant.measured}
            assert set(found) == {"mask_iou", "iou_agreement", "cosine"}
            assert found["mask_iou"].samples == 8 * 7
            assert found["mask_iou"].mean > {"fp32": 0.9999, "fp16": 0.99, "int8": 0.95}[variant.precision]
            assert variant.within_budget is (found["mask_iou"].mean >= 0.98)


def test_every_variant_passes_its_golden_check(sam_exported: Bundle) -> None:
    for name, entry in sam_exported.graphs.items():
        for variant in entry.variants:
            engine = open_engine(sam_exported, name, Options(precision=variant.precision, threads=1))
            found = golden_check(sam_exported, name, engine)
            engine.close()
            assert golden_passes(found, variant, sam_exported.manifest.budgets)
            assert found.worst > 0.998
    golden = sam_exported.golden()
    assert golden["encoder.pixels"].shape == (1, 3, SIDE, SIDE)
    assert golden["decoder.points"].shape == (1, 7, 4, 2)


def test_a_damaged_encoder_is_seen_in_the_masks(sam_exported: Bundle, sam_folder: Path, photos: Path) -> None:
    import onnx

    from saccade.export.verify import Verifier
    from saccade.runtime.image import decode

    recipe = read(Checkpoint(sam_folder, "m"))
    pictures = [decode(file) for file in sorted(photos.iterdir())[:2]]
    verifier = Verifier(recipe, recipe.samples(Material(pictures), ["encoder", "decoder"], reference), None)
    model = onnx.load(sam_exported.path / "encoder.fp32.onnx")
    good = verifier.variant(recipe.graphs[0], "fp32", "encoder.fp32.onnx", model)
    assert good.within_budget
    tensor = next(t for t in model.graph.initializer if list(t.dims) == [48, 32])  # the neck's product
    tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
    bad = verifier.variant(recipe.graphs[0], "fp32", "encoder.fp32.onnx", model)
    assert not bad.within_budget
    assert {m.metric: m.mean for m in bad.measured}["mask_iou"] < 0.7


def test_prompts_lie_in_the_picture_and_the_last_one_refines(sam_folder: Path, photos: Path) -> None:
    from saccade.runtime.image import decode

    recipe = read(Checkpoint(sam_folder, "m"))
    picture = decode(sorted(photos.iterdir())[7])
    (one,) = recipe.samples(Material([picture]), ["decoder"], reference)["decoder"]
    height, width = (round(n * SIDE / max(picture.height, picture.width)) for n in (picture.height, picture.width))
    assert (one["points"][..., 0] <= width).all()
    assert (one["points"][..., 1] <= height).all()
    boxes = one["points"][0][[4, 5], [[0, 1], [1, 2]]]
    assert (boxes[1] > boxes[0]).all()
    assert one["has_mask"].tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_allclose(one["mask"][0, 6], reference(recipe.graphs[1], one)["logits"][0, 0, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"size": {"longest_edge": 1024}}, "sees 80 x 80"),
        ({"size": {"height": 80, "width": 80}}, "sees 80 x 80"),
        ({"resample": 3}, ""),
    ],
)
def test_preprocessing_that_does_not_fit_is_refused(sam_folder: Path, tmp_path: Path, change: Any, match: str) -> None:
    folder = tmp_path / "m"
    shutil.copytree(sam_folder, folder)
    said = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**said, **change}))
    if not match:
        assert read(Checkpoint(folder, "m")).preprocess["filter"] == "bicubic"
        return
    with pytest.raises(ExportError, match=match):
        read(Checkpoint(folder, "m"))


@pytest.mark.slow
def test_equal_input_gives_equal_bytes(sam_exported: Bundle, sam_folder: Path, tmp_path: Path) -> None:
    again = export(sam_folder, tmp_path / "again.bundle")
    for name in ("encoder.fp32.onnx", "decoder.fp32.onnx"):
        assert again.manifest.files[name] == sam_exported.manifest.files[name]
