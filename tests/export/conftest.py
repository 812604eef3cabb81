"""Tiny checkpoints with random weights in the official layouts, and one export that many tests read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

for library in ("torch", "transformers", "onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(library, reason="the [export] extra is not installed")

SIDE, WIDTH, JOINT = 32, 32, 24


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIPModel of two layers with the zoo's tokenizer, as save_pretrained writes them."""
    return make_clip(tmp_path_factory.mktemp("checkpoints") / "clip-two-layers")


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SiglipModel of two layers with a Unigram tokenizer.json."""
    return make_siglip(tmp_path_factory.mktemp("checkpoints") / "siglip-two-layers")


@pytest.fixture(scope="session")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SamModel of three blocks, one of them global; windows of 4 reach over the edge of 10 x 10 patches."""
    from saccade.benchmarks.checkpoints import make_sam
    from saccade.export.load import hushed

    with hushed():
        return make_sam(tmp_path_factory.mktemp("checkpoints") / "sam-three-blocks", "small")


@pytest.fixture(scope="session")
def sam_exported(sam_folder: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The bundle of sam_folder in all precisions."""
    from saccade.export import export

    target = tmp_path_factory.mktemp("bundles") / "sam.bundle"
    return export(sam_folder, target, precisions=("fp32", "fp16", "int8"), calibrate=photos)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 20 pictures of several sizes."""
    from PIL import Image

    from saccade.export.calibration import rendered

    folder = tmp_path_factory.mktemp("photos")
    for number, picture in enumerate(rendered(20)):
        Image.fromarray(picture.pixels[: 200 + number, 4 * number :]).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def exported(clip_folder: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The bundle of clip_folder in all precisions."""
    from saccade.export import export

    target = tmp_path_factory.mktemp("bundles") / "clip.bundle"
    return export(clip_folder, target, precisions=("fp32", "fp16", "int8"), calibrate=photos, license="MIT")


def make_clip(folder: Path, *, eos: int | None = None, act: str = "quick_gelu") -> Path:
    """eos: the config's end token; None means the tokenizer's own, 2 the configs from before 2023"""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    from saccade.export.load import hushed
    from saccade.zoo.tokenizer import build

    tokenizer = build()
    tower = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    config = CLIPConfig(
        projection_dim=JOINT,
        vision_config={**tower, "image_size": SIDE, "patch_size": 8, "hidden_act": act},
        text_config={
            **tower,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 32,
            "hidden_act": act,
            "eos_token_id": tokenizer.eos_token_id if eos is None else eos,
            "bos_token_id": tokenizer.bos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
    )
    with hushed():
        model = widened(CLIPModel(config))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE).save_pretrained(folder)
    return folder


def make_siglip(folder: Path) -> Path:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    from saccade.export.load import hushed

    tower = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(f"▁{c}", -2.0) for c in letters] + [(c, -3.0) for c in (*letters, "▁")]
    torch.manual_seed(2)
    text = {**tower, "vocab_size": len(pieces), "max_position_embeddings": 64, "pad_token_id": 1, "eos_token_id": 1}
    config = SiglipConfig(
        vision_config={**tower, "image_size": SIDE, "patch_size": 8}, text_config={**text, "bos_token_id": 0}
    )
    with hushed():
        widened(SiglipModel(config)).save_pretrained(folder)
        SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "SiglipTokenizer", "pad_token": "</s>", "model_max_length": 64, "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return folder


def widened(model: Any) -> Any:
    """Weights wide enough that two inputs get two embeddings; under the default initialisation all are alike."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2:
                weight.copy_(
                    torch.randn_like(weight) * (1.0 if "embedding" in name else 1.2 / weight[0].numel() ** 0.5)
                )
            elif name.endswith("bias"):
                weight.copy_(0.1 * torch.randn_like(weight))
    return model.eval()
