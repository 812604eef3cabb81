"""Text-prompted detectors with random weights, in the official layout: for speed and parity, not for quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KINDS = {"grounding-dino": "GroundingDino", "mm-grounding-dino": "MMGroundingDino"}
SWIN = {"embed_dim": 32, "depths": [1, 1, 2, 1], "num_heads": [2, 2, 4, 8], "window_size": 4, "image_size": 128}
CONVNEXT = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "layer_scale_init_value": 0.3}
SMALL: dict[str, Any] = {
    "d_model": 64,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_n_points": 2,
    "decoder_n_points": 3,
    "num_queries": 30,
    "max_text_len": 48,
}
SIZES: dict[str, dict[str, Any]] = {
    # IDEA-Research/grounding-dino-tiny: 172 M parameters, 109 M of them BERT; Swin-T
    "swin-t": {"backbone": {"window_size": 7, "image_size": 224}, "text": {}, "model": {}},
    # none that anybody trained: for tests of what runs with it
    "small": {"backbone": CONVNEXT, "model": SMALL},
    "least": {
        "backbone": {"num_stages": 2, "hidden_sizes": [16, 24], "depths": [1, 1], "layer_scale_init_value": 0.3},
        "stages": ["stage1", "stage2"],
        "model": {**SMALL, "num_feature_levels": 3},
    },
    "small-swin": {"backbone": SWIN, "model": SMALL},
}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
OWLS: dict[str, dict[str, Any]] = {
    # google/owlvit-base-patch32 (153 M parameters) and google/owlv2-base-patch16 (155 M), by kind
    "base": {"owlvit": {}, "owlv2": {}},
    "small": {
        "projection_dim": 32,
        "vision_config": {**TOWER, "image_size": 48, "patch_size": 8},
        "text_config": {**TOWER, "vocab_size": 32, "max_position_embeddings": 16, "pad_token_id": 0,
                        "bos_token_id": 30, "eos_token_id": 31},
    },
}  # fmt: skip
STAGES = ["stage2", "stage3", "stage4"]
WORDS = ("red", "blue", "green", "circle", "square", "star", "cat", "dog", "the", "a", "photo", "of", "two")
SPECIAL = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}


def make_grounding(folder: Path | str, size: str = "swin-t", kind: str = "grounding-dino", seed: int = 0) -> Path:
    """A checkpoint folder of SIZES[size] and KINDS[kind] with random weights; gives the folder back."""
    import torch
    import transformers

    said = SIZES[size]
    backbone = transformers.SwinConfig if size.startswith(("swin", "small-swin")) else transformers.ConvNextConfig
    text = said.get("text", {"vocab_size": 1030, "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4,
                             "intermediate_size": 96, "max_position_embeddings": 64})  # fmt: skip
    config = getattr(transformers, f"{KINDS[kind]}Config")(
        backbone_config=backbone(**said["backbone"], out_features=said.get("stages", STAGES)),
        text_config=transformers.BertConfig(**text),
        **said["model"],
    )
    torch.manual_seed(seed)
    model = spoken(getattr(transformers, f"{KINDS[kind]}ForObjectDetection")(config))
    model.save_pretrained(folder)
    _tokenizer(Path(folder), int(config.max_text_len))
    said_of_pictures = {"image_processor_type": "GroundingDinoImageProcessor", "resample": 2}
    edges = {"shortest_edge": 800, "longest_edge": 1333} if size == "swin-t" else {"shortest_edge": 96}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps({**said_of_pictures, "size": edges}))
    return Path(folder)


def make_owl(folder: Path | str, size: str = "base", kind: str = "owlv2", seed: int = 0) -> Path:
    """A checkpoint folder of an OWL-ViT or OWLv2 (kind) of OWLS[size] with random weights; gives the folder back."""
    import torch
    import transformers

    name = {"owlvit": "OwlViT", "owlv2": "Owlv2"}[kind]
    said = OWLS[size].get(kind, OWLS[size])
    config = getattr(transformers, f"{name}Config")(**said)
    torch.manual_seed(seed)
    model = spoken(getattr(transformers, f"{name}ForObjectDetection")(config))
    model.save_pretrained(folder)
    side, text = model.config.vision_config.image_size, model.config.text_config
    ends = {"[PAD]": 0, "[UNK]": 29, "[CLS]": text.vocab_size - 2, "[SEP]": text.vocab_size - 1}
    _tokenizer(Path(folder), int(text.max_position_embeddings), ends)
    said_of_pictures = {"image_processor_type": f"{name}ImageProcessor", "size": {"height": side, "width": side}}
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(said_of_pictures))
    return Path(folder)


def spoken(model: Any) -> Any:
    """Weights under which every part has its say: transformers starts box heads at zero, fusion at 1e-4, and reads all
    queries at the same places, so that most of the network could be wrong unseen."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "sampling_offsets" in name:
                weight.copy_(torch.randn_like(weight) * (0.05 if weight.ndim > 1 else 1.5))
            elif name.endswith(("vision_param", "text_param")):
                weight.fill_(0.3)
            elif "bbox_embed" in name and weight.ndim > 1:
                weight.copy_(torch.randn_like(weight) * 0.5 / weight.shape[1] ** 0.5)
            elif name.endswith("class_embed.bias") or ".class_embed." in name:
                weight.fill_(-1.0)
            elif weight.ndim > 1 and "embed" not in name:
                weight.copy_(torch.randn_like(weight) / weight[0].numel() ** 0.5)
            elif name.endswith("bias") and "norm" not in name:
                weight.copy_(0.1 * torch.randn_like(weight))
    return model.eval().requires_grad_(False)


def _tokenizer(folder: Path, longest: int, special: dict[str, int] = SPECIAL) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = {**special, **{word: place for place, word in enumerate(WORDS, 1)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [(name, special[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest}
    tokens = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep")}
    (folder / "tokenizer_config.json").write_text(json.dumps({**said, **tokens}))
