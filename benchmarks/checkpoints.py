"""Checkpoints of real size with random weights, in the official layout: for speed and parity, not for quality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZES: dict[str, dict[str, Any]] = {
    # openai/clip-vit-base-patch32: 151 M parameters, of which 88 M see and 63 M read
    "vit-b-32": {"vision": {}, "text": {"eos_token_id": 49407, "bos_token_id": 49406, "pad_token_id": 1}, "width": 512},
    # openai/clip-vit-base-patch16
    "vit-b-16": {"vision": {"patch_size": 16}, "text": {"eos_token_id": 49407, "bos_token_id": 49406}, "width": 512},
}
SAMS: dict[str, dict[str, dict[str, Any]]] = {
    # facebook/sam-vit-base: 93.7 M parameters, 4 M of them in prompt encoder and mask decoder
    "vit-b": {"vision_config": {}},
    "vit-l": {
        "vision_config": {
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "global_attn_indexes": [5, 11, 17, 23],
        }
    },
    "vit-h": {
        "vision_config": {
            "hidden_size": 1280,
            "num_hidden_layers": 32,
            "num_attention_heads": 16,
            "global_attn_indexes": [7, 15, 23, 31],
        }
    },
    # none that anybody trained: for tests of what runs with it; windows of 4 reach over the edge of 10 x 10 patches
    "small": {
        "vision_config": {
            "hidden_size": 48,
            "output_channels": 32,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "image_size": 80,
            "patch_size": 8,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": 16,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 80, "patch_size": 8},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    },
}
VOCABULARY = 49408
START, END = "<|startoftext|>", "<|endoftext|>"


def make_clip(folder: Path | str, size: str = "vit-b-32", seed: int = 0) -> Path:
    """Write a CLIP checkpoint of a known size to `folder` and return the folder.

    The weights are random, but not transformers' initialisation: under that all pictures get nearly one embedding
    (cosine 0.99 and more between any two), and every comparison of variants would pass. Here weights are wider, the
    LayerNorm gains spread by a factor of about four, and a few channels are outliers, as in trained transformers
    (arXiv 2211.10438, §3), so that quantisation has to earn its figure.
    """
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel

    shape = SIZES[size]
    folder = Path(folder)
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=shape["text"], vision_config=shape["vision"], projection_dim=shape["width"])
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _spread(name, weight)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    return folder


def make_sam(folder: Path | str, size: str = "vit-b", seed: int = 0) -> Path:
    """Write a SAM checkpoint in transformers' layout to `folder` and return the folder.

    Random as make_clip's, and wider than transformers' own initialisation, under which (1e-10 in the encoder) all
    pictures give one embedding; relative positions, which start at zero there, add scores of about one.
    """
    import torch
    from transformers import SamConfig, SamModel

    folder = Path(folder)
    torch.manual_seed(seed)
    model = SamModel(SamConfig(**SAMS[size])).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            _spread_sam(name, weight)
    model.save_pretrained(folder)
    side = model.config.vision_config.image_size
    said = {"size": {"longest_edge": side}, "pad_size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "SamImageProcessor", **said}))
    return folder


def tokenizer() -> Any:
    """A CLIPTokenizer with CLIP's number of tokens: bytes, made-up merges of letters, and the two special tokens."""
    from transformers import CLIPTokenizer

    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    shown = {byte: chr(byte) for byte in plain}
    hidden = [byte for byte in range(256) if byte not in shown]
    shown |= {byte: chr(256 + number) for number, byte in enumerate(hidden)}
    symbols = [shown[byte] for byte in range(256)]
    vocab = {token: number for number, token in enumerate([*symbols, *(s + "</w>" for s in symbols)])}
    merges: list[tuple[str, str]] = []
    _merge("abcdefghijklmnopqrstuvwxyz", vocab, merges)
    vocab |= {START: VOCABULARY - 2, END: VOCABULARY - 1}
    return CLIPTokenizer(
        vocab=vocab, merges=merges, bos_token=START, eos_token=END, unk_token=END, pad_token=END, model_max_length=77
    )


def _merge(letters: str, vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    """Pairs, then pairs with a word's last letter, then longer ends, until the vocabulary is CLIP's."""
    ends = [letter + "</w>" for letter in letters]
    starts = list(letters)
    while True:
        made = []
        for left in starts[:676]:
            for right in ends:
                if len(vocab) == VOCABULARY - 2:
                    return
                if left + right not in vocab:
                    vocab[left + right] = len(vocab)
                    merges.append((left, right))
                    made.append(left + right)
        starts, ends = [a + b for a in letters for b in letters], made[:338]
        for pair in starts:
            if pair not in vocab and len(vocab) < VOCABULARY - 2:
                vocab[pair] = len(vocab)
                merges.append((pair[0], pair[1]))


def _spread(name: str, weight: Any) -> None:
    import torch

    if "norm" in name and name.endswith("weight"):
        gain = torch.exp(0.35 * torch.randn_like(weight))
        gain[torch.randperm(len(gain))[: max(1, len(gain) // 128)]] *= 6.0
        weight.copy_(gain)
    elif name.endswith("bias"):
        weight.copy_(0.1 * torch.randn_like(weight))
    elif weight.ndim == 2 and "embedding" not in name:
        weight.copy_(torch.randn_like(weight) * 1.2 / weight.shape[1] ** 0.5)


def _spread_sam(name: str, weight: Any) -> None:
    import torch

    if "positional_embedding" in name:
        weight.copy_(torch.randn_like(weight))  # as in the reference; transformers' 384 makes thousands of radians
    elif "rel_pos" in name:
        weight.copy_(torch.randn_like(weight) / weight.shape[1] ** 0.5)
    elif "point_embed" in name or name.endswith(("pos_embed", "token.weight", "tokens.weight", "embed.weight")):
        weight.copy_(0.5 * torch.randn_like(weight))
    elif weight.ndim == 4:  # convolutions; transposed ones have their inputs first
        fan = weight.shape[0] if "upscale" in name else weight[0].numel()
        weight.copy_(torch.randn_like(weight) * 1.2 / fan**0.5)
    else:
        _spread(name, weight)
        if "q_proj" in name or "k_proj" in name:  # else each softmax picks one of 4,096, and rounding is amplified
            weight.mul_(0.5)


if __name__ == "__main__":
    import sys

    print(json.dumps({"folder": str(make_clip(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "vit-b-32"))}))
