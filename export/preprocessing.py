"""How a checkpoint says that pictures are prepared, as the runtime's Preprocess.

preprocessor_config.json (transformers) | preprocess_cfg (open_clip) ──▶ Preprocess
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from saccade.export.recipe import Checkpoint
from saccade.runtime.errors import ExportError, SpecError
from saccade.runtime.preprocess import Preprocess

FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's number, which is what `resample` holds."""
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
_MEND = "mend the model's preprocessor_config.json"


def preprocess_of(checkpoint: Checkpoint) -> Preprocess:
    """The preprocessing that preprocessor_config.json describes. Raises ExportError if it is missing or not known here.

    Crops are floored: transformers 5 takes (H - h) // 2 from the top (image_transforms.center_crop, and the same number
    in its torchvision back end).
    """
    said = checkpoint.json("preprocessor_config.json")
    said = said or checkpoint.json("processor_config.json").get("image_processor", {})
    if not said:
        raise ExportError(
            f"[export] {checkpoint.id}: no preprocessor_config.json", hint="put it into the model's folder"
        )
    kind = str(said.get("image_processor_type", said.get("feature_extractor_type", "CLIPImageProcessor")))
    siglip = kind.startswith("Siglip")
    if not siglip and not kind.startswith("CLIP"):
        raise ExportError(f"[export] {checkpoint.id}: pictures are prepared by {kind}, not known here", hint=_MEND)
    size = said.get("size", {"height": 224, "width": 224} if siglip else {"shortest_edge": 224})
    crop = said.get("crop_size", 224) if said.get("do_center_crop", not siglip) else None
    mean, std = (HALF, HALF) if siglip else (CLIP_MEAN, CLIP_STD)
    return _made(
        checkpoint,
        size=size if said.get("do_resize", True) else None,
        crop=crop,
        crop_rounding="floor",
        filter=FILTERS[int(said.get("resample", 3))],
        scale=float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 1.0,
        mean=tuple(said.get("image_mean", mean)) if said.get("do_normalize", True) else (0.0, 0.0, 0.0),
        std=tuple(said.get("image_std", std)) if said.get("do_normalize", True) else (1.0, 1.0, 1.0),
    )


def preprocess_of_open_clip(checkpoint: Checkpoint, said: Mapping[str, Any], image_size: int) -> Preprocess:
    """The preprocessing of open_clip's preprocess_cfg (its image_transform in evaluation; crops are rounded).

    said: preprocess_cfg; image_size: the model's, for configs that do not name one
    """
    size = said.get("size", image_size)
    side = _pair(size, checkpoint)
    mode = said.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ExportError(f"[export] {checkpoint.id}: resize_mode {mode!r}, not known here", hint=_MEND)
    if mode == "shortest" and side[0] != side[1]:
        raise ExportError(f"[export] {checkpoint.id}: a crop that is no square is not known here", hint=_MEND)
    return _made(
        checkpoint,
        size={"height": side[0], "width": side[1]} if mode == "squash" else {"shortest_edge": side[0]},
        crop=None if mode == "squash" else side,
        crop_rounding="round",
        filter=str(said.get("interpolation", "bicubic")),
        scale=1 / 255,
        mean=tuple(said.get("mean", CLIP_MEAN)),
        std=tuple(said.get("std", CLIP_STD)),
    )


def preprocess_of_sam(checkpoint: Checkpoint, side: int, *, squash: bool) -> Preprocess:
    """The preprocessing of a SAM: the longest edge becomes `side` and the rest is padded, or (SAM 2.1) both edges do.

    Without preprocessor_config.json, as beside an official .pth, it is the reference's: ImageNet's mean and deviation.
    """
    said = checkpoint.json("preprocessor_config.json") or checkpoint.json("processor_config.json").get(
        "image_processor", {}
    )
    said = said if checkpoint.weights is None else {}
    size = said.get("size", side)
    edges = set(size.values()) if isinstance(size, Mapping) else {size}
    if edges != {side} or (isinstance(size, Mapping) and (set(size) == {"longest_edge"}) is squash):
        raise ExportError(
            f"[export] {checkpoint.id}: the model sees {side} x {side}, pictures are resized to {str(size)[:80]}",
            hint=_MEND,
        )
    return _made(
        checkpoint,
        size={"height": side, "width": side} if squash else {"longest_edge": side},
        crop=None,
        filter=FILTERS[int(said.get("resample", 2))],
        scale=float(said.get("rescale_factor", 1 / 255)),
        mean=tuple(said.get("image_mean", IMAGENET_MEAN)),
        std=tuple(said.get("image_std", IMAGENET_STD)),
    )


