"""The official .pth of SAM and MobileSAM: the reference's own names, sizes from the tensors, the same answers."""

from __future__ import annotations

import re
import sys
import warnings
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from saccade.export import export
from saccade.export.load import hushed
from saccade.export.models.tiny_vit import TinyViT
from saccade.export.recipe import kind_of, read
from saccade.export.recipes import mobile_sam
from saccade.export.source import resolve
from saccade.export.to_onnx import parity, reference, to_onnx
from saccade.runtime.errors import ExportError

SIDE, PATCH, WIDTH = 80, 8, 32


def linear(name: str, made: int, given: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (made, given), f"{name}.bias": (made,)}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def prompt_names(width: int = WIDTH, mlp: int = 64, head: int = 48) -> dict[str, tuple[int, ...]]:
    """Names and shapes as segment_anything's PromptEncoder and MaskDecoder have them, written from its source."""
    e, d = "prompt_encoder", "mask_decoder"
    names: dict[str, tuple[int, ...]] = {f"{e}.pe_layer.positional_encoding_gaussian_matrix": (2, width // 2)}
    names |= {f"{e}.point_embeddings.{n}.weight": (1, width) for n in range(4)}
    names |= {f"{e}.not_a_point_embed.weight": (1, width), f"{e}.no_mask_embed.weight": (1, width)}
    for n, shape in ((0, (4, 1, 2, 2)), (3, (16, 4, 2, 2)), (6, (width, 16, 1, 1))):
        names |= {f"{e}.mask_downscaling.{n}.weight": shape, f"{e}.mask_downscaling.{n}.bias": shape[:1]}
    names |= norm(f"{e}.mask_downscaling.1", 4) | norm(f"{e}.mask_downscaling.4", 16)
    kinds = {"self_attn": width, "cross_attn_token_to_image": width // 2, "cross_attn_image_to_token": width // 2}
    attentions = {f"{d}.transformer.layers.{n}.{kind}": inner for n in range(2) for kind, inner in kinds.items()}
    attentions[f"{d}.transformer.final_attn_token_to_image"] = width // 2
    for base, inner in attentions.items():
        for part in "qkv":
            names |= linear(f"{base}.{part}_proj", inner, width)
        names |= linear(f"{base}.out_proj", width, inner)
    for n in range(2):
        for i in range(1, 5):
            names |= norm(f"{d}.transformer.layers.{n}.norm{i}", width)
        names |= linear(f"{d}.transformer.layers.{n}.mlp.lin1", mlp, width)
        names |= linear(f"{d}.transformer.layers.{n}.mlp.lin2", width, mlp)
    names |= norm(f"{d}.transformer.norm_final_attn", width)
    names |= {f"{d}.iou_token.weight": (1, width), f"{d}.mask_tokens.weight": (4, width)}
    for n, shape in ((0, (width, width // 4, 2, 2)), (3, (width // 4, width // 8, 2, 2))):
        names |= {f"{d}.output_upscaling.{n}.weight": shape, f"{d}.output_upscaling.{n}.bias": shape[1:2]}
    names |= norm(f"{d}.output_upscaling.1", width // 4)
    for m in range(4):
        for n, made in enumerate((width, width, width // 8)):
            names |= linear(f"{d}.output_hypernetworks_mlps.{m}.layers.{n}", made, width)
    for n, (made, given) in enumerate(((head, width), (head, head), (4, head))):
        names |= linear(f"{d}.iou_prediction_head.layers.{n}", made, given)
    return names


def vit_names(width: int = 48, depth: int = 3, heads: int = 2, window: int = 4) -> dict[str, tuple[int, ...]]:
    """Of segment_anything's ImageEncoderViT; block 1 is global."""
    e, grid = "image_encoder", SIDE // PATCH
    names: dict[str, tuple[int, ...]] = {f"{e}.pos_embed": (1, grid, grid, width)}
    names |= {f"{e}.patch_embed.proj.weight": (width, 3, PATCH, PATCH), f"{e}.patch_embed.proj.bias": (width,)}
    for n in range(depth):
        b, span = f"{e}.blocks.{n}", 2 * (grid if n == 1 else window) - 1
        names |= norm(f"{b}.norm1", width) | norm(f"{b}.norm2", width)
        names |= {f"{b}.attn.rel_pos_h": (span, width // heads), f"{b}.attn.rel_pos_w": (span, width // heads)}
        names |= linear(f"{b}.attn.qkv", 3 * width, width) | linear(f"{b}.attn.proj", width, width)
        names |= linear(f"{b}.mlp.lin1", 2 * width, width) | linear(f"{b}.mlp.lin2", width, 2 * width)
    return names | neck_names(width)


def neck_names(width: int) -> dict[str, tuple[int, ...]]:
    names: dict[str, tuple[int, ...]] = {"image_encoder.neck.0.weight": (WIDTH, width, 1, 1)}
    names |= {"image_encoder.neck.2.weight": (WIDTH, WIDTH, 3, 3)}
    return names | norm("image_encoder.neck.1", WIDTH) | norm("image_encoder.neck.3", WIDTH)


def drawn(names: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Any]:
    """Weights that tell two pictures apart, under these names."""
    torch.manual_seed(seed)
    made = {}
    for name, shape in names.items():
        fan = int(np.prod(shape[1:])) if len(shape) > 1 and "embed" not in name and "token" not in name else 4
        made[name] = torch.randn(shape) / fan**0.5
        if "gaussian" in name:
            made[name] = torch.randn(shape)
        elif len(shape) == 1 and name.endswith("weight"):
            made[name] = 1 + 0.2 * torch.randn(shape)
        elif name.endswith("running_var"):
            made[name] = 0.5 + torch.rand(shape)
    return made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("official") / "sam_vit_x_0123.pth"
    torch.save(drawn({**vit_names(), **prompt_names()}), path)
    return path


class Anything(type):
    """Has every attribute that is asked for."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class StandIn(ModuleType):
    """A torchvision of names alone: the references import functions of it that these tests never call."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(name, (), {})


def imported(name: str) -> Any:
    """The module, imported with a stand-in for torchvision where that is missing; skips the test without the module."""
    if find_spec(name.split(".")[0]) is None:
        pytest.skip(f"{name.split('.')[0]} is not installed: pip install {name.split('.')[0].replace('_', '-')}")
    below = ("ops", "ops.misc", "ops.boxes", "transforms", "transforms.functional", "models", "datasets")
    names = ["torchvision", *(f"torchvision.{part}" for part in (*below, "models.feature_extraction"))]
    if find_spec("torchvision") is not None:
        return import_module(name)
    for part in names:
        module = sys.modules[part] = StandIn(part)
        module.__spec__, module.__path__, module.__version__ = ModuleSpec(part, None), [], "0"  # type: ignore[attr-defined]
        if "." in part:
            setattr(sys.modules[part.rpartition(".")[0]], part.rpartition(".")[2], module)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            return import_module(name)
    finally:
        for part in names:
            del sys.modules[part]


@pytest.fixture
def segment_anything() -> Any:
    return imported("segment_anything.build_sam")


def official(lib: Any, weights: dict[str, Any]) -> Any:
    encoder = lib.ImageEncoderViT(
        depth=3, embed_dim=48, img_size=SIDE, mlp_ratio=2, norm_layer=lib.partial(torch.nn.LayerNorm, eps=1e-6),
        num_heads=2, patch_size=PATCH, qkv_bias=True, use_rel_pos=True, global_attn_indexes=[1], window_size=4,
        out_chans=WIDTH,
    )  # fmt: skip
    grid = (SIDE // PATCH,) * 2
    prompts = lib.PromptEncoder(
        embed_dim=WIDTH, image_embedding_size=grid, input_image_size=(SIDE, SIDE), mask_in_chans=16
    )
    transformer = lib.TwoWayTransformer(depth=2, embedding_dim=WIDTH, mlp_dim=64, num_heads=8)
    decoder = lib.MaskDecoder(
        num_multimask_outputs=3, transformer=transformer, transformer_dim=WIDTH, iou_head_depth=3,
        iou_head_hidden_dim=48,
    )  # fmt: skip
    sam = lib.Sam(encoder, prompts, decoder)
    missing, unexpected = sam.load_state_dict(weights, strict=False)
    assert {name.split(".")[-1] for name in missing} <= {"pixel_mean", "pixel_std"}
    assert not unexpected
    return sam.eval()


def test_the_names_here_are_the_references(segment_anything: Any) -> None:
    weights = drawn({**vit_names(), **prompt_names()})
    have = set(official(segment_anything, weights).state_dict())
    assert set(weights) == have - {"pixel_mean", "pixel_std"}


def test_the_sizes_come_from_the_tensors(file: Path) -> None:
    checkpoint = resolve(file, license="Apache-2.0")
    assert (checkpoint.id, checkpoint.license, checkpoint.weights) == ("sam_vit_x_0123", "Apache-2.0", file)
    assert kind_of(checkpoint) == "sam_official"
    recipe = read(checkpoint)
    encoder = recipe.graphs[0].module
    assert (recipe.config["architecture"], recipe.config["size"], recipe.config["low"]) == ("sam", SIDE, [40, 40])
    assert [block.window for block in encoder.blocks] == [4, 10, 4]
    assert [block.heads for block in encoder.blocks] == [2, 2, 2]
    assert recipe.preprocess["mean"] == pytest.approx([123.675 / 255, 116.28 / 255, 103.53 / 255], abs=1e-3)


def test_answers_are_the_references(segment_anything: Any, file: Path) -> None:
    sam, recipe = official(segment_anything, torch.load(file, weights_only=True)), read(resolve(file))
    torch.manual_seed(4)
    pixels, points = torch.randn(2, 3, SIDE, SIDE), torch.rand(3, 2, 2) * SIDE
    labels, masks, boxes = torch.randint(0, 2, (3, 2)), torch.randn(3, 1, 40, 40), torch.rand(3, 4) * SIDE
    with torch.no_grad():
        seen = sam.image_encoder(pixels)
        embedding = reference(recipe.graphs[0], {"pixels": pixels.numpy()})["embedding"]
        np.testing.assert_allclose(embedding, seen.numpy(), atol=1e-5 * float(seen.abs().max()))
        for box, mask in ((None, None), (None, masks), (boxes, None)):
            sparse, dense = sam.prompt_encoder(points=(points, labels), boxes=box, masks=mask)
            place = sam.prompt_encoder.get_dense_pe()
            want = sam.mask_decoder.predict_masks(seen[:1], place, sparse, dense)
            more = torch.zeros(3, 1, 2) if box is None else box.reshape(3, 2, 2)
            kinds = torch.tensor([-1] if box is None else [2, 3]).expand(3, -1)
            given = {
                "embedding": seen[:1].numpy(),
                "points": torch.cat([points, more], 1)[None].numpy(),
                "labels": torch.cat([labels, kinds], 1)[None].numpy(),
                "mask": (masks if mask is not None else torch.zeros_like(masks))[:, 0][None].numpy(),
                "has_mask": np.full((1, 3), float(mask is not None), np.float32),
            }
            got = reference(recipe.graphs[1], given)
            for array, exact in zip((got["logits"][0], got["iou"][0]), want, strict=True):
                np.testing.assert_allclose(array, exact.numpy(), atol=2e-5 * float(exact.abs().max()))


def test_official_and_transformers_layout_agree(file: Path) -> None:
    """The same weights by both roads: renamed here by hand, from the two sources, for a few of each kind."""
    from saccade.export.recipes.sam_official import renamed

    found = renamed(torch.load(file, weights_only=True))
    for old, new in {
        "image_encoder.blocks.2.norm1.bias": "vision_encoder.layers.2.layer_norm1.bias",
        "image_encoder.neck.3.weight": "vision_encoder.neck.layer_norm2.weight",
        "prompt_encoder.point_embeddings.3.weight": "prompt_encoder.point_embed.3.weight",
        "prompt_encoder.mask_downscaling.4.bias": "prompt_encoder.mask_embed.layer_norm2.bias",
        "mask_decoder.transformer.layers.1.norm4.weight": "mask_decoder.transformer.layers.1.layer_norm4.weight",
        "mask_decoder.output_upscaling.3.bias": "mask_decoder.upscale_conv2.bias",
        "mask_decoder.output_hypernetworks_mlps.2.layers.1.weight":
            "mask_decoder.output_hypernetworks_mlps.2.layers.0.weight",
        "mask_decoder.output_hypernetworks_mlps.2.layers.2.bias":
            "mask_decoder.output_hypernetworks_mlps.2.proj_out.bias",
        "mask_decoder.iou_prediction_head.layers.0.weight": "mask_decoder.iou_prediction_head.proj_in.weight",
    }.items():  # fmt: skip
        torch.testing.assert_close(found[new], torch.load(file, weights_only=True)[old])


@pytest.mark.slow
def test_an_official_file_becomes_a_bundle(file: Path, tmp_path: Path) -> None:
    bundle = export(file, tmp_path / "sam.bundle")
    assert (bundle.manifest.family, bundle.manifest.source.id) == ("sam", "sam_vit_x_0123")
    assert str(file.parent) not in (bundle.path / "bundle.json").read_text()
    assert all(variant.within_budget for entry in bundle.graphs.values() for variant in entry.variants)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"image_encoder.blocks.1.attn.qkv.bias": None},
            "1 weights are missing, vision_encoder.layers.1.attn.qkv.bias",
        ),
        ({"image_encoder.pos_embed": None}, "no weight 'image_encoder.pos_embed'"),
        ({"mask_decoder.transformer.layers.0.norm1.weight": torch.ones(7)}, r"layer_norm1.weight is \(7,\)"),
        ({"adapter.weight": torch.ones(2)}, "the weight adapter.weight has no place"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(file: Path, tmp_path: Path, change: dict[str, Any], match: str) -> None:
    weights = torch.load(file, weights_only=True) | change
    torch.save({name: tensor for name, tensor in weights.items() if tensor is not None}, tmp_path / "odd.pth")
    with pytest.raises(ExportError, match=match):
        read(resolve(tmp_path / "odd.pth"))


# MobileSAM

WIDTHS, DEPTHS, HEADS, WINDOWS = (8, 16, 24, 32), (1, 1, 2, 1), (1, 2, 2, 4), (7, 3, 5, 3)


def tiny_vit_names() -> dict[str, tuple[int, ...]]:
    """Of MobileSAM's TinyViT, written from its tiny_vit_sam.py, with the classifier that its file also holds."""
    names: dict[str, tuple[int, ...]] = {}

    def normed(name: str, made: int, given: int, kernel: int = 1) -> None:
        names[f"{name}.c.weight"] = (made, given, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            names[f"{name}.bn.{part}"] = (made,)

    normed("patch_embed.seq.0", WIDTHS[0] // 2, 3, 3)
    normed("patch_embed.seq.2", WIDTHS[0], WIDTHS[0] // 2, 3)
    for i, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        for n in range(depth):
            base = f"layers.{i}.blocks.{n}"
            if i == 0:
                normed(f"{base}.conv1", 4 * width, width)
                normed(f"{base}.conv2", 4 * width, 1, 3)
                normed(f"{base}.conv3", width, 4 * width)
                continue
            names.update(norm(f"{base}.attn.norm", width) | linear(f"{base}.attn.qkv", 3 * width, width))
            names[f"{base}.attn.attention_biases"] = (HEADS[i], WINDOWS[i] ** 2)
            names.update(linear(f"{base}.attn.proj", width, width) | norm(f"{base}.mlp.norm", width))
            names.update(linear(f"{base}.mlp.fc1", 2 * width, width) | linear(f"{base}.mlp.fc2", width, 2 * width))
            normed(f"{base}.local_conv", width, 1, 3)
        if i < 3:
            normed(f"layers.{i}.downsample.conv1", WIDTHS[i + 1], width)
            normed(f"layers.{i}.downsample.conv2", WIDTHS[i + 1], 1, 3)
            normed(f"layers.{i}.downsample.conv3", WIDTHS[i + 1], WIDTHS[i + 1])
    names.update(norm("norm_head", WIDTHS[-1]) | linear("head", 10, WIDTHS[-1]))
    return {f"image_encoder.{name}": shape for name, shape in names.items()} | neck_names(WIDTHS[-1])


@pytest.fixture
def mobile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(mobile_sam, "SIDE", 128)
    path = tmp_path / "mobile_sam.pt"
    weights = drawn({**tiny_vit_names(), **prompt_names()}, seed=1)
    counted = {f"{name[:-12]}num_batches_tracked": torch.tensor(7) for name in weights if name.endswith("running_mean")}
    torch.save({"model": weights | counted}, path)
    return path


def test_mobile_sam_exports(mobile: Path) -> None:
    assert kind_of(resolve(mobile)) == "mobile_sam"
    recipe = read(resolve(mobile))
    assert recipe.config["architecture"] == "mobile_sam"
    assert recipe.graphs[0].spec.outputs[0].dims == ("B", WIDTH, 8, 8)
    graph = recipe.graphs[0]
    assert parity(to_onnx(graph), graph) < 1e-4
    assert np.ptp(reference(graph, graph.example)["embedding"], axis=0).max() > 0.1


def test_tiny_vit_is_timms(mobile: Path) -> None:
    """timm has the same network under other names, and is told that the last merge keeps the size."""
    theirs = imported("timm.models.tiny_vit").TinyVit(
        embed_dims=WIDTHS, depths=DEPTHS, num_heads=HEADS, window_sizes=WINDOWS, mlp_ratio=2, num_classes=0
    )
    theirs.stages[3].downsample.conv2.conv.stride = (1, 1)
    weights = torch.load(mobile, weights_only=True)["model"]
    seen = {n.removeprefix("image_encoder."): t for n, t in weights.items() if n.startswith("image_encoder.")}
    theirs.load_state_dict({timm_name(name): t for name, t in seen.items() if timm_name(name)}, strict=False)
    ours = TinyViT(seen)
    ours.load_state_dict({name: t for name, t in seen.items() if "head" not in name})
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        y = ours.eval().patch_embed.seq(x)
        for layer in ours.layers:
            y = layer(y)
        torch.testing.assert_close(y, theirs.eval().forward_features(x), atol=1e-4, rtol=1e-4)


def timm_name(name: str) -> str:
    if name.startswith(("neck", "head", "norm_head")):
        return ""
    name = re.sub(r"^layers\.(\d)\.downsample", lambda m: f"stages.{int(m[1]) + 1}.downsample", name)
    name = re.sub(r"^layers\.", "stages.", name).replace(".c.", ".conv.")
    return name.replace("patch_embed.seq.0", "patch_embed.conv1").replace("patch_embed.seq.2", "patch_embed.conv2")


def test_hushed_models_are_built_quietly(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with hushed():
        read(resolve(file))
    assert capfd.readouterr() == ("", "")
