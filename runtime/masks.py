"""Masks: what segmenting returns, as parallel arrays; full-size pixels only when somebody looks at them.

low-res logits ──mask_decode──▶ run lengths, boxes, areas, stability ──▶ Masks ──.at(i), .dense()──▶ pixels
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.kernels.mask_decode import mask_decode
from saccade.runtime import rle
from saccade.runtime.errors import InputError, MissingExtra
from saccade.runtime.image import Image
from saccade.runtime.prompt import Prompt
from saccade.runtime.results import Index
from saccade.runtime.rle import Rle

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


@dataclass(frozen=True, eq=False, repr=False)
class Masks:
    """M masks on a picture of H x W.

    rle: M run lengths, {"size": [H, W], "counts": bytes}, as pycocotools takes them
    boxes: (M, 4) int32 left, top, right, bottom, the first and last column and row of the mask; zeros if it is empty
    area: (M,) int64, pixels
    stability: (M,) float32, area at threshold + offset over area at threshold − offset (arXiv 2304.02643, appendix B)
    score: (M,) float32, the IoU with the truth that the model expects
    prompt: (M,) int64, which of `prompts` each answers
    prompts: what was asked
    size: (H, W)
    picture: what was asked about, for pictures of the result; None if it was not kept
    crops: (M, 4) int32 left, top, right, bottom (exclusive) of the part of the picture that the model saw
    logits: (M, h, w) float32 low-res logits, or None where they were not kept
    """

    rle: list[Rle]
    boxes: NDArray[np.int32]
    area: NDArray[np.int64]
    stability: NDArray[np.float32]
    score: NDArray[np.float32]
    prompt: NDArray[np.int64]
    prompts: tuple[Prompt, ...]
    size: tuple[int, int]
    crops: NDArray[np.int32]
    picture: Image | None = None
    logits: NDArray[np.float32] | None = field(default=None)

    @classmethod
    def of(
        cls,
        low: NDArray[np.float32],
        score: NDArray[np.float32],
        prompt: NDArray[np.int64],
        prompts: tuple[Prompt, ...],
        window: tuple[Sequence[int], Sequence[int], tuple[int, int]],
        *,
        threshold: float = 0.0,
        offset: float = 1.0,
        picture: Image | None = None,
    ) -> Masks:
        """Masks of low-res logits (M, h, w), in one pass of `mask_decode` that makes no full-size pixels.

        window: (height, width) of the model's square, of the picture within it, and of the picture as it came
        """
        model, valid, size = window
        found = mask_decode(low, model, valid, size, threshold=threshold, offset=offset)
        crops = np.tile(np.array([0, 0, size[1], size[0]], np.int32), (len(low), 1))
        return cls(
            found.rle, found.boxes, found.area, found.stability, score, prompt, prompts, size, crops, picture, low
        )

    @classmethod
    def from_rle(
        cls, rles: Sequence[Rle], size: tuple[int, int], *, score: Any = None, picture: Image | None = None
    ) -> Masks:
        """Masks of run lengths from elsewhere, such as a person's annotations. Raises InputError if they do not fit.

        score: (M,); 1 for each if not given. Stability is 1: nothing is known that could change.
        """
        packed = [rle.from_spans(*rle.spans(r), rle.size(r)) for r in rles]
        if any(rle.size(r) != tuple(size) for r in packed):
            raise InputError("[masks] run lengths of another size", hint=f"the picture is {size[0]} x {size[1]}")
        count = len(packed)
        boxes = np.array([rle.box(r) for r in packed], np.int32).reshape(-1, 4)
        areas = np.array([rle.area(r) for r in packed], np.int64)
        ones = np.ones(count, np.float32)
        scores = ones.copy() if score is None else np.asarray(score, np.float32).reshape(count)
        crops = np.tile(np.array([0, 0, size[1], size[0]], np.int32), (count, 1))
        return cls(
            packed, boxes, areas, ones, scores, np.arange(count), (), (int(size[0]), int(size[1])), crops, picture
        )

    @classmethod
    def join(cls, parts: Sequence[Masks]) -> Masks:
        """The masks of several parts, at least one, that asked the same prompts of the same picture."""
        if len(parts) == 1:
            return parts[0]
        names = ("boxes", "area", "stability", "score", "prompt", "crops")
        arrays: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        kept = [part.logits for part in parts if part.logits is not None]
        logits = np.concatenate(kept) if len(kept) == len(parts) else None
        return replace(parts[0], rle=[r for part in parts for r in part.rle], logits=logits, **arrays)

    def __len__(self) -> int:
        return len(self.rle)

    def __getitem__(self, which: Index) -> Masks:
        """The chosen masks: a number, slice, bool mask or list of numbers."""
        at = np.atleast_1d(np.arange(len(self))[which])
        names = ("boxes", "area", "stability", "score", "prompt", "crops")
        arrays = {name: getattr(self, name)[at] for name in names}
        logits = None if self.logits is None else self.logits[at]
        return replace(self, rle=[self.rle[i] for i in at], logits=logits, **arrays)

    def __iter__(self) -> Iterator[Masks]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        best = f", best score {self.score.max():.2f}" if len(self) else ""
        return f"Masks({len(self)} on {self.size[0]}x{self.size[1]}, {len(self.prompts)} prompts{best})"

    @property
    def low(self) -> NDArray[np.float32]:
        """(M, h, w) float32 low-res logits, to be fed back as `mask`. Raises InputError where they were not kept."""
        if self.logits is None:
            raise InputError(
                "[masks] the logits were not kept: everything() has too many, and crops have their own",
                hint="ask again with the mask's prompt: view.segment(prompts=masks.prompts[masks.prompt[i]])",
            )
        return self.logits

    @property
    def nbytes(self) -> int:
        """Bytes held, the picture aside."""
        arrays: list[NDArray[Any]] = [self.boxes, self.area, self.stability, self.score, self.prompt, self.crops]
        arrays += [] if self.logits is None else [self.logits]
        return sum(a.nbytes for a in arrays) + sum(len(r["counts"]) for r in self.rle)

    @property
    def best(self) -> Masks:
        """For each prompt that has masks the one with the highest score, in the order of the prompts."""
        order = np.lexsort((-self.score, self.prompt))
        return self[order[np.unique(self.prompt[order], return_index=True)[1]]]

    def at(self, i: int) -> NDArray[np.bool_]:
        """The pixels of mask i, (H, W) bool."""
        return rle.decode(self.rle[i])

    def dense(self) -> NDArray[np.bool_]:
        """The pixels of all, (M, H, W) bool: M · H · W bytes."""
        made = np.empty((len(self), *self.size), bool)
        for i, out in enumerate(made):
            out[...] = self.at(i)
        return made

    def iou(self, other: Masks) -> NDArray[np.float64]:
        """(M, N) intersection over union with each mask of `other`, which is of a picture of the same size."""
        return rle.iou(self.rle, other.rle)

    def to_coco(self, image_id: int = 1, category: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """COCO's annotations, fit for JSON, each with run lengths as text, and `score` and `stability_score` beside.

        bbox is x, y, width, height of pixels, as pycocotools' toBbox: width = right − left + 1. The reference
        generator of SAM, and SA-1B with it, leave the + 1 out.
        """
        return [
            {
                "id": first_id + i,
                "image_id": image_id,
                "category_id": category,
                "segmentation": rle.text(self.rle[i]),
                "area": int(self.area[i]),
                "bbox": _xywh(self.boxes[i].tolist(), int(self.area[i])),
                "iscrowd": 0,
                "score": round(float(self.score[i]), 6),
                "stability_score": round(float(self.stability[i]), 6),
            }
            for i in range(len(self))
        ]

    def to_supervision(self) -> Any:
        """supervision.Detections with xyxy, mask (all pixels of all masks) and confidence. Raises MissingExtra."""
        try:
            from supervision import Detections
        except ImportError:
            raise MissingExtra("supervision", "supervision", purpose="to_supervision()") from None
        return Detections(xyxy=self.boxes.astype(np.float32), mask=self.dense(), confidence=self.score.copy())

    def fields(self) -> dict[str, Any]:
        """The whole result, fit for JSON: size, prompts, and to_coco's annotations with `prompt` and `box`."""
        rows = self.to_coco()
        for i, row in enumerate(rows):
            row |= {"prompt": int(self.prompt[i]), "box": self.boxes[i].tolist()}
        return {
            "picture": self.picture.name if self.picture else "",
            "size": list(self.size),
            "prompts": [prompt.fields() for prompt in self.prompts],
            "masks": rows,
        }

    def draw(self, picture: Any = None, *, prompts: bool = True) -> PilImage:
        """The masks over the picture, each in its colour, with outlines and what was asked.

        picture: anything `saccade.decode` takes; the one that was segmented if None
        """
        from saccade.runtime import overlay

        return overlay.draw(self, picture, prompts=prompts)

    def save(self, path: str | os.PathLike[str], *, kind: str = "") -> list[str]:
        """Write the result, each file at once; gives the names written. Raises InputError or NoSpace.

        kind: "overlay" (a picture with the masks on it), "masks" (a folder with a 1-bit PNG for each), "labels" (one
            PNG of numbers: 0 for none, i + 1 for mask i, smaller masks over larger) or "json"; by the name if not
            given: .json is json, another suffix an overlay, none a folder of masks
        """
        from saccade.runtime import overlay

        return overlay.save(self, path, kind)


def _xywh(box: list[int], area: int) -> list[int]:
    left, top, right, bottom = box
    return [left, top, right - left + 1, bottom - top + 1] if area else [0, 0, 0, 0]
