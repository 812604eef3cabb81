"""SAM 2.1 on pictures, against transformers' Sam2Model: three maps, two-way blocks, object score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from saccade.export.load import hushed
from saccade.export.recipe import Checkpoint, kind_of, read
from saccade.export.to_onnx import reference, to_onnx
from saccade.runtime.errors import ExportError, UnknownModel

SIDE, WIDTH = 128, 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "image_size": [SIDE, SIDE],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 2, 2, 4],
        "blocks_per_stage": [1, 1, 2, 1],
        "global_attention_blocks": [3],
        "window_size_per_stage": [8, 4, 6, 4],
    }
    vision = {
        "backbone_config": backbone,
        "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
        "fpn_hidden_size": WIDTH,
    }
    config = Sam2Config(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": WIDTH, "image_size": SIDE},
        mask_decoder_config={
            "hidden_size": WIDTH,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": WIDTH,
        },
    )
    place = tmp_path_factory.mktemp("checkpoints") / "sam2-tiny"
    with hushed(), torch.no_grad():
        model = Sam2Model(config)
        for name, weight in model.named_parameters():
            small = weight.ndim < 2 or "embed" in name
            weight.copy_(torch.randn_like(weight) * (0.3 if small else weight[0].numel() ** -0.5))
        model.save_pretrained(place)
    (place / "preprocessor_config.json").write_text(json.dumps({"size": {"height": SIDE, "width": SIDE}}))
    return place


@pytest.fixture(scope="module")
def stock(folder: Path) -> Any:
    from transformers import Sam2Model

    with hushed():
        return Sam2Model.from_pretrained(folder, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def recipe(folder: Path) -> Any:
    assert kind_of(Checkpoint(folder, "m")) == "sam2"
    return read(Checkpoint(folder, "m"))


def test_what_the_pipeline_is_told(recipe: Any) -> None:
    assert recipe.config["architecture"] == "sam2"
    assert recipe.config["single"] == "stable"
    assert recipe.preprocess["resize"] == "squash"
    encoder, decoder = (graph.spec for graph in recipe.graphs)
    maps = {"embedding": (32, 8, 8), "fine0": (4, 32, 32), "fine1": (8, 16, 16)}
    assert {t.name: t.dims[1:] for t in encoder.outputs} == maps
    assert [t.name for t in decoder.inputs] == [*maps, "points", "labels", "mask", "has_mask"]
    assert {t.name: t.dims for t in decoder.outputs}["object_score"] == ("B", "P")


def test_both_graphs_answer_as_transformers(recipe: Any, stock: Any) -> None:
    torch.manual_seed(3)
    pixels, points = torch.randn(2, 3, SIDE, SIDE), torch.rand(2, 3, 2, 2) * SIDE
    labels = torch.randint(0, 2, (2, 3, 2))
    seen = reference(recipe.graphs[0], {"pixels": pixels.numpy()})
    with torch.no_grad():
        maps = stock.get_image_embeddings(pixels)
        for name, exact in zip(("fine0", "fine1", "embedding"), maps, strict=True):
            np.testing.assert_allclose(seen[name], exact.numpy(), atol=1e-5 * float(exact.abs().max()))
        want = stock(image_embeddings=maps, input_points=points, input_labels=labels, multimask_output=True)
    given = {
        **seen,
        "points": torch.cat([points, torch.zeros(2, 3, 1, 2)], 2).numpy(),
        "labels": torch.cat([labels, -torch.ones(2, 3, 1, dtype=torch.long)], 2).numpy(),
        "mask": np.zeros((2, 3, 32, 32), np.float32),
        "has_mask": np.zeros((2, 3), np.float32),
    }
    got = reference(recipe.graphs[1], given)
    scale = float(want.pred_masks.abs().max())
    np.testing.assert_allclose(got["logits"][:, :, 1:], want.pred_masks.numpy(), atol=2e-5 * scale)
    np.testing.assert_allclose(got["iou"][:, :, 1:], want.iou_scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(got["object_score"], want.object_score_logits.numpy()[..., 0], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("graph", [0, 1])
def test_the_graphs_export_at_other_batches_and_prompts(recipe: Any, graph: int) -> None:
    to_onnx(recipe.graphs[graph])  # raises unless ONNX Runtime answers as torch does, at each of `others` too


def test_maps_of_other_sizes_are_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["backbone_feature_sizes"] = [[16, 16], [8, 8], [4, 4]]
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnknownModel, match=r"\[\[32, 32\], \[16, 16\], \[8, 8\]\]"):
        read(Checkpoint(tmp_path / "m", "m"))


def test_the_longest_edge_is_sams_not_sam2s(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps({"size": {"longest_edge": SIDE}}))
    with pytest.raises(ExportError, match="sees 128 x 128"):
        read(Checkpoint(tmp_path / "m", "m"))
