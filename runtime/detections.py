"""Detections: what detecting returns, as parallel arrays: boxes, scores, and which phrase each box is of."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from saccade.kernels.nms import nms
from saccade.runtime import rle
from saccade.runtime.errors import InputError, MissingExtra
from saccade.runtime.image import Image
from saccade.runtime.masks import Masks
from saccade.runtime.results import Index

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

Spans = tuple[tuple[int, int], ...]
_ARRAYS = ("boxes", "score", "label")


@dataclass(frozen=True, eq=False, repr=False)
class Detections:
    """M boxes on a picture of H x W, best first.

    boxes: (M, 4) float32 left, top, right, bottom in pixels of the picture, between its edges 0 and W or H
    score: (M,) float32 from 0 to 1
    label: (M,) int64, which of `phrases` each is
    phrases: what was asked for, in the order in which it was asked
    size: (H, W)
    spans: for each phrase its characters (start, end) in the prompt or caption; None where labels were asked for
    picture: what was asked about, for pictures of the result; None if it was not kept
    masks: of each box a mask, once a SAM was asked; else None
    kind, kind_score: of each box what a classifier calls it and how sure it is ((M,) float32); else None
    parent: (M,) int64, the box that each was looked for in, −1 for the whole picture; None if all were
    """

    boxes: NDArray[np.float32]
    score: NDArray[np.float32]
    label: NDArray[np.int64]
    phrases: tuple[str, ...]
    size: tuple[int, int]
    spans: tuple[Spans, ...] | None = None
    picture: Image | None = None
    masks: Masks | None = None
    kind: tuple[str, ...] | None = None
    kind_score: NDArray[np.float32] | None = None
    parent: NDArray[np.int64] | None = None

    @classmethod
    def none(cls, phrases: tuple[str, ...], image: Image, spans: tuple[Spans, ...] | None = None) -> Detections:
        """No boxes on a picture."""
        empty = np.zeros(0, np.float32)
        size = image.height, image.width
        return cls(empty.reshape(0, 4), empty, np.zeros(0, np.int64), phrases, size, spans, image)

    @classmethod
    def join(cls, parts: Sequence[Detections]) -> Detections:
        """The boxes of several parts, at least one, of one picture and the same phrases; without their masks."""
        more: dict[str, Any] = {name: np.concatenate([getattr(d, name) for d in parts]) for name in _ARRAYS}
        if all(part.kind is not None and part.kind_score is not None for part in parts):
            more["kind"] = tuple(name for part in parts for name in part.kind or ())
            more["kind_score"] = np.concatenate([part.kind_score for part in parts if part.kind_score is not None])
        parents = [part.parent for part in parts if part.parent is not None]
        more["parent"] = np.concatenate(parents) if len(parents) == len(parts) else None
        return replace(parts[0], masks=None, **more)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, which: Index) -> Detections:
        """The chosen boxes: a number, slice, bool mask or list of numbers. A parent that is left out becomes −1."""
        at = np.atleast_1d(np.arange(len(self))[which])
        more: dict[str, Any] = {name: getattr(self, name)[at] for name in _ARRAYS}
        if self.masks is not None:
            more["masks"] = self.masks[at]
        if self.kind is not None:
            more["kind"] = tuple(self.kind[i] for i in at)
        if self.kind_score is not None:
            more["kind_score"] = self.kind_score[at]
        if self.parent is not None:
            place = np.full(len(self) + 1, -1, np.int64)
            place[at] = np.arange(len(at))
            more["parent"] = place[self.parent[at]]
        return replace(self, **more)

    def __iter__(self) -> Iterator[Detections]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        counts = [f"{n} × {self.phrases[k]}" for k, n in enumerate(self._counts()) if n]
        more = ", ".join(counts[:6]) + (", …" if len(counts) > 6 else "")
        return f"Detections({len(self)} on {self.size[0]}x{self.size[1]}{': ' + more if counts else ''})"

    @property
    def names(self) -> tuple[str, ...]:
        """The phrase of each box."""
        return tuple(self.phrases[k] for k in self.label)

    def of(self, phrase: str) -> Detections:
        """The boxes of one phrase. Raises InputError for one that was not asked for."""
        if phrase not in self.phrases:
            known = ", ".join(repr(p[:32]) for p in self.phrases[:8])
            raise InputError(f"[detections] {phrase[:64]!r} was not asked for", hint=f"there is {known}")
        return self[self.label == self.phrases.index(phrase)]

    def nms(self, iou: float = 0.5, *, across: bool = False) -> Detections:
        """Of boxes of one phrase that overlap by more than `iou` the best; `across`: of boxes of any phrases."""
        kept = nms(self.boxes, self.score, None if across else self.label, iou=iou)
        return self[kept]

    def to_coco(self, image_id: int = 1, first_id: int = 1) -> list[dict[str, Any]]:
        """COCO's annotations, fit for JSON: category_id is label + 1; `score` and `phrase` beside.

        With masks, area and segmentation are theirs; else the area is the box's and the segmentation its rectangle.
        """
        rows = []
        for i, box in enumerate(self.boxes.astype(np.float64).tolist()):
            left, top, right, bottom = (round(n, 3) for n in box)
            mask = None if self.masks is None else self.masks.rle[i]
            rectangle = [[left, top, right, top, right, bottom, left, bottom]]
            rows.append(
                {
                    "id": first_id + i,
                    "image_id": image_id,
                    "category_id": int(self.label[i]) + 1,
                    "bbox": [left, top, round(right - left, 3), round(bottom - top, 3)],
                    "area": rle.area(mask) if mask else round((right - left) * (bottom - top), 3),
                    "segmentation": rle.text(mask) if mask else rectangle,
                    "iscrowd": 0,
                    "score": round(float(self.score[i]), 6),
                    "phrase": self.phrases[self.label[i]],
                }
            )
        return rows

    def coco_categories(self) -> list[dict[str, Any]]:
        """COCO's categories for `to_coco`."""
        return [{"id": k + 1, "name": phrase} for k, phrase in enumerate(self.phrases)]

    def to_supervision(self) -> Any:
        """supervision.Detections with xyxy, confidence, class_id, data["class_name"], and masks if there are any.

        Raises MissingExtra.
        """
        try:
            from supervision import Detections as Other
        except ImportError:
            raise MissingExtra("supervision", "supervision", purpose="to_supervision()") from None
        return Other(
            xyxy=self.boxes.copy(),
            mask=None if self.masks is None else self.masks.dense(),
            confidence=self.score.copy(),
            class_id=self.label.astype(int),
            data={"class_name": np.array(self.names, dtype=str)},
        )

    def fields(self) -> dict[str, Any]:
        """The whole result, fit for JSON."""
        rows = []
        for i, box in enumerate(self.boxes.astype(np.float64).tolist()):
            row: dict[str, Any] = {"phrase": self.phrases[self.label[i]], "label": int(self.label[i])}
            row |= {"score": round(float(self.score[i]), 6), "box": [round(n, 3) for n in box]}
            if self.spans is not None:
                row["spans"] = [list(span) for span in self.spans[self.label[i]]]
            if self.parent is not None:
                row["parent"] = int(self.parent[i])
            if self.kind is not None and self.kind_score is not None and self.kind[i]:
                row |= {"kind": self.kind[i], "kind_score": round(float(self.kind_score[i]), 6)}
            if self.masks is not None:
                row |= {"mask": rle.text(self.masks.rle[i]), "area": int(self.masks.area[i])}
            rows.append(row)
        name = self.picture.name if self.picture else ""
        return {"picture": name, "size": list(self.size), "phrases": list(self.phrases), "detections": rows}

    def draw(self, picture: Any = None) -> PilImage:
        """The boxes over the picture, a colour for each phrase, with phrase and score, and the masks if there are any.

        picture: anything `saccade.decode` takes; the one that was asked about if None. A small picture is enlarged, so
        that what is written on it can be read.
        """
        from saccade.runtime import sketch

        return sketch.draw(self, picture)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the result at once: .png is a picture, .json the fields. Gives the name. Raises InputError, NoSpace."""
        from saccade.runtime import sketch

        return sketch.save(self, path)

    def _counts(self) -> Sequence[int]:
        counts: list[int] = np.bincount(self.label, minlength=len(self.phrases)).tolist()
        return counts