def preprocess_of_detector(checkpoint: Checkpoint) -> tuple[Preprocess, tuple[tuple[int, int], ...]]:
    """The preprocessing of a DETR-like detector, at the first of its input sizes (height, width), and all of them.

    The sizes are those asked for, else what the preprocessing makes of a picture of 4 x 3 and of 3 x 4, in whole steps
    of 32. Without preprocessor_config.json it is the reference's: ImageNet's mean and deviation, bilinear, 800 to 1333.
    """
    said = _said(checkpoint)
    if not said.get("do_rescale", True) or not said.get("do_resize", True):
        raise ExportError(f"[export] {checkpoint.id}: pictures would come as they are, not known here", hint=_MEND)
    size = said.get("size", {"shortest_edge": 800, "longest_edge": 1333})
    kept = isinstance(size, Mapping) and "shortest_edge" in size
    sizes = checkpoint.sizes or (_both_ways(size) if kept else (_pair(size, checkpoint),))
    made = _made(
        checkpoint,
        size={"height": sizes[0][0], "width": sizes[0][1]},
        crop=None,
        filter=FILTERS[int(said.get("resample", 2))],
        scale=float(said.get("rescale_factor", 1 / 255)),
        mean=tuple(said.get("image_mean", IMAGENET_MEAN)) if said.get("do_normalize", True) else (0.0, 0.0, 0.0),
        std=tuple(said.get("image_std", IMAGENET_STD)) if said.get("do_normalize", True) else (1.0, 1.0, 1.0),
    )
    return msgspec.structs.replace(made, resize="fit" if kept else "squash"), sizes


def preprocess_of_owl(
    checkpoint: Checkpoint, side: int, *, square: bool
) -> tuple[Preprocess, tuple[float, ...], tuple[float, ...]]:
    """The preprocessing of an OWL-ViT, which goes to a square whatever the shape, or (square) of an OWLv2, which fills
    one up with black at the bottom and the right; and mean and deviation that are left to the graph.

    OWLv2's are: its black is put in before they are taken off, and the padding here is of one value for all channels.
    Without preprocessor_config.json it is the reference's. Raises ExportError if the sizes do not agree.
    """
    said = _said(checkpoint)
    size = _pair(said.get("size", side), checkpoint)
    if size != (side, side):
        raise ExportError(
            f"[export] {checkpoint.id}: the model sees {side} x {side}, pictures are resized to {size}", hint=_MEND
        )
    mean, std = tuple(said.get("image_mean", CLIP_MEAN)), tuple(said.get("image_std", CLIP_STD))
    if not said.get("do_normalize", True):
        mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    made = _made(
        checkpoint,
        size={"height": side, "width": side},
        crop=None,
        filter=FILTERS[int(said.get("resample", 2 if square else 3))],
        scale=float(said.get("rescale_factor", 1 / 255)),
        mean=(0.0, 0.0, 0.0) if square else mean,
        std=(1.0, 1.0, 1.0) if square else std,
    )
    return (msgspec.structs.replace(made, resize="fit"), mean, std) if square else (made, (), ())


def _said(checkpoint: Checkpoint) -> dict[str, Any]:
    said = checkpoint.json("preprocessor_config.json")
    return said or dict(checkpoint.json("processor_config.json").get("image_processor", {}))


def _both_ways(size: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    short, most = int(size["shortest_edge"]), int(size.get("longest_edge") or 1 << 14)
    low, high = (-(-edge // 32) * 32 for edge in (short, min(short * 4 // 3, most)))
    return tuple(dict.fromkeys(((low, high), (high, low))))


def _made(checkpoint: Checkpoint, *, size: Any, crop: Any, **rest: Any) -> Preprocess:
    how, target = _resize(size, checkpoint)
    final = _pair(crop, checkpoint) if crop is not None else target
    if final is None or (how == "shortest" and crop is None):
        raise ExportError(f"[export] {checkpoint.id}: pictures would keep different sizes", hint=_MEND)
    described = {
        "size": final,
        "resize": how,
        "edge": target[0] if how == "shortest" and target else 0,
        "crop": "none" if crop is None else "center",
        **rest,
    }
    try:
        return msgspec.convert(described, Preprocess)
    except (msgspec.ValidationError, SpecError) as error:
        raise ExportError(f"[export] {checkpoint.id}: {error}", hint=_MEND) from None


def _resize(size: Any, checkpoint: Checkpoint) -> tuple[str, tuple[int, int] | None]:
    if size is None:
        return "none", None
    if isinstance(size, Mapping) and "longest_edge" in size and "shortest_edge" not in size:
        return "longest", (int(size["longest_edge"]),) * 2
    if isinstance(size, Mapping) and "shortest_edge" in size and "longest_edge" not in size:
        return "shortest", (int(size["shortest_edge"]),) * 2
    if isinstance(size, int):  # configs before transformers 4.26
        return "shortest", (size, size)
    return "squash", _pair(size, checkpoint)


def _pair(size: Any, checkpoint: Checkpoint) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and {"height", "width"} <= set(size):
        return int(size["height"]), int(size["width"])
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise ExportError(f"[export] {checkpoint.id}: the size {str(size)[:80]} is not known here", hint=_MEND)
