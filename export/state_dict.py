"""Weights that torch wrote: read as tensors and nothing else, and recognised by their names.

file.pth ──weights_only──▶ {name: tensor} ──names──▶ layout
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

from saccade.runtime.errors import ExportError, UnknownModel

LAYOUTS = {
    "image_encoder.patch_embed.proj.weight": "sam_official",
    "image_encoder.patch_embed.seq.0.c.weight": "mobile_sam",
    "rpn.head.dot_product_projection_text.weight": "glip",
}
"""For a name that only one layout has, the key of recipe.FAMILIES."""
SAM2 = "image_encoder.trunk.patch_embed.proj.weight"
WRAPPERS = ("model", "state_dict", "model_state_dict")
"""Under these names training scripts keep the weights beside their optimiser's state."""


def load(path: Path) -> dict[str, Any]:
    """The tensors of a .pth or .pt file, by name, mapped from the disk where the format allows.

    Nothing in the file is run (torch's weights_only): raises ExportError for one that asks for it, or is damaged.
    """
    found = _content(path)
    for name in WRAPPERS:
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict) or not found or not all(_is_weight(item) for item in found.items()):
        raise ExportError(f"[export] {path.name}: no names with tensors", hint=_OFFICIAL)
    return {name.removeprefix("module."): tensor for name, tensor in found.items()}


def layout(path: Path) -> str:
    """The key of recipe.FAMILIES for the file's layout. Raises UnknownModel if no recipe knows it, ExportError."""
    names = load(path)
    for name, kind in LAYOUTS.items():
        if name in names:
            return kind
    if SAM2 in names:
        raise UnknownModel(
            f"[export] {path.name}: SAM 2 in its official layout, which is not read yet",
            hint="export the transformers folder of the same model, such as facebook/sam2.1-hiera-tiny",
        )
    shown = ", ".join(sorted(names)[:3])
    raise UnknownModel(f"[export] {path.name}: weights named {shown[:160]}, which no recipe knows", hint=_OFFICIAL)


def _content(path: Path) -> Any:
    import torch

    for mapped in (True, False):  # files from before torch 1.6 cannot be mapped
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of pickle protocols, in a file that is refused or read all the same
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
        except pickle.UnpicklingError as error:
            raise ExportError(
                f"[export] {path.name} holds more than tensors, which could run code when read: {_short(error)}",
                hint="ask its author for safetensors, or save its state_dict alone where you trust it",
            ) from None
        except Exception as error:  # torch raises RuntimeError, EOFError, ValueError and others for damaged files
            if not mapped:
                raise ExportError(
                    f"[export] {path.name} is damaged: {_short(error)}", hint="fetch the file again"
                ) from None
    raise AssertionError


def _is_weight(item: tuple[Any, Any]) -> bool:
    import torch

    return isinstance(item[0], str) and isinstance(item[1], torch.Tensor)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160]


_OFFICIAL = "known are the official layouts of SAM (ViT-B, L, H), MobileSAM and GLIP; others as a transformers folder"
