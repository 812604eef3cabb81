"""CLIP, SigLIP and open_clip: the official layouts, end to end, against the reference implementation."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from saccade.export import export
from saccade.export.load import hushed
from saccade.export.recipe import Checkpoint, read
from saccade.export.to_onnx import reference
from saccade.runtime.bundle import Bundle
from saccade.runtime.engines import Options, open_engine
from saccade.runtime.errors import ExportError, UnknownModel
from saccade.runtime.image import decode
from saccade.runtime.preprocess import Preprocess
from saccade.runtime.text import Tokenizer, TokenizerSpec

TEXTS = ["a photo of a red circle", "x", "two small blue squares beside a ring, and then some more words to go on with"]
Siblings = Callable[[Path], Path]


def model_of(folder: Path, name: str) -> Any:
    import transformers

    with hushed():
        return getattr(transformers, name).from_pretrained(folder).eval()


def run(bundle: Bundle, graph: str, **inputs: np.ndarray) -> np.ndarray:
    engine = open_engine(bundle, graph, Options(threads=1))
    try:
        found: np.ndarray = engine(**inputs)["embedding"]
        return found
    finally:
        engine.close()


def tokenizer(bundle: Bundle) -> Tokenizer:
    spec = TokenizerSpec.of(bundle.manifest.tokenizer)
    return Tokenizer(bundle.read(spec.file), spec)


def test_manifest_says_what_the_model_is(exported: Bundle) -> None:
    manifest = exported.manifest
    assert (manifest.family, manifest.name, manifest.source.id) == ("clip", "clip-two-layers", "clip-two-layers")
    assert manifest.source.license == "MIT"
    assert manifest.config["scoring"] == "softmax"
    assert manifest.config["logit_scale"] == pytest.approx(np.exp(2.6592), rel=1e-6)
    assert manifest.config["embedding"] == 24
    image, text = manifest.graphs["image"].spec, manifest.graphs["text"].spec
    assert image.inputs[0].text == "(B, 3, 32, 32) float32"
    assert text.inputs[0].text == "(B, N) int64"
    assert text.limits == {"N": (1, 32)}
    assert [v.precision for v in manifest.graphs["image"].variants] == ["fp32", "fp16", "int8"]
    assert not any("/" in str(v) for v in manifest.producer.values())


def test_pictures_give_what_transformers_gives(exported: Bundle, clip_folder: Path, photos: Path) -> None:
    from PIL import Image
    from transformers import CLIPImageProcessorPil

    files = sorted(photos.iterdir())[:3]
    pixels, _ = Preprocess.read(exported.manifest.preprocess).batch([decode(file) for file in files])
    processor = CLIPImageProcessorPil.from_pretrained(clip_folder)
    theirs = np.stack([processor(Image.open(file))["pixel_values"][0] for file in files])
    np.testing.assert_allclose(pixels, theirs, atol=1e-6)
    with torch.no_grad():
        want = (
            model_of(clip_folder, "CLIPModel").get_image_features(pixel_values=torch.from_numpy(theirs)).pooler_output
        )
    np.testing.assert_allclose(run(exported, "image", pixels=pixels), want.numpy(), atol=2e-5)


def test_texts_give_what_transformers_gives(exported: Bundle, clip_folder: Path) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(clip_folder)(TEXTS, padding=True, truncation=True, return_tensors="pt")
    ids = tokenizer(exported).encode(TEXTS)
    assert ids.tolist() == theirs["input_ids"].tolist()
    with torch.no_grad():
        want = model_of(clip_folder, "CLIPModel").get_text_features(**theirs).pooler_output
    np.testing.assert_allclose(run(exported, "text", input_ids=ids), want.numpy(), atol=2e-5)


def test_padding_changes_nothing(exported: Bundle) -> None:
    words = tokenizer(exported)
    together = run(exported, "text", input_ids=words.encode(TEXTS))
    for place, text in enumerate(TEXTS):
        np.testing.assert_allclose(run(exported, "text", input_ids=words.encode([text]))[0], together[place], atol=1e-6)


def test_old_configs_pool_at_the_largest_token(clip_folder: Path, tmp_path: Path) -> None:
    """Configs from before 2023 say that the end token is 2; transformers then takes the largest id."""
    old = tmp_path / "old"
    shutil.copytree(clip_folder, old)
    config = json.loads((old / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    (old / "config.json").write_text(json.dumps(config))
    recipes = [read(Checkpoint(folder, "m")) for folder in (clip_folder, old)]
    ids = recipes[0].graphs[1].others[0]
    new, legacy = (reference(recipe.graphs[1], ids)["embedding"] for recipe in recipes)
    np.testing.assert_allclose(new, legacy, atol=1e-6)


def test_siglip_end_to_end(siglip_folder: Path, photos: Path, tmp_path: Path) -> None:
    bundle = export(siglip_folder, tmp_path / "siglip.bundle")
    config = bundle.manifest.config
    model = model_of(siglip_folder, "SiglipModel")
    assert config["scoring"] == "sigmoid"
    assert config["logit_scale"] == pytest.approx(float(model.logit_scale.exp().detach()), rel=1e-6)
    assert config["logit_bias"] == pytest.approx(float(model.logit_bias.detach()), rel=1e-6)
    assert bundle.manifest.preprocess["resize"] == "squash"
    assert bundle.manifest.graphs["text"].spec.inputs[0].dims == ("B", 64)
    ids = tokenizer(bundle).encode(["A photo, of a cat!", "dog"])
    assert ids.shape == (2, 64)
    assert ids.tolist() == tokenizer(bundle).encode(["a photo of a cat", " DOG "]).tolist()
    pixels, _ = Preprocess.read(bundle.manifest.preprocess).batch([decode(sorted(photos.iterdir())[0])] * 2)
    with torch.no_grad():
        said = model.get_text_features(input_ids=torch.from_numpy(ids)).pooler_output.numpy()
        seen = model.get_image_features(pixel_values=torch.from_numpy(pixels)).pooler_output.numpy()
    np.testing.assert_allclose(run(bundle, "text", input_ids=ids), said, atol=2e-5)
    np.testing.assert_allclose(run(bundle, "image", pixels=pixels), seen, atol=2e-5)


def test_naflex_is_refused_by_name(siglip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(UnknownModel, match="NaFlex"):
        read(Checkpoint(tmp_path, "naflex"))


def test_weights_that_are_missing_are_not_made_up(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "short"
    shutil.copytree(clip_folder, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ExportError, match="1 weights are missing, visual_projection.weight"):
        read(Checkpoint(folder, "short"))


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_or_missing_file_is_one_typed_error(clip_folder: Path, tmp_path: Path, name: str) -> None:
    for number, data in enumerate((None, b"", b"{", b"\x00" * 64)):
        folder = tmp_path / f"{number}"
        shutil.copytree(clip_folder, folder)
        (folder / name).unlink() if data is None else (folder / name).write_bytes(data)
        with pytest.raises(ExportError) as caught:
            read(Checkpoint(folder, "damaged"))
        assert "\n" not in caught.value.message


# open_clip


def open_clip_names(folder: Path) -> dict[str, np.ndarray]:
    """The same weights as open_clip would have saved them: written from its model.py, not from the recipe's table."""
    w = load_file(folder / "model.safetensors")
    made = {
        "visual.class_embedding": w["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": w["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": w["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": w["visual_projection.weight"].T,
        "text_projection": w["text_projection.weight"].T,
        "token_embedding.weight": w["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": w["text_model.embeddings.position_embedding.weight"],
        "logit_scale": w["logit_scale"],
        "attn_mask": np.zeros((32, 32), np.float32),
    }
    for kind in ("weight", "bias"):
        made[f"visual.ln_pre.{kind}"] = w[f"vision_model.pre_layrnorm.{kind}"]
        made[f"visual.ln_post.{kind}"] = w[f"vision_model.post_layernorm.{kind}"]
        made[f"ln_final.{kind}"] = w[f"text_model.final_layer_norm.{kind}"]
        for tower, prefix in (("vision", "visual.transformer"), ("text", "transformer")):
            for n in range(2):
                ours, theirs = f"{tower}_model.encoder.layers.{n}", f"{prefix}.resblocks.{n}"
                qkv = [w[f"{ours}.self_attn.{letter}_proj.{kind}"] for letter in "qkv"]
                made[f"{theirs}.attn.in_proj_{kind}"] = np.concatenate(qkv)
                made[f"{theirs}.attn.out_proj.{kind}"] = w[f"{ours}.self_attn.out_proj.{kind}"]
                made[f"{theirs}.mlp.c_fc.{kind}"] = w[f"{ours}.mlp.fc1.{kind}"]
                made[f"{theirs}.mlp.c_proj.{kind}"] = w[f"{ours}.mlp.fc2.{kind}"]
                for norm in "12":
                    made[f"{theirs}.ln_{norm}.{kind}"] = w[f"{ours}.layer_norm{norm}.{kind}"]
    return {name: np.ascontiguousarray(array) for name, array in made.items()}


@pytest.fixture
def open_clip_folder(clip_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "ViT-T-8"
    folder.mkdir()
    save_file(open_clip_names(clip_folder), folder / "open_clip_model.safetensors")
    shutil.copy(clip_folder / "tokenizer.json", folder)
    vision = {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16, "mlp_ratio": 2.0}
    vocabulary = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
    text = {"context_length": 32, "vocab_size": vocabulary, "width": 32, "heads": 2, "layers": 2, "mlp_ratio": 2.0}
    said = {"model_cfg": {"embed_dim": 24, "vision_cfg": vision, "text_cfg": text, "quick_gelu": True}}
    said["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic"}
    (folder / "open_clip_config.json").write_text(json.dumps(said))
    return folder


def test_open_clip_is_the_same_model_under_other_names(open_clip_folder: Path, clip_folder: Path) -> None:
    theirs, ours = read(Checkpoint(open_clip_folder, "m")), read(Checkpoint(clip_folder, "m"))
    for one, other in zip(theirs.graphs, ours.graphs, strict=True):
        np.testing.assert_allclose(
            reference(one, other.others[0])["embedding"], reference(other, other.others[0])["embedding"], atol=1e-6
        )
    assert theirs.preprocess["crop_rounding"] == "round"
    assert theirs.preprocess["mean"] in ((0.5, 0.5, 0.5), [0.5, 0.5, 0.5])
    assert theirs.tokenizer["max_length"] == 32


def test_open_clip_against_an_independent_forward(open_clip_folder: Path) -> None:
    """The picture tower in NumPy, from the paper and open_clip's names alone."""
    recipe = read(Checkpoint(open_clip_folder, "m"))
    pixels = recipe.graphs[0].others[0]["pixels"].astype(np.float64)
    w = {k: v.astype(np.float64) for k, v in load_file(open_clip_folder / "open_clip_model.safetensors").items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        unit = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return np.asarray(unit * w[f"{name}.weight"] + w[f"{name}.bias"])

    patches = pixels.reshape(3, 3, 4, 8, 4, 8).transpose(0, 2, 4, 1, 3, 5).reshape(3, 16, -1)
    x = patches @ w["visual.conv1.weight"].reshape(32, -1).T
    x = (
        np.concatenate([np.broadcast_to(w["visual.class_embedding"], (3, 1, 32)), x], 1)
        + w["visual.positional_embedding"]
    )
    x = norm(x, "visual.ln_pre")
    for n in range(2):
        at = f"visual.transformer.resblocks.{n}"
        qkv = norm(x, f"{at}.ln_1") @ w[f"{at}.attn.in_proj_weight"].T + w[f"{at}.attn.in_proj_bias"]
        q, k, v = (part.reshape(3, 17, 2, 16).transpose(0, 2, 1, 3) for part in np.split(qkv, 3, -1))
        scores = np.exp(q @ k.transpose(0, 1, 3, 2) / 4)
        seen = (scores / scores.sum(-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(3, 17, 32)
        x = x + seen @ w[f"{at}.attn.out_proj.weight"].T + w[f"{at}.attn.out_proj.bias"]
        h = norm(x, f"{at}.ln_2") @ w[f"{at}.mlp.c_fc.weight"].T + w[f"{at}.mlp.c_fc.bias"]
        x = x + (h / (1 + np.exp(-1.702 * h))) @ w[f"{at}.mlp.c_proj.weight"].T + w[f"{at}.mlp.c_proj.bias"]
    want = norm(x[:, 0], "visual.ln_post") @ w["visual.proj"]
    np.testing.assert_allclose(reference(recipe.graphs[0], recipe.graphs[0].others[0])["embedding"], want, atol=2e-5)


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [
        ("vision_cfg", "timm_model_name", "x"),
        ("text_cfg", "hf_model_name", "x"),
        ("model_cfg", "multimodal_cfg", {"a": 1}),
    ],
)
def test_other_architectures_of_open_clip_are_refused(open_clip_folder: Path, where: str, key: str, value: Any) -> None:
    file = open_clip_folder / "open_clip_config.json"
    said = json.loads(file.read_text())
    (said["model_cfg"] if where == "model_cfg" else said["model_cfg"][where])[key] = value
    file.write_text(json.dumps(said))
    with pytest.raises(UnknownModel, match=key):
        read(Checkpoint(open_clip_folder, "m"))


def test_a_weight_that_has_no_place_is_named(open_clip_folder: Path) -> None:
    file = open_clip_folder / "open_clip_model.safetensors"
    save_file({**load_file(file), "visual.attnpool.weight": np.zeros(2, np.float32)}, file)
    with pytest.raises(ExportError, match=r"visual\.attnpool\.weight has no place"):
        read(Checkpoint(open_clip_folder, "m"))
